"""Calibration of a committee: does its spread tell its error?

With errors e and spreads s of force components, z = e/s is standard normal for a calibrated
committee. Reliability: rms error against rms spread in bins of equal numbers, and the expected
normalised calibration error, mean |rms s - rms e| / rms s (Levi et al., Sensors 22, 5540, 2022).
Miscalibration area: between the fraction of errors inside the central interval of probability p
and p, over p (Kuleshov et al., ICML 2018; Tran et al., Mach. Learn.: Sci. Technol. 1, 025006,
2020). Negative log likelihood: mean of (ln 2 pi s^2 + z^2)/2. The factor sqrt(mean z^2) on all
spreads is the one that maximises the likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempermd.cards.judged import judge, name_of
from tempermd.cards.records import Bin, Calibration
from tempermd.records import UserError, sha256_file

if TYPE_CHECKING:
    from ase import Atoms

N_BINS = 10
NOISE_EV_PER_A = 1e-5
"""Models in single precision differ by less where symmetry makes the force vanish."""


def committee(
    checkpoints: Sequence[Path | str], frames: Sequence[Atoms], elements: list[str]
) -> Calibration:
    """Return the calibration of models on labelled frames.

    The prediction is the members' mean, the spread their standard deviation (n - 1) in each
    force component. Few members scatter: with M of them z has Student's tails.
    """
    paths = [Path(path) for path in checkpoints]
    hashes = [sha256_file(path) for path in paths]
    if len(set(hashes)) < len(hashes) or len(hashes) < 2:
        raise UserError(
            "a committee needs at least two different checkpoints, "
            f"got {len(set(hashes))} different of {len(hashes)}; name the other members"
        )
    found = [judge(path, frames, elements) for path in paths]
    forces = np.stack([np.concatenate(one.forces) for one in found])  # (M, N, 3)
    errors = forces.mean(0) - np.concatenate(found[0].true_forces)
    names = [f"{name_of(one)} {hashed[:8]}" for one, hashed in zip(paths, hashes, strict=True)]
    return calibration(errors.ravel(), forces.std(0, ddof=1).ravel(), names)


def calibration(errors: np.ndarray, spreads: np.ndarray, members: list[str]) -> Calibration:
    """Return all figures for errors (n,) and spreads (n,), both in eV/Å.

    Components whose spread is rounding (zero by symmetry, as in a crystal) are left out.
    """
    from scipy.stats import pearsonr, spearmanr

    told = spreads > NOISE_EV_PER_A
    errors, spreads = errors[told], spreads[told]
    if len(errors) < N_BINS:
        raise UserError(
            f"only {len(errors)} force components have a spread; a calibration needs at least "
            f"{N_BINS}: judge on more frames, or check that the members differ"
        )
    z = errors / spreads
    factor = float(np.sqrt((z**2).mean()))
    log_spread = float(np.log(2 * np.pi * spreads**2).mean())
    expected = np.linspace(0, 1, 101)
    observed = inside(z, expected)
    bins = reliability(errors, spreads)
    return Calibration(
        members=members,
        n_components=len(z),
        rms_error_eV_per_A=float(np.sqrt((errors**2).mean())),
        rms_spread_eV_per_A=float(np.sqrt((spreads**2).mean())),
        factor=factor,
        correlation=float(pearsonr(spreads, np.abs(errors)).statistic),
        rank_correlation=float(spearmanr(spreads, np.abs(errors)).statistic),
        negative_log_likelihood=0.5 * (log_spread + factor**2),
        scaled_negative_log_likelihood=0.5 * (log_spread + 2 * np.log(factor) + 1),
        miscalibration_area=miscalibration_area(z),
        scaled_miscalibration_area=miscalibration_area(z / factor),
        calibration_error=float(np.mean([abs(b.spread - b.error) / b.spread for b in bins])),
        bins=bins,
        expected=expected.tolist(),
        observed=observed.tolist(),
    )


def reliability(errors: np.ndarray, spreads: np.ndarray) -> list[Bin]:
    """Return rms spread and rms error in bins of equal numbers, by ascending spread."""
    order = np.argsort(spreads, kind="stable")
    found = []
    for chosen in np.array_split(order, N_BINS):
        spread, error = (float(np.sqrt((one[chosen] ** 2).mean())) for one in (spreads, errors))
        found.append(Bin(n=len(chosen), spread=spread, error=error))
    return found


def inside(z: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the fraction of |z| inside the central normal interval of each probability."""
    from scipy.stats import norm

    limits = norm.ppf((1 + probabilities) / 2)
    return np.searchsorted(np.sort(np.abs(z)), limits, side="right") / len(z)


def miscalibration_area(z: np.ndarray) -> float:
    """Return the area between observed and expected fractions; 0 calibrated, at most 1/2."""
    probabilities = np.linspace(0, 1, 1001)
    return float(np.trapezoid(np.abs(inside(z, probabilities) - probabilities), probabilities))
