"""Training: labelled structures in, a checkpoint that stands alone out."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from tempermd.training.start import Data, Start, build_module, read_data, starting_point

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tempermd.training.callbacks import Schedule
    from tempermd.training.data import Frames
    from tempermd.training.keeping import Keeper
    from tempermd.training.order import Order

__all__ = [
    "AlchemySpec",
    "DataSpec",
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
    device: str = "cpu",
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
    """
    request = _Request(resolved_spec(spec), Path(out_dir), None, resume, threads, device, progress)
    return _run(request)


def finetune(
    base_checkpoint: Path | str,
    spec: TrainSpec | Path | str,
    out_dir: Path | str,
    *,
    resume: bool = True,
    threads: int = 1,
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """Continue from a checkpoint's EMA weights on other labels; return ``best.ckpt``.

    Reference energies are refitted so that the parent's mean residual vanishes on the new
    training set; ``avg_num_neighbors`` and the energy scale are the parent's. The result
    does not need the parent. The parent is a pickle: opening it runs code in it.
    """
    parent = Path(base_checkpoint)
    request = _Request(
        resolved_spec(spec), Path(out_dir), parent, resume, threads, device, progress
    )
    return _run(request)


@dataclass(frozen=True)
class _Request:
    spec: TrainSpec
    folder: Path
    parent: Path | None
    resume: bool
    threads: int
    device: str
    progress: bool


def _run(request: _Request) -> Path:
    inputs = _inputs(request.spec, request.parent)
    best = request.folder / "best.ckpt"
    if _is_finished(request.folder, inputs, request.resume):
        return best
    starting_point(request.spec, request.parent)  # refuses before anything is written
    data_paths_from = request.folder.resolve()
    portable = with_paths(request.spec, lambda path: os.path.relpath(path, data_paths_from))
    write_spec(request.folder / "spec.toml", portable)
    write_record(request.folder / "inputs.json", inputs)
    with _torch_threads(request.threads):
        record = _train_and_judge(request, inputs)
    write_record(request.folder / "training.json", record)
    return best


def _inputs(spec: TrainSpec, parent: Path | None) -> TrainingInputs:
    test, replay = spec.data.test, spec.finetuning.replay
    if sha256_file(spec.data.train) == sha256_file(spec.data.val):
        raise UserError(
            f"{spec.data.val}: the validation file is the training file; split the data first "
            "(tempermd dataset), or the best epoch is chosen by memory"
        )
    return TrainingInputs(
        spec_sha256=sha256_json(with_paths(spec, lambda _: "").model_dump(mode="json")),
        train_sha256=sha256_file(spec.data.train),
        val_sha256=sha256_file(spec.data.val),
        test_sha256=None if test is None else sha256_file(test),
        parent_sha256=None if parent is None else sha256_file(parent),
        replay_sha256=None if replay is None else sha256_file(replay.file),
    )


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


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train_and_judge(request: _Request, inputs: TrainingInputs) -> Training:
    from tempermd.training.compiled import compile_steps
    from tempermd.training.keeping import DivergedError, StoppedByUserError
    from tempermd.training.loop import Batches, Fit, fit
    from tempermd.training.order import Order
    from tempermd.training.products import speed_up
    from tempermd.training.replay import with_replay

    spec, folder = request.spec.training, request.folder
    start = starting_point(request.spec, request.parent)
    data = read_data(request.spec.data, start.model, progress=request.progress)
    config, module = build_module(start, request.spec, data.train, progress=request.progress)
    if request.device == "cpu":
        speed_up(module.model)
    frames = with_replay(
        data.train, start, request.spec, config["per_type_energy_shifts"], progress=request.progress
    )
    order = Order(frames, spec, spec.devices)
    schedule = _schedule(spec, order, len(data.val))
    if _compiles(request, order):
        compile_steps(module, config, progress=request.progress)
    where = Fit(folder, request.device, spec.devices, request.progress)
    try:
        keeper = fit(module, Batches(order, data.val), schedule, where)
    except StoppedByUserError:
        raise UserError(
            f"{folder}: training interrupted; the same command continues it from this very step "
            "(last.ckpt)"
        ) from None
    except DivergedError as error:
        raise UserError(_diverged(error, spec, folder)) from None
    record = _describe(request, inputs, config, module, data, keeper)
    return record.model_copy(update=_finetuning_facts(request.spec, start, frames))


def _finetuning_facts(spec: TrainSpec, start: Start, frames: Frames) -> dict[str, Any]:
    """Return what a training's record says of its parent and of replayed frames."""
    from tempermd.training.replay import ReplayedFrames

    facts: dict[str, Any] = {"lineage": list(start.lineage)}
    if spec.finetuning.reference_energies == "keep":
        facts["reference_energies_from"] = "parent"
    if isinstance(frames, ReplayedFrames):
        facts["n_replay"] = len(frames.replayed)
        facts["n_replay_per_epoch"] = frames.n_replay_per_epoch
        facts["replay_shifts_eV"] = frames.shifts_eV
    return facts


def _diverged(error: Exception, spec: TrainingSpec, folder: Path) -> str:
    """Say that a training blew up, what is left of it, and what to do."""
    best = folder / "best.ckpt"
    kept = f"; the best model until then is kept in {best}" if best.is_file() else ""
    return (
        f"{folder}: training diverged: {error}{kept}. The rate is too high: lower learning_rate "
        f"(now {spec.learning_rate:g}) to a third, or lower gradient_clip, or raise warmup_steps"
    )


def _compiles(request: _Request, order: Order) -> bool:
    """Tell whether to compile: as the spec says, else where it pays and changes nothing else.

    With several threads compiled sums come in any order, so that resuming is not exact.
    """
    from tempermd.training.compiled import pays

    spec = request.spec.training
    if spec.compile is not None:
        return spec.compile
    if request.threads != 1 or request.device != "cpu" or spec.devices != 1:
        return False
    atoms_per_step = spec.batch_atoms or (spec.batch_size or 1) * float(order.frames.n_atoms.mean())
    return pays(order.n_steps, atoms_per_step)


def _schedule(spec: TrainingSpec, order: Order, n_val: int) -> Schedule:
    """Lay a budget out, and choose how often to validate."""
    from tempermd.training.callbacks import Schedule

    # validating a frame costs a third of training on it: keep that share near a fifth
    val_every = spec.val_every or max(1, math.ceil(4 * n_val / order.frames.n_per_epoch))
    return Schedule(
        n_epochs=order.n_epochs,
        n_steps=order.n_steps,
        val_every=val_every,
        patience=spec.patience,
        learning_rate=spec.learning_rate,
        warmup_steps=spec.warmup_steps,
        decay=spec.decay,
        final_rate_factor=spec.final_rate_factor,
        plateau_patience=spec.plateau_patience,
    )


def _describe(
    request: _Request,
    inputs: TrainingInputs,
    config: dict[str, Any],
    module: Any,
    data: Data,
    keeper: Keeper,
) -> Training:
    best = load_checkpoint(request.folder / "best.ckpt")
    test = None if data.test is None else evaluate(best, data.test.structures())
    last = keeper.rows[-1]
    scales = config["per_type_energy_scales"]
    return Training(
        inputs=inputs,
        checkpoint_sha256=sha256_file(request.folder / "best.ckpt"),
        avg_num_neighbors=config["avg_num_neighbors"],
        energy_scales_eV=scales,
        reference_energies_eV=config["per_type_energy_shifts"],
        reference_energies_from="labels" if request.parent is None else "labels minus parent",
        n_train=len(data.train),
        n_val=len(data.val),
        n_test=0 if data.test is None else len(data.test),
        n_parameters=sum(one.numel() for one in module.model.parameters()),
        n_steps=int(last["step"]),
        n_epochs=int(last["epoch"]),
        best_epoch=keeper.best_epoch,
        best_step=keeper.best_step,
        val=evaluate(best, data.val.structures()),
        test=test,
        wall_s=keeper.train_s,
        core_s=keeper.core_s,
        ms_per_step=1000 * keeper.train_s / last["step"],
        seed=request.spec.training.seed,
        threads=request.threads,
        versions={name: version(name) for name in ("torch", "nequip", "e3nn", "lightning")},
    )
