"""Learning curves and data-efficiency factors of every arm, made from a study's rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import get_args

import numpy as np

from tempermd.findings.rows import Quantity, Row, Study
from tempermd.findings.statistics import (
    BySeed,
    Estimate,
    Factor,
    data_efficiency,
    estimate,
    is_usable,
)
from tempermd.records import Spec

REFERENCE = "direct"
"""The arm that others are held against, by its name."""
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
TEST = "test"
GENERAL = "general"
"""The set that each base brings itself: comparable only between arms of the same base."""


class CurvePoint(Spec):
    """An arm's error on a set at one n_train: mean over seeds and interval."""

    target: str
    arm: str
    n_train: int
    error_set: str
    quantity: Quantity
    estimate: Estimate
    plain_mean: float | None
    plain_std: float | None


class FactorPoint(Spec):
    """An arm's data-efficiency factor on the test set at one n_train."""

    target: str
    arm: str
    n_train: int
    quantity: Quantity
    reference: str
    factor: Factor


def joined(study: Study) -> Study:
    """Return a study where a base that was made anew at each n_train is one arm, not several.

    A base on the target's own structures has seen n_train of them: its arm is the same at every
    n_train, though its n_pretrain differs.
    """
    sizes: dict[tuple[str, str | None], set[int | None]] = {}
    for row in study.rows:
        key = (row.arm.strategy, row.arm.base)
        own = row.arm.n_pretrain if row.arm.n_pretrain == row.n_train else None
        sizes.setdefault(key, set()).add(own)
    anew = {key for key, found in sizes.items() if None not in found and len(found) > 1}
    rows = [
        row.model_copy(update={"arm": row.arm.model_copy(update={"n_pretrain": None})})
        if (row.arm.strategy, row.arm.base) in anew
        else row
        for row in study.rows
    ]
    return study.model_copy(update={"rows": rows})


def targets(study: Study) -> list[str]:
    """Return the targets in the order of the rows."""
    return list(dict.fromkeys(row.target for row in study.rows))


def arms(rows: Iterable[Row]) -> list[str]:
    """Return the names of arms in the order of the rows."""
    return list(dict.fromkeys(row.arm.name for row in rows))


def rows_of(study: Study, target: str, arm: str | None = None) -> list[Row]:
    """Return the rows of a target, or of one arm there."""
    own = [row for row in study.rows if row.target == target]
    return own if arm is None else [row for row in own if row.arm.name == arm]


def error_sets(rows: Iterable[Row]) -> list[str]:
    """Return the sets that rows were judged on, the test set first."""
    names = dict.fromkeys(name for row in rows for name in row.errors)
    return sorted(names, key=lambda name: name != TEST)


def errors_by_size(
    rows: Iterable[Row], quantity: Quantity, of: str = TEST
) -> dict[int, dict[int, float]]:
    """Return errors by n_train (rising) and seed, of the rows that were judged on a set."""
    found: dict[int, dict[int, float]] = {}
    for row in sorted(rows, key=lambda row: (row.n_train, row.seed)):
        if of in row.errors:
            found.setdefault(row.n_train, {})[row.seed] = row.error(quantity, of)
    return found


def learning_curves(study: Study) -> list[CurvePoint]:
    """Return every arm's errors on every set, at each n_train."""
    points = []
    for target in targets(study):
        for arm in arms(rows_of(study, target)):
            rows = rows_of(study, target, arm)
            points += [
                _point(target, arm, n, error_set, quantity, errors)
                for error_set in error_sets(rows)
                for quantity in QUANTITIES
                for n, errors in errors_by_size(rows, quantity, error_set).items()
            ]
    return points


def _point(
    target: str, arm: str, n: int, error_set: str, quantity: Quantity, errors: BySeed
) -> CurvePoint:
    finite = [error for error in errors.values() if is_usable(error)]
    return CurvePoint(
        target=target,
        arm=arm,
        n_train=n,
        error_set=error_set,
        quantity=quantity,
        estimate=estimate(errors.values()),
        plain_mean=float(np.mean(finite)) if finite else None,
        plain_std=float(np.std(finite, ddof=1)) if len(finite) > 1 else None,
    )


def factors(study: Study, reference: str = REFERENCE) -> list[FactorPoint]:
    """Return the data-efficiency factors of all other arms on the test set.

    Empty where the reference arm has fewer than two sizes of training sets.
    """
    points = []
    for target in targets(study):
        for arm in arms(rows_of(study, target)):
            if arm == reference:
                continue
            for quantity in QUANTITIES:
                curve = errors_by_size(rows_of(study, target, reference), quantity)
                own = errors_by_size(rows_of(study, target, arm), quantity)
                for n, errors in own.items():
                    factor = data_efficiency(n, errors, curve)
                    if factor is not None:
                        points.append(
                            FactorPoint(
                                target=target,
                                arm=arm,
                                n_train=n,
                                quantity=quantity,
                                reference=reference,
                                factor=factor,
                            )
                        )
    return points


def has_curves(study: Study, target: str) -> bool:
    """Whether any arm of a target has more than one size of training set."""
    return any(
        len(errors_by_size(rows_of(study, target, arm), "forces")) > 1
        for arm in arms(rows_of(study, target))
    )


def diverged(study: Study) -> list[Row]:
    """Return the rows whose error on the test set is no finite number."""
    return [
        row
        for row in study.rows
        if not all(math.isfinite(row.error(quantity)) for quantity in QUANTITIES)
    ]
