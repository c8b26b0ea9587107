"""What a run says about its model: whether anything, and how long it went."""

from __future__ import annotations

from collections.abc import Sequence

from tempermd.events import Analysis
from tempermd.report.survival import Life


def usable(analysis: Analysis) -> bool:
    """Whether a run says something about its model."""
    return analysis.survived or analysis.failed


def lives_of(runs: Sequence[Analysis]) -> list[Life]:
    """Return how long each run went until it failed or ended, those that never began left out."""
    return [
        Life(run.duration_ps if run.first_severe_ps is None else run.first_severe_ps, run.failed)
        for run in runs
        if run.failed or run.duration_ps > 0
    ]


def by_condition(runs: Sequence[Analysis]) -> dict[str, list[Analysis]]:
    """Return runs that did the same at the same temperature, by what that was, in order."""
    found: dict[str, list[Analysis]] = {}
    for run in sorted(runs, key=lambda run: (run.label.protocol, run.label.temperature_K or 0.0)):
        found.setdefault(run.label.condition, []).append(run)
    return found
