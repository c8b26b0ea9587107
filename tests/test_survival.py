"""Survival statistics against published trials and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tempermd.report import (
    Life,
    clopper_pearson,
    kaplan_meier,
    log_rank,
    rate_per_ns,
    runs_to_tell_apart,
)
from tempermd.report.survival import expected_failures

# 6-mercaptopurine against placebo, weeks in remission; + is censored
TREATED = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def lives_of(text: str) -> list[Life]:
    return [Life(float(word.strip("+")), "+" not in word) for word in text.split()]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (5, 5, 0.025 ** (1 / 5), 1.0),  # closed forms at the ends
        (0, 7, 0.0, 1 - 0.025 ** (1 / 7)),
        (4, 10, 0.1216, 0.7376),  # tables of Clopper and Pearson
        (0, 0, 0.0, 1.0),
    ],
)
def test_clopper_pearson(successes: int, trials: int, low: float, high: float) -> None:
    assert clopper_pearson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_kaplan_meier_of_a_published_trial() -> None:
    """Freireich et al., Blood 21, 699 (1963), as tabled by Kalbfleisch and Prentice."""
    curve = kaplan_meier(lives_of(TREATED))
    found = dict(zip(curve.times_ps, curve.survival, strict=True))
    known = {0: 1, 6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    assert [found[time] for time in known] == pytest.approx(list(known.values()), abs=6e-4)


def test_log_log_interval_at_one_time() -> None:
    """With failures at one time S = k/m, Greenwood's error is that of a binomial."""
    curve = kaplan_meier(lives_of("2 2 2 2 9+ 9+ 9+ 9+ 9+ 9+"))
    survival = 0.6
    spread = 1.959964 * math.sqrt((1 - survival) / (10 * survival)) / abs(math.log(survival))
    bounds = (survival ** math.exp(spread), survival ** math.exp(-spread))
    assert (curve.low[1], curve.high[1]) == pytest.approx(bounds, rel=1e-5)
    assert (curve.low[0], curve.high[0]) == (None, None)


def test_log_rank_of_a_published_trial() -> None:
    """The log-rank statistic of these data is 16.79; 19.25 and 10.75 failures are expected."""
    found = log_rank(lives_of(TREATED), lives_of(PLACEBO))
    assert found.p == pytest.approx(math.erfc(math.sqrt(16.79 / 2)), rel=0.01)
    (seen, expected), (other_seen, other_expected) = expected_failures(
        lives_of(TREATED), lives_of(PLACEBO)
    )
    assert (seen, other_seen) == (9, 21)
    assert (expected, other_expected) == pytest.approx((19.25, 10.75), abs=0.005)
    assert found.hazard_ratio == pytest.approx((9 / 19.25) / (21 / 10.75), rel=1e-3)
    assert found.low < found.hazard_ratio < found.high < 1


def test_log_rank_of_groups_without_failures() -> None:
    assert log_rank(lives_of("9+ 9+"), lives_of("9+ 9+")) is None
    assert log_rank(lives_of("9+ 9+"), []) is None
    one_sided = log_rank(lives_of("9+ 9+ 9+ 9+"), lives_of("1 2 3 4"))
    assert one_sided.p < 0.05
    assert one_sided.hazard_ratio is None


def test_rate_of_rare_events() -> None:
    """Of none in a time t, the upper bound is -ln(0.025) / t; of ten, tables have 4.795, 18.39."""
    assert rate_per_ns(0, 2000.0) == pytest.approx((0.0, 0.0, -math.log(0.025) / 2))
    assert rate_per_ns(10, 1000.0) == pytest.approx((10.0, 4.795, 18.39), rel=1e-3)
    assert rate_per_ns(0, 0.0) == (0.0, 0.0, math.inf)


def test_runs_to_tell_apart_have_that_power() -> None:
    """In drawn experiments of the advised size, Fisher's test tells in 80 % or more."""
    from scipy.stats import fisher_exact

    survived, runs, others, other_runs = 9, 10, 4, 10
    advised = runs_to_tell_apart(survived, runs, others, other_runs)
    shares = (survived + 0.5) / (runs + 1), (others + 0.5) / (other_runs + 1)
    rng = np.random.default_rng(1)

    def power(n: int) -> float:
        draws = zip(*(rng.binomial(n, share, 2000) for share in shares), strict=True)
        tables = [[[a, n - a], [b, n - b]] for a, b in draws]
        return float(np.mean([fisher_exact(table).pvalue < 0.05 for table in tables]))

    assert power(advised) == pytest.approx(0.82, abs=0.035)
    assert power(advised - 2) < 0.82


def test_runs_to_tell_apart_at_the_ends() -> None:
    assert runs_to_tell_apart(5, 5, 5, 5) is None
    assert runs_to_tell_apart(50, 50, 0, 50) == 4  # 4 of 4 against 0 of 4: p = 1 / 35
    assert runs_to_tell_apart(2, 2, 0, 2) > 4
