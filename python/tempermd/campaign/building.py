"""Structures of a campaign as LAMMPS data files: copied, converted, or built."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempermd import md
from tempermd.campaign.spec import DATA_SUFFIXES, BuiltStructure
from tempermd.dataset import read_structures
from tempermd.records import UserError, atomic_write

if TYPE_CHECKING:
    from ase import Atoms

VACUUM_A = 10.0
RELAX_STEPS = 500
SPACING_A = 3.35
"""Between the walls of graphite; walls of a tube may differ from it by a quarter."""


def prepare_structure(source: str | Path | BuiltStructure, target: Path) -> Path:
    """Write a structure as a LAMMPS data file with masses.

    A LAMMPS data file is copied as it is. Of other formats, axes that are not periodic get
    10 A of vacuum on both sides.
    """
    if isinstance(source, BuiltStructure):
        with atomic_write(target) as temporary:
            _write_data(build(source), temporary)
        return target
    source = Path(source)
    if not source.is_file():
        raise UserError(f"{source}: no such structure file")
    with atomic_write(target) as temporary:
        if source.name.endswith(DATA_SUFFIXES):
            md.data_elements(source)
            md.count_atoms(source)
            shutil.copyfile(source, temporary)
        else:
            _write_data(_read_structure(source), temporary)
    return target


def build(spec: BuiltStructure) -> Atoms:
    """Build a tube with its defects and its second wall, or an amorphous cell."""
    from tempermd.structures import nanotube, with_stone_wales, with_vacancies

    rng = np.random.default_rng(spec.seed)
    if spec.tube is None:
        return _amorphous(spec)
    atoms = nanotube(*spec.tube, spec.length_A)
    if spec.outer is not None:
        atoms = _within(atoms, nanotube(*spec.outer, spec.length_A), spec)
    if spec.stone_wales:
        atoms, _ = with_stone_wales(atoms, spec.stone_wales, rng)
    if spec.vacancies:
        atoms = with_vacancies(atoms, spec.vacancies, rng)
    if spec.stone_wales or spec.vacancies:
        atoms = _at_rest(atoms, spec)
    return atoms


def _at_rest(atoms: Atoms, spec: BuiltStructure) -> Atoms:
    """Relax defects with Tersoff: a bond just turned would throw its atoms at 70 kT."""
    from tempermd.pair_styles import PotentialSpec
    from tempermd.structures.driver import LostError, relaxed

    try:
        return relaxed(atoms, PotentialSpec(), [RELAX_STEPS])[0]
    except LostError as error:
        raise UserError(f"tube {spec.tube} with its defects falls apart: {error}") from None


def _within(inner: Atoms, outer: Atoms, spec: BuiltStructure) -> Atoms:
    """Put one tube into another of the same length."""
    lengths = [atoms.cell[2, 2] for atoms in (inner, outer)]
    if abs(lengths[0] / lengths[1] - 1) > 0.01:
        raise UserError(
            f"tubes {spec.tube} and {spec.outer} are {lengths[0]:.2f} and {lengths[1]:.2f} A long: "
            "their periods do not fit; take tubes of one kind, as two armchair ones"
        )
    radii = [np.ptp(atoms.positions[:, 0]) / 2 for atoms in (inner, outer)]
    if abs((radii[1] - radii[0]) / SPACING_A - 1) > 0.25:
        raise UserError(
            f"tubes {spec.tube} and {spec.outer} have walls {radii[1] - radii[0]:.2f} A apart; "
            f"expected about {SPACING_A} A, as (n, n) and (n + 5, n + 5) have"
        )
    inner = inner.copy()
    inner.positions[:, 2] *= lengths[1] / lengths[0]
    middle = np.diag(outer.cell)[:2] / 2
    for atoms in (inner, outer):
        atoms.positions[:, :2] += middle - atoms.positions[:, :2].mean(axis=0)
    return outer + inner


def _amorphous(spec: BuiltStructure) -> Atoms:
    """Quench a cell from the melt with Tersoff, as the paper's amorphous start."""
    import tempfile

    from ase.io import read

    from tempermd.structures import MeltQuenchSpec, StructureSpec, make

    melt = MeltQuenchSpec(
        atoms=spec.atoms, densities_g_cm3=[spec.amorphous_g_cm3], anneal_K=[300.0]
    )
    with tempfile.TemporaryDirectory(prefix="tempermd-") as scratch:
        made = Path(scratch) / "frames.extxyz"
        make(StructureSpec(seed=spec.seed, melt_quench=[melt]), made, 1)
        return read(made, index=-1)


def _read_structure(source: Path) -> Atoms:
    frames = read_structures(source)
    if len(frames) != 1 or len(frames[0]) == 0:
        raise UserError(f"{source}: expected one structure, found {len(frames)}")
    return frames[0]


def _write_data(atoms: Atoms, path: Path) -> None:
    from ase.io import write

    atoms = atoms.copy()
    open_axes = [axis for axis in range(3) if not atoms.pbc[axis]]
    if open_axes:
        atoms.center(vacuum=VACUUM_A, axis=open_axes)
    elements = sorted(set(atoms.get_chemical_symbols()))
    write(path, atoms, format="lammps-data", masses=True, specorder=elements)
