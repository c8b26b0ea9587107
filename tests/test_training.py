"""Training and fine-tuning: what they learn, carry, refuse, and how they resume."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from tempermd.records import UserError, read_record, read_spec
from tempermd.training import (
    Training,
    TrainSpec,
    evaluate,
    finetune,
    load_checkpoint,
    resolved_spec,
    train,
)
from tempermd.training.data import FramesInMemory, gather_statistics, subset
from tempermd.training.models import config_of_checkpoint, energy_shifts
from training_cases import morse_frames, residuals_eV_per_atom, shifted, write_case

QUIET = {"progress": False}


def weights_of(checkpoint: Path) -> dict[str, np.ndarray]:
    return {name: one.numpy() for name, one in load_checkpoint(checkpoint).state_dict().items()}


def metrics_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec, its data, and a finished training in ``out``."""
    folder = tmp_path_factory.mktemp("base")
    train(write_case(folder, max_epochs=30, learning_rate=0.03), folder / "out", **QUIET)
    return folder


def test_learns(base: Path) -> None:
    """Oracle: errors far below those of a model that predicts no force at all."""
    record = read_record(base / "out" / "training.json", Training)
    rows = metrics_of(base / "out")
    assert float(rows[-1]["train_loss"]) < 0.5 * float(rows[0]["train_loss"])
    forces = np.concatenate([atoms.calc.results["forces"] for atoms in morse_frames(3, 3)])
    assert record.test.force_rmse_eV_per_A < 0.7 * np.sqrt((forces**2).mean())
    assert record.n_steps == 30 * 3
    assert record.n_epochs == len(rows) == 30


def test_record_names_what_it_was_made_from(base: Path) -> None:
    import hashlib

    record = read_record(base / "out" / "training.json", Training)
    digest = hashlib.sha256((base / "train.xyz").read_bytes()).hexdigest()
    assert record.inputs.train_sha256 == digest
    assert record.inputs.parent_sha256 is None
    resolved = read_spec(base / "out" / "spec.toml", TrainSpec)
    assert (base / "out" / resolved.data.train).resolve() == (base / "train.xyz").resolve()
    assert resolved.training.ema_decay == 0.99


def test_best_is_the_lowest_validation_error(base: Path) -> None:
    record = read_record(base / "out" / "training.json", Training)
    errors = [float(row["val_force_rmse_eV_per_A"]) for row in metrics_of(base / "out")]
    assert record.best_epoch == 1 + int(np.argmin(errors))
    # nequip's own metric during training against ours on the written checkpoint
    assert record.val.force_rmse_eV_per_A == pytest.approx(min(errors), rel=1e-5)


def test_finished_training_is_left_alone(base: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (base / "out").iterdir()}
    assert train(base / "spec.toml", base / "out", **QUIET) == base / "out" / "best.ckpt"
    assert {path: path.stat().st_mtime_ns for path in (base / "out").iterdir()} == before


