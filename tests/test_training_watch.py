"""What a training tells while it runs: warnings, the progress line, curves, divergence."""

from __future__ import annotations

import math
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from tempermd.records import UserError, read_record
from tempermd.training import Training, evaluate, finetune, resolved_spec, train
from tempermd.training.concerns import about_copies, about_labels, labels_of
from tempermd.training.data import FramesInMemory
from tempermd.training.finetuning import part_of
from tempermd.training.models import load_checkpoint
from training_cases import morse_frames, shifted, write_case

QUIET = {"progress": False}


def with_labels(atoms, energy: float, forces: np.ndarray):
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, energy=energy, forces=forces)
    return copy


def mixed_sizes(per_atom: bool = False) -> list:
    """Return cells of 8, 16 and 24 atoms with total energies, or with energies per atom."""
    frames = []
    for number, atoms in enumerate(morse_frames(9, 1)):
        times, labels = 1 + number % 3, atoms.calc.results
        energy = labels["energy"] / len(atoms) if per_atom else labels["energy"] * times
        forces = np.tile(labels["forces"], (times, 1))
        frames.append(with_labels(atoms * (times, 1, 1), energy, forces))
    return frames


def found_in(train_frames: list, val_frames: list, names: tuple[str, ...] = ("C",)) -> list[str]:
    train_labels, val_labels = (
        labels_of(FramesInMemory(one, names, 2.6), names) for one in (train_frames, val_frames)
    )
    return [*about_labels(train_labels, names), *about_copies(train_labels, val_labels)]


def test_good_data_raise_no_concern() -> None:
    assert found_in(mixed_sizes(), morse_frames(3, 2)) == []
    # relative to isolated atoms, or far below: the zero of energy is no fault
    for shift_eV in (7.0, -1000.0):
        assert found_in(shifted(mixed_sizes(), shift_eV), morse_frames(3, 2)) == []


