"""Pulling a tube, at rest all the way, until it bears less than before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

STEP = 0.02
LARGEST = 0.5
RATTLE_A = 0.01
LARGEST_FORCE = 0.05
MOST_STEPS = 150
LEFT = 0.95
"""A tube that bears less than this share of the most that it bore has begun to yield."""


def peak_strain(atoms: Atoms, calculator: Any, seed: int = 1) -> float:
    """Return the strain along z at which a tube bears most, before it yields or breaks.

    It is pulled in steps of 0.02; at each its atoms are rattled by 0.01 Å (or symmetry would hold
    all bonds alike) and relaxed. What it bears is the slope of energies, dE/dstrain. What comes
    after the first peak is not looked at: many potentials harden again there, since their
    cutoff acts on stretched bonds.

    Parameters
    ----------
    atoms : Atoms
        At rest, periodic along z.
    calculator
        Of ASE.

    Returns
    -------
    float
        The middle of the steepest step; 0.5 where it bears more and more until then.
    """
    rng = np.random.default_rng(seed)
    length_A = atoms.cell[2, 2]
    pulled = atoms.copy()
    energies = [_energy_eV(pulled, calculator)]
    most_eV, peak = 0.0, 0.0
    for number in range(1, round(LARGEST / STEP) + 1):
        cell = pulled.cell[:].copy()
        cell[2, 2] = length_A * (1 + number * STEP)
        pulled.set_cell(cell, scale_atoms=True)
        pulled.positions += rng.normal(0, RATTLE_A, pulled.positions.shape)
        energies.append(_energy_eV(pulled, calculator))
        borne_eV = (energies[-1] - energies[-2]) / STEP
        if borne_eV > most_eV:
            most_eV, peak = borne_eV, (number - 0.5) * STEP
        if not borne_eV > LEFT * most_eV:  # a NaN is no strength
            return peak
    return LARGEST


def _energy_eV(atoms: Atoms, calculator: Any) -> float:
    """Return the energy at rest, or where the optimiser gives up: it is breaking then."""
    from ase.optimize import FIRE

    atoms.calc = calculator
    FIRE(atoms, logfile=None).run(fmax=LARGEST_FORCE, steps=MOST_STEPS)
    energy_eV = float(atoms.get_potential_energy())
    atoms.calc = None
    return energy_eV
