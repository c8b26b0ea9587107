"""What a card says of the data: counts, kinds and label sources of each part."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tempermd.cards.judged import group_of, kind_of
from tempermd.cards.records import DataPart, LabelSource
from tempermd.dataset import iter_labelled, source_of
from tempermd.records import sha256_file
from tempermd.training.data import drawn

if TYPE_CHECKING:
    from ase import Atoms

    from tempermd.training import DataSpec, Training

Part = Literal["train", "val", "test"]


def data_parts(data: DataSpec, record: Training) -> list[DataPart]:
    """Describe the parts that a training used; of a changed or lost file, what it wrote down."""
    parts: dict[Part, tuple[str | None, str | None, int]] = {
        "train": (data.train, record.inputs.train_sha256, record.n_train),
        "val": (data.val, record.inputs.val_sha256, record.n_val),
        "test": (data.test, record.inputs.test_sha256, record.n_test),
    }
    found = []
    for part, (file, digest, n_frames) in parts.items():
        if file is None or digest is None:
            continue
        if is_same_file(file, digest):
            asked = data.n_train if part == "train" else None
            frames = _used(file, asked, data.subset_seed)
            found.append(describe_part(part, file, digest, frames))
        else:
            stub = DataPart(part=part, file=Path(file).name, sha256=digest, n_frames=n_frames)
            found.append(stub)
    return found


def is_same_file(file: str, digest: str) -> bool:
    """Tell whether a file is still there with the content that it had."""
    return Path(file).is_file() and sha256_file(file) == digest


def _used(file: str, n_frames: int | None, seed: int) -> Iterator[Atoms]:
    """Yield the frames that a training drew from a file."""
    if n_frames is None:
        yield from iter_labelled(file)
        return
    n_available = sum(1 for _ in iter_labelled(file))
    numbers = drawn(n_available, n_frames, seed, file)
    chosen = set() if numbers is None else set(numbers.tolist())
    yield from (atoms for number, atoms in enumerate(iter_labelled(file)) if number in chosen)


def describe_part(part: Part, file: str, digest: str, frames: Iterator[Atoms]) -> DataPart:
    """Count frames, atoms, kinds, trajectories and label sources, one frame in memory."""
    kinds: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    groups = set()
    n_frames = n_atoms = 0
    for number, atoms in enumerate(frames):
        n_frames += 1
        n_atoms += len(atoms)
        kinds[kind_of(atoms)] += 1
        groups.add(group_of(atoms, number))
        sources[json.dumps(_label(atoms), sort_keys=True)] += 1
    named = [LabelSource(**json.loads(one), n_frames=n) for one, n in sources.most_common()]
    return DataPart(
        part=part,
        file=Path(file).name,
        sha256=digest,
        n_frames=n_frames,
        n_atoms=n_atoms,
        kinds=dict(kinds.most_common()),
        n_trajectories=None if all(one.startswith("frame ") for one in groups) else len(groups),
        sources=named,
    )


def _label(atoms: Atoms) -> dict[str, Any]:
    """Return who labelled a frame, as `tempermd label` writes it into the frame's info."""
    return {
        "name": source_of(atoms),
        "version": str(atoms.info.get("source_version", "")),
        "settings": _object(atoms.info.get("source_settings")),
        "files": _object(atoms.info.get("source_files")),
    }


def _object(value: Any) -> dict[str, Any]:
    """Return the object of a JSON text (ASE may have read it already), else an empty one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}
