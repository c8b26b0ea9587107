"""Models against each other: do their runs fail at different times?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from pydantic import BaseModel, ConfigDict

from tempermd.report.fates import Judged, by_condition, lives_of, usable
from tempermd.report.survival import Comparison, log_rank, runs_to_tell_apart

SIGNIFICANT = 0.05
NEITHER = "Neither"
LEAST_RUNS = 2
"""One run each tells nothing apart."""


class Contrast(BaseModel):
    """Two models in one condition: do their failures come at different times?

    ``runs_needed`` of each would tell them apart in 80 % of all cases if they survive as seen so
    far; None where they are told apart already, or where a hundred would not do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    other: str
    condition: str
    comparison: Comparison | None
    runs_needed: int | None
    sentence: str


def contrasts_between(models: Sequence[Sequence[Judged]]) -> list[Contrast]:
    """Compare every two models in every condition in which both have two usable runs or more."""
    found = []
    for one, other in combinations(map(by_condition, models), 2):
        shared = [condition for condition in one if condition in other]
        for condition in shared:
            pair = one[condition], other[condition]
            if min(sum(map(usable, runs)) for runs in pair) >= LEAST_RUNS:
                found.append(_contrast(*pair))
    return found


def _contrast(one: Sequence[Judged], other: Sequence[Judged]) -> Contrast:
    comparison = log_rank(lives_of(one), lives_of(other))
    told_apart = comparison is not None and comparison.p < SIGNIFICANT
    counts = [(sum(run.survived for run in runs), sum(map(usable, runs))) for runs in (one, other)]
    needed = None if told_apart else runs_to_tell_apart(*counts[0], *counts[1])
    names = one[0].label.model, other[0].label.model
    return Contrast(
        model=names[0],
        other=names[1],
        condition=one[0].label.condition,
        comparison=comparison,
        runs_needed=needed,
        sentence=_contrast_sentence(names, comparison, told_apart, needed, counts),
    )


def _contrast_sentence(
    names: tuple[str, str],
    comparison: Comparison | None,
    told_apart: bool,
    needed: int | None,
    counts: Sequence[tuple[int, int]],
) -> str:
    """Say whether two models are told apart, by how much, and else what it would take."""
    if comparison is None and any(survived < runs for survived, runs in counts):
        return f"{names[0]} and {names[1]} are not told apart: all fail, and at the same time."
    if comparison is None:
        return f"{NEITHER} {names[0]} nor {names[1]} failed: they are not told apart."
    effect = ""
    if comparison.hazard_ratio is not None:
        effect = (
            f", {names[0]} fails {comparison.hazard_ratio:.2g} times as often "
            f"({comparison.low:.2g} to {comparison.high:.2g})"
        )
    if told_apart:
        verb = "are told apart"
        return f"{names[0]} and {names[1]} {verb}: log-rank p = {comparison.p:.2g}{effect}."
    head = f"{names[0]} and {names[1]} are not told apart: log-rank p = {comparison.p:.2g}{effect}"
    if needed is None:
        return f"{head}; as they survive so far, a hundred runs of each would not do it."
    more = [max(0, needed - runs) for _, runs in counts]
    return f"{head}; {more[0]} and {more[1]} more runs would tell, if they survive as so far."
