"""What a structure was in its first frame: bodies, bonds of each atom, what winds where."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tempermd.events.snapshot import Pairs, Snapshot
from tempermd.trajectory import Frame

ORDERED_SHARE = 0.9
"""So many atoms must have as many bonds as each other: three, in a network of sp2 carbon."""


@dataclass(frozen=True)
class Beginning:
    """The first frame with usable numbers, which later ones are compared with.

    Parameters
    ----------
    frame : Frame
    bodies : (n,) int array
        Bonded cluster of each atom; the walls of a double-walled tube are two.
    coordination : (n,) int array
    bonds : Pairs
    """

    frame: Frame
    bodies: np.ndarray
    coordination: np.ndarray
    bonds: Pairs

    @classmethod
    def of(cls, shot: Snapshot) -> Beginning:
        """Take down a snapshot whose numbers are usable."""
        bodies = shot.network.clusters.astype(np.int64)
        return cls(shot.frame, bodies, shot.network.coordination, shot.bonds)

    @property
    def n_bodies(self) -> int:
        """Number of bonded clusters."""
        return int(self.bodies.max(initial=-1)) + 1

    @property
    def is_sp2(self) -> bool:
        """Whether it is a network in which nearly every atom has three bonds."""
        return bool(len(self.coordination)) and np.mean(self.coordination == 3) >= ORDERED_SHARE

    @property
    def is_ordered(self) -> bool:
        """Whether nearly every atom has as many bonds as every other, as in tubes and crystals."""
        counts = np.bincount(self.coordination)
        return counts.max(initial=0) >= ORDERED_SHARE * max(counts.sum(), 1)

    @cached_property
    def windings(self) -> np.ndarray:
        """Whether each body winds around each periodic axis, (n_bodies, 3) bool."""
        by_atom = winding(self.frame, self.bonds)
        wound = np.zeros((self.n_bodies, 3), dtype=bool)
        for axis in range(3):
            wound[self.bodies[by_atom[:, axis]], axis] = True
        return wound

    @cached_property
    def tube_axis(self) -> int | None:
        """The only axis that everything bonded winds around, as a periodic tube's; else None."""
        axes = np.flatnonzero(self.windings.any(axis=0))
        return int(axes[0]) if len(axes) == 1 else None


def winding(frame: Frame, bonds: Pairs) -> np.ndarray:
    """Tell which atoms hang together with their own periodic image along each axis.

    The bonds are followed through two copies of the cell that lie behind one another: what winds
    once around an axis connects an atom with its copy.

    Parameters
    ----------
    frame : Frame
    bonds : Pairs
        All that may be followed.

    Returns
    -------
    (n, 3) bool array
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_atoms = len(frame.ids)
    inverse = np.linalg.inv(frame.cell)
    fractional = frame.positions @ inverse
    across = fractional[bonds.second] - fractional[bonds.first]
    crossings = np.rint(bonds.vector @ inverse - across).astype(np.int64)  # (b, 3)
    # positions may be unwrapped, each by its own number of cells: only their sum matters
    wound = np.zeros((n_atoms, 3), dtype=bool)
    for axis in np.flatnonzero(frame.pbc):
        odd = crossings[:, axis] % 2
        start = np.concatenate([bonds.first, bonds.first + n_atoms])
        end = np.concatenate([bonds.second + odd * n_atoms, bonds.second + (1 - odd) * n_atoms])
        graph = coo_array((np.ones(len(start)), (start, end)), shape=(2 * n_atoms, 2 * n_atoms))
        labels = connected_components(graph, directed=False)[1]
        wound[:, axis] = labels[:n_atoms] == labels[n_atoms:]
    return wound
