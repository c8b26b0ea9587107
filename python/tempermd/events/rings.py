"""Shortest rings of a bonded network, and what groups of odd rings are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

LARGEST = 12
"""Larger rings are not looked for: a hole of that size is damage, whatever its size."""
MOST_BONDS = 4
MOST_PATHS = 500_000


def shortest_rings(
    first: np.ndarray, second: np.ndarray, n_atoms: int, largest: int = LARGEST
) -> list[tuple[int, ...]]:
    """Return the rings that are shortest for at least one angle of their atoms.

    For two bonds of an atom, the shortest closed paths through both (King, Nature 213, 1112
    (1967)). In graphene and on a tube these are the faces. Paths grow from all angles at once, one
    bond at a time.

    Parameters
    ----------
    first, second : (b,) int arrays
        Bonded atoms, each pair once.
    n_atoms : int
    largest : int
        Most atoms in a ring.

    Returns
    -------
    list of tuple of int
        Indices along each ring, the smallest first and its smaller neighbour next. Angles at
        atoms with more than four bonds are left out: such a clump has no rings worth telling.
    """
    neighbors, degree = _neighbors(first, second, n_atoms)
    centre, begin, end = _angles(neighbors, degree)
    paths, angle = begin[:, None], np.arange(len(centre))
    found: set[tuple[int, ...]] = set()
    for _ in range(3, largest + 1):
        paths, angle = _grown(paths, angle, neighbors, centre)
        if not len(paths) or len(paths) > MOST_PATHS:
            break
        closed = paths[:, -1] == end[angle]
        rings = np.concatenate([centre[angle[closed], None], paths[closed]], axis=1)  # (r, size)
        found.update(_from_smallest(ring) for ring in rings.tolist())
        done = np.zeros(len(centre), dtype=bool)
        done[angle[closed]] = True
        paths, angle = paths[~done[angle]], angle[~done[angle]]
    return sorted(found, key=lambda ring: (len(ring), ring))


def _neighbors(
    first: np.ndarray, second: np.ndarray, n_atoms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return neighbours (n, most) padded with -1, and their number (n,)."""
    start = np.concatenate([first, second])
    order = np.argsort(start, kind="stable")
    degree = np.bincount(start, minlength=n_atoms)
    table = np.full((n_atoms, max(int(degree.max(initial=0)), MOST_BONDS)), -1)
    rank = np.arange(len(start)) - np.repeat(np.cumsum(degree) - degree, degree)
    table[start[order], rank] = np.concatenate([second, first])[order]
    return table, degree


def _angles(neighbors: np.ndarray, degree: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return centre and both ends of every pair of bonds of an atom, (a,) each."""
    parts = []
    for one in range(MOST_BONDS):
        for other in range(one + 1, MOST_BONDS):
            atoms = np.flatnonzero((degree > other) & (degree <= MOST_BONDS))
            parts.append((atoms, neighbors[atoms, one], neighbors[atoms, other]))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _grown(
    paths: np.ndarray, angle: np.ndarray, neighbors: np.ndarray, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return all paths one bond longer that neither turn back nor touch their angle's centre."""
    onward = neighbors[paths[:, -1]]  # (p, most)
    good = (onward >= 0) & (onward != centre[angle][:, None])
    if paths.shape[1] > 1:
        good &= onward != paths[:, -2][:, None]
    row, column = np.nonzero(good)
    return np.concatenate([paths[row], onward[row, column][:, None]], axis=1), angle[row]


def _from_smallest(ring: list[int]) -> tuple[int, ...]:
    """Return a ring written in one way only."""
    start = ring.index(min(ring))
    turned = ring[start:] + ring[:start]
    if turned[-1] < turned[1]:
        turned = [turned[0], *turned[:0:-1]]
    return tuple(turned)


def groups_of(rings: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Return rings in groups that hang together by common atoms."""
    groups: list[tuple[set[int], list[tuple[int, ...]]]] = []
    for ring in rings:
        atoms, members = set(ring), [ring]
        apart = []
        for other_atoms, others in groups:
            if atoms & other_atoms:
                atoms |= other_atoms
                members = others + members
            else:
                apart.append((other_atoms, others))
        groups = [*apart, (atoms, members)]
    return [members for _, members in groups]


def defect_name(sizes: Iterable[int]) -> str:
    """Return what a group of rings other than hexagons is called.

    A Stone-Wales rotation leaves two pentagons and two heptagons; a single pair of them ends a
    dislocation; rings of three, four, nine or more are damage.
    """
    count = Counter(sizes)
    if any(size < 5 or size > 8 for size in count):
        return "damage"
    if set(count) == {5, 7} and count[5] == count[7]:
        return "Stone-Wales" if count[5] % 2 == 0 else "5-7 pair"
    return "rearrangement"
