"""Every label source with a structure for it, and the small models that tests make for some."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from tempermd import labels
from tempermd.labels import SourceSpec

LENNARD_JONES = {
    "commands": [
        "pair_style lj/cut 3.0",
        "pair_coeff * * 0.6 1.5",
        "pair_modify shift yes",
    ],
    "elements": ["C", "H"],
}


@dataclass(frozen=True)
class Case:
    """A source under test: how to open it, its element, and how exact its numbers are.

    ``step_A`` is that of central differences; ``tolerance`` is relative to the largest force
    or stress; ``sum_eV`` is how far images and rounding move an energy.
    """

    spec: Callable[[Path, pytest.FixtureRequest], SourceSpec]
    symbol: str = "C"
    step_A: float = 1e-4
    tolerance: float = 1e-5
    energy_eV: float = 1e-7


def _by_name(name: str, **settings: object) -> Callable:
    return lambda folder, request: SourceSpec(name=name, settings=settings)


CASES = {
    "airebo": Case(_by_name("airebo")),
    "eam": Case(_by_name("eam:CuNi.eam.alloy"), symbol="Cu", tolerance=1e-4),
    "edip": Case(_by_name("edip")),
    "lammps": Case(_by_name("lammps", **LENNARD_JONES)),
    "lcbop": Case(_by_name("lcbop")),
    "rebo": Case(_by_name("rebo")),
    "snap": Case(_by_name("snap")),
    "sw": Case(_by_name("sw"), symbol="Si"),
    "tersoff": Case(_by_name("tersoff")),
    "nequip": Case(
        lambda folder, request: SourceSpec(
            name=f"nequip:{request.getfixturevalue('make_model')(type_names=('C', 'H'))}"
        ),
        tolerance=1e-4,
    ),
    "xtb": Case(_by_name("xtb"), step_A=1e-3, tolerance=1e-3, energy_eV=2e-4),
    "sevennet-0": Case(_by_name("sevennet-0"), step_A=1e-2, tolerance=5e-3, energy_eV=1e-4),
    "nep": Case(
        lambda folder, request: SourceSpec(name=f"nep:{nep_file(folder / 'nep.txt')}"),
        tolerance=1e-3,
    ),
    "gap": Case(lambda folder, request: SourceSpec(name=f"gap:{gap_file(folder)}"), tolerance=1e-3),
    "ase": Case(_by_name("ase:ase.calculators.lj:LennardJones", sigma=1.5, epsilon=0.6, rc=3.0)),
}
LAMMPS_CASES = ["airebo", "eam", "edip", "lammps", "lcbop", "rebo", "snap", "sw", "tersoff"]


def structure(symbol: str = "C") -> Atoms:
    """Return eight rattled atoms in a triclinic cell, narrower than most cutoffs."""
    lattice = {"C": ("diamond", 3.57), "Si": ("diamond", 5.43), "Cu": ("fcc", 3.62)}[symbol]
    atoms = bulk(symbol, lattice[0], a=lattice[1], cubic=True)
    strain = 0.05 * np.random.default_rng(4).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.05, seed=3)
    return atoms


@pytest.fixture(scope="session")
def opened(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], object]:
    """Return ``opened(case)`` -> the calculator of a case, opened once per session."""
    specs: dict[str, SourceSpec] = {}

    from conftest import skip_without  # conftest itself imports this file

    def open_(name: str) -> object:
        skip_without(name)
        if name not in specs:
            specs[name] = CASES[name].spec(tmp_path_factory.mktemp(name), request)
        return labels.sources.calculator_of(specs[name])

    return open_


def nep_file(path: Path, seed: int = 1) -> Path:
    """Write a NEP4 of C and H with random parameters; cutoffs 4.0 and 3.5 Å.

    The format is that of GPUMD's nep.txt: weights of the network by element, its bias, the
    radial and angular coefficients of the descriptor by pairs, and the scales of the inputs.
    """
    n_types, n_radial, n_angular, basis, l_max, neurons = 2, 3, 2, 4, 3, 5
    inputs = (n_radial + 1) + (n_angular + 1) * l_max
    network = n_types * neurons * (inputs + 2) + 1
    descriptor = n_types**2 * (basis + 1) * ((n_radial + 1) + (n_angular + 1))
    rng = np.random.default_rng(seed)
    # the scales keep the network off the flat ends of its tanh
    numbers = [*rng.normal(size=network + descriptor), *rng.uniform(0.01, 0.05, size=inputs)]
    head = [
        "nep4 2 C H",
        "cutoff 4.0 3.5 100 60",
        f"n_max {n_radial} {n_angular}",
        f"basis_size {basis} {basis}",
        f"l_max {l_max} 0 0",
        f"ANN {neurons} 0",
    ]
    path.write_text("\n".join([*head, *(f"{number:.7e}" for number in numbers)]) + "\n")
    return path


GAP_DESCRIPTORS = (
    "{distance_2b cutoff=3.0 covariance_type=ard_se delta=1.0 theta_uniform=1.0 n_sparse=8 "
    "sparse_method=uniform : soap cutoff=3.0 n_sparse=20 l_max=2 n_max=3 atom_sigma=0.5 zeta=2 "
    "delta=0.5 covariance_type=dot_product sparse_method=cur_points}"
)


def gap_file(folder: Path) -> Path:
    """Fit a small GAP to Tersoff's labels of carbon with the gap_fit of quippy's wheel."""
    import quippy

    program = Path(quippy.__file__).parent / "gap_fit"
    if not program.is_file():
        pytest.skip("quippy's wheel has no gap_fit here: no GAP can be fitted")
    tersoff = labels.open_source(SourceSpec(name="tersoff"))[1]
    frames = [Atoms("C", cell=[20] * 3, pbc=True, info={"config_type": "isolated_atom"})]
    for seed in range(6):
        atoms = bulk("C", "diamond", a=3.4 + 0.1 * seed, cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    for atoms in frames:
        label = labels.compute(atoms, tersoff)
        atoms.info["tersoff_energy"] = label.get_potential_energy()
        atoms.arrays["tersoff_force"] = label.get_forces()
    write(folder / "train.xyz", frames)
    arguments = {
        "at_file": "train.xyz",
        "energy_parameter_name": "tersoff_energy",
        "force_parameter_name": "tersoff_force",
        "default_sigma": "{0.01 0.1 0 0}",
        "do_copy_at_file": "F",
        "gp_file": "gap.xml",
        "gap": GAP_DESCRIPTORS,
    }
    command = [str(program), *(f"{key}={value}" for key, value in arguments.items())]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "gap.xml"
