"""What of a structure decides its label: its content, its key, and faults seen before labelling."""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

import numpy as np
from ase import Atoms

OVERLAP = "overlapping atoms"
CLOSEST_FRACTION = 0.4
"""Atoms nearer than this times the sum of their covalent radii overlap (C-C: 0.61 A)."""

_STATES = ("charge", "spin")
"""Entries of ``info`` that calculators read as part of the structure."""


class Fault(NamedTuple):
    """Why a structure has no label: a kind to count by, and the reason in words."""

    kind: str
    reason: str


def content_of(atoms: Atoms) -> Atoms:
    """Return a copy with just what a label depends on: no constraints, names or old labels."""
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if atoms.has("initial_charges"):
        bare.set_initial_charges(atoms.get_initial_charges())
    if atoms.has("initial_magmoms"):
        bare.set_initial_magnetic_moments(atoms.get_initial_magnetic_moments())
    bare.info = {name: atoms.info[name] for name in _STATES if name in atoms.info}
    return bare


def content_key(atoms: Atoms) -> bytes:
    """Return the sha256 of a structure's content: the same under any name, kind or order of files.

    Numbers, positions, cell, periodicity, and initial charges, magnetic moments, ``charge`` and
    ``spin`` where there are any.
    """
    digest = hashlib.sha256(b"tempermd structure 1")
    digest.update(atoms.numbers.astype("<i8").tobytes())
    # adding zero makes -0.0 the same as 0.0
    digest.update((atoms.positions + 0.0).astype("<f8").tobytes())
    digest.update((atoms.cell.array + 0.0).astype("<f8").tobytes())
    digest.update(atoms.pbc.tobytes())
    for name in ("initial_charges", "initial_magmoms"):
        values = atoms.arrays.get(name)
        if values is not None and np.any(values):
            digest.update(name.encode() + np.asarray(values, dtype="<f8").tobytes())
    states = {name: str(atoms.info[name]) for name in _STATES if name in atoms.info}
    digest.update(json.dumps(states, sort_keys=True).encode())
    return digest.digest()


def fault_of(atoms: Atoms) -> Fault | None:
    """Return what makes a structure unfit for any label, if something does."""
    if not len(atoms):
        return Fault("no atoms", "the structure has no atoms")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return Fault("non-finite coordinates", "positions or cell are not finite")
    axes = atoms.cell.array[atoms.pbc]
    if len(axes) and np.linalg.svd(axes, compute_uv=False).min() < 1e-3:
        return Fault("cell without extent", "the cell has no extent along a periodic axis")
    return _overlap(atoms)


def _overlap(atoms: Atoms) -> Fault | None:
    from ase.cell import Cell
    from ase.data import covalent_radii
    from matscipy.neighbours import neighbour_list

    radii = covalent_radii[atoms.numbers]
    cutoff_A = 2 * CLOSEST_FRACTION * float(radii.max())
    # what stands on an axis that is not periodic means nothing and may be no volume at all
    axes = Cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)).complete()
    boxed = Atoms(positions=atoms.positions, cell=axes, pbc=atoms.pbc)
    first, second, distances_A = neighbour_list("ijd", boxed, cutoff_A)
    limits_A = CLOSEST_FRACTION * (radii[first] + radii[second])
    worst = int(np.argmin(distances_A / limits_A)) if len(first) else 0
    if not len(first) or distances_A[worst] >= limits_A[worst]:
        return None
    pair = f"atoms {first[worst]} and {second[worst]}"
    return Fault(
        OVERLAP,
        f"{pair} ({atoms.symbols[first[worst]]}, {atoms.symbols[second[worst]]}) are "
        f"{distances_A[worst]:.3f} A apart, below {limits_A[worst]:.3f} A ({CLOSEST_FRACTION} x "
        "the sum of their covalent radii)",
    )
