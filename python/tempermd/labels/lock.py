"""One process at a time on one output."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tempermd.records import UserError


@contextmanager
def only_one(output: Path) -> Iterator[None]:
    """Hold an output for this process; the kernel frees it however the process ends.

    Raises
    ------
    UserError
        When another process holds it.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    path = output.with_name(f".{output.name}.lock")
    handle = _locked(path, output)
    try:
        yield
    finally:
        # removed while it is held: who opened it meanwhile finds it gone and makes a new one
        path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path, output: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 200).decode() or "another process"
            os.close(handle)
            raise UserError(
                f"{output}: {owner} is writing it; wait for its end or name another output"
            ) from None
        if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
            os.truncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return handle
        os.close(handle)
