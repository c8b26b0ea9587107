"""What arms are held against: each other by seed, their own start, and the base they forget."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from tempermd.findings.curves import (
    GENERAL,
    QUANTITIES,
    REFERENCE,
    TEST,
    arms,
    error_sets,
    errors_by_size,
    factors,
    rows_of,
    targets,
)
from tempermd.findings.rows import Quantity, Row, Study
from tempermd.findings.statistics import Estimate, Factor, Ratio, estimate, paired_ratio
from tempermd.records import Spec

START = "its own start"
SOURCE = "its label source"


class Contrast(Spec):
    """One arm against another (or against its own start) at one n_train, seed by seed.

    ``intervals_overlap``: of the two arms' own means; ``factors_apart``: their factors' do not
    touch. None where there are no intervals.
    """

    target: str
    n_train: int
    error_set: str
    quantity: Quantity
    arm: str
    against: str
    ratio: Ratio
    intervals_overlap: bool | None = None
    factors_apart: bool | None = None


class Forgotten(Spec):
    """An arm's errors on a further set: the base's own at the start, and after training."""

    target: str
    arm: str
    n_train: int
    error_set: str
    quantity: Quantity
    test_before: Estimate | None
    test: Estimate
    before: Estimate | None
    after: Estimate
    ratio: Ratio | None


class Negative(Spec):
    """A place where transfer does harm; ``told_apart``: the interval is clear of equality."""

    contrast: Contrast
    told_apart: Literal["yes", "no", "one seed"]


def contrasts(study: Study, reference: str = REFERENCE) -> list[Contrast]:
    """Compare every pair of arms at each n_train on every set that is the same for both."""
    found: list[Contrast] = []
    efficiency = {
        (one.target, one.arm, one.n_train, one.quantity): one.factor
        for one in factors(study, reference)
    }
    for target in targets(study):
        names = arms(rows_of(study, target))
        names.sort(key=lambda name: name != reference)
        for against, arm in combinations(names, 2):
            own, other = rows_of(study, target, arm), rows_of(study, target, against)
            for error_set in error_sets(own):
                if _comparable(error_set, own[0], other[0]):
                    found += _contrast(own, other, error_set, efficiency)
    return found


def _comparable(error_set: str, own: Row, other: Row) -> bool:
    """Whether a set is the same for two arms: `general` is what a base brings."""
    return error_set != GENERAL or own.arm.base == other.arm.base


def _contrast(
    own: list[Row],
    other: list[Row],
    error_set: str,
    efficiency: dict[tuple[str, str, int, Quantity], Factor],
) -> list[Contrast]:
    found = []
    target, arm, against = own[0].target, own[0].arm.name, other[0].arm.name
    for quantity in QUANTITIES:
        errors = errors_by_size(own, quantity, error_set)
        others = errors_by_size(other, quantity, error_set)
        for n in errors:
            ratio = paired_ratio(errors[n], others.get(n, {}))
            if ratio is None:
                continue
            pair = [efficiency.get((target, name, n, quantity)) for name in (arm, against)]
            found.append(
                Contrast(
                    target=target,
                    n_train=n,
                    error_set=error_set,
                    quantity=quantity,
                    arm=arm,
                    against=against,
                    ratio=ratio,
                    intervals_overlap=_overlap(errors[n], others[n]),
                    factors_apart=_apart(*pair) if error_set == TEST else None,
                )
            )
    return found


def _overlap(errors: dict[int, float], others: dict[int, float]) -> bool | None:
    own, other = estimate(errors.values()), estimate(others.values())
    if None in (own.low, own.high, other.low, other.high):
        return None
    return own.low <= other.high and other.low <= own.high  # type: ignore[operator]


def _apart(own: Factor | None, other: Factor | None) -> bool | None:
    return None if own is None or other is None else own.apart_from(other)


def against_reference(
    study: Study, target: str, reference: str = REFERENCE
) -> dict[tuple[str, int, Quantity], Ratio]:
    """Return each arm's test errors over the reference's, by arm, n_train and quantity."""
    found = {}
    for quantity in QUANTITIES:
        others = errors_by_size(rows_of(study, target, reference), quantity)
        for arm in arms(rows_of(study, target)):
            own = errors_by_size(rows_of(study, target, arm), quantity)
            for n in own if arm != reference else ():
                ratio = paired_ratio(own[n], others.get(n, {}))
                if ratio is not None:
                    found[arm, n, quantity] = ratio
    return found


def forgetting(study: Study) -> list[Forgotten]:
    """Return errors on all sets but the test set, beside those before the first step."""
    found = []
    for target in targets(study):
        for arm in arms(rows_of(study, target)):
            rows = rows_of(study, target, arm)
            for error_set in error_sets(rows):
                if error_set != TEST:
                    found += [
                        _forgotten(rows, n, error_set, quantity)
                        for n in errors_by_size(rows, "forces", error_set)
                        for quantity in QUANTITIES
                    ]
    return found


def _forgotten(rows: list[Row], n: int, error_set: str, quantity: Quantity) -> Forgotten:
    after = errors_by_size(rows, quantity, error_set)[n]
    before = _start_errors(rows, n, error_set, quantity)
    test_before = _start_errors(rows, n, TEST, quantity)
    return Forgotten(
        target=rows[0].target,
        arm=rows[0].arm.name,
        n_train=n,
        error_set=error_set,
        quantity=quantity,
        test_before=estimate(test_before.values()) if test_before else None,
        test=estimate(errors_by_size(rows, quantity)[n].values()),
        before=estimate(before.values()) if before else None,
        after=estimate(after.values()),
        ratio=paired_ratio(after, before),
    )


def _start_errors(rows: list[Row], n: int, error_set: str, quantity: Quantity) -> dict[int, float]:
    """Return the errors before the first step at one n_train, by seed."""
    starts = [
        row.model_copy(update={"errors": row.start_errors})
        for row in rows
        if row.n_train == n and error_set in row.start_errors
    ]
    return errors_by_size(starts, quantity, error_set).get(n, {})


def _source_errors(rows: list[Row], n: int, quantity: Quantity) -> dict[int, float]:
    """Return the errors of the base's label source on the test set, by the seeds at one n."""
    sources = [
        row.model_copy(update={"errors": {TEST: next(iter(row.source_errors.values()))}})
        for row in rows
        if row.n_train == n and row.source_errors
    ]
    return errors_by_size(sources, quantity).get(n, {})