def stopping(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make trainings behave as if Ctrl-C were pressed during a step, counted from 1."""
    from tempermd.training.callbacks import Interruptible

    monkeypatch.setattr(Interruptible, "wanted", lambda _, done: done == step)


def assert_same_training(folder: Path, other: Path) -> None:
    """Compare metrics, best weights, and the last state with EMA and optimizer, to the bit."""
    import torch

    assert metrics_of(folder) == metrics_of(other)
    weights = weights_of(other / "best.ckpt")
    for name, value in weights_of(folder / "best.ckpt").items():
        np.testing.assert_array_equal(value, weights[name])
    states = [torch.load(one / "last.ckpt", weights_only=False) for one in (folder, other)]
    for name, value in states[0]["state_dict"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, states[1]["state_dict"][name]), name
    moments = [one["optimizer_states"][0]["state"] for one in states]
    assert len(moments[0]) > 5
    for number, state in moments[0].items():
        for name, value in state.items():
            assert torch.equal(value, moments[1][number][name]), name
    assert states[0]["global_step"] == states[1]["global_step"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Trainings that nothing stopped, by the kind of decay."""
    folders = {}
    for decay in ("cosine", "plateau"):
        folder = tmp_path_factory.mktemp(decay)
        spec = write_case(
            folder, decay=decay, plateau_patience=1, max_steps=14, batch_size=3, val_every=2
        )
        train(spec, folder / "whole", **QUIET)
        folders[decay] = folder
    return folders


@pytest.mark.parametrize(
    ("decay", "steps"), [("cosine", [1, 4, 6, 7, 13]), ("cosine", [14]), ("plateau", [5, 8, 12])]
)
def test_resumes_at_the_very_step(
    whole: dict[str, Path], tmp_path: Path, monkeypatch, decay: str, steps: list[int]
) -> None:
    """Oracle: the same training without a stop, to the bit; 12 frames are 4 steps an epoch.

    Stops amid epochs, at ends of epochs with and without validation, in a last epoch that the
    budget cuts short, at its end (which stops nothing).
    """
    spec = whole[decay] / "spec.toml"
    for step in steps:
        if step == 14:
            break
        stopping(monkeypatch, step)
        with pytest.raises(UserError, match="the same command continues it"):
            train(spec, tmp_path / "out", **QUIET)
        assert not (tmp_path / "out" / "training.json").exists()
    with pytest.raises(UserError, match="unfinished") if steps != [14] else nullcontext():
        train(spec, tmp_path / "out", resume=False, **QUIET)
    stopping(monkeypatch, 14 if steps == [14] else -1)
    train(spec, tmp_path / "out", **QUIET)
    assert_same_training(tmp_path / "out", whole[decay] / "whole")


def test_a_kill_before_the_record_repeats_no_step(whole: dict[str, Path], tmp_path: Path) -> None:
    """Oracle: the record and the metrics of the training that was not killed."""
    shutil.copytree(whole["cosine"], tmp_path / "case")
    out = tmp_path / "case" / "whole"
    (out / "training.json").unlink()
    train(tmp_path / "case" / "spec.toml", out, **QUIET)
    assert_same_training(out, whole["cosine"] / "whole")
    first, second = (
        read_record(one / "training.json", Training) for one in (out, whole["cosine"] / "whole")
    )
    assert (first.n_steps, first.val, first.test) == (second.n_steps, second.val, second.test)


def test_mixed_sizes_by_atoms_resume_exactly(tmp_path: Path, monkeypatch) -> None:
    """Oracle: an unbroken run; epochs of 8 to 96 atoms a structure differ in their steps."""
    frames = [atoms * (1 + n % 3, 1, 1) for n, atoms in enumerate(morse_frames(9, 1))]
    for n, atoms in enumerate(morse_frames(9, 1)):
        times = 1 + n % 3
        labels = atoms.calc.results
        frames[n].calc = SinglePointCalculator(
            frames[n], energy=times * labels["energy"], forces=np.tile(labels["forces"], (times, 1))
        )
    spec = write_case(
        tmp_path, (frames, frames[:4][::-1], frames[:2]), max_epochs=4, batch_atoms=40
    )
    train(spec, tmp_path / "whole", **QUIET)
    for step in (2, 7, 11):
        stopping(monkeypatch, step)
        with pytest.raises(UserError, match="the same command continues it"):
            train(spec, tmp_path / "out", **QUIET)
    stopping(monkeypatch, -1)
    train(spec, tmp_path / "out", **QUIET)
    assert_same_training(tmp_path / "out", tmp_path / "whole")
    steps = [int(row["step"]) for row in metrics_of(tmp_path / "whole")]
    assert len(set(np.diff([0, *steps]))) > 1


def test_a_kill_costs_what_was_not_saved(
    whole: dict[str, Path], tmp_path: Path, monkeypatch
) -> None:
    """Oracle: the unbroken training, after a death without warning between two timed saves."""
    from tempermd.training import keeping

    class Death(BaseException):
        """What no handler expects."""

    def die_in_step_7(self, step: int) -> bool:
        if step == 7:
            raise Death
        return False

    saved = []
    original = keeping.Keeper._save_last
    with monkeypatch.context() as patch:
        patch.setattr(keeping, "SAVE_EVERY_S", 0.0)
        patch.setattr("tempermd.training.callbacks.Interruptible.wanted", die_in_step_7)
        patch.setattr(
            keeping.Keeper,
            "_save_last",
            lambda self, trainer: (saved.append(trainer.global_step), original(self, trainer)),
        )
        with pytest.raises(Death):
            train(whole["cosine"] / "spec.toml", tmp_path / "out", **QUIET)
    assert saved == [1, 2, 3, 4, 5, 6]
    train(whole["cosine"] / "spec.toml", tmp_path / "out", **QUIET)
    assert_same_training(tmp_path / "out", whole["cosine"] / "whole")


def test_seed_decides_the_result(tmp_path: Path) -> None:
    """The same seed gives the same weights to the bit, another gives others."""
    first = train(write_case(tmp_path / "a", max_epochs=1), tmp_path / "first", **QUIET)
    same = train(write_case(tmp_path / "c", max_epochs=1), tmp_path / "same", **QUIET)
    other = train(write_case(tmp_path / "b", max_epochs=1, seed=1), tmp_path / "other", **QUIET)
    reference = weights_of(first)
    for name, value in weights_of(same).items():
        np.testing.assert_array_equal(value, reference[name])
    name = "model.func.layer0_convnet.conv.linear_1.weight"
    assert not np.array_equal(weights_of(other)[name], reference[name])


def test_steps_budget_is_exact(tmp_path: Path) -> None:
    """12 frames in batches of 5 make 3 steps an epoch: the second one ends after its first."""
    train(write_case(tmp_path, max_steps=4, batch_size=5), tmp_path / "out", **QUIET)
    record = read_record(tmp_path / "out" / "training.json", Training)
    assert (record.n_epochs, record.n_steps) == (2, 4)
    assert [row["step"] for row in metrics_of(tmp_path / "out")] == ["3", "4"]


def test_early_stop(tmp_path: Path) -> None:
    """A vanishing rate without warm-up never improves after the EMA's first values."""
    spec = write_case(tmp_path, max_epochs=50, learning_rate=1e-30, patience=2, warmup_steps=0)
    train(spec, tmp_path / "out", **QUIET)
    record = read_record(tmp_path / "out" / "training.json", Training)
    assert record.n_epochs == record.best_epoch + 2 < 50


def test_rate_follows_warm_up_and_cosine() -> None:
    """Oracle: the closed form at its corners."""
    from tempermd.training.callbacks import LearningRate, Schedule

    plan = Schedule(10, 110, 1, None, 0.1, 10, "cosine", 0.01, 5)
    rate = LearningRate(plan)
    assert rate.at_step(0) == pytest.approx(0.01)
    assert rate.at_step(9) == rate.at_step(10) == pytest.approx(0.1)
    assert rate.at_step(60) == pytest.approx(0.1 * 0.505)
    assert rate.at_step(110) == pytest.approx(0.001)


# --- reference energies ---------------------------------------------------------------------


def test_reference_energies_recover_known_ones() -> None:
    """Oracle: energies built from known references come back."""
    from ase import Atoms

    frames = [Atoms(f"C{c}H{h}") for c, h in ((1, 4), (2, 2), (2, 6), (6, 6))]
    for atoms in frames:
        energy = -7.5 * atoms.symbols.count("C") - 2.25 * atoms.symbols.count("H")
        forces = np.zeros((len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    names = ["H", "C", "O"]
    found = gather_statistics(FramesInMemory(frames, names, 2.0), names).energies_per_type(names)
    assert found == pytest.approx({"H": -2.25, "C": -7.5, "O": 0.0})


def test_from_scratch_references_are_the_mean_energy_per_atom(base: Path) -> None:
    record = read_record(base / "out" / "training.json", Training)
    mean = np.mean([a.calc.results["energy"] / len(a) for a in morse_frames(12, 1)])
    assert record.reference_energies_eV["C"] == pytest.approx(mean, abs=1e-9)
    assert record.reference_energies_from == "labels"


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning on the same labels, 3 eV/atom higher, at a rate that changes nothing."""
    folder = tmp_path_factory.mktemp("tuned")
    sets = tuple(shifted(morse_frames(*one), 3.0) for one in ((12, 1), (3, 2), (3, 3)))
    parent = Path(shutil.copy(base / "out" / "best.ckpt", folder / "parent.ckpt"))
    spec = write_case(folder, sets, max_epochs=1, learning_rate=1e-30)
    finetune(parent, spec, folder / "out", **QUIET)
    parent.unlink()
    return folder


def test_refitted_references(base: Path, tuned: Path) -> None:
    """Oracle: with frozen weights, residuals on the new training set have zero mean."""
    record = read_record(tuned / "out" / "training.json", Training)
    frames = shifted(morse_frames(12, 1), 3.0)
    model = load_checkpoint(tuned / "out" / "best.ckpt")
    residuals = residuals_eV_per_atom(model, frames)
    assert np.mean(residuals) == pytest.approx(0.0, abs=1e-6)
    assert np.std(residuals) > 1e-4
    before = residuals_eV_per_atom(load_checkpoint(base / "out" / "best.ckpt"), frames)
    assert abs(np.mean(before)) > 1.0
    assert record.reference_energies_from == "labels minus parent"
    assert energy_shifts(model) == pytest.approx(record.reference_energies_eV)
    np.testing.assert_allclose(residuals - before, np.mean(residuals - before), atol=1e-5)


def test_finetuned_checkpoint_stands_alone(base: Path, tuned: Path) -> None:
    """The parent is deleted; forces are still the parent's, since the rate was nil."""
    assert not (tuned / "parent.ckpt").exists()
    frames = morse_frames(3, 3)
    errors = evaluate(tuned / "out" / "best.ckpt", shifted(frames, 3.0))
    parent_errors = evaluate(base / "out" / "best.ckpt", frames)
    assert errors.force_rmse_eV_per_A == pytest.approx(parent_errors.force_rmse_eV_per_A, rel=1e-5)


def test_finetuning_carries_the_normalisation(base: Path, tuned: Path) -> None:
    """The new set could have other neighbor counts and forces; the parent's are kept."""
    parent, child = (config_of_checkpoint(f / "out" / "best.ckpt") for f in (base, tuned))
    assert child["avg_num_neighbors"] == parent["avg_num_neighbors"]
    assert child["per_type_energy_scales"] == parent["per_type_energy_scales"]
    n_edges = n_pairs_within(morse_frames(12, 1), 2.6)
    assert parent["avg_num_neighbors"] == pytest.approx(n_edges / (12 * 8))


def n_pairs_within(frames: list, cutoff_A: float) -> int:
    """Count ordered neighbor pairs by ASE's neighbor list."""
    from ase.neighborlist import neighbor_list

    return sum(len(neighbor_list("i", atoms, cutoff_A)) for atoms in frames)


def test_finetuning_learns(base: Path, tmp_path: Path) -> None:
    sets = tuple(shifted(morse_frames(*one), -2.0) for one in ((12, 1), (3, 2), (3, 3)))
    spec = write_case(tmp_path, sets, max_epochs=4)
    text = spec.read_text()
    start, end = text.index("[model]"), text.index("[data]")
    spec.write_text(text[:start] + text[end:])  # the model is the parent's
    finetune(base / "out" / "best.ckpt", spec, tmp_path / "out", **QUIET)
    record = read_record(tmp_path / "out" / "training.json", Training)
    parent = read_record(base / "out" / "training.json", Training)
    assert record.test.force_rmse_eV_per_A < parent.test.force_rmse_eV_per_A
    assert record.inputs.parent_sha256 == parent.checkpoint_sha256


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("cutoff_A = 2.6", "cutoff_A = 3.0", "cutoff_A is 2.6"),
        ('"C"', '"C",\n"H"', "type_names is"),
        ("num_layers = 2", "num_layers = 3", "num_layers is 2"),
        ("num_features = 4", "num_features = 8", "num_features is 4"),
    ],
)
def test_finetuning_refuses_another_model(
    base: Path, tmp_path: Path, old: str, new: str, named: str
) -> None:
    spec = write_case(tmp_path)
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=named):
        finetune(base / "out" / "best.ckpt", spec, tmp_path / "out", **QUIET)


