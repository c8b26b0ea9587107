"""Tasks too many to hold: taken one by one, few at a time, and a dead worker costs one task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from tempermd.engine.crew import Item, Outcome, Value
from tempermd.engine.crews import open_crew
from tempermd.engine.profile import EngineProfile
from tempermd.records import UserError

_END = object()


def stream_tasks(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    on_death: Callable[[Item], Value],
    workers: int | None = None,
    profile: EngineProfile | None = None,
    scratch: Path | None = None,
) -> Iterator[Value]:
    """Call ``function`` on every item in worker processes, taking items as workers need them.

    At most two items per worker are taken and not finished at any time. A task whose worker
    dies is run again by another; those that kill every worker are the cause, and only these
    are lost.

    Parameters
    ----------
    function
        A function of a module (it is pickled by name), of one picklable item.
    items
        Read in this process, between the results.
    on_death
        Gives the value of an item that kills its worker.
    workers
        Processes, each with one thread by default; all cores if None.
    profile, scratch
        Where the workers are, and where such an engine keeps its logs, see ``open_crew``.

    Yields
    ------
    Value
        In the order of completion.

    Raises
    ------
    UserError
        As soon as a task fails; what may fail without harm is for ``function`` to catch.
    """
    waiting = iter(items)
    crew = open_crew(profile, workers, scratch=scratch)
    under_way: dict[Future[Outcome], Item] = {}
    try:
        while True:
            while len(under_way) < 2 * crew.count:
                item = next(waiting, _END)
                if item is _END:
                    break
                under_way[crew.submit(function, item)] = item
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                item, outcome = under_way.pop(future), future.result()
                yield on_death(item) if outcome.died else _value(outcome)
    finally:
        crew.stop()


def _value(outcome: Outcome) -> Value:
    if outcome.trace:
        raise RuntimeError(f"a task failed in its worker:\n{outcome.trace}")
    if outcome.failure is not None:
        raise UserError(outcome.failure)
    return outcome.value
