"""pair_style nequip with what else LAMMPS does: hybrids, boundaries, runs in pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from pair_style_cases import (
    Start,
    forces_of,
    nequip_calculator,
    small_box,
    stress_of,
    triclinic,
    tube,
)
from tempermd import lmp as lmp_room


def test_overlay_adds_forces(start: Start, make_model):
    atoms, lj = small_box(), "0.01 3.0"
    found = []
    for style, coefficients in (
        ("lj/cut 3.5", [f"* * {lj}"]),
        ("nequip", [f"* * {make_model()} C"]),
        ("hybrid/overlay lj/cut 3.5 nequip", [f"* * lj/cut {lj}", f"* * nequip {make_model()} C"]),
    ):
        instance = start(atoms, None, style=style)
        instance.commands_list([f"pair_coeff {one}" for one in coefficients] + ["run 0"])
        found.append((forces_of(instance), stress_of(instance)))
    for alone_lj, alone_nequip, both in zip(*found, strict=True):
        assert both == pytest.approx(alone_lj + alone_nequip, abs=1e-10)


def test_null_types_are_left_alone_in_hybrid(start: Start, make_model):
    atoms = triclinic()
    carbon = atoms[atoms.symbols == "C"]
    alone = start(carbon, make_model())
    alone.command("run 0")
    instance = start(atoms, None, style="hybrid nequip zero 4.0")
    instance.commands_list(
        [
            f"pair_coeff * * nequip {make_model()} C NULL",
            "pair_coeff 1 2 zero",
            "pair_coeff 2 2 zero",
            "run 0",
        ]
    )
    forces = forces_of(instance)
    assert forces[atoms.symbols == "C"] == pytest.approx(forces_of(alone), abs=1e-12)
    assert not forces[atoms.symbols == "H"].any()


def test_atoms_without_neighbors(start: Start, make_model):
    atoms = Atoms("C2", positions=[[5, 5, 5], [15, 15, 15]], cell=[20, 20, 20], pbc=True)
    instance = start(atoms, make_model())
    instance.command("run 0")
    single = Atoms("C", positions=[[5, 5, 5]], cell=[20, 20, 20], pbc=False)
    single.calc = nequip_calculator("float64", ("C",))
    assert instance.get_thermo("pe") == pytest.approx(2 * single.get_potential_energy(), abs=1e-9)
    assert not forces_of(instance).any()


def test_atoms_deleted_and_created_between_runs(start: Start, make_model):
    atoms = tube()
    instance = start(atoms, make_model())
    instance.commands_list(["run 0", "group gone id 3 7", "delete_atoms group gone compress no"])
    new = [atoms.cell[0, 0] / 2, atoms.cell[1, 1] / 2, 0.3]
    instance.command("create_atoms 1 single {} {} {} units box".format(*new))
    instance.command("run 0")
    changed = atoms[[i for i in range(len(atoms)) if i not in (2, 6)]]
    changed += Atoms("C", positions=[new])
    changed.calc = nequip_calculator("float64", ("C",))
    assert instance.get_thermo("pe") == pytest.approx(changed.get_potential_energy(), abs=1e-7)


def test_open_boundaries(start: Start, make_model):
    atoms = tube()
    atoms.pbc = False
    instance = start(atoms, make_model(), before=["boundary f s m"])
    instance.command("run 0")
    atoms.calc = nequip_calculator("float64", ("C",))
    assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-8)


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
