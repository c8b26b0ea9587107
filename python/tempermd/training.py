"""Training: labelled structures in, a checkpoint that stands alone out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tempermd.evaluation import Errors, evaluate
from tempermd.graphs import predict
from tempermd.models import (
    LIGHTNING_MODULE,
    ModelSpec,
    builder_config,
    config_of_checkpoint,
    energy_only,
    energy_shifts,
    load_checkpoint,
    spec_of_config,
    take_weights,
)
from tempermd.records import (
    Record,
    Spec,
    UserError,
    read_record,
    read_spec,
    sha256_file,
    sha256_json,
    write_record,
    write_spec,
)
from tempermd.training_data import (
    LabelledFrame,
    average_neighbors,
    force_rms,
    read_labelled,
    reference_energies,
    subset,
    to_labelled,
    to_nequip,
)

if TYPE_CHECKING:
    from tempermd.training_loop import Keeper, Schedule


class DataSpec(Spec):
    """Files of labelled structures (extxyz), relative to the spec file."""

    train: str
    val: str
    test: str | None = None
    n_train: PositiveInt | None = None
    subset_seed: int = Field(0, ge=0)


class TrainingSpec(Spec):
    """How to train; the budget is a number of epochs or of steps, never of minutes."""

    max_epochs: PositiveInt | None = None
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt = 4
    learning_rate: PositiveFloat = 0.005
    warmup_steps: int = Field(50, ge=0)
    decay: Literal["cosine", "plateau", "constant"] = "cosine"
    final_rate_factor: float = Field(0.01, gt=0, le=1)
    plateau_patience: PositiveInt = 5
    gradient_clip: PositiveFloat | None = 10.0
    ema_decay: float = Field(0.99, ge=0, lt=1)
    energy_weight: float = Field(1.0, ge=0)
    force_weight: PositiveFloat = 1.0
    patience: PositiveInt | None = None
    val_every: PositiveInt | None = None
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_one_budget(self) -> TrainingSpec:
        if (self.max_epochs is None) == (self.max_steps is None):
            raise ValueError("give exactly one of max_epochs and max_steps")
        return self


class TrainSpec(Spec):
    """A training: model, data and how to train; fine-tuning may leave the model out."""

    model: ModelSpec | None = None
    data: DataSpec
    training: TrainingSpec


class TrainingInputs(Record):
    """What a training was started from; decides whether a folder can be resumed."""

    format_name: ClassVar[str] = "tempermd-training-inputs"

    spec_sha256: str
    train_sha256: str
    val_sha256: str
    test_sha256: str | None
    parent_sha256: str | None


class Training(Record):
    """What a training found, and what it cost."""

    format_name: ClassVar[str] = "tempermd-training"

    inputs: TrainingInputs
    checkpoint_sha256: str
    avg_num_neighbors: float | dict[str, float] | None
    energy_scales_eV: float | dict[str, float] | None
    reference_energies_eV: dict[str, float]
    reference_energies_from: Literal["labels", "labels minus parent"]
    n_train: int
    n_val: int
    n_test: int
    n_parameters: int
    n_steps: int
    n_epochs: int
    best_epoch: int
    best_step: int
    val: Errors
    test: Errors | None
    wall_s: float
    core_s: float
    ms_per_step: float
    seed: int
    threads: int
    versions: dict[str, str]


def train(
    spec: TrainSpec | Path | str,
    out_dir: Path | str,
    *,
    resume: bool = False,
    threads: int = 1,
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """Train a model from scratch and return its ``best.ckpt``.

    Reference energies are fitted to the training labels. A finished training is left as it
    is; an unfinished one continues with ``resume=True``, from its last validated epoch.

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
    resume: bool = False,
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


@dataclass(frozen=True)
class _Data:
    train: list[LabelledFrame]
    val: list[LabelledFrame]
    test: list[LabelledFrame] | None


def resolved_spec(spec: TrainSpec | Path | str) -> TrainSpec:
    """Read a spec file and make its data paths absolute."""
    origin = Path.cwd()
    if not isinstance(spec, TrainSpec):
        origin = Path(spec).resolve().parent
        spec = read_spec(spec, TrainSpec)
    return _with_paths(spec, lambda path: str((origin / path).resolve()))


def _with_paths(spec: TrainSpec, change: Callable[[str], str]) -> TrainSpec:
    paths = {name: getattr(spec.data, name) for name in ("train", "val", "test")}
    changed = {name: change(path) for name, path in paths.items() if path is not None}
    return spec.model_copy(update={"data": spec.data.model_copy(update=changed)})


def _run(request: _Request) -> Path:
    inputs = _inputs(request.spec, request.parent)
    best = request.folder / "best.ckpt"
    if _is_finished(request.folder, inputs, request.resume):
        return best
    data_paths_from = request.folder.resolve()
    portable = _with_paths(request.spec, lambda path: os.path.relpath(path, data_paths_from))
    write_spec(request.folder / "spec.toml", portable)
    write_record(request.folder / "inputs.json", inputs)
    with _torch_threads(request.threads):
        record = _train_and_judge(request, inputs)
    write_record(request.folder / "training.json", record)
    return best


