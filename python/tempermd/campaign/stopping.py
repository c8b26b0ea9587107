"""Stopping a campaign: a mark that workers obey between runs, and word to those that drive it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from tempermd.md.owner import Owner, this_process
from tempermd.records import Record, UserError, read_record, write_record

MARK = "stop.json"
DRIVERS = "drivers"


class StopRecord(Record):
    """That a campaign shall stop, and who said so."""

    format_name: ClassVar[str] = "tempermd-stop"

    by: str


class DriverRecord(Record):
    """A process that drives a campaign."""

    format_name: ClassVar[str] = "tempermd-driver"

    owner: Owner


def is_stopped(folder: Path) -> bool:
    """Whether the campaign in a folder is marked to stop."""
    return (folder / MARK).exists()


def refuse_stopped(folder: Path) -> None:
    """Raise a UserError where a campaign is marked to stop."""
    if is_stopped(folder):
        by = read_record(folder / MARK, StopRecord).by
        raise UserError(f"{folder}: stopped by {by}; `tempermd campaign resume` goes on with it")


def stop(folder: Path) -> int:
    """Mark a campaign to stop and interrupt its drivers on this machine.

    Returns
    -------
    int
        How many drivers were interrupted.
    """
    write_record(folder / MARK, StopRecord(by=str(this_process())))
    interrupted = 0
    for path in sorted((folder / DRIVERS).glob("*.json")):
        with suppress(UserError, ProcessLookupError):  # it has ended meanwhile
            owner = read_record(path, DriverRecord).owner
            if owner.is_dead() is False:
                os.kill(owner.pid, signal.SIGINT)
                interrupted += 1
    return interrupted


def go_on(folder: Path) -> None:
    """Take the mark away."""
    (folder / MARK).unlink(missing_ok=True)


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Leave word, as long as this lasts, that this process drives the campaign."""
    owner = this_process()
    path = folder / DRIVERS / f"{owner.host}-{owner.pid}.json"
    write_record(path, DriverRecord(owner=owner))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
