"""Finished parts: kept until all are there, then joined into one file, frame by frame."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms

from tempermd.records import UserError, atomic_write
from tempermd.structures.fingerprints import (
    LENGTH,
    composition,
    fingerprints,
    near_duplicates,
)


@dataclass(frozen=True)
class Joined:
    """What joining the parts gave: frames and atoms written, and frames dropped by reason."""

    frames: int = 0
    atoms: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


def write_part(folder: Path, key: str, frames: list[Atoms], dropped: Counter[str]) -> None:
    """Write one part; its ``.extxyz`` comes last and says that it is whole."""
    from ase.io import write

    facts = {"dropped": dict(dropped), "compositions": [composition(one) for one in frames]}
    try:
        with atomic_write(folder / f"{key}.npz") as temporary, temporary.open("wb") as stream:
            np.savez(stream, fingerprints=fingerprints(frames), facts=json.dumps(facts))
        with atomic_write(folder / f"{key}.extxyz") as temporary:
            if frames:
                write(temporary, frames, format="extxyz")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"{folder}: the disk is full; make room and run the command again, finished parts "
                "are kept"
            ) from None
        raise


def has_part(folder: Path, key: str) -> bool:
    """Whether a part is finished."""
    return (folder / f"{key}.extxyz").is_file() and (folder / f"{key}.npz").is_file()


def join(folder: Path, keys: list[str], output: Path, tolerance_A: float) -> Joined:
    """Write the frames of all parts in order, without near-duplicates; one frame in memory."""
    prints, compositions, dropped = [np.zeros((0, LENGTH), np.float32)], [], Counter()
    for key in keys:
        with np.load(folder / f"{key}.npz") as part:
            prints.append(part["fingerprints"])
            facts = json.loads(str(part["facts"]))
        compositions += facts["compositions"]
        dropped.update(facts["dropped"])
    gone = set(near_duplicates(np.concatenate(prints), compositions, tolerance_A).tolist())
    if gone:
        dropped["near-duplicates"] = len(gone)
    frames = atoms = number = 0
    with atomic_write(output) as temporary, temporary.open("wb") as target:
        for key in keys:
            with (folder / f"{key}.extxyz").open("rb") as source:
                for count, text in _blocks(source):
                    if number not in gone:
                        target.write(text)
                        frames += 1
                        atoms += count
                    number += 1
        target.flush()
        os.fsync(target.fileno())
    return Joined(frames, atoms, dict(sorted(dropped.items())))


def _blocks(source: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the number of atoms and the text of each frame of an extxyz file."""
    while first := source.readline():
        count = int(first)
        yield count, first + b"".join(source.readline() for _ in range(count + 1))
