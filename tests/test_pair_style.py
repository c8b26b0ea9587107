"""pair_style nequip against nequip's own calculator, finite differences and conservation laws."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase.io import write

import pair_style_cases
from pair_style_cases import (
    STRUCTURES,
    Start,
    elements_of,
    forces_of,
    nequip_calculator,
    small_box,
    stress_of,
    triclinic,
)
from tempermd import lmp as lmp_room

FORCE_TOLERANCE_EV_A = {"float32": 5e-5, "float64": 1e-8}
ENERGY_TOLERANCE_EV = 1e-6  # per atom
STRESS_TOLERANCE_EV_A3 = 1e-5

# for files that still import them from here
start, tube = pair_style_cases.start, pair_style_cases.tube


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_agrees_with_nequips_ase_calculator(name: str, dtype: str, start: Start, make_model):
    atoms = STRUCTURES[name]()
    elements = elements_of(atoms)
    instance = start(atoms, make_model(dtype=dtype, type_names=elements))
    instance.command("run 0")
    atoms.calc = nequip_calculator(dtype, elements)

    reference = atoms.get_forces()
    assert np.abs(reference).max() > 0.05, "forces too small to show anything"
    assert np.abs(forces_of(instance) - reference).max() < FORCE_TOLERANCE_EV_A[dtype]
    energy_tolerance = ENERGY_TOLERANCE_EV * (1 if dtype == "float64" else 5)
    difference = instance.get_thermo("pe") - atoms.get_potential_energy()
    assert abs(difference) / len(atoms) < energy_tolerance
    assert np.abs(stress_of(instance) - atoms.get_stress()).max() < STRESS_TOLERANCE_EV_A3


@pytest.mark.parametrize("name", STRUCTURES)
def test_forces_are_minus_the_gradient_of_the_energy(name: str, start: Start, make_model):
    atoms = STRUCTURES[name]()
    model = make_model(type_names=elements_of(atoms))
    instance = start(atoms, model, before=["atom_modify map array"])
    instance.command("run 0")
    forces, step_A = forces_of(instance), 1e-4
    count = instance.get_natoms()
    positions = instance.gather_atoms("x", 1, 3)
    for index in (0, 4, 3 * count - 1):
        energies = []
        for sign in (1, -1):
            positions[index] += sign * step_A
            instance.scatter_atoms("x", 1, 3, positions)
            instance.command("run 0")
            energies.append(instance.get_thermo("pe"))
            positions[index] -= sign * step_A
        slope = (energies[0] - energies[1]) / (2 * step_A)
        assert abs(forces.flat[index] + slope) < 1e-5


@pytest.mark.parametrize("name", ["triclinic", "small_box"])
def test_virial_is_the_derivative_by_strain(name: str, start: Start, make_model):
    atoms = STRUCTURES[name]()
    model = make_model(type_names=elements_of(atoms))
    instance = start(atoms, model)
    instance.command("run 0")
    stress = stress_of(instance)
    size = 1e-4
    # row vectors: r' = r (1 + strain); these three shears keep LAMMPS's lower triangle
    for k, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (2, 1), (2, 0), (1, 0)]):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * size
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            other = start(strained, model, skewed=True)
            other.command("run 0")
            energies.append(other.get_thermo("pe"))
        slope = (energies[0] - energies[1]) / (2 * size) / atoms.get_volume()
        assert stress[k] == pytest.approx(slope, abs=STRESS_TOLERANCE_EV_A3)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("newton", ["on", "off"])
def test_newton_and_threads_change_nothing(newton: str, threads: int, start: Start, make_model):
    atoms = small_box()
    results = []
    for setting, count in (("on", 1), (newton, threads)):
        instance = start(atoms, make_model(), before=[f"newton {setting}"], threads=count)
        instance.command("run 0")
        results.append((forces_of(instance), stress_of(instance), instance.get_thermo("pe")))
    for one, other in zip(*results, strict=True):
        assert np.abs(np.subtract(one, other)).max() < 1e-10


@pytest.mark.parametrize("newton", ["on", "off"])
def test_atom_energies_and_virials_sum_to_the_totals(newton: str, start: Start, make_model):
    atoms = triclinic()
    elements = elements_of(atoms)
    instance = start(atoms, make_model(type_names=elements), before=[f"newton {newton}"])
    instance.commands_list(
        [
            "compute energy all pe/atom",
            "compute virial all stress/atom NULL virial",
            "compute sums all reduce sum c_energy c_virial[*]",
            "thermo_style custom step pe pxx pyy pzz pxy pxz pyz c_sums[1]",
            "run 0",
        ]
    )
    atom_energies = instance.numpy.extract_compute("energy", 1, 1)
    atoms.calc = nequip_calculator("float64", elements)
    order = np.argsort(instance.numpy.extract_atom("id")[: len(atoms)])
    assert atom_energies[order] == pytest.approx(atoms.get_potential_energies(), abs=1e-8)

    sums = instance.numpy.extract_compute("sums", 0, 1)
    assert sums[0] == pytest.approx(instance.get_thermo("pe"), abs=1e-9)
    # stress/atom is -virial in bar Å³, in the order xx yy zz xy xz yz
    total = -stress_of(instance)[[0, 1, 2, 5, 4, 3]] * atoms.get_volume()
    assert -sums[1:] / instance.extract_global("nktv2p") == pytest.approx(total, abs=1e-7)


NVE_INPUT = """
units metal
read_data {data}
pair_style nequip
pair_coeff * * {model} C
velocity all create 600 11
timestep 0.001
fix 1 all nve
thermo_style custom step time etotal
thermo_modify format float %.10f
thermo 50
run 2000
"""


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "threads"), [(1, 1), (1, 2), (2, 1)])
def test_nve_conserves_energy(ranks: int, threads: int, tmp_path: Path):
    """The shipped model on the shipped tube, 128 atoms at about 300 K."""
    folder = lmp_room.potentials_folder()
    files = {"model": folder / "carbon_base.nequip.pth", "data": folder / "tube_8_8.data"}
    (tmp_path / "in.nve").write_text(NVE_INPUT.format(**files))
    prefix = lmp_room.mpirun_command(ranks) if ranks > 1 else []
    environment = {"OMP_NUM_THREADS": str(threads)}
    result = lmp_room.run_process(["-in", "in.nve"], tmp_path, env=environment, prefix=prefix)
    assert result.exit_code == 0, result.stdout_tail
    log = (tmp_path / "log.lammps").read_text()
    assert f"using {threads} OpenMP thread" in log
    assert f"with {ranks} MPI task" in log or f"{ranks} MPI tasks x" in log
    rows = re.findall(r"^ +(\d+) +([-\d.]+) +([-\d.]+) *$", log, re.MULTILINE)
    time_ps, energy_eV = np.array(rows, dtype=float)[:, 1:].T
    assert time_ps[-1] == pytest.approx(2.0)
    n_atoms = int(re.search(r"(\d+) atoms", log)[1])
    drift = np.polyfit(time_ps, energy_eV / n_atoms, 1)[0]
    assert abs(drift) < 1e-4  # eV/atom/ps
    assert np.ptp(energy_eV) / n_atoms < 2e-3


REPEAT_INPUT = """
units metal
read_data tube.data
pair_style nequip
pair_coeff * * {model} C
velocity all create 600 11
timestep 0.001
fix 1 all nve
dump 1 all custom 20 {name}.dump id x y z fx fy fz
dump_modify 1 sort id format float %.17g
run 20
"""


@pytest.mark.parametrize(("ranks", "threads"), [(1, 2), (2, 1)])
def test_repeated_runs_agree(ranks: int, threads: int, make_model, tmp_path: Path):
    """Runs are repeated, and compared with one of one thread: sums may round differently."""
    write(tmp_path / "tube.data", tube(), format="lammps-data", masses=True)
    found = {}
    for name, n_ranks, n_threads in (("a", ranks, threads), ("b", ranks, threads), ("one", 1, 1)):
        (tmp_path / "in").write_text(REPEAT_INPUT.format(model=make_model(layers=3), name=name))
        prefix = lmp_room.mpirun_command(n_ranks) if n_ranks > 1 else []
        environment = {"OMP_NUM_THREADS": str(n_threads)}
        result = lmp_room.run_process(["-in", "in"], tmp_path, env=environment, prefix=prefix)
        assert result.exit_code == 0, result.stdout_tail
        frame = (tmp_path / f"{name}.dump").read_text().split("ITEM: ATOMS")[-1]
        found[name] = np.array([line.split() for line in frame.splitlines()[1:]], dtype=float)
    assert found["b"] == pytest.approx(found["a"], abs=1e-10)
    assert found["one"] == pytest.approx(found["a"], abs=1e-10)