def _inputs(spec: TrainSpec, parent: Path | None) -> TrainingInputs:
    test = spec.data.test
    return TrainingInputs(
        spec_sha256=sha256_json(_with_paths(spec, lambda _: "").model_dump(mode="json")),
        train_sha256=sha256_file(spec.data.train),
        val_sha256=sha256_file(spec.data.val),
        test_sha256=None if test is None else sha256_file(test),
        parent_sha256=None if parent is None else sha256_file(parent),
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
        raise UserError(f"{folder}: holds an unfinished training; continue it with --resume")
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
    from tempermd.training_loop import Batches, StoppedByUserError, fit

    spec, folder = request.spec.training, request.folder
    config, model_spec = _starting_point(request)
    data = _read_data(request.spec.data, model_spec)
    config, module = _build_module(request, config, model_spec, data)
    schedule = _schedule(spec, len(data.train), len(data.val))
    batches = Batches(
        [to_nequip(one) for one in data.train],
        [to_nequip(one) for one in data.val],
        spec.batch_size,
        spec.seed,
    )
    try:
        keeper = fit(
            module,
            batches,
            schedule,
            folder,
            gradient_clip=spec.gradient_clip,
            device=request.device,
            progress=request.progress,
        )
    except StoppedByUserError:
        raise UserError(
            f"{folder}: training interrupted; continue it with --resume (what was done up to "
            "the last validation is kept in last.ckpt)"
        ) from None
    if not math.isfinite(keeper.best):
        raise UserError(
            f"{folder}: training diverged (the validation error is not finite); lower "
            "learning_rate or gradient_clip, or raise warmup_steps"
        )
    return _describe(request, inputs, config, module, data, keeper)


def _starting_point(request: _Request) -> tuple[dict[str, Any] | None, ModelSpec]:
    """Return the parent's builder arguments, if any, and the hyperparameters."""
    spec = request.spec.model
    if request.parent is None:
        if spec is None:
            raise UserError("key 'model' is missing: training from scratch needs a [model] table")
        return None, spec
    config = config_of_checkpoint(request.parent)
    parent_spec = spec_of_config(config, str(request.parent))
    for name in ModelSpec.model_fields if spec is not None else ():
        asked, given = getattr(spec, name), getattr(parent_spec, name)
        if asked != given:
            raise UserError(
                f"fine-tuning keeps the parent's model: {name} is {given} in {request.parent}, "
                f"but {asked} in the spec; set it to {given} or leave [model] out"
            )
    return config, parent_spec


def _read_data(spec: DataSpec, model: ModelSpec) -> _Data:
    def read(path: str) -> list[LabelledFrame]:
        frames = read_labelled(path)
        if path == spec.train:
            frames = subset(frames, spec.n_train, spec.subset_seed, path)
        return to_labelled(frames, model.type_names, model.cutoff_A)

    return _Data(read(spec.train), read(spec.val), None if spec.test is None else read(spec.test))


def _build_module(
    request: _Request, parent_config: dict[str, Any] | None, model_spec: ModelSpec, data: _Data
) -> tuple[dict[str, Any], Any]:
    """Return builder arguments and nequip's Lightning module, with the parent's weights."""
    from nequip.utils.global_state import set_global_state

    set_global_state()
    structures = [one.atoms for one in data.train]
    labels_eV = np.array([one.energy_eV for one in data.train])
    if parent_config is None:
        config = builder_config(
            model_spec,
            seed=request.spec.training.seed,
            avg_num_neighbors=average_neighbors(data.train),
            energy_scale_eV=force_rms(data.train),
            energy_shifts_eV=reference_energies(structures, labels_eV, model_spec.type_names),
        )
        return config, _lightning_module(config, request.spec.training)
    parent = load_checkpoint(request.parent)
    predicted_eV = np.array(
        [predict(energy_only(parent), one.graph).energy_eV for one in data.train]
    )
    change = reference_energies(structures, labels_eV - predicted_eV, model_spec.type_names)
    old = energy_shifts(parent)
    shifts = {name: old[name] + change[name] for name in model_spec.type_names}
    config = parent_config | {"per_type_energy_shifts": shifts}
    module = _lightning_module(config, request.spec.training)
    take_weights(module, parent)
    return config, module


def _lightning_module(config: dict[str, Any], spec: TrainingSpec) -> Any:
    from nequip.train import EMALightningModule
    from nequip.utils import get_current_code_versions

    weights = {"total_energy": spec.energy_weight, "forces": spec.force_weight}
    metrics = {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": {"forces_rmse": 1.0}}
    return EMALightningModule(
        ema_decay=spec.ema_decay,
        model=config,
        num_datasets={"train": 1, "val": 1, "test": 0, "predict": 0},
        optimizer={"_target_": "torch.optim.Adam", "lr": spec.learning_rate},
        loss={"_target_": "nequip.train.EnergyForceLoss", "coeffs": weights},
        val_metrics=metrics,
        # what nequip's own loaders look for in a checkpoint
        info_dict={
            "versions": get_current_code_versions(verbose=False),
            "training_module": {"_target_": LIGHTNING_MODULE},
            "data": {},
            "trainer": {},
            "runs": ["train"],
        },
    )


def _schedule(spec: TrainingSpec, n_train: int, n_val: int) -> Schedule:
    """Turn a budget into whole epochs, and choose how often to validate."""
    from tempermd.training_loop import Schedule

    steps_per_epoch = math.ceil(n_train / spec.batch_size)
    n_epochs = spec.max_epochs or math.ceil(spec.max_steps / steps_per_epoch)
    # validating a frame costs a third of training on it: keep that share near a fifth
    val_every = spec.val_every or max(1, math.ceil(2 * n_val / n_train))
    return Schedule(
        n_epochs=n_epochs,
        steps_per_epoch=steps_per_epoch,
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
    data: _Data,
    keeper: Keeper,
) -> Training:
    best = load_checkpoint(request.folder / "best.ckpt")
    test = None if data.test is None else evaluate(best, [one.atoms for one in data.test])
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
        val=evaluate(best, [one.atoms for one in data.val]),
        test=test,
        wall_s=keeper.train_s,
        core_s=keeper.core_s,
        ms_per_step=1000 * keeper.train_s / last["step"],
        seed=request.spec.training.seed,
        threads=request.threads,
        versions={name: version(name) for name in ("torch", "nequip", "e3nn", "lightning")},
    )
