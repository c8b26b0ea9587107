"""Worker processes: started quiet, with one thread each, and never alive without their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tempermd.records import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

Item = TypeVar("Item")
Value = TypeVar("Value")

GRACE_S = 5.0
"""How long an interrupted task may take to stop its own children."""


@dataclass(frozen=True)
class Outcome:
    """What a worker sends back: a value, or why there is none."""

    value: Any = None
    failure: str | None = None
    trace: str | None = None
    died: bool = False


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Crew:
    """Worker processes, and the pipe whose end tells them to stop.

    Parameters
    ----------
    count
        Processes, each with one thread by default (``OMP_NUM_THREADS``).
    initializer, initargs
        Called once in every worker before its first task.
    """

    def __init__(
        self,
        count: int,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        context = multiprocessing.get_context("spawn")
        # the pipe ends when it is closed here, and also when this process dies
        self._lifeline, self._held = context.Pipe(duplex=False)
        setup = (self._lifeline, initializer, initargs)
        self._pool = ProcessPoolExecutor(count, context, _start_worker, setup)

    def submit(self, function: Callable[[Item], Value], item: Item) -> Future[Outcome]:
        """Hand one task over; where the workers are dead already, its outcome says so."""
        try:
            return self._pool.submit(_call, function, item)
        except BrokenProcessPool as error:
            future: Future[Outcome] = Future()
            future.set_exception(error)
            return future

    def stop(self) -> None:
        """Interrupt what runs and wait for its end, at most ``GRACE_S``."""
        with _undisturbed():
            self._held.close()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._lifeline.close()


def outcome_of(future: Future[Outcome]) -> Outcome:
    """Return what a finished task sent back, or that its worker died."""
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(
            died=True,
            failure="a worker process died, perhaps for want of memory; run the command again "
            "with fewer workers, what is finished is kept",
        )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C for the moment that stopping the workers takes (at most ``GRACE_S``)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _start_worker(
    lifeline: Connection,
    initializer: Callable[..., None] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Prepare a worker: one thread each, quiet between tasks, never without its parent."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _call(function: Callable[[Item], Value], item: Item) -> Outcome:
    """Run one task; only while it runs does Ctrl-C reach this worker."""
    try:
        signal.signal(signal.SIGINT, _interrupt)
        if _ENDING.is_set():
            return Outcome(failure="stopped")
        return Outcome(value=function(item))
    except UserError as error:
        return Outcome(failure=str(error))
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
        return Outcome(failure=failure, trace=traceback.format_exc())
    except KeyboardInterrupt:
        return Outcome(failure="stopped")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
