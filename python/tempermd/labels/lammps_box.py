"""A structure in the frame of LAMMPS: rotated, little skewed, wrapped, open axes closed around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell, minkowski_reduce

MARGIN_A = 1.0
"""Empty space beyond the outermost atoms of an open axis; any width gives the same numbers."""


@dataclass(frozen=True)
class Box:
    """What LAMMPS needs of a structure, and the rotation that leads back.

    Attributes
    ----------
    low, high
        Bounds of the box, lists of 3 (Angstrom).
    tilts
        xy, yz and xz (Angstrom), in the order of LAMMPS's ``reset_box``.
    positions
        (N, 3) (Angstrom), inside the box along periodic axes.
    pbc
        (3,) which axes are periodic.
    rotation
        (3, 3); vectors of LAMMPS's frame, as rows, times it are vectors of ASE's.
    """

    low: list[float]
    high: list[float]
    tilts: tuple[float, float, float]
    positions: np.ndarray
    pbc: np.ndarray
    rotation: np.ndarray

    @property
    def skewed(self) -> bool:
        """Say whether the box is triclinic."""
        return self.tilts != (0.0, 0.0, 0.0)


def box_of(atoms: Atoms) -> Box:
    """Return a structure in a box that LAMMPS takes, of the same lattice.

    The cell is replaced by the least skewed one of its lattice (Minkowski), made right-handed
    by a change of sign, and turned so that a lies along x and b in the xy plane. Axes that are
    not periodic are replaced by normals of the others, with bounds around the atoms.
    """
    pbc = atoms.pbc.copy()
    cell, rotation = _lattice(atoms.cell.array, pbc)
    scaled = np.linalg.solve(cell.T, (atoms.positions @ rotation.T).T).T  # (N, 3)
    scaled[:, pbc] -= np.floor(scaled[:, pbc])
    scaled[:, pbc] %= 1.0  # rounding may give exactly 1
    low, high = np.zeros(3), np.diag(cell).copy()
    open_axes = ~pbc
    if open_axes.any():
        # the open axes have no tilts: along them, scaled times length is the coordinate
        along = scaled[:, open_axes] * high[open_axes]
        low[open_axes] = along.min(axis=0) - MARGIN_A
        high[open_axes] = along.max(axis=0) + MARGIN_A
    return Box(
        low=low.tolist(),
        high=high.tolist(),
        tilts=(float(cell[1, 0]), float(cell[2, 1]), float(cell[2, 0])),
        positions=scaled @ cell,
        pbc=pbc,
        rotation=rotation,
    )


def _lattice(given: np.ndarray, pbc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a lower triangular cell of the same lattice, and the rotation back."""
    cell = given.copy()
    if pbc.all() and (cell[~np.eye(3, dtype=bool)] == 0).all() and (np.diag(cell) > 0).all():
        return cell, np.eye(3)
    cell[~pbc] = 0.0
    cell = complete_cell(cell)
    cell, _ = minkowski_reduce(cell, pbc)
    if np.linalg.det(cell) < 0:
        cell[2] *= -1  # the same lattice; an open axis is a normal, whose sign is free
    turned, triangle = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(triangle))
    lower = (triangle * signs[:, None]).T
    lower[np.abs(lower) < 1e-12 * np.abs(lower).max()] = 0.0
    return lower, (turned * signs).T
