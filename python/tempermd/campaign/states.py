"""How far a run without a row is, in the words of a campaign."""

from __future__ import annotations

from pathlib import Path

from tempermd import md
from tempermd.campaign.table import State


def state_of(run: Path) -> tuple[State, str, int]:
    """Return a run's state, why it is no further, and the step that is safe."""
    found = md.state_of(run)
    if found.state == "model_failure":
        return "failed", found.reason, found.step
    said = found.reason if found.state in ("waiting", "stuck", "finished") else ""
    return found.state, said, found.step
