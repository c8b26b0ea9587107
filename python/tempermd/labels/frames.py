"""Structures read one at a time, so that a file of any length fits into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tempermd.labels.content import content_key, content_of
from tempermd.records import sha256_file

if TYPE_CHECKING:
    from ase import Atoms

XYZ_SUFFIXES = (".xyz", ".extxyz")


@dataclass(frozen=True)
class FrameFiles:
    """The frames of files, one file after the other, read anew at every iteration.

    Parameters
    ----------
    paths
        The files.
    read
        Yields the frames of one file, and says what is wrong with it as a UserError.
    """

    paths: tuple[Path, ...]
    read: Callable[[Path], Iterator[Atoms]]

    def __iter__(self) -> Iterator[Atoms]:
        """Yield one frame after the other."""
        for path in self.paths:
            yield from self.read(path)

    def made_from(self) -> dict[str, str]:
        """Return each file's name and its sha256; its path where two have the same name."""
        unique = len({path.name for path in self.paths}) == len(self.paths)
        return {path.name if unique else str(path): sha256_file(path) for path in self.paths}

    def count(self) -> int:
        """Count frames: fast in extxyz files, where every frame tells its length."""
        return sum(self._count_in(path) for path in self.paths)

    def _count_in(self, path: Path) -> int:
        number = None
        if path.suffix in XYZ_SUFFIXES and path.is_file():
            with path.open("rb") as stream:
                number = _count_xyz(stream)
        return number or sum(1 for _ in self.read(path))


Frames = FrameFiles | Sequence["Atoms"]
"""Frames that can be gone through more than once."""


def made_from(frames: Frames) -> dict[str, str]:
    """Return the sha256 of each file, or of the content and the names of frames in a list."""
    if isinstance(frames, FrameFiles):
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
    return frames.count() if isinstance(frames, FrameFiles) else len(frames)


def _count_xyz(lines: Iterator[bytes]) -> int | None:
    """Count frames by their first lines; None where the reader must say what is wrong."""
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
