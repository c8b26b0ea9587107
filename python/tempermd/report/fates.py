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
