"""A tube at rest: its length, bonds, radius and stiffness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.records import UserError

if TYPE_CHECKING:
    from ase import Atoms

WALL_A = 3.35
"""Thickness of a wall, the spacing of graphite, by which moduli are usually given."""
N_PER_M_IN_TPA = 1e-2 / WALL_A
"""Stiffness of a wall as the modulus of its thickness: 1 N/m over 1 A is 0.01 TPa."""
STRAINS = (-0.01, -0.005, 0.0, 0.005, 0.01)
LARGEST_FORCE = 0.01
MOST_STEPS = 500
LONGEST_BOND_A = 1.85


@dataclass(frozen=True)
class RelaxedTube:
    """A tube in its minimum, its box along the axis included.

    Attributes
    ----------
    atoms : Atoms
    energy_eV : float
    bond_A : float
        Mean distance of bonded atoms.
    radius_A : float
    stiffness_N_per_m : float
        Young's modulus times the thickness of a wall, which it does not depend on.
    """

    atoms: Atoms
    energy_eV: float
    bond_A: float
    radius_A: float
    stiffness_N_per_m: float

    @property
    def youngs_modulus_TPa(self) -> float:
        """Young's modulus for walls 3.35 A thick."""
        return self.stiffness_N_per_m * N_PER_M_IN_TPA


def relax_tube(atoms: Atoms, calculator: Any) -> RelaxedTube:
    """Relax a tube along z at five strains; their energies give its length and its stiffness.

    Per area of the wall A = 2 pi R L, the stiffness is (1 / A) d2E / dstrain2 at the minimum of
    a cubic through the energies.

    Parameters
    ----------
    atoms : Atoms
        Periodic along z, with vacuum across.
    calculator
        Of ASE.

    Raises
    ------
    UserError
        When forces do not become small, or the energy has no minimum within 2 % of strain.
    """
    start = _relaxed(atoms, calculator)
    energies = []
    strains = np.array(STRAINS)
    for strain in strains:
        energies.append(_relaxed(_strained(start, strain), calculator).info["relaxed_eV"])
    cubic = np.polynomial.Polynomial.fit(strains, energies, 3).convert()
    best = _minimum(cubic)
    found = _relaxed(_strained(start, best), calculator)
    curvature_eV = float(cubic.deriv(2)(best))
    radius_A = _radius(found)
    area_A2 = 2 * np.pi * radius_A * found.cell[2, 2]
    # d2E/dstrain2 is taken by strains of the start's length; the minimum's is (1 + best) longer
    stiffness = curvature_eV * (1 + best) ** 2 / area_A2 * 16.02176634
    return RelaxedTube(found, found.info["relaxed_eV"], _bond(found), radius_A, stiffness)


def _relaxed(atoms: Atoms, calculator: Any) -> Atoms:
    from ase.optimize import FIRE

    moved = atoms.copy()
    moved.calc = calculator
    optimizer = FIRE(moved, logfile=None)
    if not optimizer.run(fmax=LARGEST_FORCE, steps=MOST_STEPS):
        worst = float(np.linalg.norm(moved.get_forces(), axis=1).max())
        raise UserError(
            f"a tube at rest: forces stay at {worst:.2g} eV/A after {MOST_STEPS} steps, expected "
            f"below {LARGEST_FORCE}; this potential has no minimum there, or a rough one"
        )
    moved.info["relaxed_eV"] = float(moved.get_potential_energy())
    moved.calc = None
    return moved


def _strained(atoms: Atoms, strain: float) -> Atoms:
    longer = atoms.copy()
    cell = longer.cell[:].copy()
    cell[2] *= 1 + strain
    longer.set_cell(cell, scale_atoms=True)
    return longer


def _minimum(cubic: np.polynomial.Polynomial) -> float:
    """Return the strain of the energy's minimum near zero."""
    roots = cubic.deriv().roots()
    real = roots[np.abs(roots.imag) < 1e-9].real
    good = [float(x) for x in real if abs(x) < 0.02 and cubic.deriv(2)(x) > 0]
    if not good:
        raise UserError(
            "a tube at rest: its energy has no minimum within 2 % of the length it was built with"
        )
    return min(good, key=abs)


def _bond(atoms: Atoms) -> float:
    from ase.neighborlist import neighbor_list

    return float(np.mean(neighbor_list("d", atoms, LONGEST_BOND_A)))


def _radius(atoms: Atoms) -> float:
    across = atoms.positions[:, :2] - atoms.positions[:, :2].mean(axis=0)
    return float(np.linalg.norm(across, axis=1).mean())
