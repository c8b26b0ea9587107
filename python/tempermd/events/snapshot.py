"""One frame made ready for the detectors: its time, its close pairs and its bonds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Generic, TypeVar

import numpy as np

from tempermd.events.limits import BondLimits
from tempermd.trajectory import Frame

Found = TypeVar("Found")
FARTHEST_A = 1e12
SKIN_A = 1.2
"""How much further pairs are looked for than they matter: 0.6 Å of way for every atom."""
WITHOUT_SKIN = 20
"""For so many frames no skin is taken after one that was of no use to the next frame."""


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
class Network:
    """Which atoms are bonded; frames that change nothing share one object.

    Parameters
    ----------
    first, second : (b,) int arrays
        Indices into the frames.
    n_atoms : int
    """

    first: np.ndarray
    second: np.ndarray
    n_atoms: int

    @cached_property
    def coordination(self) -> np.ndarray:
        """Number of bonds of each atom, (n,) int."""
        ends = np.concatenate([self.first, self.second])
        return np.bincount(ends, minlength=self.n_atoms)

    @cached_property
    def clusters(self) -> np.ndarray:
        """Label of the bonded cluster of each atom, (n,) int."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        ones = np.ones(len(self.first))
        graph = coo_array((ones, (self.first, self.second)), shape=(self.n_atoms, self.n_atoms))
        return connected_components(graph, directed=False)[1]


@dataclass(frozen=True)
class Snapshot:
    """A frame, its time, its close pairs and its bonds.

    Parameters
    ----------
    frame : Frame
    time_ps : float
    rows : (n,) int array
        Where each atom stood in the first frame, -1 for ids that it did not have.
    pairs : Pairs or None
        All within the cutoff and some beyond; None where the numbers of the frame are unusable.
    bonded : (m,) bool array or None
        Which of the pairs are bonds, with hysteresis.
    network : Network or None
        The bonds without their lengths.
    """

    frame: Frame
    time_ps: float
    rows: np.ndarray
    pairs: Pairs | None = None
    bonded: np.ndarray | None = None
    network: Network | None = None

    @cached_property
    def bonds(self) -> Pairs:
        """The pairs that are bonds."""
        return self.pairs[self.bonded]


class PerNetwork(Generic[Found]):
    """What is worked out from a network, kept for as long as frames share it.

    Parameters
    ----------
    work : callable
        Takes the first snapshot with that network.
    """

    def __init__(self, work: Callable[[Snapshot], Found]) -> None:
        self._work = work
        self._of: Network | None = None
        self._found: Found

    def __call__(self, shot: Snapshot) -> Found:
        """Return what is true of this snapshot's network."""
        if shot.network is not self._of:
            self._found = self._work(shot)
            self._of = shot.network
        return self._found


def _has_volume(cell: np.ndarray) -> bool:
    """Whether a cell's numbers are usable and its vectors span a right-handed volume."""
    # plain numbers: for nine of them numpy takes ten times as long
    (a, b, c), (d, e, f), (g, h, i) = rows = cell.tolist()
    if not all(abs(number) < FARTHEST_A for row in rows for number in row):
        return False
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) > 0


class Snapshots:
    """Makes the frames of one trajectory ready, in their order: bonds need a memory.

    A bond is made at or below one distance and broken at or above another. Pairs are looked for
    with a skin, and anew only when atoms have moved through half of it (Verlet, Phys. Rev. 159, 98
    (1967)): the atoms of a tube vibrate, but stay.
    """

    def __init__(self, limits: BondLimits, cutoff_A: float) -> None:
        self._limits = limits
        self._cutoff_A = max(cutoff_A, limits.broken_A)
        self._first_ids: np.ndarray | None = None
        self._list: PairList | None = None
        self._without_skin = 0
        self._bonded = np.empty(0, dtype=bool)
        self._network: Network | None = None
        self._ids = np.empty(0, dtype=np.int64)
        self._rows = np.empty(0, dtype=np.int64)
        self._keys = np.empty(0, dtype=np.int64)

    def take(self, frame: Frame, time_ps: float) -> Snapshot:
        """Find pairs and bonds, unless a number is not finite or absurd or there are no atoms."""
        if self._first_ids is None or not len(self._first_ids):
            self._first_ids = frame.ids
        if frame.ids is not self._ids and not np.array_equal(frame.ids, self._ids):
            self._take_ids(frame.ids)
        # NaN fails the comparison too; squares of larger numbers would overflow
        usable = np.abs(frame.positions).max(initial=0.0) < FARTHEST_A
        if not len(frame.ids) or not usable or not _has_volume(frame.cell):
            return Snapshot(frame, time_ps, self._rows)
        pairs = None if self._list is None else self._list.pairs(frame)
        if pairs is None:
            keys = self._bonded_keys()
            self._list = PairList(frame, self._cutoff_A, self._skin_A())
            pairs = self._list.reference
            self._bonded = np.isin(pair_keys(self._ids, pairs), keys, assume_unique=True)
        bonded = (pairs.distance <= self._limits.made_A) | (
            self._bonded & (pairs.distance < self._limits.broken_A)
        )
        self._bonded = bonded
        self._network = self._network_of(pairs.first[bonded], pairs.second[bonded])
        return Snapshot(frame, time_ps, self._rows, pairs, bonded, self._network)

    def _skin_A(self) -> float:
        """Return the skin for the next list: none while atoms go too far from frame to frame."""
        if self._list is not None and self._list.was_vain:
            self._without_skin = WITHOUT_SKIN
        if self._without_skin:
            self._without_skin -= 1
            return 0.0
        return SKIN_A

    def _network_of(self, first: np.ndarray, second: np.ndarray) -> Network:
        """Return the network of the frame before where the bonds are the same."""
        new, old = Network(first, second, len(self._ids)), self._network
        if old is None or not np.array_equal(old.first, first):
            return new
        return old if np.array_equal(old.second, second) else new

    def _take_ids(self, ids: np.ndarray) -> None:
        """Go on with other atoms: bonds are remembered by ids."""
        self._keys = self._bonded_keys()
        self._list = self._network = None
        self._ids, self._rows = ids, _rows_in(self._first_ids, ids)

    def _bonded_keys(self) -> np.ndarray:
        """Return the keys of the bonds of the frame before."""
        if self._list is None:
            return self._keys
        return pair_keys(self._ids, self._list.reference)[self._bonded]


