"""Slots: cores and GPUs of a node that one task holds alone, whoever started it."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tempermd.records import UserError

PAUSE_S = 0.2
JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
FOLDER_VARIABLE = "TEMPERMD_SLOTS"
"""Names another folder of slots; what use different folders know nothing of each other."""


@dataclass(frozen=True)
class Slot:
    """Cores and GPUs that are ours as long as the slot is held."""

    cores: tuple[int, ...]
    devices: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """Return the variables by which children see these GPUs alone; none without GPUs."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.devices)} if self.devices else {}

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep this thread, and all that it starts, on the cores and GPUs of the slot."""
        cores = os.sched_getaffinity(0)
        before = {name: os.environ.get(name) for name in self.environment()}
        os.sched_setaffinity(0, self.cores)
        os.environ.update(self.environment())
        try:
            yield
        finally:
            os.sched_setaffinity(0, cores)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def take_slot(
    cores_per_slot: int,
    total_cores: int,
    *,
    gpus_per_slot: int = 0,
    total_gpus: int = 0,
    patience_s: float | None = None,
    waiting: Callable[[float], None] | None = None,
) -> Iterator[Slot]:
    """Hold cores and GPUs of this node that no other slot of this user has; wait for them.

    Each core is a file that is locked while it is in use: the kernel lets go of it however a
    process ends. Cores are those on which this process may run. They are counted per node,
    not per job, since a scheduler that does not bind its jobs shows all cores to each.

    Parameters
    ----------
    cores_per_slot
        Neighbours where such are free.
    total_cores
        How many cores this job may hold at a time in all its slots.
    gpus_per_slot, total_gpus
        The same for GPUs: those of ``CUDA_VISIBLE_DEVICES``, else numbers from 0.
    patience_s
        Seconds to wait; without end if None.
    waiting
        Called several times a second while nothing is free, with the seconds waited so far; what
        it raises ends the wait.

    Raises
    ------
    UserError
        For more than there is, and when patience ends.
    """
    cores = tuple(str(core) for core in sorted(os.sched_getaffinity(0)))
    wants = [
        _Want("core", cores, cores_per_slot, total_cores),
        _Want("gpu", _devices(total_gpus), gpus_per_slot, total_gpus),
    ]
    for want in wants:
        want.check()
    folder = slots_folder()
    begin_s = time.monotonic()
    with ExitStack() as held:
        found = _taken(folder, wants, held)
        while found is None:
            waited_s = time.monotonic() - begin_s
            if patience_s is not None and waited_s > patience_s:
                raise UserError(
                    f"{folder}: no {cores_per_slot} free cores and {gpus_per_slot} free GPUs in "
                    f"{patience_s:g} s; other tasks of yours hold them"
                )
            if waiting is not None:
                waiting(waited_s)
            time.sleep(PAUSE_S)
            found = _taken(folder, wants, held)
        yield Slot(tuple(int(core) for core in found[0]), found[1])


@dataclass(frozen=True)
class _Want:
    """How many things of a kind a slot wants, of which, and how many a job may hold."""

    kind: str
    names: tuple[str, ...]
    number: int
    limit: int

    def check(self) -> None:
        most = min(len(self.names), self.limit)
        if self.number > most:
            raise UserError(
                f"a slot wants {self.number} {self.kind}s, but there are {most} "
                f"({len(self.names)} seen, {self.limit} allowed)"
            )


def slots_folder() -> Path:
    """Return this user's folder of slots on this node; it belongs to nobody else."""
    given = os.environ.get(FOLDER_VARIABLE)
    own = Path(tempfile.gettempdir()) / f"tempermd-slots-{os.getuid()}-{socket.gethostname()}"
    folder = Path(given) if given else own
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or folder.is_symlink():
        raise UserError(f"{folder}: belongs to another user; set {FOLDER_VARIABLE} to a folder")
    return folder


def _devices(total_gpus: int) -> tuple[str, ...]:
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(name.strip() for name in given.split(",") if name.strip())
    return tuple(str(number) for number in range(total_gpus))


def _job() -> str:
    """Return a name of the job that this process belongs to, and how often it began anew."""
    for name in JOB_VARIABLES:
        if os.environ.get(name):
            restart = os.environ.get("SLURM_RESTART_COUNT", "0")
            return f"{name} {os.environ[name]} restart {int(restart):04d}"
    return "no job"


def _is_overruled(holder: str, job: str) -> bool:
    """Tell whether a holder is an orphan of our own job, from before it was started anew."""
    return holder.rpartition(" ")[0] == job.rpartition(" ")[0] and holder < job


def _taken(folder: Path, wants: list[_Want], held: ExitStack) -> list[tuple[str, ...]] | None:
    """Lock all that is wanted, or nothing; the door lets one process choose at a time."""
    with ExitStack() as door:
        fcntl.flock(_opened(folder / "door", door), fcntl.LOCK_EX)
        with ExitStack() as tried:
            chosen = [_choose(folder, want, tried) for want in wants]
            if any(names is None for names in chosen):
                return None
            held.push(tried.pop_all())
            return [names for names in chosen if names is not None]


def _choose(folder: Path, want: _Want, tried: ExitStack) -> tuple[str, ...] | None:
    """Lock what one kind of thing is wanted of; None if not enough is free."""
    if not want.number:
        return ()
    job, ours, free = _job(), 0, {}
    for name in want.names:
        with ExitStack() as opened:
            handle, holder = _locked(folder / f"{want.kind}-{name}", job, opened)
            if handle is None:
                ours += holder == job
            else:
                free[name] = (handle, opened.pop_all())
    names = _neighbours([name for name in want.names if name in free], want)
    enough = len(names) == want.number and ours + want.number <= want.limit
    for name, (handle, opened) in free.items():
        if enough and name in names:
            os.truncate(handle, 0)
            os.pwrite(handle, job.encode(), 0)
            tried.push(opened)
        else:
            opened.close()
    return names if enough else None


def _locked(path: Path, job: str, opened: ExitStack) -> tuple[int | None, str]:
    """Lock a file; return its handle, or None and the job that holds it.

    What an orphan of our own job holds, which a lost node left behind and which may never end, is
    taken over by a file beside it.
    """
    handle = _opened(path, opened)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle, job
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode()
    if _is_overruled(holder, job):
        return _locked(path.with_name(f"{path.name}-{job.rpartition(' ')[2]}"), job, opened)
    return None, holder


def _neighbours(free: list[str], want: _Want) -> tuple[str, ...]:
    """Return as many free names as are wanted, neighbours if there are such."""
    place = {name: number for number, name in enumerate(want.names)}
    for first in range(len(free) - want.number + 1):
        run = free[first : first + want.number]
        start = place[run[0]]
        if place[run[-1]] - start == want.number - 1 and start % want.number == 0:
            return tuple(run)
    return tuple(free[: want.number])


def _opened(path: Path, stack: ExitStack) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, handle)
    return handle
