"""Two models on the same frames: differences of errors with intervals, and their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tempermd.cards.judged import Judged
from tempermd.cards.records import Difference, Guard, Rival
from tempermd.training import Errors

DRAWS = 2000
SURE = ("better", "worse")
FEWEST = 5
"""Below so many trajectories frames are drawn; below so many frames nothing is told apart."""


def resampled(groups: list[str]) -> tuple[Literal["frames", "trajectories"], np.ndarray]:
    """Return what the bootstrap draws, and the number of each frame's group, (F,)."""
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < min(FEWEST, len(groups)):
        return "frames", np.arange(len(groups))
    of_frames = all(name.startswith("frame ") for name in names)
    return ("frames" if of_frames else "trajectories"), numbers


def differences(one: Judged, other: Judged) -> tuple[Difference, Difference]:
    """Return RMSE(one) - RMSE(other) of forces (eV/Å) and energies (meV/atom).

    Intervals are the 2.5 and 97.5 percentiles of a bootstrap over groups of frames, paired:
    each draw takes the same frames of both (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13). They hold what the choice of frames does, not what another
    seed of the training would.
    """
    groups = resampled(one.groups)[1]
    forces = [[(e**2).sum() for e in judged.force_errors] for judged in (one, other)]
    energies = [judged.energy_errors**2 for judged in (one, other)]
    ones = np.ones(len(groups))
    return (
        paired_interval(np.array(forces), 3.0 * one.n_atoms, groups),
        paired_interval(np.array(energies), ones, groups),
    )


def paired_interval(squares: np.ndarray, counts: np.ndarray, groups: np.ndarray) -> Difference:
    """Return the difference of two RMSEs with its interval.

    Parameters
    ----------
    squares
        Sums of squared errors of both in each frame, shape (2, F).
    counts, groups
        Numbers of errors, and the group, of each frame, shape (F,).
    """
    n_groups = int(groups.max()) + 1
    sums = np.stack([np.bincount(groups, one, n_groups) for one in squares])  # (2, G)
    weights = np.bincount(groups, counts, n_groups)
    rmse = np.sqrt(sums.sum(1) / weights.sum())
    value = float(rmse[0] - rmse[1])
    if n_groups < FEWEST:
        return Difference(value=value, low=None, high=None)
    drawn = np.random.default_rng(0).integers(0, n_groups, (DRAWS, n_groups))
    totals = weights[drawn].sum(1)
    first, second = (np.sqrt(one[drawn].sum(1) / totals) for one in sums)
    low, high = np.percentile(first - second, [2.5, 97.5])
    return Difference(value=value, low=float(low), high=float(high))


TITLES = {"direct": "direct training", "start": "its start", "source": "its label source"}
REMEDIES = {
    "direct": "use direct/best.ckpt, which saw the same frames, or fine-tune at a lower rate or "
    "from another base",
    "start": "lower the learning rate or take fewer steps, and check the new labels",
    "source": "the source itself is the better potential here; give it more frames to learn from",
}


def verdict_of(rivals: Sequence[Rival]) -> Literal["better", "worse", "not told apart"]:
    """Return worse where any rival is better in anything, else better where any is worse."""
    outcomes = {one.outcome for rival in rivals for one in (rival.forces, rival.energy)}
    if "worse" in outcomes:
        return "worse"
    return "better" if "better" in outcomes else "not told apart"


def sentence_of(part: str, errors: Errors, rivals: Sequence[Rival], skipped: list[str]) -> str:
    """Say in one sentence how a fine-tuned model stands to its rivals, and what to do."""
    worse = [one for one in rivals if "worse" in (one.forces.outcome, one.energy.outcome)]
    told = "; ".join(_against(errors, one) for one in (worse or rivals))
    head = {
        "worse": "WARNING: the fine-tuned model is worse",
        "better": "guard: the fine-tuned model is better",
        "not told apart": "guard: the fine-tuned model is not told apart from its rivals",
    }[verdict_of(rivals)]
    text = f"{head}, on {errors.n_frames} {part} frames: {told}"
    if worse:
        text += f"; {REMEDIES[worse[0].kind]}"
    if skipped:
        text += f" (not compared: {'; '.join(skipped)})"
    return text


def _against(errors: Errors, rival: Rival) -> str:
    title = TITLES[rival.kind] + (f" {rival.name}" if rival.kind == "source" else "")
    forces = _told(
        errors.force_rmse_eV_per_A, rival.errors.force_rmse_eV_per_A, rival.forces, "eV/A", 3
    )
    energy = _told(
        errors.energy_rmse_meV_per_atom,
        rival.errors.energy_rmse_meV_per_atom,
        rival.energy,
        "meV/atom",
        1,
    )
    return f"against {title} forces {forces}, energy {energy}"


def _told(own: float, other: float, difference: Difference, unit: str, digits: int) -> str:
    """Return e.g. ``0.066 to 0.095 eV/A (better by 0.029, 95 % 0.021 to 0.036)``."""
    text = f"{own:.{digits}f} to {other:.{digits}f} {unit}"
    if difference.low is None or difference.high is None or difference.outcome not in SURE:
        return f"{text} (not told apart)"
    ends = sorted(abs(one) for one in (difference.low, difference.high))
    size = f"{abs(difference.value):.{digits}f}, 95 % {ends[0]:.{digits}f} to {ends[1]:.{digits}f}"
    return f"{text} ({difference.outcome} by {size})"


def guard_lines(guard: Guard) -> list[list[str]]:
    """Return a table's rows: each rival with both errors, differences and outcomes."""
    rows = [["this model", *_pair(guard.errors), "", ""]]
    for one in guard.rivals:
        rows.append(
            [
                TITLES[one.kind] + (f" ({one.name})" if one.name else ""),
                *_pair(one.errors),
                _interval(one.forces, 3),
                _interval(one.energy, 1),
            ]
        )
    return rows


def _pair(errors: Errors) -> list[str]:
    return [f"{errors.force_rmse_eV_per_A:.3f}", f"{errors.energy_rmse_meV_per_atom:.1f}"]


def _interval(one: Difference, digits: int) -> str:
    if one.low is None or one.high is None:
        return "too few frames to tell"
    ends = f"{one.low:+.{digits}f} to {one.high:+.{digits}f}"
    return f"{one.outcome}: {one.value:+.{digits}f} ({ends})".replace("-", "−")
