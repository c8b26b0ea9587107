"""Run many independent tasks on this machine's cores, with progress, failures and Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tempermd.records import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

Item = TypeVar("Item")
Value = TypeVar("Value")

GRACE_S = 5.0
"""How long an interrupted task may take to stop its own children."""


class TaskFailureError(UserError):
    """Some tasks failed; ``failures`` holds one message for each failed index."""

    def __init__(self, title: str, total: int, failures: dict[int, str]) -> None:
        first = min(failures)
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        super().__init__(
            f"{title}: {len(failures)} of {total} tasks failed, the others are done; "
            f"task {first}: {failures[first]}{more}"
        )
        self.failures = failures


@dataclass(frozen=True)
class _Outcome:
    """What a worker sends back: a value, or why there is none."""

    value: Any = None
    failure: str | None = None
    trace: str | None = None


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_tasks(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    title: str = "tasks",
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[tuple[int, Value]]:
    """Call ``function`` on every item in worker processes.

    Every task runs even if others fail. Closing the iterator, or Ctrl-C, stops the
    running tasks by KeyboardInterrupt, so that they can end their own children.

    Parameters
    ----------
    function
        A function of a module (it is pickled by name), of one picklable item.
    workers
        Processes, each with one thread by default (``OMP_NUM_THREADS``); all cores if None.
    title
        Stands before the progress bar on stderr and before the message of a failure.
    initializer, initargs
        Called once in every worker before its first task.

    Yields
    ------
    (index, value)
        In the order of completion; ``index`` is the item's position in ``items``.

    Raises
    ------
    TaskFailureError
        After all tasks have ended, if any of them failed.
    """
    items = list(items)
    if not items:
        return
    count = max(1, min(workers or available_cores(), len(items)))
    context = multiprocessing.get_context("spawn")
    # the pipe ends when it is closed here, and also when this process dies
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, context, _start_worker, (lifeline, initializer, initargs))
    failures: dict[int, str] = {}
    try:
        futures = {pool.submit(_call, function, item): index for index, item in enumerate(items)}
        for index, outcome in _finished(futures, title):
            if outcome.failure is None:
                yield index, outcome.value
            else:
                failures[index] = outcome.failure
    finally:
        with _undisturbed():
            held.close()
            pool.shutdown(wait=True, cancel_futures=True)
            lifeline.close()
    if failures:
        raise TaskFailureError(title, len(items), failures)


def _finished(futures: dict[Future[_Outcome], int], title: str) -> Iterator[tuple[int, _Outcome]]:
    """Yield outcomes as they come, and show on stderr how far the tasks are."""
    with _progress() as progress:
        bar = progress.add_task(title, total=len(futures))
        for future in as_completed(futures):
            outcome = _outcome(future)
            progress.advance(bar)
            if outcome.trace:
                progress.console.print(outcome.trace, markup=False, highlight=False)
            yield futures[future], outcome


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


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _outcome(future: Future[_Outcome]) -> _Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return _Outcome(
            failure="a worker process died, perhaps for want of memory; run the command again "
            "with fewer workers, what is finished is kept"
        )


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


def _call(function: Callable[[Item], Value], item: Item) -> _Outcome:
    """Run one task; only while it runs does Ctrl-C reach this worker."""
    try:
        signal.signal(signal.SIGINT, _interrupt)
        if _ENDING.is_set():
            return _Outcome(failure="stopped")
        return _Outcome(value=function(item))
    except UserError as error:
        return _Outcome(failure=str(error))
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
        return _Outcome(failure=failure, trace=traceback.format_exc())
    except KeyboardInterrupt:
        return _Outcome(failure="stopped")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