def test_refuses_two_budgets_and_none(tmp_path: Path) -> None:
    spec = write_case(tmp_path)
    text = spec.read_text()
    for wrong in (text.replace("max_epochs = 4\n", ""), text + "max_steps = 4\n"):
        spec.write_text(wrong)
        with pytest.raises(UserError, match="exactly one of max_epochs and max_steps"):
            train(spec, tmp_path / "out", **QUIET)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"C"', '"Xx"', "no chemical element"),
        ("cutoff_A = 2.6", "cutof = 2.6", "unknown key 'model.cutof'"),
        ("learning_rate = 0.01", "learning_rate = -1", "training.learning_rate"),
    ],
)
def test_refuses_bad_specs(tmp_path: Path, old: str, new: str, named: str) -> None:
    spec = write_case(tmp_path)
    spec.write_text(spec.read_text().replace(old, new))
    with pytest.raises(UserError, match=named):
        train(spec, tmp_path / "out", **QUIET)


def test_refuses_training_without_a_model(tmp_path: Path) -> None:
    spec = resolved_spec(write_case(tmp_path)).model_copy(update={"model": None})
    with pytest.raises(UserError, match=r"needs a \[model\] table"):
        train(spec, tmp_path / "out", **QUIET)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("energy=", "my_energy=", "frame 0 has no energy"),
        (":forces:", ":my_forces:", "frame 0 has no forces"),
        ("energy=", "energy=nan my_energy=", "frame 0: energy not finite"),
    ],
)
def test_refuses_bad_labels(tmp_path: Path, old: str, new: str, named: str) -> None:
    spec = write_case(tmp_path)
    data = tmp_path / "train.xyz"
    text = data.read_text()
    assert old in text
    data.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=named) as caught:
        train(spec, tmp_path / "out", **QUIET)
    assert "train.xyz" in str(caught.value)


