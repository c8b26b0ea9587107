"""Pulling a tube until it breaks, at rest all the way."""

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
LEFT = 0.5
"""A tube that bears less than this share of the most that it bore is broken."""


def fracture_strain(atoms: Atoms, calculator: Any, seed: int = 1) -> float:
    """Strain a tube along z in steps of 0.02 until it bears half of its strength or less.

    At each strain the atoms are rattled by 0.01 Å (or symmetry would hold all bonds alike) and
    relaxed. What it bears is the slope of energies, dE/dstrain.

    Parameters
    ----------
    atoms : Atoms
        At rest, periodic along z.
    calculator
        Of ASE.

    Returns
    -------
    float
        The last strain that it bore; 0.5 where nothing broke until then.
    """
    rng = np.random.default_rng(seed)
    length_A = atoms.cell[2, 2]
    pulled = atoms.copy()
    energies = [_energy_eV(pulled, calculator)]
    most_eV = 0.0
    for number in range(1, round(LARGEST / STEP) + 1):
        cell = pulled.cell[:].copy()
        cell[2, 2] = length_A * (1 + number * STEP)
        pulled.set_cell(cell, scale_atoms=True)
        pulled.positions += rng.normal(0, RATTLE_A, pulled.positions.shape)
        energies.append(_energy_eV(pulled, calculator))
        borne_eV = (energies[-1] - energies[-2]) / STEP
        most_eV = max(most_eV, borne_eV)
        if not borne_eV > LEFT * most_eV:  # a NaN is no strength
            return (number - 1) * STEP
    return LARGEST


def _energy_eV(atoms: Atoms, calculator: Any) -> float:
    """Return the energy at rest, or where the optimiser gives up: it is breaking then."""
    from ase.optimize import FIRE

    atoms.calc = calculator
    FIRE(atoms, logfile=None).run(fmax=LARGEST_FORCE, steps=MOST_STEPS)
    energy_eV = float(atoms.get_potential_energy())
    atoms.calc = None
    return energy_eV
