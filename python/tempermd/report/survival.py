"""Statistics of runs that end by a failure or are cut off before one: survival and its odds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tempermd.records import Spec

if TYPE_CHECKING:
    from scipy.stats import CensoredData

CONFIDENCE = 0.95
POWER = 0.8
MOST_RUNS = 100


class Life(NamedTuple):
    """How long a run went, and whether a failure ended it; else it is censored then."""

    time_ps: float
    failed: bool


class SurvivalCurve(Spec):
    """Kaplan-Meier's estimate: a step at each time; None where the interval is not defined."""

    times_ps: list[float]
    survival: list[float]
    low: list[float | None]
    high: list[float | None]


class Comparison(Spec):
    """Two models by the log-rank test.

    ``hazard_ratio`` is of the first to the second, by observed over expected failures; its
    interval is Peto's. None where one of them did not fail at all.
    """

    p: float
    hazard_ratio: float | None
    low: float | None
    high: float | None


def clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """Return the exact two-sided 95 % interval of a probability.

    Clopper and Pearson, Biometrika 26, 404 (1934), by quantiles of the beta distribution.

    Parameters
    ----------
    successes, trials : int

    Returns
    -------
    low, high : float
    """
    from scipy.stats import beta

    if trials == 0:
        return 0.0, 1.0
    tail = (1 - CONFIDENCE) / 2
    failures = trials - successes
    low = beta.ppf(tail, successes, failures + 1) if successes else 0.0
    high = beta.ppf(1 - tail, successes + 1, failures) if failures else 1.0
    return float(low), float(high)


def kaplan_meier(lives: Sequence[Life]) -> SurvivalCurve:
    """Return Kaplan and Meier's estimate with Greenwood's interval on log(-log) survival.

    Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958), as scipy.stats.ecdf computes it. The
    interval is not defined where survival is 0 or 1.
    """
    from scipy.stats import ecdf

    found = ecdf(_censored(lives)).sf
    with warnings.catch_warnings():  # scipy says by a warning that an interval is not defined
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = found.confidence_interval(CONFIDENCE, method="log-log")
    return SurvivalCurve(
        times_ps=[0.0, *found.quantiles.tolist()],
        survival=[1.0, *found.probabilities.tolist()],
        low=[None, *_or_none(interval.low.probabilities)],
        high=[None, *_or_none(interval.high.probabilities)],
    )


def _or_none(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def log_rank(lives: Sequence[Life], others: Sequence[Life]) -> Comparison | None:
    """Compare two groups; None where nothing failed or one is empty.

    The two-sided p of Mantel, Cancer Chemother. Rep. 50, 163 (1966), as scipy.stats.logrank
    computes it. The hazard ratio is (O1 / E1) / (O2 / E2) with the interval
    exp(log ratio +- 1.96 sqrt(1 / E1 + 1 / E2)), Peto et al., Br. J. Cancer 35, 1 (1977).
    """
    from scipy.stats import logrank, norm

    if not lives or not others or not any(life.failed for life in [*lives, *others]):
        return None
    with warnings.catch_warnings():  # 0 / 0 where all fail at one time: no test is possible
        warnings.simplefilter("ignore", RuntimeWarning)
        p = float(logrank(_censored(lives), _censored(others)).pvalue)
    if not np.isfinite(p):
        return None
    (seen, expected), (other_seen, other_expected) = expected_failures(lives, others)
    if not seen or not other_seen:
        return Comparison(p=p, hazard_ratio=None, low=None, high=None)
    ratio = math.log(seen / expected) - math.log(other_seen / other_expected)
    half = norm.ppf((1 + CONFIDENCE) / 2) * math.sqrt(1 / expected + 1 / other_expected)
    return Comparison(
        p=p,
        hazard_ratio=math.exp(ratio),
        low=math.exp(ratio - half),
        high=math.exp(ratio + half),
    )


def expected_failures(
    lives: Sequence[Life], others: Sequence[Life]
) -> tuple[tuple[int, float], tuple[int, float]]:
    """Return for both groups the failures seen, and those expected if they were alike."""
    times = np.unique([life.time_ps for life in [*lives, *others] if life.failed])
    ends = [np.sort([life.time_ps for life in group]) for group in (lives, others)]
    failures = [
        np.sort([life.time_ps for life in group if life.failed]) for group in (lives, others)
    ]
    at_risk = np.array([len(group) - np.searchsorted(group, times) for group in ends])
    failing = np.zeros(len(times))
    for group in failures:
        failing += np.searchsorted(group, times, "right") - np.searchsorted(group, times)
    expected = (failing * at_risk / at_risk.sum(axis=0)).sum(axis=1)
    seen = [len(group) for group in failures]
    return (seen[0], float(expected[0])), (seen[1], float(expected[1]))


def _censored(lives: Sequence[Life]) -> CensoredData:
    from scipy.stats import CensoredData

    return CensoredData(
        uncensored=[life.time_ps for life in lives if life.failed],
        right=[life.time_ps for life in lives if not life.failed],
    )


def rate_per_ns(count: int, total_ps: float) -> tuple[float, float, float]:
    """Return events per ns and the exact two-sided 95 % interval of their rate.

    Garwood, Biometrika 28, 437 (1936): Poisson counts, by quantiles of chi-squared.
    """
    from scipy.stats import chi2

    if total_ps <= 0:
        return 0.0, 0.0, math.inf
    tail, per_ns = (1 - CONFIDENCE) / 2, 1000.0 / total_ps
    low = chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    high = chi2.ppf(1 - tail, 2 * count + 2) / 2
    return count * per_ns, float(low) * per_ns, float(high) * per_ns


def runs_to_tell_apart(
    survived: int, runs: int, others_survived: int, other_runs: int
) -> int | None:
    """Return how many runs of each of two models would tell them apart.

    The least number with which Fisher's exact test finds a difference at the 5 % level in 80 % of
    all cases, if the two survive with the shares seen so far, each moved towards one half as
    Jeffreys does: (k + 1/2) / (n + 1).

    Returns
    -------
    int or None
        None where more than a hundred would be needed.
    """
    shares = [(survived + 0.5) / (runs + 1), (others_survived + 0.5) / (other_runs + 1)]
    if abs(shares[0] - shares[1]) < 1e-9 or _power(shares, MOST_RUNS) < POWER:
        return None
    low, high = 1, MOST_RUNS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(shares, middle) >= POWER else (middle, high)
    return high


def _power(shares: Sequence[float], runs: int) -> float:
    """Return how often Fisher's test finds a difference with so many runs of each."""
    from scipy.stats import binom, hypergeom

    counts = np.arange(runs + 1)
    first, second = (binom.pmf(counts, runs, share) for share in shares)
    power = 0.0
    for total in range(2 * runs + 1):
        one = np.arange(max(0, total - runs), min(runs, total) + 1)
        chance = hypergeom.pmf(one, 2 * runs, runs, total)
        # two-sided: all tables that are no likelier than the one seen
        p = np.array([chance[chance <= c * (1 + 1e-7)].sum() for c in chance])
        power += float((first[one] * second[total - one])[p < 1 - CONFIDENCE].sum())
    return power