def test_names_the_frame_that_is_bad(tmp_path: Path) -> None:
    frames = morse_frames(4, 1)
    frames[2].calc.results["forces"][5, 1] = np.nan
    spec = write_case(tmp_path, (frames, morse_frames(1, 2), morse_frames(1, 3)))
    with pytest.raises(UserError, match=r"train.xyz: frame 2: forces not finite"):
        train(spec, tmp_path / "out", **QUIET)


def test_refuses_missing_empty_and_foreign_data(tmp_path: Path) -> None:
    spec = write_case(tmp_path)
    (tmp_path / "val.xyz").unlink()
    with pytest.raises(UserError, match=r"val.xyz: no such file"):
        train(spec, tmp_path / "out", **QUIET)
    for text in ("", "this is no extxyz\n"):
        (tmp_path / "val.xyz").write_text(text)
        with pytest.raises(UserError, match=r"val.xyz: (holds no frames|frame 0 cannot be read)"):
            train(spec, tmp_path / "out2", **QUIET)
        shutil.rmtree(tmp_path / "out2", ignore_errors=True)


def test_refuses_to_validate_on_the_training_file(tmp_path: Path) -> None:
    frames = morse_frames(2, 1)
    spec = write_case(tmp_path, (frames, frames, frames))
    with pytest.raises(UserError, match="the validation file is the training file"):
        train(spec, tmp_path / "out", **QUIET)


