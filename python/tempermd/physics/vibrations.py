"""Vibrations about a minimum, by finite differences of forces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

STEP_A = 0.01
EV_PER_A2_U_IN_THZ2 = 9648.53321 / (2 * np.pi) ** 2
"""1 eV/A^2/u is (98.227 rad/ps)^2."""


def frequencies_THz(atoms: Atoms, calculator: Any, step_A: float = STEP_A) -> np.ndarray:
    """Return the frequencies of the normal modes at the zone centre.

    The Hessian is the central difference of the forces, made symmetric, over the masses.

    Parameters
    ----------
    atoms : Atoms
        In a minimum.
    calculator
        Of ASE.
    step_A : float

    Returns
    -------
    (3 n,) array
        Ascending; imaginary frequencies as negative numbers. A periodic tube has four zeros:
        three translations and the turn about its axis.
    """
    moved = atoms.copy()
    moved.calc = calculator
    n = len(atoms)
    hessian = np.zeros((3 * n, 3 * n))
    for atom in range(n):
        for axis in range(3):
            forces = []
            for sign in (1, -1):
                moved.positions[atom, axis] = atoms.positions[atom, axis] + sign * step_A
                forces.append(moved.get_forces().ravel())
            moved.positions[atom, axis] = atoms.positions[atom, axis]
            hessian[3 * atom + axis] = (forces[1] - forces[0]) / (2 * step_A)
    masses = np.repeat(atoms.get_masses(), 3)
    dynamical = (hessian + hessian.T) / 2 / np.sqrt(np.outer(masses, masses))
    squares = np.linalg.eigvalsh(dynamical) * EV_PER_A2_U_IN_THZ2
    return np.sign(squares) * np.sqrt(np.abs(squares))
