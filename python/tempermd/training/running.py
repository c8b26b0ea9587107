"""One training, from reading its data to the record of what came of it."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempermd.records import UserError, sha256_file
from tempermd.training.errors import evaluate
from tempermd.training.models import load_checkpoint
from tempermd.training.specs import Training, TrainingInputs, TrainingSpec, TrainSpec
from tempermd.training.start import Data, Start, build_module, read_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tempermd.training.callbacks import Schedule
    from tempermd.training.data import Frames
    from tempermd.training.keeping import Keeper
    from tempermd.training.order import Order


class DivergedError(UserError):
    """The training blew up; a model from before that may be there."""


@dataclass(frozen=True)
class Request:
    """What a training is asked for, and where and how it runs."""

    spec: TrainSpec
    folder: Path
    parent: Path | None
    resume: bool
    threads: int
    progress: bool


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_and_judge(request: Request, inputs: TrainingInputs, start: Start) -> Training | None:
    """Train in this process, or its share among others; only the first one has a record.

    Raises
    ------
    UserError
        The training was interrupted or diverged, or the data or the spec are at fault.
    """
    with _torch_threads(request.threads):
        return _train_and_judge(request, inputs, start)


def _train_and_judge(request: Request, inputs: TrainingInputs, start: Start) -> Training | None:
    from tempermd.training.compiled import compile_steps
    from tempermd.training.concerns import concerns
    from tempermd.training.keeping import NotFiniteError, StoppedByUserError
    from tempermd.training.loop import Batches, Fit, fit, is_first_process
    from tempermd.training.order import Order
    from tempermd.training.products import speed_up
    from tempermd.training.replay import with_replay

    spec, folder = request.spec.training, request.folder
    data = read_data(request.spec.data, start.model, progress=request.progress)
    config, module = build_module(start, request.spec, data.train, progress=request.progress)
    warnings = concerns(data, start, module)
    for text in warnings if request.progress else ():
        print(f"warning: {text}", file=sys.stderr)
    if spec.device == "cpu":
        speed_up(module.model)
    frames = with_replay(
        data.train,
        start.parent,
        request.spec,
        config["per_type_energy_shifts"],
        progress=request.progress,
    )
    order = Order(frames, spec, spec.devices)
    schedule = _schedule(spec, order, len(data.val))
    if _compiles(request, order):
        compile_steps(module, config, progress=request.progress)
    where = Fit(folder, spec.device, spec.devices, request.progress)
    try:
        keeper = fit(module, Batches(order, data.val), schedule, where)
    except StoppedByUserError:
        raise UserError(
            f"{folder}: training interrupted; the same command continues it from this very step "
            "(last.ckpt)"
        ) from None
    except NotFiniteError as error:
        raise DivergedError(_diverged(error, spec, folder)) from None
    if not is_first_process():
        return None
    record = _describe(request, inputs, config, module, data, keeper)
    return record.model_copy(
        update=_finetuning_facts(request.spec, start, frames) | {"warnings": warnings}
    )


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


def _compiles(request: Request, order: Order) -> bool:
    """Tell whether to compile: as the spec says, else where it pays and changes nothing else.

    With several threads compiled sums come in any order, so that resuming is not exact.
    """
    from tempermd.training.compiled import pays

    spec = request.spec.training
    if spec.compile is not None:
        return spec.compile
    if request.threads != 1 or spec.device != "cpu" or spec.devices != 1:
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
    request: Request,
    inputs: TrainingInputs,
    config: dict[str, Any],
    module: Any,
    data: Data,
    keeper: Keeper,
) -> Training:
    asked, best = request.spec.training, load_checkpoint(request.folder / "best.ckpt")
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
        core_s=keeper.core_s * asked.devices,
        gpu_s=keeper.train_s * asked.devices if asked.device == "cuda" else 0.0,
        ms_per_step=1000 * keeper.train_s / last["step"],
        seed=asked.seed,
        threads=request.threads,
        versions={name: version(name) for name in ("torch", "nequip", "e3nn", "lightning")},
    )
