"""How often intervals of a factor hold the truth: python tests/bench/factor_coverage.py.

Five seeds, sizes 10 to 160, an arm at 20 that is worth 60. The bootstrap resamples seeds, of
both arms together, and takes percentiles. Laws: a power law; one with a floor, which is no
straight line between sizes. Noise of logarithms: normal; Student's t with three degrees of freedom
(a seed now and then far off).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import isotonic_regression

from tempermd.findings.statistics import data_efficiency

SIZES = (10, 20, 40, 80, 160)
SEEDS = 5
N, GAIN = 20, 3.0
TRIALS, RESAMPLED = 1000, 400

Law = Callable[[float], float]
LAWS: dict[str, Law] = {
    "power law": lambda n: n**-0.3,
    "with a floor": lambda n: 0.25 + 2.0 * n**-0.7,
}
NOISES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "Student t3": lambda rng, shape: rng.standard_t(3, size=shape) / math.sqrt(3),
}


def trial(rng: np.random.Generator, law: Law, noise: Callable, spread: float) -> np.ndarray:
    """Return logarithms of errors (seed, arm and then sizes), a half of the variance shared."""
    truth = np.log([law(N * GAIN), *map(law, SIZES)])
    own, shared = noise(rng, (SEEDS, len(truth))), noise(rng, (SEEDS, 1))
    return truth + spread * (own + shared) / math.sqrt(2)


def by_inversion(logs: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the interval of the study's tables; open ends are endless."""
    arm, *columns = (dict(enumerate(map(float, np.exp(column)))) for column in logs.T)
    found = data_efficiency(N, arm, dict(zip(SIZES, columns, strict=True)))
    low, high = found.low, found.high
    return 0.0 if found.low_censored else low, math.inf if found.high_censored else high


def by_bootstrap(logs: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the percentile interval of resampled seeds; open ends are endless."""
    factors = []
    for _ in range(RESAMPLED):
        means = logs[rng.integers(SEEDS, size=SEEDS)].mean(axis=0)
        curve = isotonic_regression(means[1:], increasing=False).x
        factors.append(math.exp(np.interp(-means[0], -curve, np.log(SIZES))) / N)
    low, high = np.quantile(factors, [0.025, 0.975])
    return (0.0 if low <= SIZES[0] / N else low), (math.inf if high >= SIZES[-1] / N else high)


def main() -> None:
    """Print the share of intervals that hold the truth, as Markdown."""
    print("| law | noise | spread | inversion of t | bootstrap |\n| --- | --- | --- | --- | --- |")
    for law_name, law in LAWS.items():
        for noise_name, noise in NOISES.items():
            for spread in (0.02, 0.1):
                shares = []
                for method in (by_inversion, by_bootstrap):
                    rng = np.random.default_rng(1)
                    bounds = [method(trial(rng, law, noise, spread), rng) for _ in range(TRIALS)]
                    shares.append(sum(low <= GAIN <= high for low, high in bounds) / TRIALS)
                cells = " | ".join(f"{100 * share:.1f} %" for share in shares)
                print(f"| {law_name} | {noise_name} | {spread:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
