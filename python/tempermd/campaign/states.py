"""How far a run without a row is, in the words of a campaign."""

from __future__ import annotations

from pathlib import Path

from tempermd import md
from tempermd.campaign.table import State


def state_of(run: Path) -> tuple[State, str]:
    """Return a run's state and, where something stopped it, why."""
    result = md.read_result(run)
    if result is None:
        return ("running" if any(run.glob("attempt-*")) else "planned"), ""
    if result.outcome == "infrastructure_failure":
        return "waiting", result.reason
    return "waiting", "it has ended and is not analysed yet"