def test_zbl_adds_the_screened_repulsion() -> None:
    """Oracle: the ZBL formula (Ziegler, Biersack, Littmark 1985) for two carbon atoms."""
    from ase import Atoms
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    from tempermd.training import ModelSpec
    from tempermd.training.graphs import build_graph, predict
    from tempermd.training.models import builder_config, energy_only

    set_global_state()
    distance_A, energies = 0.3, []
    for zbl in (True, False):
        spec = ModelSpec(type_names=["C"], num_layers=1, num_features=2, zbl=zbl)
        config = builder_config(
            spec, seed=0, avg_num_neighbors=1.0, energy_scale_eV=1.0, energy_shifts_eV={"C": 0.0}
        )
        del config["_target_"]
        pair = build_graph(Atoms("C2", positions=[[0, 0, 0], [0, 0, distance_A]]), ["C"], 4.0)
        energies.append(predict(energy_only(NequIPGNNModel(**config)), pair).energy_eV)
    x = distance_A / (0.46850 / (2 * 6**0.23))
    screening = sum(
        a * np.exp(-b * x)
        for a, b in ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
    )
    zbl_eV = 14.399645 * 36 / distance_A * screening
    assert energies[0] - energies[1] == pytest.approx(zbl_eV, rel=1e-3)


def test_refuses_an_unknown_element(tmp_path: Path) -> None:
    frames = morse_frames(2, 1)
    frames[1].symbols[0] = "N"
    spec = write_case(tmp_path, (frames, morse_frames(1, 2), morse_frames(1, 3)))
    with pytest.raises(UserError, match="C7N holds N, but the model knows C only"):
        train(spec, tmp_path / "out", **QUIET)


