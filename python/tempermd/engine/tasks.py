"""Tasks that fit in a list: all run, each result comes with its index, failures come last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

from tempermd.engine.crew import Item, Outcome, Value
from tempermd.engine.crews import open_crew
from tempermd.engine.profile import EngineProfile
from tempermd.engine.progress import progress_bar
from tempermd.records import UserError


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


def run_tasks(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    title: str = "tasks",
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    profile: EngineProfile | None = None,
    scratch: Path | None = None,
) -> Iterator[tuple[int, Value]]:
    """Call ``function`` on every item in worker processes, here or on a cluster.

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
    profile, scratch
        Where the workers are, and where such an engine keeps its logs, see ``open_crew``.

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
    count = min(workers, len(items)) if workers else None
    crew = open_crew(profile, count, initializer=initializer, initargs=initargs, scratch=scratch)
    failures: dict[int, str] = {}
    try:
        futures = {crew.submit(function, item): index for index, item in enumerate(items)}
        for index, outcome in _finished(futures, title):
            if outcome.failure is None:
                yield index, outcome.value
            else:
                failures[index] = outcome.failure
    finally:
        crew.stop()
    if failures:
        raise TaskFailureError(title, len(items), failures)


def _finished(futures: dict[Future[Outcome], int], title: str) -> Iterator[tuple[int, Outcome]]:
    """Yield outcomes as they come, and show on stderr how far the tasks are."""
    with progress_bar() as progress:
        bar = progress.add_task(title, total=len(futures))
        for future in as_completed(futures):
            outcome = future.result()
            progress.advance(bar)
            if outcome.trace:
                progress.console.print(outcome.trace, markup=False, highlight=False)
            yield futures[future], outcome
