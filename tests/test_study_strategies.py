"""Switches of a study's strategies and bases, each one run for real and read from its products."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from tempermd import study, training
from tempermd.dataset import read_labelled
from tempermd.records import UserError, read_record
from tempermd.study import running
from tempermd.study.loading import load_study
from tempermd.study.plan import PlannedRow, plan_study
from tempermd.study.stages import Store
from test_study import SPEC, write_specs

SWITCHES = (
    SPEC.replace("learning_rates = [0.02, 1e-6]", "learning_rates = [0.02]")
    .replace("seeds = [1, 2]", "seeds = [1]")
    .replace(
        'judge_on = ["general"]', 'judge_on = ["general"]\n[targets.layers.training]\nval_every = 3'
    )
    .replace("[pretraining]", "[pretraining]\nlabelling = { accept_failures = 0.0 }")
    .replace("[sources]", '[sources]\nlcbop = { name = "lcbop" }')
    + """
[bases.same]
sources = ["tersoff"]
structures = "target"
[bases.chain]
sources = ["tersoff", "lcbop"]
[strategies.control]
bases = ["same"]
learning_rates = [0.02]
max_steps = 4
[strategies.control.on.layers]
learning_rates = [0.03]
max_steps = { 3 = 5 }
[strategies.taught_twice]
bases = ["chain"]
learning_rates = [0.02]
max_steps = { 3 = 5 }
[strategies.replayed]
bases = ["tersoff"]
learning_rates = [0.02]
max_steps = 4
finetuning = { replay = { fraction = 0.5, n_frames = 6 }, freeze = ["layer0"] }
[strategies.farthest]
bases = ["tersoff"]
learning_rates = [0.02]
max_steps = 4
selection = "farthest"
[strategies.distilled]
bases = ["tersoff"]
learning_rates = [0.02]
max_steps = 4
[strategies.distilled.distil]
true_copies = 2
augment = { n_frames = 12, rounds = 2, rattle_A = 0.05 }
training = { max_steps = 4, learning_rate = 0.02 }
[strategies.fed]
learning_rates = [0.02, 1e-6]
max_steps = 4
extra_train = { file = "extra.extxyz", n = 2 }
"""
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, PlannedRow], Store, Path]:
    """Return a finished study's planned rows by strategy, and its store."""
    from tempermd.dataset import iter_structures
    from tempermd.labels import FrameFiles, SourceSpec, label
    from tempermd.records import read_spec
    from tempermd.structures import StructureSpec, make

    folder = tmp_path_factory.mktemp("switches")
    spec = write_specs(folder, SWITCHES)
    make(
        read_spec(folder / "layers.toml", StructureSpec).model_copy(update={"seed": 9}),
        folder / "more.extxyz",
        1,
    )
    frames = FrameFiles((folder / "more.extxyz",), iter_structures)
    label(frames, SourceSpec(name="lcbop"), folder / "extra.extxyz", workers=1)
    study.run(spec, folder / "out", 2)
    store = Store(folder / "out" / "store")
    plan = plan_study(load_study(spec), store)
    return {row.strategy: row for row in plan.rows}, store, folder


def positions(frames: list[Atoms]) -> set[bytes]:
    """Return frames by their positions, labels aside."""
    return {np.round(atoms.positions, 6).tobytes() for atoms in frames}


def training_of(row: PlannedRow, store: Store) -> tuple[Path, Any]:
    """Return the folder of a row's chosen training and its record."""
    folder = store.folder_of(row.trainings[row.chosen]) / "training"
    return folder, read_record(folder / "training.json", training.Training)


def test_every_strategy_has_its_row(made) -> None:
    found, _, folder = made
    rows = read_record(folder / "out" / study.RESULT, study.Study).rows
    assert sorted(row.arm.strategy for row in rows) == sorted(found)
    assert len(found) == 8


def test_the_control_is_pretrained_on_the_very_frames_of_its_target(made) -> None:
    found, store, _ = made
    row = found["control"]
    own = read_labelled(store.path(row.draw.product("train.extxyz")))
    seen = read_labelled(store.path(row.base.trained_on))
    assert positions(own) == positions(seen)
    assert {a.info["source"] for a in seen} == {"tersoff"}
    assert {a.info["source"] for a in own} == {"lcbop"}
    assert row.arm.n_pretrain == row.n_train


def test_a_second_teacher_goes_on_from_the_first(made) -> None:
    """Oracle: hashes of the checkpoints, from the last back to the first."""
    from tempermd.records import sha256_file

    found, store, _ = made
    row = found["taught_twice"]
    first, second = [one for one in row.base.stages if one.kind == "training"]
    best = [store.folder_of(one) / "training" / "best.ckpt" for one in (first, second)]
    folder, record = training_of(row, store)
    assert record.lineage == [sha256_file(best[1]), sha256_file(best[0])]
    assert training.resolved_spec(folder / "spec.toml").training.max_steps == 5


def test_replay_takes_the_pretraining_set_and_freezing_its_layer(made) -> None:
    import torch

    found, store, _ = made
    row = found["replayed"]
    folder, record = training_of(row, store)
    assert record.n_replay == 6
    assert record.n_replay_per_epoch == record.n_train == 3
    parent = training.load_checkpoint(store.path(row.base.checkpoint)).state_dict()
    child = training.load_checkpoint(folder / "best.ckpt").state_dict()
    frozen = [name for name in parent if ".layer0_" in name]
    assert frozen
    assert all(torch.equal(parent[name], child[name]) for name in frozen)
    assert any(not torch.equal(parent[name], child[name]) for name in parent)