def test_each_fault_has_its_sentence() -> None:
    """One fault at a time in good data: one sentence, that one."""
    good, val = mixed_sizes(), morse_frames(3, 2)
    labels = [atoms.calc.results for atoms in good]
    still = [with_labels(good[0], labels[0]["energy"], 0 * labels[0]["forces"]), *good[1:]]
    wild = labels[4]["forces"].copy()
    wild[3, 1] = -2500.0
    absurd = [*good[:4], with_labels(good[4], labels[4]["energy"], wild), *good[5:]]
    cases = [
        (found_in(good, val, ("C", "Si")), "no training structure holds Si"),
        (found_in(still, val), "1 of 9 training structures have no force"),
        (found_in(absurd, val), r"a training force is 2500 eV/A \(frame 4\)"),
        (found_in(mixed_sizes(per_atom=True), val), "look like energies per atom"),
        (found_in(good, [good[5], *val]), "1 of 4 validation structures are in the training set"),
        (found_in([*good, good[0]], val), "1 of 10 training structures are copies"),
    ]
    for sentences, expected in cases:
        assert len(sentences) == 1
        assert re.search(expected, sentences[0])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of a few epochs."""
    folder = tmp_path_factory.mktemp("base")
    train(write_case(folder, max_epochs=20, learning_rate=0.03), folder / "out", **QUIET)
    return folder


def warnings_of(out: Path) -> list[str]:
    return read_record(out / "training.json", Training).warnings


def test_a_parent_that_explains_nothing(base: Path, tmp_path: Path, capsys) -> None:
    """Labels of another zero are fine; those of other units or another zero kept are not."""
    assert warnings_of(base / "out") == []
    other = [shifted(morse_frames(*one), 3.0) for one in ((4, 4), (2, 5), (2, 6))]

    def times(factor: float, frames: list) -> list:
        energies = [(a.calc.results["energy"], a.calc.results["forces"]) for a in frames]
        return [
            with_labels(a, energy, factor * forces)
            for a, (energy, forces) in zip(frames, energies, strict=True)
        ]

    turned = [times(-3.0, one) for one in other]
    kept = {"finetuning": {"reference_energies": "keep"}}
    for name, frames, table, expected in (
        ("refit", other, {}, None),
        ("kept", other, kept, "the parent's energies miss the new labels by"),
        ("turned", turned, {}, "force error on the new labels is 1"),
    ):
        spec = write_case(tmp_path / name, tuple(frames), max_epochs=1)
        text = spec.read_text()
        if table:
            text += '\n[finetuning]\nreference_energies = "keep"\n'
        spec.write_text(text)
        finetune(base / "out" / "best.ckpt", spec, tmp_path / name / "out")
        shown = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]
        sentences = warnings_of(tmp_path / name / "out")
        assert len(sentences) == len(shown) == (expected is not None)
        if expected:
            assert expected in sentences[0]
            assert sentences[0] in shown[0]


def test_divergence_amid_training_keeps_the_best(tmp_path: Path, monkeypatch) -> None:
    """The rate explodes in the third epoch; the best model is that of the second at most."""
    from tempermd.training.callbacks import LearningRate

    original = LearningRate.at_step
    monkeypatch.setattr(
        LearningRate, "at_step", lambda self, step: 1e30 if step >= 7 else original(self, step)
    )
    spec = write_case(tmp_path, max_epochs=5)
    with pytest.raises(UserError, match=r"diverged: .* not finite; the best .* to a third"):
        train(spec, tmp_path / "out", **QUIET)
    assert not (tmp_path / "out" / "training.json").exists()
    assert math.isfinite(
        evaluate(tmp_path / "out" / "best.ckpt", morse_frames(2, 2)).force_rmse_eV_per_A
    )


def test_progress_line_is_right_after_resuming(tmp_path: Path, monkeypatch, capsys) -> None:
    """Oracle: the step it resumed from, and the metrics file."""
    from tempermd.training import callbacks, watching

    spec = write_case(tmp_path, max_epochs=4)
    shown = []
    original = watching.ProgressLine.on_train_start

    def spy(self, trainer, *rest) -> None:
        original(self, trainer, *rest)
        task = self._progress.tasks[0]
        shown.append((task.completed, task.total, task.fields["shown"]))

    monkeypatch.setattr(watching.ProgressLine, "on_train_start", spy)
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Interruptible, "wanted", lambda _, done: done == 5)
        with pytest.raises(UserError):
            train(spec, tmp_path / "out")
    train(spec, tmp_path / "out")
    assert shown[0] == (0, 12, "epoch 1/4, rate 0.01")
    row = (tmp_path / "out" / "metrics.csv").read_text().splitlines()[1].split(",")
    assert shown[1][:2] == (5, 12)
    assert shown[1][2].startswith(f"epoch 2/4, loss {float(row[3]):.2g}, val {float(row[5]):.3f}")
    assert "meV" in capsys.readouterr().err


def test_live_page_draws_what_the_rows_say(tmp_path: Path) -> None:
    """Oracle: points read back from the drawing by its own axes."""
    from tempermd.training import live

    values = [10.0, 1.0, 0.1]
    rows = [
        {"epoch": 1 + n, "step": 10 * (1 + n), "train_loss": value, "learning_rate": 0.01}
        for n, value in enumerate(values)
    ]
    rows[1]["val_force_rmse_eV_per_A"] = math.nan
    live.write_live_page(tmp_path / "training.html", rows, 60)
    page = (tmp_path / "training.html").read_text()
    assert 'http-equiv="refresh"' in page
    assert "step 30 of 60" in page
    assert page.count("<svg") == 2
    points = re.search(r'polyline points="([^"]*)"', page).group(1).split()
    xy = np.array([[float(part) for part in point.split(",")] for point in points])
    width = live.WIDTH - live.LEFT - live.RIGHT
    np.testing.assert_allclose((xy[:, 0] - live.LEFT) / width, [1 / 6, 2 / 6, 3 / 6], atol=1e-3)
    np.testing.assert_allclose(np.diff(xy[:, 1], 2), 0, atol=0.11)  # a decade each
    live.write_live_page(tmp_path / "training.html", rows, 30)
    assert "refresh" not in (tmp_path / "training.html").read_text()


def test_live_page_is_there_and_finished(base: Path) -> None:
    page = (base / "out" / "training.html").read_text()
    assert "step 60 of 60" in page
    assert "refresh" not in page
    assert page.count("<svg") == 4
    assert "http" not in page


def test_tensorboard_without_the_package(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    spec = write_case(tmp_path, max_epochs=1, tensorboard=True)
    with pytest.raises(UserError, match="pip install tensorboard"):
        train(spec, tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()


def test_event_files_hold_the_rows(tmp_path: Path) -> None:
    """Oracle: the rows, read back by TensorBoard itself."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tempermd.training.watching import EventFiles

    rows = [{"epoch": 1, "step": 4, "train_loss": 0.5}, {"epoch": 2, "step": 8, "train_loss": 0.25}]
    keeper = SimpleNamespace(rows=[])
    files = EventFiles(tmp_path, keeper)
    files.on_train_start(SimpleNamespace(global_step=0))
    for row in rows:
        keeper.rows.append(row)
        files.on_train_epoch_end()
    files.on_train_end()
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    found = [(one.step, one.value) for one in events.Scalars("train_loss")]
    assert found == [(4, 0.5), (8, 0.25)]


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    """Oracle: one process with the same batches, within rounding; then one takes over."""
    spec = write_case(tmp_path, max_epochs=2, batch_size=5)
    text = spec.read_text()
    train(spec, tmp_path / "one", **QUIET)
    spec.write_text(text + "devices = 2\n")
    train(spec, tmp_path / "two", **QUIET)
    one, two = (
        np.genfromtxt(tmp_path / name / "metrics.csv", delimiter=",", names=True)
        for name in ("one", "two")
    )
    for name in ("step", "train_loss", "val_force_rmse_eV_per_A", "val_energy_rmse_meV_per_atom"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5)
    errors = [read_record(tmp_path / name / "training.json", Training) for name in ("one", "two")]
    assert errors[0].test.force_rmse_eV_per_A == pytest.approx(
        errors[1].test.force_rmse_eV_per_A, rel=1e-5
    )
    # how many devices did it is no part of what a training is
    spec.write_text(text)
    assert train(spec, tmp_path / "two", **QUIET) == tmp_path / "two" / "best.ckpt"


