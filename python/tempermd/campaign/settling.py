"""Early stopping of losers: Wald's sequential probability ratio test over runs in their order.

A. Wald, Ann. Math. Stat. 16, 117 (1945). Each run of a cell (one model, structure, protocol and
temperature; only the seed differs) survives with an unknown probability p. The likelihood ratio
of p = ``survival_bad`` to p = ``survival_good`` is multiplied by (1 - bad) / (1 - good) for a
failure and by bad / good for a survivor. At 1 / error and above the model is a loser, at error
and below it survives; no cell is looked at again after that. Under p = good the ratio is a
martingale that begins at 1, so it ever reaches 1 / error with a probability of error at most,
however many runs there are, and for better models still less often; the same holds the other way
round. (Wald's own (1 - error) / error keeps to the error only nearly.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from tempermd.campaign.campaign_spec import EarlyStopping
from tempermd.md import Case

Fate = Literal["survived", "failed", "censored"]
Cell = tuple[str, str, str, float]
"""Model, structure, protocol and temperature (K) by their names: runs that differ in the seed."""


class Boundaries(NamedTuple):
    """The test in logarithms: what each run adds, and where it ends."""

    failure: float
    survivor: float
    loser: float
    survives: float


class Settled(NamedTuple):
    """A decision, after how many runs it fell, and how many of these failed."""

    verdict: Literal["loser", "survives", "open"]
    after: int
    failed: int = 0
    censored: int = 0


def boundaries(rule: EarlyStopping) -> Boundaries:
    """Return the steps and the ends of the test."""
    good, bad = rule.survival_good, rule.survival_bad
    return Boundaries(
        failure=math.log((1 - bad) / (1 - good)),
        survivor=math.log(bad / good),
        loser=-math.log(rule.error),
        survives=math.log(rule.error),
    )


def settle(fates: Sequence[Fate | None], rule: EarlyStopping) -> Settled:
    """Decide by the fates of a cell's runs in the order of the plan.

    The first run without a fate ends what is looked at: what ended out of order must not decide.
    A censored run counts as a survivor against the verdict "loser" and as a failure against
    "survives": a decision would have been the same, or later, however it had gone on.
    """
    steps = boundaries(rule)
    at_best = at_worst = 0.0
    failed = censored = 0
    for count, fate in enumerate(fates, start=1):
        if fate is None:
            return Settled("open", count - 1, failed, censored)
        failed += fate == "failed"
        censored += fate == "censored"
        at_best += steps.failure if fate == "failed" else steps.survivor
        at_worst += steps.survivor if fate == "survived" else steps.failure
        # equal up to rounding is reached
        if at_best >= steps.loser - 1e-9:
            return Settled("loser", count, failed, censored)
        if at_worst <= steps.survives + 1e-9:
            return Settled("survives", count, failed, censored)
    return Settled("open", len(fates), failed, censored)


def cell_of(case: Case) -> Cell:
    """Return the cell that a run belongs to."""
    return case.model_name, case.structure_name, case.protocol_name, case.temperature_K


def cells_of(cases: Mapping[str, Case]) -> dict[Cell, list[str]]:
    """Return the ids of every cell's runs in the order of the plan, which is that of seeds."""
    found: dict[Cell, list[str]] = {}
    for one, case in cases.items():
        found.setdefault(cell_of(case), []).append(one)
    return found


def skipped_runs(
    cases: Mapping[str, Case], fates: Mapping[str, Fate], rule: EarlyStopping | None
) -> dict[str, Settled]:
    """Return the runs that follow the verdict "loser" in their cells, and that verdict.

    A run that was begun before the verdict fell is among them, too: which ones these are
    depends on the engine, and the table must not.
    """
    if rule is None:
        return {}
    skipped = {}
    for runs in cells_of(cases).values():
        settled = settle([fates.get(one) for one in runs], rule)
        if settled.verdict == "loser":
            skipped |= dict.fromkeys(runs[settled.after :], settled)
    return skipped
