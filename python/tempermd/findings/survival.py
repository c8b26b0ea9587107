"""What became of the MD runs of every arm: survival with intervals, and first events."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tempermd.findings.curves import REFERENCE, arms, errors_by_size, rows_of, targets
from tempermd.findings.rows import Fate, Row, Study
from tempermd.findings.statistics import Estimate, estimate
from tempermd.records import Spec
from tempermd.report import Life, SurvivalCurve, clopper_pearson, kaplan_meier, log_rank


class FateOfArm(Spec):
    """The runs of an arm's models at one n_train and temperature, beside their test errors.

    ``runs`` counts those that say something about a model, ``set_aside`` those that a machine
    ended; the curve takes these as censored. ``survival`` is the curve at its end with its
    interval; ``k_low`` and ``k_high`` bound the share of survivors. ``models_whole`` counts
    models none of whose runs failed: runs of one model are not independent, models are.
    """

    target: str
    arm: str
    n_train: int
    temperature_K: float
    forces: Estimate
    energy: Estimate
    runs: int
    survived: int
    set_aside: int
    k_low: float
    k_high: float
    curve: SurvivalCurve
    end_ps: float
    survival: float
    low: float
    high: float
    models: int
    models_whole: int
    models_low: float
    models_high: float
    first_events: dict[str, int]
    p_against: float | None
    reference: str


def fates(study: Study, reference: str = REFERENCE) -> list[FateOfArm]:
    """Return what became of every arm's runs, and the log-rank test against the reference."""
    found = []
    for target in targets(study):
        for arm in arms(rows_of(study, target)):
            rows = [row for row in rows_of(study, target, arm) if row.fates]
            for n in sorted({row.n_train for row in rows}):
                own = [row for row in rows if row.n_train == n]
                others = [r for r in rows_of(study, target, reference) if r.n_train == n]
                for temperature_K in sorted({f.temperature_K for r in own for f in r.fates}):
                    found.append(_fate(own, others, temperature_K, reference))
    return found


def _fate(own: list[Row], others: list[Row], temperature_K: float, reference: str) -> FateOfArm:
    runs = _runs(own, temperature_K)
    usable = _usable(runs)
    survived = sum(run.survived for run in usable)
    k_low, k_high = clopper_pearson(survived, len(usable))
    models = [_usable(_runs([row], temperature_K)) for row in own]
    driven = [runs_of_one for runs_of_one in models if runs_of_one]
    whole = sum(not any(run.failed for run in runs_of_one) for runs_of_one in driven)
    models_low, models_high = clopper_pearson(whole, len(driven))
    curve = kaplan_meier(lives_of(runs))
    low, high = curve.low[-1], curve.high[-1]
    against = log_rank(lives_of(runs), lives_of(_runs(others, temperature_K)))
    is_reference = own[0].arm.name == reference
    return FateOfArm(
        target=own[0].target,
        arm=own[0].arm.name,
        n_train=own[0].n_train,
        temperature_K=temperature_K,
        forces=_errors(own, "forces"),
        energy=_errors(own, "energy"),
        runs=len(usable),
        survived=survived,
        set_aside=len(runs) - len(usable),
        k_low=k_low,
        k_high=k_high,
        curve=curve,
        end_ps=max((run.time_ps for run in runs), default=0.0),
        survival=curve.survival[-1],
        low=k_low if low is None else low,
        high=k_high if high is None else high,
        models=len(driven),
        models_whole=whole,
        models_low=models_low,
        models_high=models_high,
        first_events=_first_events(runs),
        p_against=None if is_reference or against is None else against.p,
        reference=reference,
    )


def _runs(rows: Sequence[Row], temperature_K: float) -> list[Fate]:
    return [fate for row in rows for fate in row.fates if fate.temperature_K == temperature_K]


def _usable(runs: Sequence[Fate]) -> list[Fate]:
    """Leave out runs that a machine ended: they say nothing about a model."""
    return [run for run in runs if run.failed or run.survived]


def _errors(rows: list[Row], quantity: str) -> Estimate:
    """Return the test error of the models that were driven."""
    (errors,) = errors_by_size(rows, quantity).values()  # type: ignore[arg-type]
    return estimate(errors.values())


def _first_events(runs: Sequence[Fate]) -> dict[str, int]:
    """Count the kind of each failed run's first event."""
    kinds = Counter(_kind(run) for run in runs if run.failed)
    return dict(sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0])))


def _kind(run: Fate) -> str:
    """Return the kind of a run's first event, without the time that stands behind it."""
    first = run.first_events[0] if run.first_events else run.outcome
    return re.sub(r" [0-9.]+$", "", first).replace("_", " ")


def lives_of(runs: Sequence[Fate]) -> list[Life]:
    """Return how long each run went, and whether it failed then."""
    return [Life(run.time_ps, run.failed) for run in runs]
