"""What a run says about its model: whether anything, and how long it went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tempermd.events import RunLabel
from tempermd.report.survival import Life


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


def lives_of(runs: Sequence[Judged]) -> list[Life]:
    """Return how long each run went until it failed or ended, those that never began left out."""
    return [
        Life(run.duration_ps if run.first_severe_ps is None else run.first_severe_ps, run.failed)
        for run in runs
        if run.failed or run.duration_ps > 0
    ]


def by_condition(runs: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Return runs that did the same at the same temperature, by what that was, in order."""
    found: dict[str, list[Judged]] = {}
    for run in sorted(runs, key=lambda run: (run.label.protocol, run.label.temperature_K or 0.0)):
        found.setdefault(run.label.condition, []).append(run)
    return found
