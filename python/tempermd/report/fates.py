"""What a run says about its model: whether anything, and how long it went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from tempermd.events import Event, FailureClass, RunLabel, class_of
from tempermd.report.survival import Life, rate_per_ns


class Judged(Protocol):
    """What verdicts rest on: an `Analysis`, or the row that a campaign keeps of one."""

    label: RunLabel
    outcome: Any
    reason: str
    events: Any
    event_counts: dict[str, int]
    duration_ps: float
    first_severe_ps: float | None

    @property
    def survived(self) -> bool:
        """Whether the run ended by itself without a fatal or severe event."""

    @property
    def failed(self) -> bool:
        """Whether the model is to blame for what happened."""


def usable(analysis: Judged) -> bool:
    """Whether a run says something about its model."""
    return analysis.survived or analysis.failed


def lived_ps(run: Judged) -> float:
    """Return how long a run went until its first failure, or else until its end."""
    return run.duration_ps if run.first_severe_ps is None else run.first_severe_ps


def lives_of(runs: Sequence[Judged], of_class: FailureClass | None = None) -> list[Life]:
    """Return how long each run went until it failed or ended, those that never began left out.

    With a class only its failures count; a first failure of the other one is where the run is
    censored, since what would have come after it says nothing.
    """
    return [
        Life(lived_ps(run), run.failed and of_class in (None, failure_class(run)))
        for run in runs
        if run.failed or run.duration_ps > 0
    ]


def failures_per_ns(lives: Sequence[Life]) -> tuple[float, float, float | None]:
    """Return the rate with its exact 95 % interval; the upper end is None where there is none."""
    rate, low, high = rate_per_ns(
        sum(life.failed for life in lives), sum(life.time_ps for life in lives)
    )
    return rate, low, high if math.isfinite(high) else None


def first_damning(run: Judged) -> Event | None:
    """Return the first fatal or severe event of a run, or None."""
    damning = [event for event in run.events if event.severity != "warn"]
    return min(damning, key=lambda event: event.time_ps, default=None)


def failure_class(run: Judged) -> FailureClass | None:
    """Return the class of what a run failed by first, None where it did not fail."""
    if not run.failed:
        return None
    event = first_damning(run)
    # without an event the model itself stopped the run
    numerical = event is None or class_of(event.kind, event.severity) == "numerical"
    return "numerical" if numerical else "unphysical"


def by_condition(runs: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Return runs that did the same at the same temperature, by what that was, in order."""
    found: dict[str, list[Judged]] = {}
    for run in sorted(runs, key=lambda run: (run.label.protocol, run.label.temperature_K or 0.0)):
        found.setdefault(run.label.condition, []).append(run)
    return found
