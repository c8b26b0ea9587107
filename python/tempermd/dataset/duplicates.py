"""Duplicates: copies of a structure by a short key, disguised copies by their fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

DECIMALS = 3
"""Positions and cells are rounded to this many decimals (A): file formats differ in digits."""

NEAR_A = 0.002
"""Structures whose fingerprints differ by less (rms, A) are one structure turned, mirrored or
reordered. Independent frames of one hot tube came as near as 0.006, cells of 40 atoms 0.008."""

MOST_FINGERPRINTS = 300_000
"""With more frames than this (0.25 GB of fingerprints) only exact copies are looked for."""


def content_key(atoms: Atoms) -> bytes | None:
    """Return a key that copies of a structure share; None for a single atom, which is no copy.

    Elements, positions relative to the first atom and the cell count; labels and info do not, so
    one structure labelled by two sources has one key. A rotated or reordered copy has another.
    """
    if len(atoms) < 2:
        return None
    relative = atoms.positions - atoms.positions[0]
    numbers = np.concatenate([relative.ravel(), atoms.cell.array.ravel()])
    rounded = np.round(numbers * 10**DECIMALS).astype(np.int64)
    digest = hashlib.blake2b(digest_size=12)
    for part in (atoms.numbers.astype(np.int64), rounded, atoms.pbc.astype(np.int64)):
        digest.update(part.tobytes())
    return digest.digest()


class Copies:
    """Frames gathered one by one, and which of them are one structure.

    A frame costs 0.8 kB and about two milliseconds.
    """

    def __init__(self) -> None:
        self.contents: list[bytes | None] = []
        self._first: dict[bytes, int] = {}
        self._prints: list[np.ndarray] = []
        self._names: list[str] = []

    def add(self, atoms: Atoms) -> bytes | None:
        """Take in one frame and return its `content_key`."""
        from tempermd.structures.fingerprints import fingerprint

        key = content_key(atoms)
        self.contents.append(key)
        if key is not None and key not in self._first:
            self._first[key] = len(self._first)
            if len(self._first) <= MOST_FINGERPRINTS:
                self._prints.append(fingerprint(atoms).astype(np.float32))
                self._names.append(_composition(atoms))
        return key

    def labels(self) -> list[Hashable]:
        """Return one label per frame, the same for all copies; None for lone atoms."""
        if len(self._first) > MOST_FINGERPRINTS:
            return list(self.contents)
        groups = near_groups(np.array(self._prints), self._names)
        return [None if key is None else int(groups[self._first[key]]) for key in self.contents]


def _composition(atoms: Atoms) -> str:
    """Return elements and their counts in lowest terms, and which directions are periodic."""
    elements, counts = np.unique(atoms.numbers, return_counts=True)
    least = counts // np.gcd.reduce(counts)
    return f"{elements.tolist()} {least.tolist()} {atoms.pbc.tolist()}"


def near_groups(
    prints: np.ndarray, names: Sequence[str], tolerance_A: float = NEAR_A
) -> np.ndarray:
    """Return a group number for each structure, shape (F,): the same for what is near.

    Parameters
    ----------
    prints
        Fingerprints, shape (F, 192), A.
    names
        Compositions: only structures of one composition are compared.
    tolerance_A
        Largest rms difference of fingerprints.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    from tempermd.structures.fingerprints import PROJECTIONS, projected

    pairs = [np.empty((0, 2), dtype=int)]
    labels = np.array(names)
    for name in sorted(set(names)):
        members = np.flatnonzero(labels == name)
        if len(members) < 2:
            continue
        own = prints[members]
        radius = tolerance_A * np.sqrt(own.shape[1])
        # a projection on orthonormal axes lengthens no difference, so it misses no pair
        near = cKDTree(projected(own, PROJECTIONS)).query_pairs(
            radius * 1.001, output_type="ndarray"
        )
        apart = np.linalg.norm(own[near[:, 0]].astype(float) - own[near[:, 1]], axis=1)
        pairs.append(members[near[apart < radius]])
    links = np.concatenate(pairs)
    graph = coo_array((np.ones(len(links)), links.T), shape=(len(names), len(names)))
    return connected_components(graph, directed=False)[1]
