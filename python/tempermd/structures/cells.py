"""Cells of randomly placed atoms at a density, and the data files that LAMMPS reads."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, covalent_radii

from tempermd.records import UserError, atomic_write
from tempermd.structures.fingerprints import with_images

GRAMS_PER_DALTON = 1.66053906660e-24
DENSEST_PACKING = 0.64
"""Volume fraction of spheres that lie as close as they can without order."""

PUSHES = 2000
SHAPE_TRIES = 1000


def symbols_of(formula: str, n_atoms: int) -> list[str]:
    """Return the elements of ``n_atoms`` atoms, in whole units of a formula such as SiC."""
    from ase.formula import Formula

    try:
        count = Formula(formula).count()
    except ValueError:
        raise UserError(f"formula '{formula}': expected one such as C, Si or SiC") from None
    unknown = sorted(set(count) - set(atomic_numbers))
    if unknown or not count or "X" in count:
        named = ", ".join(unknown) or formula
        raise UserError(f"formula '{formula}': {named} is no element")
    unit = sum(count.values())
    if n_atoms % unit:
        raise UserError(
            f"{n_atoms} atoms are no whole number of {formula} ({unit} atoms); take "
            f"{unit * math.ceil(n_atoms / unit)}"
        )
    return [symbol for symbol, times in count.items() for _ in range(times * n_atoms // unit)]


def formula_length(formula: str) -> int:
    """Return the number of atoms of a formula; ``symbols_of`` names its faults."""
    from ase.formula import Formula

    try:
        return max(1, len(Formula(formula)))
    except ValueError:
        return 1


def volume_A3(symbols: list[str], density_g_cm3: float) -> float:
    """Return the volume of atoms at a density."""
    grams = GRAMS_PER_DALTON * sum(atomic_masses[atomic_numbers[one]] for one in symbols)
    return 1e24 * grams / density_g_cm3


def density_g_cm3(atoms: Atoms) -> float:
    """Return the density of a cell that is periodic in all directions."""
    return float(1e24 * GRAMS_PER_DALTON * atoms.get_masses().sum() / atoms.get_volume())


def random_cell(n_atoms: int, density_g_cm3: float, seed: int, formula: str = "C") -> Atoms:
    """Return a cubic periodic cell (Angstrom) of atoms placed anywhere, near ones included."""
    symbols = symbols_of(formula, n_atoms)
    edge_A = volume_A3(symbols, density_g_cm3) ** (1 / 3)
    positions = np.random.default_rng(seed).uniform(0.0, edge_A, size=(n_atoms, 3))
    return Atoms(symbols, positions=positions, cell=[edge_A] * 3, pbc=True)


def spread_cell(
    symbols: list[str],
    density_g_cm3: float,
    min_distance_A: float,
    *,
    cubic: bool,
    rng: np.random.Generator,
) -> Atoms:
    """Return a periodic cell of random atoms, none nearer to another than a distance.

    Atoms fall anywhere; near pairs are then pushed apart until there are none.

    Raises
    ------
    UserError
        If spheres of that diameter do not fit at that density.
    """
    check_room(symbols, density_g_cm3, min_distance_A)
    volume = volume_A3(symbols, density_g_cm3)
    shape = np.eye(3) if cubic else _random_shape(rng)
    cell = shape * volume ** (1 / 3)
    atoms = Atoms(symbols, cell=cell, pbc=True)
    atoms.set_scaled_positions(rng.uniform(size=(len(symbols), 3)))
    _push_apart(atoms, min_distance_A)
    return atoms


def check_room(symbols: list[str], density_g_cm3: float, min_distance_A: float) -> None:
    """Refuse a density at which spheres of a diameter cannot lie side by side."""
    volume = volume_A3(symbols, density_g_cm3)
    if len(symbols) * math.pi / 6 * min_distance_A**3 > DENSEST_PACKING * volume:
        raise UserError(
            f"{density_g_cm3:g} g/cm3 of {''.join(sorted(set(symbols)))} leave no room for a "
            f"distance of {min_distance_A:g} A between all atoms; take a lower density or distance"
        )


def _random_shape(rng: np.random.Generator) -> np.ndarray:
    """Return cell vectors (3, 3) of volume 1, lower triangular, and none too thin."""
    for _ in range(SHAPE_TRIES):
        lengths = rng.uniform(0.6, 1.6, size=3)
        tilts = rng.uniform(-0.5, 0.5, size=3)
        cell = np.diag(lengths)
        cell[1, 0], cell[2, 0] = tilts[0] * lengths[0], tilts[1] * lengths[0]
        cell[2, 1] = tilts[2] * lengths[1]
        cell /= np.prod(lengths) ** (1 / 3)
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        if heights.min() > 0.6:
            return cell
    raise AssertionError("one shape in a few is wide enough")


def _push_apart(atoms: Atoms, distance_A: float) -> None:
    """Move every pair that is too near along the line between the two, until none is."""
    from scipy.spatial import cKDTree

    count = len(atoms)
    for _ in range(PUSHES):
        points, owners = with_images(atoms, distance_A)
        pairs = cKDTree(points).query_pairs(distance_A, output_type="ndarray")
        first, second = pairs[(pairs < count).any(axis=1)].T
        if not len(first):
            atoms.positions = points[:count]
            return
        vectors = points[second] - points[first]
        lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-3)
        # a little further than asked, or pushes from many sides would take for ever
        shifts = (0.5 * (1.03 * distance_A - lengths) / lengths)[:, None] * vectors
        # an atom moves for each pair it is in; its images' pairs are those of other atoms' images
        moved = np.zeros((count, 3))
        for own, sign in ((first, -1.0), (second, 1.0)):
            inside = own < count
            np.add.at(moved, owners[own[inside]], sign * shifts[inside])
        atoms.positions = points[:count] + moved
    raise UserError(
        f"{len(atoms)} atoms could not be placed {distance_A:g} A apart in "
        f"{atoms.get_volume():.0f} A3; take a lower density or distance"
    )


def push_off_A(symbols: list[str]) -> float:
    """Return the range (Angstrom) of the soft push that parts random atoms: 1.6 for carbon."""
    radii = [covalent_radii[atomic_numbers[symbol]] for symbol in set(symbols)]
    return float(1.6 / 0.76 * np.mean(radii))


def write_data(path: Path | str, atoms: Atoms) -> Path:
    """Write a structure as a LAMMPS data file (atom_style atomic, with masses).

    Atom types are the elements in alphabetic order.
    """
    from ase.io import write

    path = Path(path)
    if path.suffix != ".data":
        raise UserError(f"{path}: LAMMPS data files are written as .data")
    with atomic_write(path) as temporary:
        write(temporary, atoms, format="lammps-data", atom_style="atomic", masses=True)
    return path