def test_frozen_parts_stay_frozen_in_two_processes(tmp_path: Path) -> None:
    """Oracle: one process, within rounding; frozen weights are the parent's to the last bit."""
    base = train(write_case(tmp_path / "b", max_epochs=1), tmp_path / "base", **QUIET)
    spec = write_case(tmp_path / "t", max_epochs=2, batch_size=4)
    text = spec.read_text() + "[finetuning]\nfreeze = ['layer0']\n"
    for name, devices in (("one", ""), ("two", "devices = 2\n")):
        spec.write_text(text.replace("[training]\n", "[training]\n" + devices))
        finetune(base, spec, tmp_path / name, **QUIET)
    parent, one, two = (
        dict(load_checkpoint(path / "best.ckpt").named_parameters())
        for path in (tmp_path / "base", tmp_path / "one", tmp_path / "two")
    )
    same = {name for name in parent if torch.equal(parent[name], two[name])}
    assert same == {name for name in parent if torch.equal(parent[name], one[name])}
    assert {name for name in parent if part_of(name) == "layer0"} <= same < parent.keys()
    for name in parent:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


def test_trains_within_a_job_of_slurm(tmp_path: Path, monkeypatch) -> None:
    """A job of two tasks is no business of a training, nor that there is an srun."""
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    spec = write_case(tmp_path, max_epochs=1)
    assert train(spec, tmp_path / "outside", **QUIET).is_file()
    for name, value in (("NTASKS", "2"), ("JOB_ID", "1"), ("PROCID", "0"), ("LOCALID", "0")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_JOB_NAME", "study")
    assert train(spec, tmp_path / "within", **QUIET).is_file()


def test_refuses_gpus_that_are_not_there(tmp_path: Path) -> None:
    n_devices = torch.cuda.device_count() + 1
    spec = write_case(tmp_path, max_epochs=1, devices=n_devices)
    with pytest.raises(UserError, match=rf"devices = {n_devices} asks for more GPUs than"):
        train(spec, tmp_path / "out", device="cuda", **QUIET)
    with pytest.raises(UserError, match=r"device = gpu.*'cpu' or 'cuda'"):
        train(spec, tmp_path / "out", device="gpu", **QUIET)
    spec.write_text(spec.read_text() + 'device = "cuda"\n')
    with pytest.raises(UserError, match="asks for more GPUs than"):
        train(spec, tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()


def test_commands_hand_device_and_devices_on(tmp_path: Path) -> None:
    """Oracle: what the folder's spec says of how it was trained, and a refusal."""
    from typer.testing import CliRunner

    from tempermd.cli import app

    def run(*arguments: object) -> object:
        return CliRunner().invoke(app, [str(one) for one in arguments])

    spec = write_case(tmp_path, max_epochs=1, batch_size=4)
    assert run("train", spec, "-o", tmp_path / "base", "--devices", 2).exit_code == 0
    assert resolved_spec(tmp_path / "base" / "spec.toml").training.devices == 2
    start = ("finetune", spec, "--from", tmp_path / "base" / "best.ckpt", "-o", tmp_path / "tuned")
    for options in (("--device", "gpu"), ("--devices", 5)):  # five share no batch of four
        refused = run(*start, *options)
        assert isinstance(refused.exception, UserError)
        assert " = ".join(map(str, options))[2:] in str(refused.exception)
    assert not (tmp_path / "tuned").exists()
