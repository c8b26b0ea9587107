"""Studies with MD: given files and a given base; models are deployed, driven and counted."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.io import write

from tempermd import dataset, labels, md, study, training
from tempermd.labels import SourceSpec
from tempermd.records import UserError, read_record
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

[training]
batch_size = 4
warmup_steps = 2

[bases.given]
checkpoint = "base/best.ckpt"

[targets.tubes]
train = "set/train.extxyz"
val = "set/val.extxyz"
test = "set/test.extxyz"
n_train = [8]

[strategies.direct]
learning_rates = [0.02]
max_steps = 4
[strategies.tuned]
bases = ["given"]
learning_rates = [0.02]
max_steps = 4

[md]
structures = { small = "tube.data" }
temperatures_K = [300]
seeds = [1]
ramp_ps = 0.0
hold_ps = 0.02
quench_frames = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a labelled set, a base, a tube and a finished study."""
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
    model = training.ModelSpec(
        type_names=["C"],
        num_layers=1,
        num_features=2,
        radial_mlp_width=4,
        num_bessels=4,
        cutoff_A=3.0,
    )
    base = training.TrainSpec(
        model=model,
        data=training.DataSpec(
            train=str(folder / "set" / "train.extxyz"), val=str(folder / "set" / "val.extxyz")
        ),
        training=training.TrainingSpec(max_steps=8, learning_rate=0.02, seed=2),
    )
    training.train(base, folder / "base", progress=False)
    folder.joinpath("code").write_text(str(study.run(folder / "study.toml", folder / "out", 2)[1]))
    return folder


def test_runs_are_counted_and_the_page_holds_the_table(folder: Path) -> None:
    found = read_record(folder / "out" / study.RESULT, study.Study)
    assert [row.arm.name for row in found.rows] == ["direct", "tuned given"]
    cases = list((folder / "out" / "store" / "md").glob("*/runs/*/case.json"))
    assert sum(len(row.fates) for row in found.rows) == len(cases) == 2
    failed = any(fate.failed for row in found.rows for fate in row.fates)
    assert folder.joinpath("code").read_text() == ("2" if failed else "0")
    page, table = (folder / "out" / "report.html").read_text(), study.table(folder / "out")
    assert found.title in page
    for row in found.rows:
        assert f"| {row.arm.name} | 8 | 4 | 0.02 (0.02) | {row.error('forces'):.3f} |" in table
        assert f"{row.error('forces'):.3f}" in page
        assert {fate.structure for fate in row.fates} == {"small"}


def test_the_deployed_model_has_the_errors_of_the_row(folder: Path) -> None:
    """Oracle: the file that LAMMPS runs, on the test set."""
    from tempermd.deploy import calculator

    found = read_record(folder / "out" / study.RESULT, study.Study)
    models = (folder / "out" / "store" / "deploy").glob("*/model.nequip.pth")
    errors = [training.evaluate(calculator(m), folder / "set" / "test.extxyz") for m in models]
    assert sorted(one.force_rmse_eV_per_A for one in errors) == pytest.approx(
        sorted(row.error("forces") for row in found.rows), rel=1e-3
    )


def test_another_name_of_a_strategy_drives_nothing_again(folder: Path) -> None:
    marks = {path: path.stat().st_mtime_ns for path in folder.glob("out/store/*/*/done.json")}
    (folder / "renamed.toml").write_text(SPEC.replace("strategies.direct", "strategies.plain"))
    study.run(folder / "renamed.toml", folder / "out", 1)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("out/store/*/*/done.json")} == marks
    assert "| plain |" in study.table(folder / "out")
    assert "plain" in (folder / "out" / "report.html").read_text()
    study.run(folder / "study.toml", folder / "out", 1)


def test_a_study_killed_amid_md_has_the_same_fates(folder: Path, tmp_path: Path) -> None:
    """Oracle: the run that nothing broke; the broken attempt is made again from its start."""
    spec = folder / "longer.toml"
    spec.write_text(SPEC.replace("hold_ps = 0.02", "hold_ps = 1.0"))
    for name in ("whole", "broken"):
        shutil.copytree(folder / "out", tmp_path / name)
    study.run(spec, tmp_path / "whole", 1)
    code = "import sys; from pathlib import Path; from tempermd import study\n"
    code += "if __name__ == '__main__': study.run(Path(sys.argv[1]), Path(sys.argv[2]), 1)\n"
    (tmp_path / "run.py").write_text(code)
    command = [sys.executable, tmp_path / "run.py", spec, tmp_path / "broken"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not _is_amid_md(tmp_path / "broken" / "store"):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    study.run(spec, tmp_path / "broken", 1)
    assert list((tmp_path / "broken" / "store" / "md").glob("*/runs/*/attempt-002"))
    one, other = (
        [
            row.model_dump(exclude={"cost"})
            for row in read_record(tmp_path / name / study.RESULT, study.Study).rows
        ]
        for name in ("broken", "whole")
    )
    assert one == other
    assert all(row["fates"] for row in one)


def _is_amid_md(store: Path) -> bool:
    """Tell whether a run that is not finished has done some steps."""
    logs = store.glob(f"md/*/runs/*/attempt-001/{md.LOG}")
    return any(
        md.read_progress(log).last_step > 0
        for log in logs
        if not (log.parents[3] / "done.json").exists()
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("temperatures_K = [300]", "temperature_K = 300", "unknown key 'temperature_K'"),
        ("base/best.ckpt", "base/none.ckpt", "none.ckpt"),
        ("tube.data", "no.data", "no.data; put it there"),
        ("n_train = [8]", "n_train = [80]", "80 frames are to be drawn, but .* has 12"),
        ('test = "set/test.extxyz"', "", "test is missing"),
        ("[md]", '[md]\nstrategies = ["tune"]', "'tune' is unknown; there is direct, tuned"),
    ],
)
def test_faults_are_found_before_any_training(
    folder: Path, old: str, new: str, message: str
) -> None:
    assert old in SPEC
    (folder / "bad.toml").write_text(SPEC.replace(old, new))
    with pytest.raises(UserError, match=message):
        study.run(folder / "bad.toml", folder / "never", 1)
    assert not (folder / "never").exists()