def rivals_text(study: Study, reference: str) -> str:
    """Name what arms with a base are held against in this study."""
    named = [reference] if reference in arms(study.rows) else []
    named += [START] + ([SOURCE] if any(row.source_errors for row in study.rows) else [])
    return " or ".join([*([", ".join(named[:-1])] if named[:-1] else []), named[-1]])


def negative_transfer(study: Study, reference: str = REFERENCE) -> list[Negative]:
    """Return where an arm with a base is worse than the reference, its start or its source."""
    based = {row.arm.name for row in study.rows if row.arm.base is not None}
    told: dict[str, Literal["yes", "no", "one seed"]] = {"worse": "yes", "one seed": "one seed"}
    return [
        Negative(contrast=one, told_apart=told.get(one.ratio.verdict, "no"))
        for target in targets(study)
        for one in [*_with_reference(study, target, reference), *_with_own(study, target)]
        if one.arm in based and one.ratio.ratio > 1
    ]


def _with_reference(study: Study, target: str, reference: str) -> list[Contrast]:
    return [
        _plain(target, n, quantity, arm, reference, ratio)
        for (arm, n, quantity), ratio in against_reference(study, target, reference).items()
    ]


def _with_own(study: Study, target: str) -> list[Contrast]:
    """Hold arms against what they come from: their start, and the source of its labels."""
    found = []
    for arm in arms(rows_of(study, target)):
        rows = rows_of(study, target, arm)
        for quantity in QUANTITIES:
            for n, errors in errors_by_size(rows, quantity).items():
                others = {
                    START: _start_errors(rows, n, TEST, quantity),
                    SOURCE: _source_errors(rows, n, quantity),
                }
                for against, other in others.items():
                    ratio = paired_ratio(errors, other)
                    if ratio is not None:
                        found.append(_plain(target, n, quantity, arm, against, ratio))
    return found


def _plain(
    target: str, n: int, quantity: Quantity, arm: str, against: str, ratio: Ratio
) -> Contrast:
    return Contrast(
        target=target,
        n_train=n,
        error_set=TEST,
        quantity=quantity,
        arm=arm,
        against=against,
        ratio=ratio,
    )
