"""Who runs an attempt: host, process and batch job, and whether that process still lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

from tempermd.records import Spec


class Owner(Spec):
    """A process that runs an attempt.

    A process id means something only in one boot and one space of ids (a container has its
    own), and only together with the process's start.
    """

    host: str
    boot: str
    pid: int
    pid_start: int
    job: str | None = None
    restarts: int = 0

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"

    def is_dead(self) -> bool | None:
        """Tell whether the process has ended; None when that cannot be seen from here."""
        if self.boot != boot():
            return None
        return pid_start(self.pid) != self.pid_start

    def is_overruled_by(self, other: Owner) -> bool:
        """Tell whether the batch system has started this owner's job anew as the other's."""
        return self.job is not None and self.job == other.job and self.restarts < other.restarts


def this_process() -> Owner:
    """Return this process as an owner."""
    return Owner(
        host=socket.gethostname(),
        boot=boot(),
        pid=os.getpid(),
        pid_start=pid_start(os.getpid()) or 0,
        job=os.environ.get("SLURM_JOB_ID") or None,
        restarts=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    )


@cache
def boot() -> str:
    """Return what names this boot of this machine and this space of process ids."""
    words = []
    with suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        words.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join([*words, socket.gethostname()])


def pid_start(pid: int) -> int | None:
    """Return when a process began, in ticks since the boot; None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()  # a program's name may hold anything
    return None if state in "ZX" else int(rest[18])
