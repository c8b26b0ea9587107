"""Structures, LAMMPS in process and the reference, for the tests of pair_style nequip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, nanotube
from ase.io import write

from tempermd import lmp as lmp_room

Start = Callable[..., object]


def tube() -> Atoms:
    """Return a periodic (4,0) tube of 32 rattled atoms, with vacuum around it."""
    atoms = nanotube(4, 0, length=2, bond=1.42)
    atoms.center(vacuum=5.0, axis=(0, 1))
    atoms.pbc = True
    atoms.rattle(0.05, seed=3)
    return atoms


def triclinic() -> Atoms:
    """Return a triclinic crystal of carbon and hydrogen, in the frame that LAMMPS uses."""
    cell = [[5.1, 0.0, 0.0], [1.3, 4.7, 0.0], [-0.9, 1.1, 5.6]]
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    atoms = Atoms("C5H3", cell=cell, pbc=True, scaled_positions=grid)
    atoms.positions += rng.normal(0.0, 0.15, atoms.positions.shape)
    return atoms


def small_box() -> Atoms:
    """Return diamond's cell of eight atoms: 3.57 Å wide, with a cutoff of 4 Å."""
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    atoms.rattle(0.06, seed=7)
    return atoms


STRUCTURES = {"tube": tube, "triclinic": triclinic, "small_box": small_box}


def elements_of(atoms: Atoms) -> tuple[str, ...]:
    """Return the elements of a structure in the order in which they first come."""
    return tuple(dict.fromkeys(atoms.symbols))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return ``start(atoms, model, ...)``: LAMMPS in process, ready to run; closed afterwards."""
    opened = []

    def begin(
        atoms: Atoms,
        model: Path | None,
        *,
        before: Sequence[str] = (),
        style: str = "nequip",
        threads: int = 1,
        skewed: bool = False,
    ):
        elements = elements_of(atoms)
        data = tmp_path / f"structure{len(opened)}.data"
        write(
            data,
            atoms,
            format="lammps-data",
            specorder=list(elements),
            masses=True,
            force_skew=skewed,
        )
        instance = lmp_room.lammps_instance(
            ["-log", "none", "-screen", "none", "-pk", "omp", str(threads)]
        )
        opened.append(instance)
        instance.commands_list(["units metal", *before, f"read_data {data}", f"pair_style {style}"])
        if model is not None:
            instance.command(f"pair_coeff * * {model} {' '.join(elements)}")
        instance.command("thermo_style custom step pe pxx pyy pzz pxy pxz pyz")
        return instance

    yield begin
    for instance in opened:
        instance.close()


def forces_of(instance) -> np.ndarray:
    """Return forces (N, 3) in eV/Å, in the order of atom IDs."""
    return np.array(instance.gather_atoms("f", 1, 3)).reshape(-1, 3)


def stress_of(instance) -> np.ndarray:
    """Return the stress (6,) in eV/Å³, in ASE's order and sign; atoms must stand still."""
    bar = [instance.get_thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
    return -np.array(bar) / instance.extract_global("nktv2p")


def nequip_calculator(dtype: str, type_names: tuple[str, ...], **arguments):
    """Return nequip's own ASE calculator of the eager model that ``make_model`` deploys."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    from conftest import random_model  # conftest itself imports this file

    model = random_model(dtype=dtype, type_names=type_names, **arguments).eval()
    transforms = basic_transforms(
        model.metadata,
        float(model.metadata["r_max"]),
        list(type_names),
        {name: name for name in type_names},
    )
    return NequIPCalculator(model=model, device="cpu", transforms=transforms)
