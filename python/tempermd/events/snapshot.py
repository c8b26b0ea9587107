"""One frame made ready for the detectors: its time, and its close pairs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

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
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class Snapshot:
    """A frame, its time, and its close pairs: None where the numbers are unusable."""

    frame: Frame
    time_ps: float
    pairs: Pairs | None


def snapshot(frame: Frame, time_ps: float, cutoff_A: float) -> Snapshot:
    """Find the pairs of a frame, unless a coordinate or the cell is not finite or absurd.

    Parameters
    ----------
    frame : Frame
    time_ps : float
    cutoff_A : float

    Returns
    -------
    Snapshot
    """
    # NaN fails the comparison too; squares of larger numbers would overflow
    usable = np.all(np.abs(frame.positions) < FARTHEST_A) and np.all(
        np.abs(frame.cell) < FARTHEST_A
    )
    if not usable or np.linalg.det(frame.cell) <= 0:
        return Snapshot(frame, time_ps, None)
    return Snapshot(frame, time_ps, close_pairs(frame, cutoff_A))


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
    distance = np.linalg.norm(points[found[:, 0]] - points[found[:, 1]], axis=1)
    ends = np.sort(parents[found], axis=1)
    apart = ends[:, 0] != ends[:, 1]  # an atom is no neighbor of its own image
    ends, distance = ends[apart], distance[apart]
    nearest_first = np.lexsort((distance, ends[:, 1], ends[:, 0]))
    ends, distance = ends[nearest_first], distance[nearest_first]
    new = np.ones(len(ends), dtype=bool)
    new[1:] = np.any(ends[1:] != ends[:-1], axis=1)
    return Pairs(ends[new, 0], ends[new, 1], distance[new])


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
