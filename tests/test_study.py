"""Studies: arms are tuned on validation, reported as they were measured, and not done twice."""

from pathlib import Path

import pytest
from ase.io import write

from tempermd import dataset, labels, study, training
from tempermd.labels import SourceSpec
from tempermd.records import UserError, read_record, read_spec
from tempermd.structures import nanotube, write_data

SPEC = """
title = "Two tiny arms"

[model]
type_names = ["C"]
num_layers = 1
num_features = 2
radial_mlp_width = 4
num_bessels = 4
cutoff_A = 3.0

[data]
train = "set/train.extxyz"
val = "set/val.extxyz"
test = "set/test.extxyz"

[training]
batch_size = 4
warmup_steps = 2
val_every = 1
seed = 1

[arms.direct]
learning_rates = [0.02, 1e-6]
max_steps = 8

[arms.tuned]
base = "base/best.ckpt"
learning_rates = [0.02, 1e-6]
max_steps = 8

[robustness]
structures = { small = "tube.data" }
temperatures_K = [300]
seeds = [1]
ramp_ps = 0.0
hold_ps = 0.02
quench_frames = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a labelled set, a base model, a tube and a finished study."""
    folder = tmp_path_factory.mktemp("study")
    frames = []
    for number in range(20):
        atoms = nanotube(5, 0, 4.0)
        atoms.rattle(0.08, seed=number)
        atoms.info["trajectory"] = f"t{number}"
        frames.append(atoms)
    write(folder / "frames.extxyz", frames)
    labels.label(frames, SourceSpec(name="lcbop"), folder / "labelled.extxyz", workers=1)
    fractions = {"train": 0.6, "test": 0.2, "val": 0.2}
    dataset.build([folder / "labelled.extxyz"], folder / "set", fractions=fractions, seed=1)
    write_data(folder / "tube.data", nanotube(5, 0, 8.0))
    (folder / "study.toml").write_text(SPEC)
    spec = read_spec(folder / "study.toml", study.StudySpec)
    base = training.TrainSpec(
        model=spec.model,
        data=study._with_absolute_paths(spec, folder).data,
        training=training.TrainingSpec(max_steps=8, learning_rate=0.02, seed=2),
    )
    training.train(base, folder / "base", progress=False)
    folder.joinpath("code").write_text(str(study.run(folder / "study.toml", folder / "out", 2)[1]))
    return folder


def measured(folder: Path, arm: str, rate: str) -> training.Training:
    """Return what a training of the study recorded."""
    return read_record(
        folder / "out" / "training" / f"{arm}-lr{rate}" / "training.json", training.Training
    )


@pytest.mark.parametrize("arm", ["direct", "tuned"])
def test_rate_is_chosen_on_validation_and_errors_are_those_measured(folder: Path, arm: str) -> None:
    result = read_record(folder / "out" / study.RESULT, study.Study)
    row = next(row for row in result.rows if row.arm == arm)
    best = min(
        (measured(folder, arm, rate) for rate in ("0.02", "1e-06")),
        key=lambda one: one.val.force_rmse_eV_per_A,
    )
    assert row.val_force_rmse_eV_per_A == best.val.force_rmse_eV_per_A
    assert row.test_force_rmse_eV_per_A == best.test.force_rmse_eV_per_A
    deployed = folder / "out" / "models" / f"{arm}.nequip.pth"
    from tempermd.deploy import calculator

    again = training.evaluate(calculator(deployed), folder / "set" / "test.extxyz")
    assert again.force_rmse_eV_per_A == pytest.approx(row.test_force_rmse_eV_per_A, rel=1e-3)


def test_arms_differ_by_their_base_only(folder: Path) -> None:
    direct, tuned = (measured(folder, arm, "0.02") for arm in ("direct", "tuned"))
    assert direct.inputs.parent_sha256 is None
    assert tuned.inputs.parent_sha256 is not None
    assert direct.n_steps == tuned.n_steps
    assert direct.inputs.train_sha256 == tuned.inputs.train_sha256


def test_runs_are_counted_and_the_page_holds_the_table(folder: Path) -> None:
    result = read_record(folder / "out" / study.RESULT, study.Study)
    cases = list((folder / "out" / "md" / "runs").glob("*/case.json"))
    assert sum(row.runs for row in result.rows) == len(cases) == 2
    page = (folder / "out" / "report.html").read_text()
    assert result.title in page
    failed = any(row.verdict == "FAIL" for row in result.rows)
    assert folder.joinpath("code").read_text() == ("2" if failed else "0")
    for row in result.rows:
        assert f"{row.test_force_rmse_eV_per_A:.3f}" in study.table(folder / "out")
        assert (row.survived == row.runs) == (row.first_events == [])


def test_second_call_does_no_stage_again(folder: Path) -> None:
    products = ["training/*/best.ckpt", "models/*.pth", "md/runs/*/result.json"]
    before = {
        path: path.stat().st_mtime_ns for kind in products for path in (folder / "out").glob(kind)
    }
    study.run(folder / "study.toml", folder / "out", 2)
    assert len(before) == 4 + 2 + 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_study_does_not_enter_the_folder(folder: Path) -> None:
    (folder / "other.toml").write_text(SPEC.replace("max_steps = 8", "max_steps = 9"))
    with pytest.raises(UserError, match="another study; name another output"):
        study.run(folder / "other.toml", folder / "out", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("temperatures_K = [300]", "temperature_K = 300"), "unknown key 'temperature_K'"),
        (("seed = 1", "seed = 1\nlearning_rate = 0.1"), "learning_rate belong to each arm"),
        (('test = "set/test.extxyz"', ""), "'data.test' is missing"),
        (("batch_size = 4", "batch_size = 'four'"), "batch_size"),
        (("base/best.ckpt", "base/none.ckpt"), "none.ckpt"),
    ],
)
def test_faults_are_found_before_any_training(
    folder: Path, change: tuple[str, str], message: str
) -> None:
    assert change[0] in SPEC
    (folder / "bad.toml").write_text(SPEC.replace(*change))
    with pytest.raises(UserError, match=message):
        study.run(folder / "bad.toml", folder / "never", 1)
    assert not (folder / "never").exists()
