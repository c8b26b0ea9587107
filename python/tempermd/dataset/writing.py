"""Writers of frames by format, and the errors of a disk that fills."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tempermd.records import UserError, atomic_write, only_one

if TYPE_CHECKING:
    from ase import Atoms

SUFFIXES = (".extxyz", ".xyz", ".db", ".lmdb")
BYTES_PER_ATOM = {"extxyz": 130, "lmdb": 70, "db": 90}
BYTES_PER_FRAME = {"extxyz": 600, "lmdb": 5000, "db": 3000}
"""Upper estimates of what frames take on the disk, for the check before writing."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""How a full disk, quota or limit of file size shows; databases say EIO to a short write."""
FULL_SQLITE = ("disk is full", "disk I/O error")


class Writer(Protocol):
    """What writes frames one by one; a context."""

    def add(self, atoms: Atoms) -> None:
        """Append one frame."""

    def __enter__(self) -> Writer: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None: ...


class XyzWriter:
    """Write frames to an extxyz file; use as a context."""

    def __init__(self, path: Path | str) -> None:
        self._stream = Path(path).open("w")  # noqa: SIM115  (closed on exit)

    def __enter__(self) -> XyzWriter:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._stream.close()

    def add(self, atoms: Atoms) -> None:
        """Append one frame, labelled or not."""
        from ase.io import write

        write(self._stream, atoms, format="extxyz")


def open_writer(path: Path, *, stress: bool, energies: bool) -> Writer:
    """Return the writer that a file's suffix asks for."""
    if path.suffix == ".lmdb":
        from tempermd.dataset.lmdb_files import LmdbWriter

        return LmdbWriter(path, stress=stress, energies=energies)
    if path.suffix == ".db":
        from tempermd.dataset.ase_database import DatabaseWriter

        return DatabaseWriter(path)
    if path.suffix in (".extxyz", ".xyz"):
        return XyzWriter(path)
    raise UserError(f"{path}: expected an output that ends in {', '.join(SUFFIXES)}")


def check_space(folder: Path, n_frames: int, n_atoms: int, file_format: str) -> None:
    """Refuse to start what the disk cannot hold."""
    need = n_frames * BYTES_PER_FRAME[file_format] + n_atoms * BYTES_PER_ATOM[file_format]
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{folder}: {n_frames} frames need about {need / 1e9:.2f} GB as {file_format}, but "
            f"only {free / 1e9:.2f} GB are free; free some or write to another disk"
        )


@contextmanager
def full_disk_named(output: Path) -> Iterator[None]:
    """Turn the error of a full disk into one sentence."""
    import sqlite3

    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        if getattr(error, "errno", None) in FULL or _is_full(str(error)):
            raise UserError(
                f"{output}: cannot be written ({error}): the disk is full, or a quota or limit of "
                "file size is reached; nothing was left behind, so free some space and give the "
                "same command again"
            ) from None
        raise


def _is_full(text: str) -> bool:
    return any(part in text for part in (*FULL_SQLITE, *map(os.strerror, FULL)))


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write; it becomes ``path``, with its index if it has one."""
    from tempermd.dataset.lmdb_files import index_path

    with only_one(path), full_disk_named(path), atomic_write(path) as temporary:
        temporary.unlink()  # databases want to make their file themselves
        try:
            yield temporary
            index = index_path(temporary)
            if path.suffix == ".lmdb" and index.exists():
                index.replace(index_path(path))
        finally:
            for left in temporary.parent.glob(temporary.stem + "*"):
                if left != temporary:
                    left.unlink()
