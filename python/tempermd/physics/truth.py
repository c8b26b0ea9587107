"""Labels of the truth where a potential itself goes: in frames of its own motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.physics.bands import Band, PhysicsCheck, check_of

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class OwnFrames:
    """Frames to which a potential has gone by itself, all of one structure.

    Attributes
    ----------
    snapshots : sequence of Atoms
    temperature_K : float
    named : bool
        Whether the checks' names tell the temperature.
    """

    snapshots: Sequence[Atoms]
    temperature_K: float
    named: bool = True

    @property
    def name_K(self) -> float | None:
        """The temperature, where names tell it."""
        return self.temperature_K if self.named else None

    @property
    def thermal_meV(self) -> float:
        """Standard deviation of the potential energy per atom in harmonic motion, canonical."""
        kT_meV = 0.08617333 * self.temperature_K
        return kT_meV * math.sqrt(1.5 / len(self.snapshots[0]))


def errors_in(
    frames: OwnFrames, calculator: Any, truth: Any
) -> tuple[list[PhysicsCheck], list[str]]:
    """Return how far a potential is from the truth, by the frames that got a label.

    Parameters
    ----------
    frames : OwnFrames
    calculator, truth
        Of ASE.

    Returns
    -------
    (list of PhysicsCheck, list of str)
        ``force_error``, the RMS deviation over the RMS of the truth's forces, and
        ``energy_error``, the standard deviation of the energies' difference per atom; and a
        sentence where the truth gave no label.
    """
    from tempermd.labels import LabelFailureError, compute

    pairs, failures = [], []
    for atoms in frames.snapshots:
        try:
            pairs.append((compute(atoms, calculator), compute(atoms, truth)))
        except LabelFailureError as error:
            failures.append(str(error))
    checks = []
    if pairs:
        share = _force_error(pairs), "of their size"
        checks.append(check_of("force_error", *share, temperature_K=frames.name_K))
    if len(pairs) > 1:  # one difference has no spread
        spread = _energy_error_meV(pairs), "meV/atom"
        band = Band(low=0.0, high=frames.thermal_meV, why="more than heat itself moves them")
        checks.append(check_of("energy_error", *spread, temperature_K=frames.name_K, band=band))
    return checks, _told(failures, frames)


def _force_error(pairs: Sequence[tuple[Atoms, Atoms]]) -> float:
    true = np.array([truth.get_forces() for _, truth in pairs])  # (frames, n, 3)
    own = np.array([atoms.get_forces() for atoms, _ in pairs])
    return float(np.sqrt(np.mean(np.square(own - true)) / np.mean(np.square(true))))


def _energy_error_meV(pairs: Sequence[tuple[Atoms, Atoms]]) -> float:
    differences_eV = [
        (own.get_potential_energy() - truth.get_potential_energy()) / len(own)
        for own, truth in pairs
    ]
    return 1000 * float(np.std(differences_eV))


def _told(failures: Sequence[str], frames: OwnFrames) -> list[str]:
    if not failures:
        return []
    count = f"{len(failures)} of {len(frames.snapshots)} frames at {frames.temperature_K:g} K"
    return [f"{count} have no label and are left out ({failures[0]})"]
