"""Fingerprints: 192 distances that tell structures apart, and near-duplicates by them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms

NEIGHBOURS = 12
QUANTILES = 16
LENGTH = NEIGHBOURS * QUANTILES
FAR_A = 8.0
"""Neighbours beyond this distance (Angstrom), or missing ones, count as this far."""

UNLIKE = 0.03
"""How much longer distances count for each place of an element in the alphabet of the frame."""

TOLERANCE_A = 0.005
"""Half of what two frames of a warm glass of 200 atoms differ by, a third of a picosecond apart."""

PROJECTIONS = 8
CHUNK = 4096


def fingerprints(frames: Iterable[Atoms]) -> np.ndarray:
    """Return the fingerprints (F, 192) (Angstrom, float32) of structures.

    For k = 1 to 12, 16 quantiles over the atoms of the distance to the k-th neighbour, periodic
    images included. They are the same for a structure turned, shifted, repeated or with its
    atoms in another order. With more than one element, distances are scaled by pairs of elements,
    so that two decorations of one lattice differ.
    """
    rows = [fingerprint(atoms) for atoms in frames]
    return np.array(rows, dtype=np.float32).reshape(-1, LENGTH)


def fingerprint(atoms: Atoms) -> np.ndarray:
    """Return the fingerprint (192,) (Angstrom) of one structure."""
    distances, neighbours = nearest(atoms)
    elements = np.unique(atoms.numbers)
    if len(elements) > 1:
        place = np.append(np.searchsorted(elements, atoms.numbers), 0)
        scale = (1 + UNLIKE) ** (place[:-1, None] + place[neighbours])
        distances = np.sort(np.where(distances < FAR_A, distances * scale, FAR_A), axis=1)
    return quantiles(distances)


def quantiles(distances: np.ndarray) -> np.ndarray:
    """Return 16 quantiles over the atoms of each neighbour's distance: (N, 12) to (192,)."""
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    ordered = np.sort(distances, axis=0)
    places = np.clip(levels * len(ordered) - 0.5, 0, len(ordered) - 1)
    low = np.floor(places).astype(int)
    part = (places - low)[:, None]
    high = np.minimum(low + 1, len(ordered) - 1)
    return ((1 - part) * ordered[low] + part * ordered[high]).T.ravel()


def nearest(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return distances (N, 12) (Angstrom) and numbers (N, 12) of each atom's neighbours.

    Sorted by distance; beyond ``FAR_A`` the distance is ``FAR_A`` and the number -1.
    """
    from scipy.spatial import cKDTree

    points, owners = with_images(atoms)
    found, places = cKDTree(points).query(
        points[: len(atoms)], k=NEIGHBOURS + 1, distance_upper_bound=FAR_A
    )
    # the atom itself is among its neighbours at distance 0; first, or one of some at one place
    own = places == np.arange(len(atoms))[:, None]
    own[~own.any(axis=1), -1] = True
    found, places = found[~own], places[~own]
    shape = (len(atoms), NEIGHBOURS)
    numbers = np.append(owners, -1)[places].reshape(shape)
    return np.minimum(found, FAR_A).reshape(shape), numbers


def with_images(atoms: Atoms, reach_A: float = FAR_A) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (M, 3) of atoms and of images near the cell, and whose each is (M,)."""
    count = len(atoms)
    if not atoms.pbc.any():
        return atoms.positions, np.arange(count)
    cell = atoms.cell.complete().array
    inverse = np.linalg.inv(cell)
    reach = reach_A * np.linalg.norm(inverse, axis=0)  # in units of the cell's heights
    inside = atoms.positions @ inverse
    inside[:, atoms.pbc] %= 1.0
    ranges = [
        range(-int(np.ceil(part)), int(np.ceil(part)) + 1) if periodic else (0,)
        for part, periodic in zip(reach, atoms.pbc, strict=True)
    ]
    shifts = np.array([s for s in itertools.product(*ranges) if any(s)]).reshape(-1, 3)
    images = (inside[None] + shifts[:, None]).reshape(-1, 3)  # (S * N, 3)
    near = np.all(
        ~atoms.pbc | ((images > -reach) & (images < 1 + reach)),
        axis=1,
    )
    owners = np.concatenate([np.arange(count), np.tile(np.arange(count), len(shifts))[near]])
    return np.vstack([inside, images[near]]) @ cell, owners


def near_duplicates(
    structures: np.ndarray | Iterable[Atoms],
    compositions: Sequence[str] | None = None,
    tolerance_A: float = TOLERANCE_A,
) -> np.ndarray:
    """Return which structures to drop: those too like an earlier one that is kept.

    Parameters
    ----------
    structures
        Fingerprints (F, 192), or the structures themselves.
    compositions
        What must be equal of two duplicates, one text for each; formulas per atom if structures
        are given, otherwise all are compared.
    tolerance_A
        Two are near-duplicates if the rms difference of their fingerprints is below this.

    Returns
    -------
    (D,) int
        Numbers of the structures to drop, ascending.
    """
    if not isinstance(structures, np.ndarray):
        frames = list(structures)
        compositions = [composition(atoms) for atoms in frames]
        structures = fingerprints(frames)
    names = np.array(compositions if compositions is not None else [""] * len(structures))
    if len(names) != len(structures):
        raise ValueError(f"{len(names)} compositions for {len(structures)} structures")
    dropped = []
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        dropped.append(members[_duplicates(structures[members], tolerance_A)])
    return np.sort(np.concatenate(dropped)) if dropped else np.array([], dtype=int)


def composition(atoms: Atoms) -> str:
    """Return the formula in lowest terms and which directions are periodic."""
    formula = atoms.symbols.formula.reduce()[0].format("hill")
    return f"{formula} {''.join('FT'[int(one)] for one in atoms.pbc)}"


def _duplicates(prints: np.ndarray, tolerance_A: float) -> np.ndarray:
    """Return which rows come after a kept row nearer than the tolerance.

    A projection on orthonormal axes never lengthens a difference: pairs that are near in the
    first principal axes are all that can be near, and only these are compared in full.
    """
    from scipy.spatial import cKDTree

    if tolerance_A <= 0 or len(prints) < 2:
        return np.array([], dtype=int)
    radius = tolerance_A * np.sqrt(prints.shape[1])
    tree = cKDTree(projected(prints, PROJECTIONS))
    gone = np.zeros(len(prints), dtype=bool)
    for row, near in enumerate(tree.query_ball_point(tree.data, radius * (1 + 1e-6) + 1e-6)):
        earlier = np.array([one for one in near if one < row and not gone[one]], dtype=int)
        differences = prints[earlier].astype(float) - prints[row]
        gone[row] = bool((np.linalg.norm(differences, axis=1) < radius).any())
    return np.flatnonzero(gone)


def projected(prints: np.ndarray, axes: int) -> np.ndarray:
    """Return fingerprints (F, 192) on their first principal axes: (F, axes)."""
    mean = prints.mean(axis=0, dtype=float)
    scatter = np.zeros((prints.shape[1], prints.shape[1]))
    for first in range(0, len(prints), CHUNK):
        part = prints[first : first + CHUNK] - mean
        scatter += part.T @ part
    vectors = np.linalg.eigh(scatter)[1][:, ::-1][:, :axes]
    # eigenvectors come with either sign: the largest entry shall be positive
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), range(vectors.shape[1])])
    return (prints - mean) @ vectors
