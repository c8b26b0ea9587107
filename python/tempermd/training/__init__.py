"""Training: labelled structures in, a checkpoint that stands alone out."""

from __future__ import annotations

import os
from pathlib import Path

from tempermd.records import (
    UserError,
    read_record,
    sha256_file,
    sha256_json,
    write_record,
    write_spec,
)
from tempermd.training.alchemy import (
    AlchemySpec,
    alchemy_spec,
    transmutation_text,
    transmute,
)
from tempermd.training.errors import Errors, evaluate
from tempermd.training.finetuning import FineTuningSpec, ReplaySpec
from tempermd.training.models import ModelSpec, load_checkpoint
from tempermd.training.ranks import check_devices, run_in_processes
from tempermd.training.running import DivergedError, Request, train_and_judge
from tempermd.training.selection import select_farthest, select_file, select_random
from tempermd.training.specs import (
    DataSpec,
    Training,
    TrainingInputs,
    TrainingSpec,
    TrainSpec,
    resolved_spec,
    with_paths,
)
from tempermd.training.start import starting_point

__all__ = [
    "AlchemySpec",
    "DataSpec",
    "DivergedError",
    "Errors",
    "FineTuningSpec",
    "ModelSpec",
    "ReplaySpec",
    "TrainSpec",
    "Training",
    "TrainingInputs",
    "TrainingSpec",
    "alchemy_spec",
    "evaluate",
    "finetune",
    "load_checkpoint",
    "resolved_spec",
    "select_farthest",
    "select_file",
    "select_random",
    "train",
    "transmutation_text",
    "transmute",
]


def train(
    spec: TrainSpec | Path | str,
    out_dir: Path | str,
    *,
    resume: bool = True,
    threads: int = 1,
    device: str | None = None,
    devices: int | None = None,
    progress: bool = True,
) -> Path:
    """Train a model from scratch and return its ``best.ckpt``.

    Reference energies are fitted to the training labels. A finished training is left as it
    is; an unfinished one continues from its last saved step, exactly as if it had not been
    stopped, unless ``resume`` is false.

    Parameters
    ----------
    spec
        A TOML file, or a spec whose data paths are relative to the working directory.
    device, devices
        Override the spec's where they are given.
    """
    asked = resolved_spec(spec, device=device, devices=devices)
    request = Request(asked, Path(out_dir), None, resume, threads, progress)
    return _run(request)


def finetune(
    base_checkpoint: Path | str,
    spec: TrainSpec | Path | str,
    out_dir: Path | str,
    *,
    resume: bool = True,
    threads: int = 1,
    device: str | None = None,
    devices: int | None = None,
    progress: bool = True,
) -> Path:
    """Continue from a checkpoint's EMA weights on other labels; return ``best.ckpt``.

    Reference energies are refitted so that the parent's mean residual vanishes on the new
    training set; ``avg_num_neighbors`` and the energy scale are the parent's. The result
    does not need the parent. The parent is a pickle: opening it runs code in it.
    """
    parent = Path(base_checkpoint)
    asked = resolved_spec(spec, device=device, devices=devices)
    request = Request(asked, Path(out_dir), parent, resume, threads, progress)
    return _run(request)


def _run(request: Request) -> Path:
    inputs = _inputs(request.spec, request.parent)
    best = request.folder / "best.ckpt"
    if _is_finished(request.folder, inputs, request.resume):
        return best
    check_devices(request.spec.training)
    _check_tensorboard(request.spec.training)
    # what it refuses shall leave no folder behind
    start = starting_point(request.spec, request.parent)
    data_paths_from = request.folder.resolve()
    portable = with_paths(request.spec, lambda path: os.path.relpath(path, data_paths_from))
    write_spec(request.folder / "spec.toml", portable)
    write_record(request.folder / "inputs.json", inputs)
    work = run_in_processes if request.spec.training.devices > 1 else train_and_judge
    record = work(request, inputs, start)
    if record is not None:
        write_record(request.folder / "training.json", record)
    return best


def _check_tensorboard(spec: TrainingSpec) -> None:
    from importlib.util import find_spec

    if spec.tensorboard and find_spec("tensorboard") is None:
        raise UserError(
            "training.tensorboard = true needs the package tensorboard, which is not installed: "
            "pip install tensorboard, or leave the key out (training.html shows the same curves)"
        )


def _inputs(spec: TrainSpec, parent: Path | None) -> TrainingInputs:
    test, replay = spec.data.test, spec.finetuning.replay
    if sha256_file(spec.data.train) == sha256_file(spec.data.val):
        raise UserError(
            f"{spec.data.val}: the validation file is the training file; split the data first "
            "(tempermd dataset), or the best epoch is chosen by memory"
        )
    return TrainingInputs(
        spec_sha256=_identity(spec),
        train_sha256=sha256_file(spec.data.train),
        val_sha256=sha256_file(spec.data.val),
        test_sha256=None if test is None else sha256_file(test),
        parent_sha256=None if parent is None else sha256_file(parent),
        replay_sha256=None if replay is None else sha256_file(replay.file),
    )


def _identity(spec: TrainSpec) -> str:
    """Return a hash of all in a spec that changes the result by more than rounding."""
    without = {"training": {"device", "devices", "tensorboard"}}
    return sha256_json(with_paths(spec, lambda _: "").model_dump(mode="json", exclude=without))


def _is_finished(folder: Path, inputs: TrainingInputs, resume: bool) -> bool:
    """Tell whether the folder holds this training, finished; refuse any other content."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / "inputs.json").is_file():
        raise UserError(f"{folder}: exists already and is no training; name another output")
    if read_record(folder / "inputs.json", TrainingInputs) != inputs:
        raise UserError(
            f"{folder}: holds a training with another spec, data or parent; name another output"
        )
    if (folder / "training.json").is_file():
        return True
    if not resume:
        raise UserError(
            f"{folder}: holds an unfinished training; continue it by the same command (resume) "
            "or name another output"
        )
    return False
