"""Tasks too many to hold: taken one by one, few at a time, and a dead worker costs one task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing

from tempermd.engine.crew import Crew, Item, Outcome, Value, available_cores, outcome_of
from tempermd.records import UserError

_END = object()


def stream_tasks(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    on_death: Callable[[Item], Value],
    workers: int | None = None,
) -> Iterator[Value]:
    """Call ``function`` on every item in worker processes, taking items as workers need them.

    At most two items per worker are taken and not finished at any time. When a worker dies,
    the tasks that were under way are run again, each alone: those that kill their worker again
    are the cause, and only these are lost.

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
    while True:
        suspects = []
        with closing(_run(function, waiting, workers or available_cores())) as results:
            for item, outcome in results:
                if outcome.died:
                    suspects.append(item)
                else:
                    yield _value(outcome)
        if not suspects:
            return
        for suspect in suspects:
            with closing(_run(function, iter([suspect]), 1)) as results:
                for item, outcome in results:
                    yield on_death(item) if outcome.died else _value(outcome)


def _run(
    function: Callable[[Item], Value], waiting: Iterator[Item], count: int
) -> Iterator[tuple[Item, Outcome]]:
    """Run what is waiting until nothing is left or a worker dies; then all is handed back."""
    crew = Crew(count)
    under_way: dict[Future[Outcome], Item] = {}
    broken = False
    try:
        while True:
            while not broken and len(under_way) < 2 * count:
                item = next(waiting, _END)
                if item is _END:
                    break
                under_way[crew.submit(function, item)] = item
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                outcome = outcome_of(future)
                broken = broken or outcome.died
                yield under_way.pop(future), outcome
    finally:
        crew.stop()


def _value(outcome: Outcome) -> Value:
    if outcome.trace:
        raise RuntimeError(f"a task failed in its worker:\n{outcome.trace}")
    if outcome.failure is not None:
        raise UserError(outcome.failure)
    return outcome.value
