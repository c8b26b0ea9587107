"""Statistics over seeds: closed forms, other implementations, a known truth, the paper's table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tempermd.findings.statistics import Factor, data_efficiency, estimate, paired_ratio

SIZES = (10, 20, 40, 80, 160)
SEEDS = range(5)
EXPONENT = 0.3


def by_seed(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(map(float, values)))


def exact(n: float) -> dict[int, float]:
    """Return the same error for every seed, on a power law."""
    return dict.fromkeys(SEEDS, n**-EXPONENT)


REFERENCE = {n: exact(n) for n in SIZES}


def test_interval_is_scipys_t_interval_of_logarithms() -> None:
    errors = [0.31, 0.29, 0.36, 0.30, 0.33]
    logs = np.log(errors)
    low, high = stats.t.interval(0.95, 4, loc=logs.mean(), scale=stats.sem(logs))
    found = estimate(errors)
    assert found.mean == pytest.approx(stats.gmean(errors), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-12)


def test_diverged_seeds_are_counted_and_in_no_mean() -> None:
    found = estimate([0.2, math.nan, 0.2, math.inf])
    assert (found.n_used, found.n_diverged) == (2, 2)
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2))
    nothing = estimate([math.nan])
    assert (nothing.mean, nothing.n_used, nothing.n_diverged) == (None, 0, 1)


def test_one_seed_has_no_interval() -> None:
    assert (estimate([0.2]).mean, estimate([0.2]).low) == (pytest.approx(0.2), None)
    ratio = paired_ratio({1: 0.1}, {1: 0.2})
    assert ratio is not None
    assert (ratio.ratio, ratio.low, ratio.verdict) == (pytest.approx(0.5), None, "one seed")


def test_paired_ratio_is_scipys_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    own, other = rng.lognormal(0, 0.2, 6), rng.lognormal(0.1, 0.2, 6)
    found = paired_ratio(by_seed(own), by_seed(other) | {99: 1.0})
    logs = stats.ttest_rel(np.log(own), np.log(other)).confidence_interval()
    plain = stats.ttest_rel(own, other).confidence_interval()
    assert found is not None
    assert (math.log(found.low), math.log(found.high)) == pytest.approx(tuple(logs), rel=1e-9)
    assert (found.difference_low, found.difference_high) == pytest.approx(tuple(plain), rel=1e-9)
    assert found.n_pairs == 6


def test_pairing_sees_what_spread_over_seeds_hides() -> None:
    """Seeds differ by a factor of three, arms by two percent in every seed alike."""
    hard = {1: 0.1, 2: 0.2, 3: 0.3}
    easier = {1: 0.098, 2: 0.197, 3: 0.294}
    assert estimate(hard.values()).low < estimate(easier.values()).mean
    assert paired_ratio(easier, hard).verdict == "better"
    assert paired_ratio(hard, easier).verdict == "worse"
    assert paired_ratio({1: 0.1, 2: 0.21}, {1: 0.11, 2: 0.2}).verdict == "not told apart"


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.7, 4.0, 8.0])
def test_a_power_law_gives_its_gain_back(gain: float) -> None:
    found = data_efficiency(20, exact(20 * gain), REFERENCE)
    assert found is not None
    assert found.factor == pytest.approx(gain, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((gain, gain), rel=1e-6)


@pytest.mark.parametrize(("size", "censored", "factor"), [(400, "above", 8.0), (5, "below", 0.5)])
def test_beyond_the_reference_the_factor_is_censored(
    size: float, censored: str, factor: float
) -> None:
    found = data_efficiency(20, exact(size), REFERENCE)
    assert found == Factor(
        factor=factor,
        censored=censored,
        low=factor,
        high=factor,
        low_censored=censored == "below",
        high_censored=censored == "above",
    )


def test_a_rising_reference_is_pooled() -> None:
    """Errors 4, 2, 3, 1: the middle ones become their geometric mean, as isotonic regression."""
    reference = {10: {1: 4.0}, 20: {1: 2.0}, 40: {1: 3.0}, 80: {1: 1.0}}
    found = data_efficiency(10, {1: 2.0}, reference)
    level = math.sqrt(6)
    share = math.log(level / 2) / math.log(level)
    assert found.factor == pytest.approx(4 * 2**share)
    assert (found.censored, found.low) == ("no", None)


def scanned(n: int, arm: np.ndarray, curves: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest factor that a paired t-test at 95 % does not refuse."""
    log_n = np.log(SIZES)
    kept = []
    for size in np.geomspace(SIZES[0], SIZES[-1], 801):
        means = [np.interp(math.log(size), log_n, curve) for curve in curves]
        if stats.ttest_rel(means, arm).pvalue >= 0.05:
            kept.append(size)
    return min(kept) / n, max(kept) / n


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_interval_is_what_a_scan_of_t_tests_leaves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curves = -EXPONENT * np.log(SIZES) + rng.normal(0, 0.03, (5, 1)) + rng.normal(0, 0.02, (5, 5))
    arm = -EXPONENT * math.log(50) + rng.normal(0, 0.03, 5)
    reference = {n: by_seed(np.exp(curves[:, k])) for k, n in enumerate(SIZES)}
    assert (np.diff(curves.mean(axis=0)) < 0).all()  # nothing to pool
    found = data_efficiency(20, by_seed(np.exp(arm)), reference)
    assert (found.low, found.high) == pytest.approx(scanned(20, arm, curves), rel=5e-3)


