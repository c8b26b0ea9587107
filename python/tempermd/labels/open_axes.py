"""Open axes for sources that repeat every axis: enough vacuum that no image is seen."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell

MARGIN_A = 1.0


def closed_in_vacuum(atoms: Atoms, cutoff_A: float) -> Atoms:
    """Return the structure, periodic, with vacuum beyond the cutoff along its open axes."""
    if atoms.pbc.all():
        return atoms
    closed = atoms.copy()
    cell = closed.cell.array.copy()
    cell[~closed.pbc] = 0.0
    cell = complete_cell(cell)  # open axes are unit normals of the others
    extents = np.ptp(closed.positions @ cell.T, axis=0)
    for axis in np.flatnonzero(~closed.pbc):
        cell[axis] *= extents[axis] + cutoff_A + MARGIN_A
    closed.set_cell(cell)
    closed.pbc = True
    return closed
