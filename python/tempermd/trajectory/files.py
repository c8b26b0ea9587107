"""Opens what LAMMPS wrote, plain or compressed."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tempermd.records import UserError

BUFFER_BYTES = 1 << 20


def open_lines(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed by its suffix: ``.gz``, ``.zst``, or as it is."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # a buffer around it would lose what precedes a cut
    if path.suffix == ".zst":
        import zstandard

        return io.BufferedReader(zstandard.open(path, "rb"), BUFFER_BYTES)
    return path.open("rb", BUFFER_BYTES)


@contextmanager
def damage_as_sentence(path: Path) -> Iterator[None]:
    """Turn what decompressors raise into one sentence; a file that ends early is EOFError."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable gzip file ({error})") from None
    except Exception as error:
        if type(error).__module__.split(".")[0] != "zstandard":
            raise
        raise UserError(f"{path}: not a readable zstd file ({error})") from None
