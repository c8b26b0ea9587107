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


def test_no_structures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no structures to label"):
        labels.label([], SourceSpec(name="lcbop"), tmp_path / "out.extxyz")
