"""One frame made ready for the detectors: its time, its close pairs and its bonds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from tempermd.events.limits import BondLimits
from tempermd.trajectory import Frame

FARTHEST_A = 1e12


@dataclass(frozen=True)
class Pairs:
    """Atom pairs nearer than a cutoff, each once, at the distance of their nearest images.

    Parameters
    ----------
    first, second : (m,) int arrays
        Indices into the frame, first < second.
    distance : (m,) array, Å
    vector : (m, 3) array, Å
        From the first atom to that image of the second.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray
    vector: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.first[rows], self.second[rows], self.distance[rows], self.vector[rows])


@dataclass(frozen=True)
class Snapshot:
    """A frame, its time, its close pairs and its bonds.

    Parameters
    ----------
    frame : Frame
    time_ps : float
    rows : (n,) int array
        Where each atom stood in the first frame, -1 for ids that it did not have.
    pairs, bonds : Pairs or None
        None where the numbers of the frame are unusable. Bonds have hysteresis.
    """

    frame: Frame
    time_ps: float
    rows: np.ndarray
    pairs: Pairs | None
    bonds: Pairs | None

    @cached_property
    def coordination(self) -> np.ndarray:
        """Number of bonds of each atom, (n,) int."""
        ends = np.concatenate([self.bonds.first, self.bonds.second])
        return np.bincount(ends, minlength=len(self.frame.ids))

    @cached_property
    def clusters(self) -> np.ndarray:
        """Label of the bonded cluster of each atom, (n,) int."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        n_atoms, bonds = len(self.frame.ids), self.bonds
        ones = np.ones(len(bonds.first))
        graph = coo_array((ones, (bonds.first, bonds.second)), shape=(n_atoms, n_atoms))
        return connected_components(graph, directed=False)[1]


class Snapshots:
    """Makes the frames of one trajectory ready, in their order: bonds need a memory.

    A bond is made at or below one distance and broken at or above another.
    """

    def __init__(self, limits: BondLimits, cutoff_A: float) -> None:
        self._limits = limits
        self._cutoff_A = max(cutoff_A, limits.broken_A)
        self._first_ids: np.ndarray | None = None
        self._bonded = np.empty(0, dtype=np.int64)

    def take(self, frame: Frame, time_ps: float) -> Snapshot:
        """Find pairs and bonds, unless a coordinate or the cell is not finite or absurd."""
        if self._first_ids is None:
            self._first_ids = frame.ids
        rows = _rows_in(self._first_ids, frame.ids)
        # NaN fails the comparison too; squares of larger numbers would overflow
        usable = np.all(np.abs(frame.positions) < FARTHEST_A) and np.all(
            np.abs(frame.cell) < FARTHEST_A
        )
        if not usable or np.linalg.det(frame.cell) <= 0:
            return Snapshot(frame, time_ps, rows, None, None)
        pairs = close_pairs(frame, self._cutoff_A)
        return Snapshot(frame, time_ps, rows, pairs, pairs[self._bonds_among(frame.ids, pairs)])

    def _bonds_among(self, ids: np.ndarray, pairs: Pairs) -> np.ndarray:
        """Return which pairs are bonded, (m,) bool."""
        keys = pair_keys(ids, pairs)
        old = np.isin(keys, self._bonded, assume_unique=True)
        bonded = (pairs.distance <= self._limits.made_A) | (
            old & (pairs.distance < self._limits.broken_A)
        )
        self._bonded = keys[bonded]
        return bonded


def pair_keys(ids: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return one integer for the two ids of each pair, (m,), since atoms may get lost."""
    return (ids[pairs.first] << 32) + ids[pairs.second]


def ids_of_keys(keys: np.ndarray) -> np.ndarray:
    """Return the ids (m, 2) that `pair_keys` packed."""
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1)


def _rows_in(first_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the index of each id in sorted first ids, -1 where it is not among them."""
    if np.array_equal(first_ids, ids):
        return np.arange(len(ids))
    if not len(first_ids):
        return np.full(len(ids), -1)
    places = np.minimum(np.searchsorted(first_ids, ids), len(first_ids) - 1)
    return np.where(first_ids[places] == ids, places, -1)


def close_pairs(frame: Frame, cutoff_A: float) -> Pairs:
    """Return all pairs within a cutoff, also through the faces of small and tilted cells.

    Written out with a k-d tree and not taken from a grid-based neighbor list, since a tube that
    explodes in a shrink-wrapped box would ask such a grid for terabytes.

    Parameters
    ----------
    frame : Frame
        Finite coordinates, in or out of the cell.
    cutoff_A : float

    Returns
    -------
    Pairs
    """
    from scipy.spatial import cKDTree

    n_atoms = len(frame.ids)
    points, parents = _with_images(frame, cutoff_A)
    found = cKDTree(points).query_pairs(cutoff_A, output_type="ndarray")  # (k, 2), i < j
    found = found[found[:, 0] < n_atoms]  # at least one of the two stands in the cell
    ends = parents[found]  # (k, 2)
    found = found[ends[:, 0] != ends[:, 1]]  # an atom is no neighbor of its own image
    ends = parents[found]
    vector = points[found[:, 1]] - points[found[:, 0]]
    vector[ends[:, 0] > ends[:, 1]] *= -1
    ends = np.sort(ends, axis=1)
    distance = np.linalg.norm(vector, axis=1)
    nearest_first = np.lexsort((distance, ends[:, 1], ends[:, 0]))
    ends = ends[nearest_first]
    new = np.ones(len(ends), dtype=bool)
    new[1:] = np.any(ends[1:] != ends[:-1], axis=1)
    kept = nearest_first[new]
    return Pairs(ends[new, 0], ends[new, 1], distance[kept], vector[kept])


def _with_images(frame: Frame, cutoff_A: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the wrapped atoms followed by their images near the cell, and whose they are."""
    inverse = np.linalg.inv(frame.cell)
    fractional = (frame.positions - frame.origin) @ inverse
    fractional -= np.where(frame.pbc, np.floor(fractional), 0.0)
    margin = cutoff_A * np.linalg.norm(inverse, axis=0)  # cutoff over the cell's heights
    reach = np.where(frame.pbc, np.ceil(margin), 0).astype(int)
    points, parents = fractional, np.arange(len(fractional))
    for axis in range(3):  # one axis after the other gives edges and corners too
        grown, owners = [points], [parents]
        for shift in (*range(-reach[axis], 0), *range(1, reach[axis] + 1)):
            along = points[:, axis] + shift
            near = (along >= -margin[axis]) & (along <= 1.0 + margin[axis])
            images = points[near]
            images[:, axis] = along[near]
            grown.append(images)
            owners.append(parents[near])
        points, parents = np.concatenate(grown), np.concatenate(owners)
    return points @ frame.cell, parents


def gap_between(frame: Frame, group: np.ndarray, others: np.ndarray) -> float:
    """Return the smallest distance (Å) between two sets of atoms over periodic images.

    Parameters
    ----------
    frame : Frame
    group, others : (k,) int arrays
        Indices into the frame.

    Returns
    -------
    float
    """
    from scipy.spatial import cKDTree

    inverse = np.linalg.inv(frame.cell)
    fractional = (frame.positions - frame.origin) @ inverse
    fractional -= np.where(frame.pbc, np.floor(fractional), 0.0)
    tree = cKDTree(fractional[others] @ frame.cell)
    steps = [(-1, 0, 1) if periodic else (0,) for periodic in frame.pbc]
    nearest = [
        tree.query((fractional[group] + np.array(shift)) @ frame.cell)[0].min()
        for shift in product(*steps)
    ]
    return float(min(nearest))
