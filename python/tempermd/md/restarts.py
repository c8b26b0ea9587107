"""Restart files of LAMMPS: which a folder holds, and whether one is whole."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

MAGIC = b"LammpS RestartT\0"
"""LAMMPS writes it first and last."""
SCHEDULED = re.compile(r"restart\.(\d+)")
STOPPED = re.compile(r"stopped\.(\d+)")
"""Written where a time limit stopped the run: between the scheduled ones."""
NUMBERS = {1: "i", 2: "i", 3: "i", 5: "q", 48: "i"}
TEXTS = (0, 4)
TIMESTEP = 5
"""Flags of the head, which says the version, sizes of integers, units and the step, in turn."""


def scheduled_restarts(folder: Path) -> dict[int, Path]:
    """Return the restart files that the schedule left in a folder, by step."""
    return _matching(folder, SCHEDULED)


def stopped_restarts(folder: Path) -> dict[int, Path]:
    """Return the restart files that a time limit left in a folder, by step."""
    return _matching(folder, STOPPED)


def _matching(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(match[1]): folder / name for name in names if (match := pattern.fullmatch(name))}


def is_whole(restart: Path, step: int) -> bool:
    """Tell whether a restart file begins and ends as LAMMPS does it, and holds this step."""
    try:
        with restart.open("rb") as stream:
            head = stream.read(4096)
            stream.seek(-len(MAGIC), os.SEEK_END)
            tail = stream.read()
    except OSError:
        return False
    if not head.startswith(MAGIC) or tail != MAGIC or len(head) <= 2 * len(MAGIC):
        return False
    return _step_of(head) in (step, None)


def _step_of(head: bytes) -> int | None:
    """Return the step that the head of a restart file says, None where it is laid out otherwise."""
    place = len(MAGIC) + 8  # after the byte order and the format's revision
    try:
        while True:
            (flag,) = struct.unpack_from("=i", head, place)
            place += 4
            if flag in TEXTS:
                (length,) = struct.unpack_from("=i", head, place)
                place += 4 + length
                continue
            kind = "=" + NUMBERS[flag]
            (value,) = struct.unpack_from(kind, head, place)
            if flag == TIMESTEP:
                return int(value)
            place += struct.calcsize(kind)
    except (KeyError, struct.error):
        return None
