"""Distillation: what the teacher makes and labels, and what the student learns from it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempermd.cli import app
from tempermd.dataset import read_labelled, write_structures
from tempermd.distillation import Distillation, DistilSpec, distil, resolved_distil_spec
from tempermd.records import UserError, read_record
from tempermd.training import Training, evaluate, train
from training_cases import morse_frames, write_case

QUIET = {"workers": 1, "progress": False}
STUDENT = {"type_names": ["C"], "cutoff_A": 2.6, "num_layers": 1, "num_features": 4}
BUDGET = {"max_epochs": 12, "learning_rate": 0.03, "warmup_steps": 3, "batch_size": 2}


def spec_of(**changes: Any) -> DistilSpec:
    raw = {
        "augment": {"n_frames": 12, "rounds": 2, "rattle_A": 0.08, "relax_steps": 2},
        "val_fraction": 0.25,
        "model": STUDENT,
        "training": BUDGET,
    }
    return DistilSpec.model_validate(raw | changes)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained teacher and three frames."""
    folder = tmp_path_factory.mktemp("teacher")
    train(write_case(folder, max_epochs=30, learning_rate=0.03), folder / "out", progress=False)
    write_structures(folder / "few.extxyz", morse_frames(3, 9))
    return folder


@pytest.fixture(scope="module")
def done(teacher: Path) -> Path:
    """A finished distillation with the true frames mixed in twice."""
    folder = teacher / "distilled"
    best = teacher / "out" / "best.ckpt"
    distil(best, teacher / "few.extxyz", spec_of(true_copies=2), folder, **QUIET)
    return folder


def test_labels_are_the_teachers(teacher: Path, done: Path) -> None:
    """Oracle: the eager teacher, from its checkpoint."""
    labelled = read_labelled(done / "labelled.extxyz")
    assert len(labelled) == 12
    errors = evaluate(teacher / "out" / "best.ckpt", labelled)
    assert errors.force_rmse_eV_per_A < 1e-4
    assert errors.energy_rmse_meV_per_atom < 0.1
    few = read_labelled(teacher / "few.extxyz")
    moved = [
        min(np.abs(one.positions - atoms.positions).max() for one in few) for atoms in labelled
    ]
    assert min(moved) > 0.01


def test_student_learns_from_the_teacher(done: Path) -> None:
    """Oracle: chains held out; against a model that predicts no force at all."""
    record = read_record(done / "distillation.json", Distillation)
    training = read_record(done / "student" / "training.json", Training)
    forces = [atoms.calc.results["forces"] for atoms in read_labelled(done / "val.extxyz")]
    rms = np.sqrt((np.concatenate(forces) ** 2).mean())
    assert record.student_against_teacher_force_rmse_eV_per_A < 0.8 * rms
    assert record.n_synthetic_train + record.n_synthetic_val == 12
    assert training.n_train == record.n_synthetic_train + 2 * 3


def test_no_chain_is_on_both_sides(done: Path) -> None:
    parts = [read_labelled(done / f"{name}.extxyz") for name in ("train", "val")]
    train_chains, val_chains = ({one.info.get("trajectory") for one in part} for part in parts)
    assert val_chains
    assert None not in val_chains
    assert train_chains.isdisjoint(val_chains)
    assert sum("trajectory" not in one.info for one in parts[0]) == 2 * 3


def test_finished_stages_are_left_alone(teacher: Path, done: Path) -> None:
    kept = ["teacher.nequip.pth", "augmented.extxyz", "labelled.extxyz", "student/best.ckpt"]
    before = {name: (done / name).stat().st_mtime_ns for name in kept}
    best = teacher / "out" / "best.ckpt"
    distil(best, teacher / "few.extxyz", spec_of(true_copies=2), done, **QUIET)
    assert {name: (done / name).stat().st_mtime_ns for name in kept} == before
    student = done / "student" / "best.ckpt"
    with pytest.raises(UserError, match="made from another teacher"):
        distil(student, teacher / "few.extxyz", spec_of(), done, **QUIET)


def test_command_with_a_student_from_a_base(teacher: Path, tmp_path: Path) -> None:
    """The student starts from the checkpoint that the spec names, relative to the spec."""
    import tomli_w
    from typer.testing import CliRunner

    raw = spec_of().model_dump(mode="json", exclude_defaults=True)
    del raw["model"]
    raw["base"] = "base.ckpt"
    raw["augment"]["n_frames"] = 6
    raw["training"]["max_epochs"] = 1
    (tmp_path / "base.ckpt").write_bytes((teacher / "out" / "best.ckpt").read_bytes())
    (tmp_path / "distil.toml").write_text(tomli_w.dumps(raw))
    arguments = ["distil", str(teacher / "out" / "best.ckpt"), "--workers", "1"]
    arguments += ["--frames", str(teacher / "few.extxyz"), "--spec", str(tmp_path / "distil.toml")]
    arguments += ["-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(tmp_path / "out" / "student" / "best.ckpt")
    record = read_record(tmp_path / "out" / "distillation.json", Distillation)
    training = read_record(tmp_path / "out" / "student" / "training.json", Training)
    assert training.inputs.parent_sha256 == record.teacher_sha256
    resolved = tomllib.loads((tmp_path / "out" / "spec.toml").read_text())
    assert resolved["base"] == str(tmp_path / "base.ckpt")


@pytest.mark.parametrize("start", ["", 'base = "b.ckpt"\n[model]\ntype_names = ["C"]'])
def test_refuses_no_start_and_two(tmp_path: Path, start: str) -> None:
    (tmp_path / "distil.toml").write_text(f"{start}\n[training]\nmax_epochs = 1\n")
    with pytest.raises(UserError, match="exactly one of model"):
        resolved_distil_spec(tmp_path / "distil.toml")
