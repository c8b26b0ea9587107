"""Tells infrastructure failures apart, and a crash that comes again from one that does not."""

from __future__ import annotations

import errno
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from tempermd import lmp
from tempermd.md.case import Case
from tempermd.md.judge import Progress, error_in
from tempermd.md.restarts import stopped_restarts
from tempermd.md.result import Failure

KILLING_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)
"""They come from outside; other signals come from what LAMMPS itself did."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
NO_SPACE = re.compile(r"no space left|disk quota|file too large|input/output error", re.IGNORECASE)
NO_MEMORY = re.compile(r"out of memory|bad_alloc|failed to (re)?allocate", re.IGNORECASE)
MPIRUN_SIGNAL = re.compile(r"EXIT STRING: .*\(signal (\d+)\)")
LITTLE_SPACE = 256 * 1024


@dataclass(frozen=True)
class Crash:
    """What two crashes must share to be one: the last step and what LAMMPS said."""

    last_step: int
    cause: str


def signal_of(process: lmp.ProcessResult) -> int | None:
    """Return the signal that ended LAMMPS, also where mpirun or a shell tells it by a code."""
    if process.signal is not None:
        return process.signal
    told = MPIRUN_SIGNAL.search(process.stdout_tail)
    if told:
        return int(told[1])
    code = process.exit_code or 0
    return code - 128 if code - 128 in KILLING_SIGNALS else None


def class_of(
    case: Case, process: lmp.ProcessResult, progress: Progress, output: Path, begin_step: int
) -> Failure:
    """Return the class of an infrastructure failure.

    Parameters
    ----------
    case : Case
    process : ProcessResult
        How LAMMPS ended.
    progress : Progress
        How far its log got.
    output : path
        Where it wrote.
    begin_step : int
        The step that it went on from, -1 for none.
    """
    said = f"{progress.error or ''}\n{process.stdout_tail}"
    early = progress.last_step < case.planned_steps
    if process.timed_out or (early and process.exit_code == 0 and stopped_restarts(output)):
        return "walltime"
    if NO_SPACE.search(said) or _is_full(output):
        return "disk"
    if signal_of(process) in KILLING_SIGNALS:
        return "signal"
    if begin_step >= 0 and progress.last_step < 0 and _was_reading(process.stdout_tail):
        return "restart"
    if NO_MEMORY.search(said):
        return "memory"
    if process.exit_code == 0:
        return "disk"  # LAMMPS writes on without a word when what it wrote is lost
    return "crash"


def crash_of(process: lmp.ProcessResult, progress: Progress, begin_step: int) -> Crash | None:
    """Return what makes a crash the same as another one; None when no step had been done.

    What happens before the first step is no matter of atoms: a missing file, a wrong library.
    """
    if progress.last_step <= max(begin_step, 0):
        return None
    cause = progress.error or error_in(process.stdout_tail)
    return Crash(progress.last_step, cause or f"signal {signal_of(process)}")


def is_full_disk(error: OSError) -> bool:
    """Tell whether an error says that there is no space."""
    return error.errno in FULL_DISK


def _is_full(folder: Path) -> bool:
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize < LITTLE_SPACE


def _was_reading(stdout_tail: str) -> bool:
    """Tell whether LAMMPS stopped while it read a restart file."""
    begun = stdout_tail.rfind("Reading restart file")
    return begun >= 0 and "read_restart CPU" not in stdout_tail[begun:]
