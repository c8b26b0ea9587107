"""Structures read one at a time, so that a file of any length fits into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tempermd.labels.content import content_key, content_of
from tempermd.records import UserError, sha256_file

if TYPE_CHECKING:
    from ase import Atoms

XYZ_SUFFIXES = (".xyz", ".extxyz")


@dataclass(frozen=True)
class StructureFile:
    """The frames of one file (any format that ASE reads), read anew at every iteration.

    Raises
    ------
    UserError
        While iterating: names the file, the frame and why it cannot be read.
    """

    path: Path

    def __iter__(self) -> Iterator[Atoms]:
        """Yield one frame after the other."""
        from ase.io import iread
        from ase.io.formats import UnknownFileTypeError

        if not self.path.is_file():
            raise UserError(f"{self.path}: no such file of structures")
        number = 0
        faults = (UnknownFileTypeError, ValueError, KeyError, IndexError, AssertionError, OSError)
        try:
            for atoms in iread(self.path, ":"):
                yield atoms
                number += 1
        except faults as error:
            detail = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{self.path}: cannot be read as structures (frame {number}: {detail})"
            ) from None
        if not number:
            raise UserError(f"{self.path}: holds no frames")

    def made_from(self) -> dict[str, str]:
        """Return the file's name and its sha256."""
        return {self.path.name: sha256_file(self.path)}


@dataclass(frozen=True)
class StructureFiles:
    """The frames of several files, one file after the other."""

    paths: tuple[Path, ...]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> StructureFiles:
        """Return the frames of files and of the extxyz parts of dataset folders."""
        found: list[Path] = []
        for path in paths:
            parts = sorted(path.glob("*.extxyz")) if path.is_dir() else [path]
            if not parts:
                raise UserError(f"{path}: expected a file of frames or a folder of extxyz files")
            found += parts
        return cls(tuple(found))

    def __iter__(self) -> Iterator[Atoms]:
        """Yield one frame after the other."""
        for path in self.paths:
            yield from StructureFile(path)

    def made_from(self) -> dict[str, str]:
        """Return each file's name and its sha256."""
        return {path.name: sha256_file(path) for path in self.paths}


Frames = StructureFile | StructureFiles | Sequence["Atoms"]
"""Frames that can be gone through more than once."""


def made_from(frames: Frames) -> dict[str, str]:
    """Return the sha256 of each file, or of the content and the names of frames in a list."""
    if isinstance(frames, StructureFile | StructureFiles):
        return frames.made_from()
    digest = hashlib.sha256()
    for atoms in frames:
        digest.update(content_key(content_of(atoms)))
        digest.update(repr(sorted(atoms.info.items(), key=str)).encode())
    return {"structures": digest.hexdigest()}


def count_frames(frames: Frames) -> int:
    """Count frames, fast where the format allows; a truncated or mixed-up file is refused here.

    Raises
    ------
    UserError
        Before any label is computed: names the file, the frame and what is wrong.
    """
    if isinstance(frames, StructureFile):
        frames = StructureFiles((frames.path,))
    if isinstance(frames, StructureFiles):
        return sum(_count_in_file(path) for path in frames.paths)
    return len(frames)


def _count_in_file(path: Path) -> int:
    if path.suffix in XYZ_SUFFIXES and path.is_file():
        with path.open("rb") as stream:
            number = _count_xyz(stream)
        if number:
            return number
    return sum(1 for _ in StructureFile(path))


def _count_xyz(lines: Iterator[bytes]) -> int | None:
    """Count frames by their first lines; None where ASE must say what is wrong, or nothing."""
    number = 0
    for line in lines:
        if not line.strip() or line.startswith(b"VEC"):
            continue
        if not line.strip().isdigit():
            return None
        n_atoms = int(line)
        comment = next(lines, None)
        rows = list(islice(lines, n_atoms))
        if comment is None or len(rows) < n_atoms or _widths(rows) > 1:
            return None
        number += 1
    return number


def _widths(rows: Iterable[bytes]) -> int:
    return len({len(row.split()) for row in rows})
