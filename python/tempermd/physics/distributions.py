"""What a trajectory's atoms do on average: pair distances and vibrations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tempermd.trajectory import Frame

LONGEST_A = 6.0
BINS = 240


def pair_distribution(frames: Iterable[Frame], longest_A: float = LONGEST_A) -> np.ndarray:
    """Return the distribution of pair distances, normalised to one.

    Not divided by the density of an ideal gas: around a tube there is vacuum, and only its
    comparison with another run of the same structure is meant.

    Returns
    -------
    (240,) array
        Share of pairs in each bin from 0 to ``longest_A``.
    """
    from tempermd.events.snapshot import close_pairs

    counts = np.zeros(BINS)
    for frame in frames:
        pairs = close_pairs(frame, longest_A)
        counts += np.histogram(pairs.distance, bins=BINS, range=(0.0, longest_A))[0]
    return counts / max(counts.sum(), 1.0)


def vibrational_spectrum(
    velocities: np.ndarray, masses: np.ndarray, spacing_ps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the vibrational density of states of a trajectory.

    The power spectrum of mass-weighted velocities (Wiener and Khinchin: the transform of their
    autocorrelation), under a Hann window.

    Parameters
    ----------
    velocities : (T, n, 3) array
        Evenly spaced in time; any unit.
    masses : (n,) array
    spacing_ps : float
        Between frames; the spectrum ends at half of its inverse.

    Returns
    -------
    frequency_THz, density : (T // 2 + 1,) arrays
        The density integrates to one.
    """
    window = np.hanning(len(velocities))[:, None, None]
    spectrum = np.abs(np.fft.rfft(velocities * window, axis=0)) ** 2
    power = np.einsum("fna,n->f", spectrum, masses)
    frequency = np.fft.rfftfreq(len(velocities), spacing_ps)
    return frequency, power / (power.sum() * (frequency[1] - frequency[0]))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the common share of two distributions on the same bins: 1 if equal, 0 if apart."""
    total = one.sum(), other.sum()
    return float(np.minimum(one / total[0], other / total[1]).sum())
