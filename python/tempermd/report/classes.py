"""Failures and events by class: numerical, unphysical, or rare and perhaps physics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from tempermd.events import EVENT_CLASSES, FAILURE_CLASSES, EventClass, FailureClass, class_of
from tempermd.pages import Table, number_text
from tempermd.report.fates import Judged, failure_class, failures_per_ns, lived_ps, lives_of

if TYPE_CHECKING:
    from tempermd.report.summary import ModelVerdict

NOTE = (
    "A run counts by the class of its first fatal or severe event, and is censored then for the "
    "other class. Numerical: numbers, atoms or the conserved energy failed; unphysical: a "
    "structure that cannot be; rare: warnings of what may be physics, and no failure. A drift of "
    "energy is dated to the start of its hold, and so comes before what the structure does in it."
)


class ClassFailures(BaseModel):
    """Runs that failed by one class first: how many, the earliest, and per ns with its interval.

    The classes compete: a first failure of the other class censors a run. ``failures_per_ns`` of
    the classes add up to the model's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_failed: int
    first_ps: float | None
    failures_per_ns: tuple[float, float, float | None]


def failures_by_class(runs: Sequence[Judged]) -> dict[FailureClass, ClassFailures]:
    """Return the first failures of runs by their class."""
    found: dict[FailureClass, ClassFailures] = {}
    for name in FAILURE_CLASSES:
        times = [lived_ps(run) for run in runs if failure_class(run) == name]
        found[name] = ClassFailures(
            n_failed=len(times),
            first_ps=min(times, default=None),
            failures_per_ns=failures_per_ns(lives_of(runs, name)),
        )
    return found


def runs_by_class(runs: Sequence[Judged]) -> dict[EventClass, int]:
    """Return how many runs show an event of each class, among those that are listed."""
    counts: Counter[EventClass] = Counter()
    for run in runs:
        counts.update({class_of(event.kind, event.severity) for event in run.events})
    return {name: counts[name] for name in EVENT_CLASSES}


def class_table(models: Sequence[ModelVerdict]) -> Table:
    """Return a row for each model that shows any event; without rows where none does."""
    head = ["Model"]
    for name in FAILURE_CLASSES:
        head += [f"{name.capitalize()}: runs", "first (ps)", "per ns (95 %)"]
    rows = []
    for model in models:
        if not model.n_failed and not any(model.runs_by_class.values()):
            continue
        row = [model.name]
        for one in model.failures_by_class.values():
            rate, low, high = map(number_text, one.failures_per_ns)
            row += [str(one.n_failed), number_text(one.first_ps), f"{rate} ({low}–{high})"]
        rows.append([*row, str(model.runs_by_class["rare"])])
    return Table(
        title="Failures by class", head=[*head, "Runs with rare events"], rows=rows, note=NOTE
    )


def class_words(model: ModelVerdict) -> str:
    """Return the same of one model as a line for a terminal."""
    parts = []
    for name, one in model.failures_by_class.items():
        rate = f"{number_text(one.failures_per_ns[0])} per ns"
        first = f", first after {one.first_ps:.3g} ps, {rate}" if one.first_ps is not None else ""
        parts.append(f"{one.n_failed} {name}{first}")
    return f"failures: {'; '.join(parts)}; runs with rare events: {model.runs_by_class['rare']}"