def test_refuses_another_folder_or_training(base: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    spec = write_case(tmp_path / "case")
    with pytest.raises(UserError, match="is no training"):
        train(spec, tmp_path / "full", **QUIET)
    with pytest.raises(UserError, match="another spec, data or parent"):
        train(spec, base / "out", **QUIET)


def test_subset_is_seeded_and_bounded() -> None:
    frames = morse_frames(6, 1)
    assert subset(frames, None, 0, "x") is frames
    first, again, other = (subset(frames, 3, seed, "x") for seed in (0, 0, 5))
    assert [id(a) for a in first] == [id(a) for a in again] != [id(a) for a in other]
    with pytest.raises(UserError, match=r"n_train = 7, but the file has 6"):
        subset(frames, 7, 0, "x")


def test_diverged_training_says_so(tmp_path: Path) -> None:
    spec = write_case(tmp_path, max_epochs=1, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(UserError, match="diverged"):
        train(spec, tmp_path / "out", **QUIET)


def test_signals_leave_a_folder_that_resumes(tmp_path: Path) -> None:
    """Oracle: the unbroken run's metrics, after a real SIGINT and a SIGTERM to real processes."""
    spec = write_case(tmp_path, max_epochs=3, batch_size=1)
    code = (
        "import signal, sys; from tempermd.records import UserError\n"
        "import tempermd.training.callbacks as c; from tempermd.training import train\n"
        "real = c.LearningRate.on_train_batch_start\n"
        "def slow(self, trainer, *rest):\n"
        "    if trainer.global_step == int(sys.argv[3]):\n"
        "        open(sys.argv[2] + '.there', 'w').close(); signal.pause()\n"
        "    real(self, trainer, *rest)\n"
        "c.LearningRate.on_train_batch_start = slow\n"
        "try: train(sys.argv[1], sys.argv[2])\n"
        "except UserError as error: sys.exit(str(error))"
    )
    out, there = tmp_path / "out", tmp_path / "out.there"
    for number, step in ((signal.SIGINT, 5), (signal.SIGTERM, 17)):
        there.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(spec), str(out)] + [str(step)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 120
        while not there.exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "the same command continues it" in stderr
        assert "Traceback" not in stderr
        assert not (out / "training.json").exists()
    train(spec, out, **QUIET)
    train(spec, tmp_path / "whole", **QUIET)
    assert_same_training(out, tmp_path / "whole")
