"""Defects and disorder: vacancies, Stone-Wales bonds, strain, rattling."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from tempermd.records import UserError

BOND_FACTOR = 1.85 / 1.52
"""Two atoms are bonded below so many sums of covalent radii (Cordero 2008): C-C below 1.85 A."""


def bond_radii_A(atoms: Atoms) -> np.ndarray:
    """Return a radius (N,) for each atom; two are bonded when nearer than their sum."""
    return BOND_FACTOR * covalent_radii[atoms.numbers]


def coordination(atoms: Atoms) -> np.ndarray:
    """Return the number of bonds (N,) of each atom."""
    return np.bincount(neighbor_list("i", atoms, bond_radii_A(atoms)), minlength=len(atoms))


def with_vacancies(
    atoms: Atoms, count: int, seed: int | np.random.Generator, keep: set[int] = frozenset()
) -> Atoms:
    """Return a copy without ``count`` random atoms: no two bonded to each other, none to keep."""
    order = np.random.default_rng(seed).permutation(len(atoms))
    longest_A = 2 * bond_radii_A(atoms).max()
    removed: list[int] = []
    for candidate in order:
        if len(removed) == count:
            break
        if int(candidate) in keep:
            continue
        near = removed and atoms.get_distances(candidate, removed, mic=True).min() <= longest_A
        if not near:
            removed.append(int(candidate))
    if len(removed) < count:
        raise UserError(f"{_called(atoms)} of {len(atoms)} atoms has no room for {count} vacancies")
    holed = atoms.copy()
    del holed[removed]
    return holed


def with_stone_wales(atoms: Atoms, count: int, rng: np.random.Generator) -> tuple[Atoms, set[int]]:
    """Return a copy with ``count`` bonds turned by 90 degrees, and the atoms of these defects.

    Turning a bond of a carbon sheet about the sheet's normal makes two pentagons and two
    heptagons of the four hexagons around it (Stone and Wales, Chem. Phys. Lett. 128, 501,
    1986). Only bonds whose six atoms have three bonds each are turned, no two of them near.
    """
    turned = atoms.copy()
    touched: set[int] = set()
    for _ in range(count):
        for first, second, members in _turnable(turned, touched, rng):
            trial = _bond_turned(turned, first, second)
            if np.array_equal(coordination(trial), coordination(turned)):
                turned = trial
                touched |= members
                break
        else:
            raise UserError(
                f"{_called(atoms)} of {len(atoms)} atoms has no room for {count} Stone-Wales "
                "defects: each takes a bond with hexagons around it, apart from the others"
            )
    return turned, touched


def _turnable(
    atoms: Atoms, touched: set[int], rng: np.random.Generator
) -> list[tuple[int, int, set[int]]]:
    """List bonds that may be turned, in random order, each with its six atoms."""
    first, second = neighbor_list("ij", atoms, bond_radii_A(atoms))
    around: dict[int, list[int]] = {atom: [] for atom in range(len(atoms))}
    for i, j in zip(first, second, strict=True):
        around[int(i)].append(int(j))
    found = []
    for i, j in sorted({(int(i), int(j)) for i, j in zip(first, second, strict=True) if i < j}):
        six = [i, j, *(k for k in around[i] if k != j), *(k for k in around[j] if k != i)]
        whole = len(six) == len(set(six)) == 6 and all(len(around[k]) == 3 for k in six)
        ring = set(six).union(*(around[k] for k in six))
        if whole and not ring & touched:
            found.append((i, j, set(six)))
    return [found[place] for place in rng.permutation(len(found))]


def _bond_turned(atoms: Atoms, first: int, second: int) -> Atoms:
    """Return a copy with one bond turned about the normal of the sheet around it."""
    i, j, vectors = neighbor_list("ijD", atoms, bond_radii_A(atoms))
    bond = vectors[(i == first) & (j == second)][0]
    outer = [vectors[(i == first) & (j != second)], bond + vectors[(i == second) & (j != first)]]
    points = np.vstack([np.zeros(3), bond, *outer]) - bond / 2  # (6, 3)
    normal = np.linalg.svd(points)[2][-1]
    across = np.cross(normal, bond)
    across *= np.linalg.norm(bond) / np.linalg.norm(across)
    turned = atoms.copy()
    middle = atoms.positions[first] + bond / 2
    turned.positions[first] = middle - across / 2
    turned.positions[second] = middle + across / 2
    return turned


def stretched(atoms: Atoms, strain: float) -> Atoms:
    """Return a copy that is longer along z by ``strain``, its cell with it."""
    longer = atoms.copy()
    longer.positions[:, 2] *= 1 + strain
    longer.cell[:, 2] *= 1 + strain
    return longer


def strained(atoms: Atoms, largest: float, rng: np.random.Generator) -> Atoms:
    """Return a copy under a random symmetric strain with components up to ``largest``.

    Only axes that are periodic are strained.
    """
    tensor = rng.uniform(-largest, largest, size=(3, 3))
    tensor = (tensor + tensor.T) / 2
    tensor[~atoms.pbc, :] = 0.0
    tensor[:, ~atoms.pbc] = 0.0
    changed = atoms.copy()
    changed.set_cell(atoms.cell.array @ (np.eye(3) + tensor), scale_atoms=True)
    return changed


def rattled(atoms: Atoms, amplitude_A: float, rng: np.random.Generator) -> Atoms:
    """Return a copy with every coordinate moved by a normal deviate of ``amplitude_A``."""
    moved = atoms.copy()
    moved.positions += rng.normal(scale=amplitude_A, size=(len(atoms), 3))
    return moved


def _called(atoms: Atoms) -> str:
    name = str(atoms.info.get("structure", "structure"))
    return "a tube" if name.startswith("tube") else name
