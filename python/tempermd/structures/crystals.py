"""Crystals by name, as ASE builds them, with lattice constants for any element."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii, reference_states

from tempermd.records import UserError
from tempermd.structures.cells import formula_length, symbols_of


@dataclass(frozen=True)
class _Lattice:
    """How the lattice constant follows from the nearest distance, and that from the bonds."""

    bonds: int
    a_per_distance: float
    c_per_a: float | None = None
    elements: int = 1


LATTICES = {
    "diamond": _Lattice(4, 4 / math.sqrt(3)),
    "lonsdaleite": _Lattice(4, math.sqrt(8 / 3), math.sqrt(8 / 3)),
    "graphite": _Lattice(3, math.sqrt(3), 6.708 / 2.461),
    "graphene": _Lattice(3, math.sqrt(3)),
    "sc": _Lattice(6, 1.0),
    "bcc": _Lattice(8, 2 / math.sqrt(3)),
    "fcc": _Lattice(12, math.sqrt(2)),
    "hcp": _Lattice(12, 1.0, math.sqrt(8 / 3)),
    "zincblende": _Lattice(4, 4 / math.sqrt(3), elements=2),
    "rocksalt": _Lattice(6, 2.0, elements=2),
    "cesiumchloride": _Lattice(8, 2 / math.sqrt(3), elements=2),
}

STRETCH = {3: 0.92, 4: 1.0, 6: 1.14, 8: 1.32, 12: 1.41}
"""Nearest distance over that with four bonds, by number of bonds: roughly those of carbon."""

GRAPHENE_VACUUM_A = 10.0


def crystal(name: str, formula: str, n_atoms: int, a_A: float | None = None) -> Atoms:
    """Return a crystal of at least ``n_atoms`` atoms, in whole cells, as wide as can be.

    Parameters
    ----------
    name
        One of ``LATTICES``.
    formula
        One element, or two for zincblende, rocksalt and cesiumchloride.
    a_A
        Lattice constant; if None, from the element's ground state or the sum of covalent radii,
        scaled by the number of bonds. A start for relaxing, not a measured constant.
    """
    lattice = LATTICES.get(name)
    if lattice is None:
        raise UserError(f"crystal '{name}' is unknown; choose one of {', '.join(LATTICES)}")
    symbols = list(dict.fromkeys(symbols_of(formula, formula_length(formula))))
    if len(symbols) != lattice.elements:
        raise UserError(
            f"crystal '{name}' takes {lattice.elements} element(s), not '{formula}'; "
            "name a formula such as " + ("C" if lattice.elements == 1 else "SiC")
        )
    a = a_A or lattice.a_per_distance * nearest_distance_A(symbols, lattice.bonds)
    unit = _unit_cell(name, symbols, a)
    atoms = _repeated(unit, n_atoms)
    atoms.info["structure"] = f"{name}_{formula}"
    return atoms


def nearest_distance_A(symbols: list[str], bonds: int) -> float:
    """Return a guess of the nearest distance (Angstrom) of atoms with so many bonds each."""
    if len(symbols) == 1:
        known = reference_states[atomic_numbers[symbols[0]]] or {}
        lattice = LATTICES.get(known.get("symmetry", ""))
        if lattice is not None and isinstance(known.get("a"), float):
            own = known["a"] / lattice.a_per_distance
            return own * STRETCH[bonds] / STRETCH[lattice.bonds]
    radii = [covalent_radii[atomic_numbers[symbol]] for symbol in symbols]
    return float(radii[0] + radii[-1]) * STRETCH[bonds]


def _unit_cell(name: str, symbols: list[str], a: float) -> Atoms:
    from ase.build import bulk, graphene

    lattice = LATTICES[name]
    if name == "graphene":
        sheet = graphene(formula=symbols[0] * 2, a=a, vacuum=GRAPHENE_VACUUM_A / 2)
        sheet.pbc = (True, True, False)
        return sheet
    if name in ("graphite", "lonsdaleite"):
        return _hexagonal(name, symbols[0], a, a * lattice.c_per_a)
    if name == "hcp":
        return bulk(symbols[0], "hcp", a=a, c=a * lattice.c_per_a)
    return bulk("".join(symbols), name, a=a, cubic=True)


def _hexagonal(name: str, symbol: str, a: float, c: float) -> Atoms:
    """Return the four atoms of graphite (AB) or lonsdaleite (wurtzite of one element)."""
    thirds = {
        "graphite": [(0, 0, 0), (1 / 3, 2 / 3, 0), (0, 0, 1 / 2), (2 / 3, 1 / 3, 1 / 2)],
        "lonsdaleite": [
            (1 / 3, 2 / 3, 1 / 16),
            (2 / 3, 1 / 3, 15 / 16),
            (2 / 3, 1 / 3, 9 / 16),
            (1 / 3, 2 / 3, 7 / 16),
        ],
    }[name]
    cell = np.array([[a, 0, 0], [-a / 2, a * math.sqrt(3) / 2, 0], [0, 0, c]])
    return Atoms(f"{symbol}4", scaled_positions=thirds, cell=cell, pbc=True)


def _repeated(unit: Atoms, n_atoms: int) -> Atoms:
    """Repeat a cell along its shortest periodic axis, again and again, until it has enough."""
    times = np.ones(3, int)
    while len(unit) * times.prod() < n_atoms:
        lengths = np.where(unit.pbc, unit.cell.lengths() * times, np.inf)
        times[np.argmin(lengths)] += 1
    return unit.repeat(tuple(int(one) for one in times))
