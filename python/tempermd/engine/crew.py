"""Worker processes: started quiet, with one thread each, and never alive without their parent."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import time
import traceback
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tempermd.records import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

Item = TypeVar("Item")
Value = TypeVar("Value")

GRACE_S = 5.0
"""How long an interrupted task may take to stop its own children."""
MAX_DEATHS = 3
"""A task is given up when its worker has died so often."""
STOPPED = "stopped"
"""Failure of a task that was interrupted."""
DIED = (
    "a worker process died, perhaps for want of memory; run the command again "
    "with fewer workers, what is finished is kept"
)


@dataclass(frozen=True)
class Outcome:
    """What a worker sends back: a value, or why there is none; and how long it took."""

    value: Any = None
    failure: str | None = None
    trace: str | None = None
    died: bool = False
    wall_s: float = 0.0


class AnyCrew(Protocol):
    """What runs tasks, here or on a cluster.

    Attributes
    ----------
    count
        Tasks that run at a time when all is up.
    cores_per_task
        Cores of each task; None where the caller shares out ``count`` cores.
    """

    count: int
    cores_per_task: int | None

    def submit(self, function: Callable[[Item], Value], item: Item) -> Future[Outcome]:
        """Hand one task over; a task whose worker dies is run again, at most ``MAX_DEATHS``."""

    def stop(self) -> None:
        """Interrupt what runs and wait for its end; nothing of it goes on or waits in a queue."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Crew:
    """Worker processes of this machine, and the pipe whose end tells them to stop.

    A worker that dies costs its own task one try; the others know nothing of it.

    Parameters
    ----------
    count
        Processes, each with one thread by default (``OMP_NUM_THREADS``).
    initializer, initargs
        Called once in every worker before its first task.
    cores_per_task
        What callers are told that each task has.
    """

    def __init__(
        self,
        count: int,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
        cores_per_task: int | None = None,
    ) -> None:
        self.count, self.cores_per_task = count, cores_per_task
        self._context = multiprocessing.get_context("spawn")
        # the pipe ends when it is closed here, and also when this process dies
        self._lifeline, self._held = self._context.Pipe(duplex=False)
        self._initial = (initializer, initargs)
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._keepers: list[threading.Thread] = []
        self._stopping = False
        atexit.register(self.stop)

    def submit(self, function: Callable[[Item], Value], item: Item) -> Future[Outcome]:
        """Hand one task over; a task whose worker dies is run again, at most ``MAX_DEATHS``."""
        task = _Task(Future(), function, item)
        self._tasks.put(task)
        if len(self._keepers) < self.count:
            keeper = threading.Thread(target=self._keep, daemon=True)
            self._keepers.append(keeper)
            keeper.start()
        return task.future

    def stop(self) -> None:
        """Interrupt what runs and wait for its end, at most ``GRACE_S``."""
        atexit.unregister(self.stop)
        with undisturbed():
            self._stopping = True
            self._held.close()
            for _ in self._keepers:
                self._tasks.put(None)
            for keeper in self._keepers:
                keeper.join()
            self._lifeline.close()

    def _keep(self) -> None:
        """Feed one worker, in a thread of its own; hire another when it dies."""
        worker = None
        while (task := self._tasks.get()) is not None:
            if not task.future.set_running_or_notify_cancel():
                continue
            outcome = Outcome(failure=STOPPED)
            for _ in range(MAX_DEATHS):
                if self._stopping:
                    break
                if worker is None or not worker.process.is_alive():
                    worker = _Worker(self._context, self._lifeline, *self._initial)
                outcome = worker.run(task)
                if not outcome.died:
                    break
            task.future.set_result(outcome)
        if worker is not None:
            worker.dismiss()


@dataclass(frozen=True)
class _Task:
    future: Future[Outcome]
    function: Callable[[Any], Any]
    item: Any


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: Any, lifeline: Connection, *initial: Any) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(lifeline, theirs, *initial))
        self.process.start()
        theirs.close()

    def run(self, task: _Task) -> Outcome:
        """Let it do one task; whatever keeps it from that is said in the outcome."""
        try:
            self.connection.send((task.function, task.item))
        except OSError:
            self.dismiss()
            return Outcome(failure=DIED, died=True)
        except Exception as error:  # pickling may raise anything
            return Outcome(failure=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.dismiss()
            return Outcome(failure=DIED, died=True)

    def dismiss(self) -> None:
        """Wait for its end; it ends when the pipe does."""
        self.connection.close()
        self.process.join()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore a second Ctrl-C or SIGTERM for the moment that stopping the workers takes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def _work(
    lifeline: Connection,
    tasks: Connection,
    initializer: Callable[..., None] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Do tasks as they come: one thread each, quiet in between, never without the parent."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for connection in (lifeline, tasks):
        os.set_inheritable(connection.fileno(), False)
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    if initializer is not None:
        initializer(*initargs)
    while True:
        try:
            function, item = tasks.recv()
        except EOFError:
            return
        except Exception as error:  # what is sent may not load here
            tasks.send(Outcome(failure=f"{type(error).__name__}: {error}"))
            continue
        outcome = call(function, item)
        try:
            tasks.send(outcome)
        except OSError:
            return
        except Exception as error:  # its value cannot be pickled
            tasks.send(Outcome(failure=f"{type(error).__name__}: {error}"))


_ENDING = threading.Event()
"""Set in a worker that must not start another task."""


def _watch(lifeline: Connection) -> None:
    """Interrupt this worker's task, then end it, when the pipe from the parent ends."""
    lifeline.poll(None)
    _ENDING.set()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_S)
    os._exit(1)


def _interrupt(number: int, frame: Any) -> None:
    """Raise KeyboardInterrupt once: a second signal must not disturb the cleaning up."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def call(
    function: Callable[[Item], Value], item: Item, interrupts: tuple[int, ...] = (signal.SIGINT,)
) -> Outcome:
    """Run one task in a worker; only while it runs do these signals reach it."""
    start_s = time.monotonic()
    try:
        for number in interrupts:
            signal.signal(number, _interrupt)
        if _ENDING.is_set():
            return Outcome(failure=STOPPED)
        value = function(item)
        return Outcome(value=value, wall_s=time.monotonic() - start_s)
    except UserError as error:
        return Outcome(failure=str(error))
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
        return Outcome(failure=failure, trace=traceback.format_exc())
    except KeyboardInterrupt:
        return Outcome(failure=STOPPED)
    finally:
        for number in interrupts:
            signal.signal(number, signal.SIG_IGN)
