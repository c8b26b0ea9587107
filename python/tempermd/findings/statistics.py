"""Means, ratios and data-efficiency factors over seeds, each with its 95 % interval.

All of it is done on logarithms of errors: an RMSE is positive, its spread grows with it, and a
learning curve is near a power law, so logarithms are nearer to normal and to a straight line.
docs/statistics.md has the formulas and what the intervals do not hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np

from tempermd.records import Spec

CONFIDENCE = 0.95

BySeed = Mapping[int, float]
"""An error for each seed."""


class Estimate(Spec):
    """Geometric mean of errors over seeds; no interval where fewer than two are finite.

    ``n_diverged`` counts errors that are no positive finite number: they are in no mean.
    """

    mean: float | None
    low: float | None
    high: float | None
    n_used: int
    n_diverged: int


class Ratio(Spec):
    """Geometric mean of one arm's errors over another's, over the seeds that both have.

    ``difference`` is the plain mean of the differences by seed, in the unit of the errors.
    """

    ratio: float
    low: float | None
    high: float | None
    difference: float
    difference_low: float | None
    difference_high: float | None
    n_pairs: int

    @property
    def verdict(self) -> Literal["better", "worse", "not told apart", "one seed"]:
        """Return what the interval of the ratio says; smaller errors are better."""
        if self.low is None or self.high is None:
            return "one seed"
        if self.high < 1:
            return "better"
        return "worse" if self.low > 1 else "not told apart"


class Factor(Spec):
    """How many times more structures the reference needs for the same error.

    ``censored`` says that the reference's curve ends before: the factor is then at least
    ("above") or at most ("below") ``factor``. ``low_censored``: the interval reaches below
    ``low``, where the curve begins; ``high_censored``: above ``high``, where it ends.
    """

    factor: float
    censored: Literal["no", "above", "below"]
    low: float | None = None
    high: float | None = None
    low_censored: bool = False
    high_censored: bool = False

    def apart_from(self, other: Factor) -> bool | None:
        """Whether the two intervals do not touch; None where one has none."""
        if None in (self.low, self.high, other.low, other.high):
            return None
        return _clear(self, other) or _clear(other, self)


def _clear(above: Factor, below: Factor) -> bool:
    """Whether one interval lies wholly above another, open ends counted as endless."""
    assert above.low is not None
    assert below.high is not None
    open_ended = above.low_censored or below.high_censored
    return not open_ended and above.low > below.high


def is_usable(error: float) -> bool:
    """Whether an error has a logarithm: a training that diverged has none."""
    return math.isfinite(error) and error > 0


def estimate(errors: Iterable[float]) -> Estimate:
    """Return the geometric mean and Student's t interval of the mean logarithm.

    exp(m ± t(0.975, S − 1) s / √S), with m and s the mean and standard deviation of the
    logarithms of S errors (Student, Biometrika 6, 1 (1908), on logarithms).
    """
    given = list(errors)
    logs = np.log([error for error in given if is_usable(error)])
    n_diverged = len(given) - len(logs)
    if len(logs) == 0:
        return Estimate(mean=None, low=None, high=None, n_used=0, n_diverged=n_diverged)
    mean, half = _mean_and_half_width(logs)
    return Estimate(
        mean=math.exp(mean),
        low=None if half is None else math.exp(mean - half),
        high=None if half is None else math.exp(mean + half),
        n_used=len(logs),
        n_diverged=n_diverged,
    )


def paired_ratio(errors: BySeed, against: BySeed) -> Ratio | None:
    """Compare two arms by seed: a seed draws the same structures for both.

    The interval is Student's t of the differences of logarithms. Seeds that only one arm has,
    or where one diverged, do not count; None where no pair is left.
    """
    seeds = [s for s in errors if s in against and is_usable(errors[s]) and is_usable(against[s])]
    if not seeds:
        return None
    own = np.array([errors[seed] for seed in seeds])
    other = np.array([against[seed] for seed in seeds])
    mean, half = _mean_and_half_width(np.log(own) - np.log(other))
    difference, width = _mean_and_half_width(own - other)
    return Ratio(
        ratio=math.exp(mean),
        low=None if half is None else math.exp(mean - half),
        high=None if half is None else math.exp(mean + half),
        difference=difference,
        difference_low=None if width is None else difference - width,
        difference_high=None if width is None else difference + width,
        n_pairs=len(seeds),
    )


def _mean_and_half_width(values: np.ndarray) -> tuple[float, float | None]:
    """Return the mean and half its 95 % t interval, None for a single value."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None
    width = t_quantile(len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return mean, float(width)


@cache
def t_quantile(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def data_efficiency(n: int, errors: BySeed, reference: Mapping[int, BySeed]) -> Factor | None:
    """Return how many times n structures the reference needs to reach the arm's error.

    The reference's mean curve, made monotone by isotonic regression, is interpolated linearly
    in log(error) against log(n). The interval holds every size N at which Student's t does
    not tell the arm from the reference's interpolated curve (test inversion, Fieller, J. R.
    Stat. Soc. B 16, 175 (1954)); seeds are paired where both have the same.

    Parameters
    ----------
    n
        Structures that the arm was trained on.
    errors
        The arm's errors by seed.
    reference
        The reference's errors by size and seed; sizes with one seed are left out where others
        have more, and so are errors that are not finite.

    Returns
    -------
    Factor or None
        None where the arm has no finite error or the reference has fewer than two sizes.
    """
    columns = _columns(errors, reference)
    if columns is None:
        return None
    sizes, logs = columns
    means = np.array([np.mean(list(column.values())) for column in logs])
    pool = _pooling(means, np.array([len(column) for column in logs]))  # (P+1, P+1)
    gaps = pool @ means  # (P,): log error of the reference less that of the arm
    crossing, censored = _crossing(np.log(sizes), gaps)
    factor = Factor(factor=_times(crossing, n), censored=censored)
    fewest = min(len(column) for column in logs)
    if fewest < 2:
        return factor
    covariance = pool @ _covariance(logs) @ pool.T  # (P, P)
    known = [crossing] if censored == "no" else []
    interval = _inverted(np.log(sizes), gaps, covariance, t_quantile(fewest - 1) ** 2, known)
    low, high, low_censored, high_censored = interval
    return factor.model_copy(
        update={
            "low": _times(low, n),
            "high": _times(high, n),
            "low_censored": low_censored,
            "high_censored": high_censored,
        }
    )


def _times(log_size: float, n: int) -> float:
    """Return a size over n; twelve digits, so that 160 of 160 is 1."""
    return float(f"{math.exp(log_size) / n:.12g}")


def _columns(
    errors: BySeed, reference: Mapping[int, BySeed]
) -> tuple[list[int], list[dict[int, float]]] | None:
    """Return the reference's sizes and log errors by seed: the arm's, then one of each size."""
    arm = _logs(errors)
    points = {n: _logs(column) for n, column in sorted(reference.items())}
    least = min(2, max((len(column) for column in points.values()), default=0))
    points = {n: column for n, column in points.items() if len(column) >= max(least, 1)}
    if not arm or len(points) < 2:
        return None
    return list(points), [arm, *points.values()]


def _logs(errors: BySeed) -> dict[int, float]:
    return {seed: math.log(error) for seed, error in errors.items() if is_usable(error)}


def _pooling(means: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the matrix (P, P+1) from the means to gaps between a monotone curve and the arm.

    Isotonic regression averages neighbors that rise; which ones is taken as given, so that
    each seed's own curve is averaged alike.
    """
    from scipy.optimize import isotonic_regression

    blocks = isotonic_regression(means[1:], weights=weights[1:], increasing=False).blocks
    pool = np.zeros((len(means) - 1, len(means)))
    for start, stop in pairwise(blocks):
        share = weights[1 + start : 1 + stop] / weights[1 + start : 1 + stop].sum()
        pool[start:stop, 1 + start : 1 + stop] = share
    pool[:, 0] = -1
    return pool


def _covariance(logs: list[dict[int, float]]) -> np.ndarray:
    """Return the covariance of the means; 0 between columns that do not have the same seeds."""
    covariance = np.zeros((len(logs), len(logs)))
    for seeds in {frozenset(column) for column in logs}:
        own = [k for k, column in enumerate(logs) if column.keys() == seeds]
        values = np.array([[logs[k][seed] for seed in sorted(seeds)] for k in own])
        covariance[np.ix_(own, own)] = np.cov(values) / len(seeds)
    return covariance


def _crossing(log_n: np.ndarray, gaps: np.ndarray) -> tuple[float, Literal["no", "above", "below"]]:
    """Return where falling gaps pass zero, or the end that they do not reach."""
    if gaps[-1] > 0:
        return float(log_n[-1]), "above"
    if gaps[0] < 0:
        return float(log_n[0]), "below"
    first = int(np.argmax(gaps <= 0))
    if first == 0:
        return float(log_n[0]), "no"
    share = gaps[first - 1] / (gaps[first - 1] - gaps[first])
    return float(log_n[first - 1] + share * (log_n[first] - log_n[first - 1])), "no"


def _inverted(
    log_n: np.ndarray,
    gaps: np.ndarray,
    covariance: np.ndarray,
    t_squared: float,
    known: list[float],
) -> tuple[float, float, bool, bool]:
    """Return the hull of all log n where gap² <= t² variance, and whether it passes the ends.

    ``known`` is the crossing itself, which rounding would lose where there is no variance.
    """
    held = list(known)
    for i in range(len(log_n) - 1):
        step = np.array([gaps[i], gaps[i + 1] - gaps[i]])
        a, b, c = covariance[i, i], covariance[i, i + 1], covariance[i + 1, i + 1]
        spread = np.array([a, 2 * (b - a), a - 2 * b + c])  # variance as a polynomial of u
        excess = np.polynomial.polynomial.polymul(step, step) - t_squared * spread
        held += [float(log_n[i] + u * (log_n[i + 1] - log_n[i])) for u in _not_above_zero(excess)]
    inside = [bool(gaps[k] ** 2 <= t_squared * covariance[k, k]) for k in (0, -1)]
    low_censored = inside[0] or bool(gaps[0] < 0)
    high_censored = inside[1] or bool(gaps[-1] > 0)
    ends = float(log_n[0]), float(log_n[-1])
    low = ends[0] if low_censored else min(held, default=ends[1])
    high = ends[1] if high_censored else max(held, default=ends[0])
    return low, high, low_censored, high_censored


def _not_above_zero(polynomial: np.ndarray) -> list[float]:
    """Return the ends of where c + b u + a u² (in this order) is <= 0 within [0, 1]."""
    c, b, a = polynomial
    ends = [u for u, value in ((0.0, c), (1.0, a + b + c)) if value <= 0]
    root = b * b - 4 * a * c
    if root < 0:
        return ends
    half = -0.5 * (b + math.copysign(math.sqrt(root), b))  # no difference of near equals
    roots = [half / a] if a != 0 else []
    roots += [c / half] if half != 0 else []
    return ends + [float(u) for u in roots if 0 <= u <= 1]
