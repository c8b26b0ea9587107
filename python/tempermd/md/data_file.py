"""What the head of a LAMMPS data file says: number of atoms, element of each type."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempermd.records import UserError


def data_elements(data: Path | str) -> list[str]:
    """Return the element of each atom type of a LAMMPS data file, by its Masses section."""
    from ase.data import atomic_masses, chemical_symbols

    lines = iter(Path(data).read_text(errors="replace").splitlines())
    masses: dict[int, float] = {}
    for line in lines:
        if line.split("#")[0].strip() == "Masses":
            break
    for line in lines:
        words = line.split("#")[0].split()
        if len(words) == 2 and words[0].isdigit():
            masses[int(words[0])] = float(words[1])
        elif words:
            break
    if not masses:
        raise UserError(f"{data}: expected a LAMMPS data file with a Masses section")
    nearest = [int(np.argmin(np.abs(atomic_masses - masses[key]))) for key in sorted(masses)]
    return [chemical_symbols[number] for number in nearest]


def count_atoms(data: Path | str) -> int:
    """Return the number of atoms in the head of a LAMMPS data file."""
    with Path(data).open(errors="replace") as stream:
        for line in stream:
            words = line.split()
            if len(words) == 2 and words[1] == "atoms" and words[0].isdigit():
                return int(words[0])
    raise UserError(f"{data}: expected a LAMMPS data file with a line like '128 atoms'")


def outermost_atom(data: Path | str) -> tuple[int, tuple[float, float, float]]:
    """Return the ID of the atom farthest from the axis along z, and the unit vector outward."""
    from ase.io import read

    atoms = read(data, format="lammps-data", atom_style="atomic")
    across = atoms.positions[:, :2] - atoms.positions[:, :2].mean(axis=0)
    index = int(np.argmax(np.linalg.norm(across, axis=1)))
    out = across[index] / max(float(np.linalg.norm(across[index])), 1e-9)
    return int(atoms.arrays["id"][index]), (float(out[0]), float(out[1]), 0.0)
