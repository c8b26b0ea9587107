"""Whole runs with pair_style nequip: minimize, restart, rerun, NVE, NPT, rRESPA."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pair_style_cases import (
    Start,
    elements_of,
    forces_of,
    nequip_calculator,
    small_box,
    triclinic,
    tube,
)
from tempermd import lmp as lmp_room


def test_run_0_repeats_exactly(start: Start, make_model):
    instance = start(tube(), make_model())
    instance.command("run 0")
    energy, forces = instance.get_thermo("pe"), forces_of(instance)
    instance.command("run 0")
    assert instance.get_thermo("pe") == energy
    assert np.array_equal(forces_of(instance), forces)


def test_minimize_goes_down_and_ends_on_the_calculators_forces(start: Start, make_model):
    atoms = tube()
    instance = start(atoms, make_model())
    instance.command("run 0")
    energy = instance.get_thermo("pe")
    # a model of random weights has no minimum nearby: a few steps only
    instance.command("minimize 0.0 0.0 4 20")
    assert instance.get_thermo("pe") < energy - 0.01
    atoms.positions = np.array(instance.gather_atoms("x", 1, 3)).reshape(-1, 3)
    atoms.calc = nequip_calculator("float64", ("C",))
    assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-8)


def test_restart_continues_the_trajectory(start: Start, make_model, tmp_path: Path):
    model, restart = make_model(), tmp_path / "middle.restart"
    first = start(tube(), model)
    first.commands_list(
        [
            "velocity all create 300 4",
            "timestep 0.0005",
            "fix 1 all nve",
            "run 10",
            f"write_restart {restart}",
            "run 10",
        ]
    )
    second = lmp_room.lammps_instance()
    try:
        second.commands_list(
            [
                f"read_restart {restart}",
                "pair_style nequip",
                f"pair_coeff * * {model} C",
                "fix 1 all nve",
                "run 10",
            ]
        )
        assert second.extract_global("ntimestep") == 20
        one, other = (np.array(each.gather_atoms("v", 1, 3)) for each in (first, second))
        assert one == pytest.approx(other, abs=1e-10)
    finally:
        second.close()


NVT_INPUT = """
units metal
read_data {data}
pair_style nequip
pair_coeff * * {model} C
timestep 0.00025
velocity all create 600 11
fix bath all nvt temp 300 300 0.05
run 50
restart 100 state.*
run 200
write_dump all custom end.dump id xu yu zu vx vy vz modify sort id format float %.17g
"""
CONTINUED_INPUT = """
read_restart state.100
pair_style nequip
pair_coeff * * {model} C
timestep 0.00025
fix bath all nvt temp 300 300 0.05
run 150
write_dump all custom end.dump id xu yu zu vx vy vz modify sort id format float %.17g
"""


def test_restarted_nvt_equals_the_unbroken_run(make_model, tmp_path: Path):
    atoms = tube()
    atoms.write(tmp_path / "tube.data", format="lammps-data", masses=True)
    ends = []
    for name, text in (("whole", NVT_INPUT), ("continued", CONTINUED_INPUT)):
        (tmp_path / name).write_text(text.format(model=make_model(), data="tube.data"))
        result = lmp_room.run_process(["-in", name], tmp_path)
        assert result.exit_code == 0, result.stdout_tail
        ends.append(np.loadtxt(tmp_path / "end.dump", skiprows=9))
        (tmp_path / "end.dump").unlink()
    moved = np.abs(ends[0][:, 1:4] - atoms.positions).max()
    assert moved > 0.05, "nothing moved"
    assert np.abs(ends[0][:, 1:4] - ends[1][:, 1:4]).max() < 1e-8  # Å
    assert np.abs(ends[0][:, 4:] - ends[1][:, 4:]).max() < 1e-6  # Å/ps


def thermo_rows(log: Path) -> np.ndarray:
    """Return the thermo table of a log, of numbers only, one row for each line."""
    rows = re.findall(r"^ +\d+(?: +[-+.\de]+)+ *$", log.read_text(), re.MULTILINE)
    return np.array([row.split() for row in rows], dtype=float)


def test_rerun_gives_the_runs_energies_and_forces(start: Start, make_model, tmp_path: Path):
    columns = "id type x y z ix iy iz fx fy fz"
    first = start(tube(), make_model())
    first.commands_list(
        [
            f"log {tmp_path / 'run.log'}",
            "thermo_modify format float %.15g",
            "velocity all create 2000 4",
            "timestep 0.0005",
            "fix 1 all nve",
            "thermo 10",
            f"dump 1 all custom 10 {tmp_path / 'run.dump'} {columns}",
            "dump_modify 1 sort id format float %.17g",
            "run 50",
            "log none",
        ]
    )
    again = start(tube(), make_model())
    again.commands_list(
        [
            f"log {tmp_path / 'again.log'}",
            "thermo_modify format float %.15g",
            "thermo 10",
            f"dump 1 all custom 10 {tmp_path / 'again.dump'} {columns}",
            "dump_modify 1 sort id format float %.17g",
            f"rerun {tmp_path / 'run.dump'} dump x y z ix iy iz",
            "log none",
        ]
    )
    energies = [thermo_rows(tmp_path / name)[:, 1] for name in ("run.log", "again.log")]
    assert len(energies[0]) == 6
    assert np.ptp(energies[0]) > 0.1
    assert energies[1] == pytest.approx(energies[0], abs=1e-8)
    frames = [
        (tmp_path / name).read_text().split("ITEM: ATOMS") for name in ("run.dump", "again.dump")
    ]
    assert len(frames[0]) == len(frames[1]) == 7
    for one, other in zip(frames[0][1:], frames[1][1:], strict=True):
        forces = [
            np.array([line.split()[8:] for line in text.splitlines()[1:33]], dtype=float)
            for text in (one, other)
        ]
        assert forces[1] == pytest.approx(forces[0], abs=1e-9)


def npt_drift_eV(instance, timestep_ps: float, coupling: str) -> float:
    """Run 20 fs of NPT and return by how much the conserved quantity (eV) moved."""
    instance.commands_list(
        [
            "velocity all create 600 4",
            f"timestep {timestep_ps}",
            f"fix bath all npt temp 300 300 0.05 {coupling} 0 0 0.2",
            "thermo_style custom step etotal econserve vol",
            "run 0",
        ]
    )
    rows = []
    for _ in range(10):
        instance.command(f"run {round(0.002 / timestep_ps)}")
        rows.append([instance.get_thermo(name) for name in ("etotal", "econserve", "vol")])
    energy_eV, conserved_eV, volume_A3 = np.array(rows).T
    assert np.ptp(volume_A3) / volume_A3[0] > 0.02, "the box did not move"
    assert np.ptp(energy_eV) > 0.5
    assert np.ptp(conserved_eV) < 2e-3 * np.ptp(energy_eV)
    return np.ptp(conserved_eV)


# not "iso": there LAMMPS itself loses energy at any timestep, with tersoff too
@pytest.mark.parametrize(("structure", "coupling"), [(small_box, "aniso"), (triclinic, "tri")])
def test_npt_keeps_its_conserved_quantity(structure, coupling: str, start: Start, make_model):
    """The integrator's error goes with the square of the timestep; a wrong virial's would not."""
    model = make_model(type_names=elements_of(structure()))
    drifts_eV = [
        npt_drift_eV(start(structure(), model, skewed=coupling == "tri"), timestep_ps, coupling)
        for timestep_ps in (2e-4, 1e-4)
    ]
    assert drifts_eV[0] / drifts_eV[1] == pytest.approx(4.0, abs=0.4)


RESPA_INPUT = """
units metal
read_data tube.data
pair_style nequip
pair_coeff * * {model} C
velocity all create 600 4
timestep 0.0005
fix 1 all nve
run_style {style}
run 20
write_dump all custom end.dump id x y z fx fy fz modify sort id format float %.17g
"""


def test_respa_with_the_pair_style_as_one_level(make_model, tmp_path: Path):
    tube().write(tmp_path / "tube.data", format="lammps-data", masses=True)
    ends = []
    for style in ("verlet", "respa 2 1 pair 2"):
        (tmp_path / "in.run").write_text(RESPA_INPUT.format(model=make_model(), style=style))
        result = lmp_room.run_process(["-in", "in.run"], tmp_path)
        assert result.exit_code == 0, result.stdout_tail
        ends.append(np.loadtxt(tmp_path / "end.dump", skiprows=9))
    assert ends[1] == pytest.approx(ends[0], abs=1e-9)


def test_respa_that_splits_the_pair_style_is_refused(start: Start, make_model):
    instance = start(tube(), make_model())
    instance.command("fix 1 all nve")
    instance.command("run_style respa 2 2 inner 1 2.0 3.0 outer 2")
    with pytest.raises(Exception, match=r"[Pp]air style .*rRESPA"):
        instance.command("run 1")
