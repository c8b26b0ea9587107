"""The JSON of the mlearn sets: pymatgen structures with energies, forces and virial stresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.records import UserError

if TYPE_CHECKING:
    from ase import Atoms

KBAR_EV_PER_A3 = 0.1 / 160.21766208
"""1 kbar in eV/A^3."""


def iter_json(path: Path) -> Iterator[Atoms]:
    """Yield the frames of a list of structures with outputs, or of what else ASE reads.

    ``outputs`` (or ``data``) holds ``energy`` (eV), ``forces`` (eV/A) and ``virial_stress``
    (kbar, VASP's order xx yy zz xy yz zx and VASP's sign, positive under compression, so the
    opposite of ASE's). ``group`` becomes the frame's ``kind``.
    """
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(content, list) or not all(
        isinstance(one, dict) and "structure" in one for one in content
    ):
        raise UserError(
            f"{path}: expected a list of objects with 'structure' (pymatgen's) and 'outputs'; "
            "convert another JSON by its own program first"
        )
    for number, one in enumerate(content):
        try:
            yield _to_atoms(one)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(
                f"{path}: frame {number} is no pymatgen structure with outputs "
                f"({type(error).__name__}: {error})"
            ) from None


def _to_atoms(one: dict[str, Any]) -> Atoms:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    structure = one["structure"]
    sites = structure["sites"]
    lattice = structure.get("lattice")
    atoms = Atoms(
        [_element(site) for site in sites],
        positions=np.array([site["xyz"] for site in sites], dtype=float),
        cell=None if lattice is None else lattice["matrix"],
        pbc=False if lattice is None else lattice.get("pbc", True),
    )
    outputs = one.get("outputs", one.get("data", {}))
    results: dict[str, Any] = {}
    if "energy" in outputs:
        results["energy"] = float(outputs["energy"])
    if "forces" in outputs:
        results["forces"] = np.array(outputs["forces"], dtype=float)
    if outputs.get("virial_stress") is not None and atoms.pbc.all():
        results["stress"] = to_ase_stress(np.array(outputs["virial_stress"], dtype=float))
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    info = {"kind": one.get("group"), "description": one.get("description"), "tag": one.get("tag")}
    atoms.info.update({key: str(value) for key, value in info.items() if value})
    return atoms


def _element(site: dict[str, Any]) -> str:
    species = site["species"]
    if len(species) != 1 or species[0].get("occu", 1) != 1:
        raise ValueError(f"a site that is no single element: {species}")
    return str(species[0]["element"])


def to_ase_stress(virial_stress_kbar: np.ndarray) -> np.ndarray:
    """Return ASE's stress (Voigt 6, eV/A^3) of a stress in VASP's order, sign and unit."""
    xx, yy, zz, xy, yz, zx = virial_stress_kbar
    return -KBAR_EV_PER_A3 * np.array([xx, yy, zz, yz, zx, xy])
