"""Stopping a campaign: a mark that workers obey between runs, and word to those that drive it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from tempermd.records import Record, UserError, read_record, write_record

MARK = "stop.json"
DRIVERS = "drivers"


class StopRecord(Record):
    """That a campaign shall stop, and who said so."""

    format_name: ClassVar[str] = "tempermd-stop"

    by: str


class DriverRecord(Record):
    """A process that drives a campaign; ``began`` tells it from a later one with its number."""

    format_name: ClassVar[str] = "tempermd-driver"

    host: str
    pid: int
    began: int


def is_stopped(folder: Path) -> bool:
    """Whether the campaign in a folder is marked to stop."""
    return (folder / MARK).exists()


def stop(folder: Path) -> int:
    """Mark a campaign to stop and interrupt its drivers on this machine.

    Returns
    -------
    int
        How many drivers were interrupted.
    """
    write_record(folder / MARK, StopRecord(by=f"process {os.getpid()} on {socket.gethostname()}"))
    interrupted = 0
    for path in sorted((folder / DRIVERS).glob("*.json")):
        with suppress(UserError, ProcessLookupError):  # it has ended meanwhile
            driver = read_record(path, DriverRecord)
            if driver.host == socket.gethostname() and began(driver.pid) == driver.began:
                os.kill(driver.pid, signal.SIGINT)
                interrupted += 1
    return interrupted


def go_on(folder: Path) -> None:
    """Take the mark away."""
    (folder / MARK).unlink(missing_ok=True)


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Leave word, as long as this lasts, that this process drives the campaign."""
    host, pid = socket.gethostname(), os.getpid()
    path = folder / DRIVERS / f"{host}-{pid}.json"
    write_record(path, DriverRecord(host=host, pid=pid, began=began(pid) or 0))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def began(pid: int) -> int | None:
    """Return when a process of this machine began, in ticks since the boot, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # the name in parentheses may hold anything; the 22nd field is the 20th behind it
    return int(text.rpartition(")")[2].split()[19])