class PairList:
    """The pairs of one frame within a cutoff and a skin, good for the frames after it.

    Parameters
    ----------
    frame : Frame
    cutoff_A, skin_A : float
        In a small cell the skin is made thinner; without one the list is good for its frame only.
    """

    def __init__(self, frame: Frame, cutoff_A: float, skin_A: float) -> None:
        self._cutoff_A = cutoff_A
        self._frame = frame
        self._inverse = _inverse(frame.cell)
        heights = 1 / np.linalg.norm(self._inverse, axis=0)
        # beyond half a height another image may come nearer than the one in the list
        room_A = 0.5 * heights[frame.pbc].min(initial=np.inf) - cutoff_A
        self._skin_A = float(np.clip(0.999 * room_A, 0.0, skin_A))
        self._n_uses = 0
        self.reference = close_pairs(frame, cutoff_A + self._skin_A)
        if self._skin_A:
            self._fractional = (frame.positions - frame.origin) @ self._inverse
            self._vectors = self.reference.vector @ self._inverse

    @property
    def was_vain(self) -> bool:
        """Whether it had a skin and no other frame could use it."""
        return self._skin_A > 0 and self._n_uses == 0

    def pairs(self, frame: Frame) -> Pairs | None:
        """Return the pairs as they are in a later frame, or None where some may be missing."""
        if not self._skin_A or not np.array_equal(frame.pbc, self._frame.pbc):
            return None
        inverse, strain = self._inverse, 0.0
        if not np.array_equal(frame.cell, self._frame.cell):
            inverse = _inverse(frame.cell)
            strain = float(np.linalg.norm(self._inverse @ frame.cell - np.eye(3), 2))
        moved = (frame.positions - frame.origin) @ inverse - self._fractional
        moved -= np.where(frame.pbc, np.rint(moved), 0.0)
        moved_A = moved @ frame.cell
        moved_A -= moved_A.mean(axis=0)  # what all do together keeps their distances
        farthest_A = np.sqrt(np.einsum("ij,ij->i", moved_A, moved_A).max(initial=0.0))
        if self._cutoff_A * strain + 2 * farthest_A * (1 + strain) > self._skin_A:
            return None
        self._n_uses += 1
        first, second = self.reference.first, self.reference.second
        vector = self._vectors @ frame.cell if strain else self.reference.vector
        way = moved_A.take(second, axis=0)  # much faster than by square brackets
        way -= moved_A.take(first, axis=0)
        vector = vector + way
        distance = np.sqrt(np.einsum("ij,ij->i", vector, vector))
        return Pairs(first, second, distance, vector)


def _inverse(cell: np.ndarray) -> np.ndarray:
    """Return the inverse of a cell; most frames share one."""
    return _inverse_of(np.asarray(cell, dtype=float).tobytes())


@lru_cache(maxsize=4)
def _inverse_of(cell: bytes) -> np.ndarray:
    return np.linalg.inv(np.frombuffer(cell).reshape(3, 3))


def pair_keys(ids: np.ndarray, pairs: Pairs | Network) -> np.ndarray:
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
    here, there = found[:, 0], found[:, 1]
    first, second = parents.take(here), parents.take(there)
    # through a face each pair is found twice, from either end; an atom is no neighbor of its image
    once = (here < n_atoms) & (first < second)
    here, there, first, second = here[once], there[once], first[once], second[once]
    keys = first * n_atoms + second
    order = np.argsort(keys)
    vector = points.take(there[order], axis=0) - points.take(here[order], axis=0)
    distance = np.sqrt(np.einsum("ij,ij->i", vector, vector))
    keys = keys[order]
    if np.any(keys[1:] == keys[:-1]):  # several images of one atom, in a small cell
        nearest_first = np.lexsort((distance, keys))
        new = np.ones(len(keys), dtype=bool)
        new[1:] = keys[1:] != keys[:-1]  # keys are in order already
        kept = nearest_first[new]
        return Pairs(first[order[new]], second[order[new]], distance[kept], vector[kept])
    return Pairs(first[order], second[order], distance, vector)


def _with_images(frame: Frame, cutoff_A: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the wrapped atoms followed by their images near the cell, and whose they are."""
    inverse = _inverse(frame.cell)
    fractional = (frame.positions - frame.origin) @ inverse
    fractional -= np.where(frame.pbc, np.floor(fractional), 0.0)
    # cutoff over the cell's heights, and a hair more: pairs are wanted from either end
    margin = cutoff_A * np.linalg.norm(inverse, axis=0) * (1 + 1e-9)
    reach = np.where(frame.pbc, np.ceil(margin), 0).astype(int)
    points, parents = fractional, np.arange(len(fractional))
    for axis in range(3):  # one axis after the other gives edges and corners too
        if points[:, axis].min(initial=1.0) > margin[axis] and (
            points[:, axis].max(initial=0.0) < 1.0 - margin[axis]
        ):
            continue  # vacuum on either side
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
