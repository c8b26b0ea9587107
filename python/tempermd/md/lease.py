"""The right to run: whose turn it is, by numbered attempts and a counter that beats.

The newest attempt holds the run. Its number, made by mkdir, is the fencing token: whoever sees a
higher one stops and publishes nothing. Nobody compares clocks of two machines. Whether a holder
lives is judged by watching its counter for some of one's own seconds, or at once where its
process can be seen, or where the batch system has started the same job anew.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from tempermd.md.owner import Owner, boot, this_process
from tempermd.records import Record, UserError, read_record, write_record

LEASE = "lease.json"
RESULT = "result.json"
BEAT_S = 10.0
STALE_S = 60.0
"""A holder whose counter stands still for so long is taken for dead."""
GLANCE_S = 0.2

_held: set[Path] = set()
"""Attempts that run in this process: one of ours that is not here was given up."""


class LeaseFile(Record):
    """What the holder of an attempt writes every few seconds."""

    format_name: ClassVar[str] = "tempermd-lease"

    owner: Owner
    beats: int
    elapsed_s: float
    beat_monotonic_s: float


def attempt_name(number: int) -> str:
    """Return the name of an attempt's folder."""
    return f"attempt-{number:03d}"


def attempt_number(name: str) -> int | None:
    """Return the number in the name of an attempt's folder, None for other names."""
    head, _, digits = name.partition("-")
    return int(digits) if head == "attempt" and digits.isdigit() else None


def attempt_numbers(folder: Path) -> list[int]:
    """Return the numbers of a run's attempts, in order."""
    with suppress(FileNotFoundError):
        found = [attempt_number(entry.name) for entry in os.scandir(folder)]
        return sorted(number for number in found if number is not None)
    return []


def read_lease(attempt: Path) -> LeaseFile | None:
    """Read an attempt's lease; None before its first beat, or when it cannot be read."""
    try:
        return read_record(attempt / LEASE, LeaseFile)
    except UserError:
        return None


class Lease:
    """A held attempt: a thread beats, and ends LAMMPS when a newer attempt is there.

    Parameters
    ----------
    attempt : path
        Folder of the attempt, just made.
    """

    def __init__(self, attempt: Path) -> None:
        self.attempt = attempt
        self.folder = attempt.parent
        self.number = attempt_number(attempt.name) or 0
        self._owner = this_process()
        self._begin = time.monotonic()
        self._beats = 0
        self._done = threading.Event()
        self._lost = threading.Event()
        self._lock = threading.Lock()
        self._end_process: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        try:
            self._write()  # without a lease others would have to watch this attempt in vain
        except OSError:
            with suppress(OSError):
                self.attempt.rmdir()
            raise
        _held.add(self.attempt)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self._beat()
        _held.discard(self.attempt)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the attempt was made."""
        return time.monotonic() - self._begin

    def is_lost(self) -> bool:
        """Look whether a newer attempt has taken over."""
        if not self._lost.is_set() and (self.folder / attempt_name(self.number + 1)).exists():
            self._lost.set()
        return self._lost.is_set()

    def guard(self, end_process: Callable[[], None]) -> None:
        """Say how to end what runs under this lease, should it be lost."""
        with self._lock:
            self._end_process = end_process
            if self._lost.is_set():
                end_process()

    def unguard(self) -> None:
        """Say that nothing runs under this lease any more."""
        with self._lock:
            self._end_process = None

    def _keep(self) -> None:
        while not self._done.wait(BEAT_S):
            if self.is_lost():
                with self._lock:
                    if self._end_process is not None:
                        self._end_process()
                return
            self._beat()

    def _beat(self) -> None:
        with suppress(OSError):  # a full disk stops no run: the next beat may get through
            self._write()

    def _write(self) -> None:
        self._beats += 1
        lease = LeaseFile(
            owner=self._owner,
            beats=self._beats,
            elapsed_s=self.elapsed_s,
            beat_monotonic_s=time.monotonic(),
        )
        write_record(self.attempt / LEASE, lease)


def take_turn(folder: Path, *, stop_s: float = float("inf")) -> Lease | str:
    """Make the next attempt of a run, or return whose turn it is, as words.

    Two processes never get the same number. A holder that can be seen to live, or whose counter
    goes on, keeps its turn.

    Parameters
    ----------
    folder : path
        A run directory.
    stop_s : float
        Give up watching a silent holder after so many seconds.
    """
    while True:
        newest = max(attempt_numbers(folder), default=0)
        if newest:
            holder = _living_holder(folder / attempt_name(newest), stop_s)
            if holder is not None:
                return holder
        attempt = folder / attempt_name(newest + 1)
        try:
            attempt.mkdir()
        except FileExistsError:
            continue  # another was faster: look at it
        return Lease(attempt)


def _living_holder(attempt: Path, stop_s: float) -> str | None:
    """Return who holds an attempt, None when nobody does or a newer attempt is there."""
    if (attempt / RESULT).exists():
        return None
    newer = attempt.parent / attempt_name((attempt_number(attempt.name) or 0) + 1)
    begin, first = time.monotonic(), read_lease(attempt)
    while True:
        lease = read_lease(attempt)
        if lease is not None and _is_given_up(attempt, lease.owner):
            return None
        if attempt in _held or (lease is not None and _beats(first, lease)):
            return str(lease.owner) if lease else "this process"
        first = first or lease
        watched_s = time.monotonic() - begin
        if (attempt / RESULT).exists() or newer.exists() or watched_s > STALE_S:
            return None
        if watched_s > stop_s:
            return f"{lease.owner if lease else 'an unknown process'}, silent so far"
        time.sleep(GLANCE_S)


def beat_age_s(lease: LeaseFile) -> float | None:
    """Return the seconds since a lease's last beat; None when another machine wrote it."""
    if lease.owner.boot != boot():
        return None
    return max(0.0, time.monotonic() - lease.beat_monotonic_s)


def _beats(first: LeaseFile | None, lease: LeaseFile) -> bool:
    age_s = beat_age_s(lease)
    fresh = age_s is not None and age_s < 1.5 * BEAT_S
    return fresh or (first is not None and lease.beats != first.beats)


def _is_given_up(attempt: Path, owner: Owner) -> bool:
    """Tell whether a holder is known to be gone, or has been overruled by the batch system."""
    me = this_process()
    if (owner.boot, owner.pid, owner.pid_start) == (boot(), me.pid, me.pid_start):
        return attempt not in _held
    return bool(owner.is_dead()) or owner.is_overruled_by(me)