def made_up(rng: np.random.Generator, spread: float, gain: float, paired: bool) -> Factor:
    """Return the factor found at n = 20 where the truth is a power law and ``gain``."""
    shared = rng.normal(0, spread, 5)
    curves = {
        n: by_seed(np.exp(-EXPONENT * math.log(n) + shared + rng.normal(0, spread, 5)))
        for n in SIZES
    }
    noise = (shared if paired else rng.normal(0, spread, 5)) + rng.normal(0, spread, 5)
    errors = np.exp(-EXPONENT * math.log(20 * gain) + noise)
    arm = dict(zip(range(5) if paired else range(10, 15), errors, strict=True))
    found = data_efficiency(20, arm, curves)
    assert found is not None
    return found


def coverage(spread: float, gain: float, paired: bool = True, trials: int = 1500) -> float:
    """Return how often the interval, with its open ends, holds the true gain."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(trials):
        one = made_up(rng, spread, gain, paired)
        held += (one.low_censored or one.low <= gain) and (one.high_censored or gain <= one.high)
    return held / trials


@pytest.mark.parametrize(("spread", "gain"), [(0.02, 1.0), (0.02, 3.0), (0.05, 7.0)])
def test_95_percent_of_intervals_hold_the_truth(spread: float, gain: float) -> None:
    """With 1,500 trials the bounds are three standard errors to either side."""
    assert 0.933 <= coverage(spread, gain) <= 0.967


def test_other_seeds_give_a_wider_interval_not_a_wrong_one() -> None:
    assert 0.945 <= coverage(0.03, 3.0, paired=False, trials=1000) <= 0.995


def test_a_diverged_seed_leaves_a_factor_with_its_interval() -> None:
    rng = np.random.default_rng(5)
    curves = {n: by_seed(n**-EXPONENT * rng.lognormal(0, 0.01, 5)) for n in SIZES}
    arm = by_seed(60**-EXPONENT * rng.lognormal(0, 0.01, 5))
    found = data_efficiency(20, arm | {2: math.nan}, curves)
    assert found.low < 3 < found.high
    assert data_efficiency(20, dict.fromkeys(SEEDS, math.nan), curves) is None
    assert data_efficiency(20, arm, {10: curves[10]}) is None


def test_intervals_that_do_not_touch_are_apart() -> None:
    low, high = Factor(factor=1, censored="no", low=0.8, high=1.2), None
    high = Factor(factor=9, censored="above", low=5, high=9, high_censored=True)
    assert low.apart_from(high)
    assert high.apart_from(low)
    assert not high.apart_from(low.model_copy(update={"high_censored": True}))
    assert low.apart_from(Factor(factor=9, censored="above")) is None


DIRECT = {  # mean of five seeds: eV/Å, meV/atom
    25: (1.2723, 192.28),
    50: (1.1693, 166.07),
    100: (1.0466, 129.2),
    200: (0.96022, 96.142),
    400: (0.89974, 87.184),
    800: (0.82803, 69.078),
    1600: (0.76607, 55.975),
    3200: (0.70925, 50.983),
}
PUBLISHED = [  # arm at n, its mean error, structures that direct training needs
    (25, 0.85964, 0, 585),
    (100, 0.80675, 0, 1009),
    (25, 0.92724, 0, 290),
    (25, 1.2179, 0, 36),
    (3200, 0.715, 0, 2976),
    (25, 70.301, 1, 759),
    (200, 53.793, 1, 2149),
    (25, 73.094, 1, 676),
    (25, 129.87, 1, 99),
]


@pytest.mark.parametrize(("n", "error", "column", "needed"), PUBLISHED)
def test_published_data_efficiency(n: int, error: float, column: int, needed: int) -> None:
    """Gardner, Baker, Deringer, Mach. Learn.: Sci. Technol. 5, 015003 (2024).

    Mean errors of direct and of pre-trained models (ACE, GAP-20, LCBOP) on C-GAP-17 from the
    published results; the structures needed come from linear interpolation in log-log of the
    same means by another program.
    """
    reference = {size: {1: both[column]} for size, both in DIRECT.items()}
    found = data_efficiency(n, {1: error}, reference)
    assert found.factor * n == pytest.approx(needed, abs=0.8)


def test_published_factor_beyond_the_curve() -> None:
    reference = {size: {1: both[0]} for size, both in DIRECT.items()}
    found = data_efficiency(3200, {1: 0.69119}, reference)
    assert (found.factor, found.censored) == (1.0, "above")