def test_selected_frames_are_those_that_the_model_finds_farthest(made) -> None:
    found, store, _ = made
    row = found["farthest"]
    pool = read_labelled(store.path(row.draw.parameters["pool"]))
    chosen = training.select_farthest(store.path(row.base.checkpoint), pool, 3, seed=1)
    own = read_labelled(store.path(row.draw.product("train.extxyz")))
    assert positions(own) == positions([pool[i] for i in chosen])


def test_extra_frames_come_on_top_and_chosen_rates_are_of_this_strategy(made) -> None:
    found, store, folder = made
    row = found["fed"]
    own = read_labelled(store.path(row.draw.product("train.extxyz")))
    extra = read_labelled(folder / "extra.extxyz")
    drawn = read_labelled(store.path(found["direct"].draw.product("train.extxyz")))
    assert len(own) == 5
    assert len(positions(own) & positions(extra)) == 2
    assert positions(drawn) == positions(own) - positions(extra)
    assert set(row.trainings) == {0.02, 1e-6}


def test_a_student_learns_from_the_rows_own_model_and_frames(made) -> None:
    """Oracle: the hashes that the distillation wrote, and the student's errors measured anew."""
    from tempermd.distillation import Distillation
    from tempermd.records import sha256_file

    found, store, folder = made
    row = found["distilled"]
    record = read_record(store.folder_of(row.student) / "distillation.json", Distillation)
    teacher = store.path(row.trainings[row.chosen].product("training/best.ckpt"))
    assert record.teacher_sha256 == sha256_file(teacher)
    assert record.frames_sha256 == sha256_file(store.path(row.draw.product("train.extxyz")))
    rows = read_record(folder / "out" / study.RESULT, study.Study).rows
    own = next(one for one in rows if one.arm.strategy == "distilled")
    assert own.checkpoint_sha256 == record.student_sha256 != record.teacher_sha256
    test = store.path(row.judges["test"].parameters["frames"])
    again = training.evaluate(store.path(row.model), test)
    assert own.error("forces") == pytest.approx(again.force_rmse_eV_per_A, rel=1e-6)


def test_settings_of_a_target_reach_its_trainings(made) -> None:
    found, store, _ = made
    spec = training.resolved_spec(training_of(found["direct"], store)[0] / "spec.toml")
    assert spec.training.val_every == 3


def test_a_strategy_has_rates_and_steps_of_its_own_on_a_target(made) -> None:
    found, store, _ = made
    row = found["control"]
    spec = training.resolved_spec(training_of(row, store)[0] / "spec.toml")
    assert (spec.training.learning_rate, spec.training.max_steps) == (0.03, 5)
    assert row.rates == [0.03]


def test_a_streamed_pretraining_set_gives_the_same_models(tmp_path: Path, monkeypatch) -> None:
    """Oracle: the same study with its pre-training set in memory, replay of it included.

    On the way: the rows are written while the study runs, those that are finished.
    """
    shown: list[int] = []
    write, result = running._write_rows, tmp_path / "out" / study.RESULT

    def spy(*given: Any) -> Any:
        shown.append(len(read_record(result, study.Study).rows) if result.exists() else -1)
        return write(*given)

    monkeypatch.setattr(running, "_write_rows", spy)
    monkeypatch.setattr(running, "WRITTEN_EVERY_S", 0.0)
    text = SPEC[: SPEC.index("[strategies.direct]")].replace("seeds = [1, 2]", "seeds = [1]")
    spec = write_specs(
        tmp_path,
        text
        + """
[strategies.replayed]
bases = ["tersoff"]
learning_rates = [0.02]
max_steps = 4
finetuning = { replay = { fraction = 0.5, n_frames = 6 } }
""",
    )
    found = []
    for threshold in (10**9, 1):
        monkeypatch.setattr("tempermd.study.foundations.LARGE_PRETRAINING", threshold)
        study.run(spec, tmp_path / "out", 2)
        (row,) = read_record(tmp_path / "out" / study.RESULT, study.Study).rows
        found.append(row)
        if threshold > 1:
            # before the first stage's end nothing; then files without a model, last with it
            assert shown[:2] == [-1, 0]
            assert len(shown) > 10
            assert shown == sorted(shown)
    store = tmp_path / "out" / "store"
    assert len(list(store.glob("draw/*/train.lmdb"))) == 1
    in_memory, streamed = found
    for name in ("test", "general"):
        assert streamed.error("forces", name) == pytest.approx(
            in_memory.error("forces", name), rel=1e-4
        )
    assert streamed.start_errors["test"].force_rmse_eV_per_A == pytest.approx(
        in_memory.start_errors["test"].force_rmse_eV_per_A, rel=1e-4
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_steps = { 3 = 5 }", "max_steps = { 4 = 5 }", "no steps for n_train = 3 on layers"),
        ("[strategies.control.on.layers]", "[strategies.control.on.bulk]", "'bulk' is unknown"),
        ('freeze = ["layer0"]', 'freeze = ["layer7"]', "layer7"),
        (
            'selection = "farthest"',
            'selection = "farthest"\nalchemy = { elements = { C = "Si" } }',
            "features of another element",
        ),
    ],
)
def test_faults_of_switches_are_found_before_any_stage(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in SWITCHES
    spec = write_specs(tmp_path, SWITCHES.replace(old, new))
    (tmp_path / "extra.extxyz").write_text("1\n\nC 0 0 0\n")
    with pytest.raises(UserError, match=message):
        study.run(spec, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()
