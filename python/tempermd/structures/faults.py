"""What is wrong with a frame: reasons for which it is dropped and counted."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from tempermd.structures.fingerprints import FAR_A, nearest

LONELY = 1.65
"""An atom with no neighbour within so many sums of covalent radii (C: 2.5 A) is alone."""

LONELY_FRACTION = 0.2


def fault_of(atoms: Atoms, closest: float, *, driven: bool) -> str | None:
    """Return why a frame is to be dropped, or None.

    Parameters
    ----------
    closest
        Atoms nearer than so many sums of their covalent radii overlap.
    driven
        Whether MD or a relaxation made the frame, which then must not have flown apart.
    """
    if not np.isfinite(atoms.positions).all():
        return "positions not finite"
    distances, neighbours = nearest(atoms)
    radii = covalent_radii[atoms.numbers]
    ratios = distances / (radii[:, None] + radii[neighbours])
    ratios[distances >= FAR_A] = np.inf
    if ratios.min() < closest:
        return "overlapping atoms"
    if driven and np.mean(ratios.min(axis=1) > LONELY) > LONELY_FRACTION:
        return "exploded: over a fifth of the atoms are alone"
    return None
