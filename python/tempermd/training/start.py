"""What a training starts from: its data, the model's builder arguments, and weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tempermd.records import UserError, sha256_file
from tempermd.training.data import Frames, check_streamed, gather_statistics, read_frames
from tempermd.training.finetuning import FineTuningSpec, apply_finetuning, check_parts
from tempermd.training.models import (
    LIGHTNING_MODULE,
    LINEAGE,
    ModelSpec,
    builder_config,
    config_of_checkpoint,
    energy_only,
    energy_shifts,
    lineage_of_checkpoint,
    load_checkpoint,
    spec_of_config,
    take_weights,
)
from tempermd.training.replay import weigh_frames

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tempermd.training.specs import DataSpec, TrainingSpec, TrainSpec


@dataclass(frozen=True)
class Data:
    """The parts of a training's data."""

    train: Frames
    val: Frames
    test: Frames | None


@dataclass(frozen=True)
class Start:
    """Hyperparameters, and the parent with its builder arguments where there is one."""

    model: ModelSpec
    parent: Path | None
    parent_config: dict[str, Any] | None
    lineage: tuple[str, ...] = ()


def starting_point(spec: TrainSpec, parent: Path | None) -> Start:
    """Return what the spec or the parent says of the model; refuse where they disagree."""
    if parent is None:
        if spec.model is None:
            raise UserError("key 'model' is missing: training from scratch needs a [model] table")
        if spec.finetuning != FineTuningSpec():
            raise UserError(
                "[finetuning] needs a parent to start from; use tempermd finetune --from, or "
                "remove the table"
            )
        return Start(spec.model, None, None)
    config = config_of_checkpoint(parent)
    parent_spec = spec_of_config(config, str(parent))
    for name in ModelSpec.model_fields if spec.model is not None else ():
        asked, given = getattr(spec.model, name), getattr(parent_spec, name)
        if not _agree(asked, given):
            raise UserError(_disagreement(name, asked, given, parent))
    check_parts(spec.finetuning.freeze, parent_spec.num_layers)
    lineage = (sha256_file(parent), *lineage_of_checkpoint(parent))
    return Start(parent_spec, parent, config, lineage)


def _agree(asked: Any, given: Any) -> bool:
    """Tell whether two values are the same; a scaled cutoff to the last digits only."""
    if isinstance(asked, float) and isinstance(given, float):
        return math.isclose(asked, given, rel_tol=1e-9)
    return bool(asked == given)


def _disagreement(name: str, asked: Any, given: Any, parent: Path) -> str:
    """Say what the parent has, what the spec wants, and what to do."""
    text = (
        f"fine-tuning keeps the parent's model: {name} is {given} in {parent}, "
        f"but {asked} in the spec; set it to {given} or leave [model] out"
    )
    if name == "cutoff_A":
        text += (
            f". The weights were trained with lengths in units of {given} A and mean nothing "
            "with another cutoff: for a cutoff scaled with an element's bond lengths make a "
            "base by `tempermd transmute`"
        )
    elif name == "type_names":
        text += ". A base for other elements is made by `tempermd transmute`"
    return text


def read_data(spec: DataSpec, model: ModelSpec, *, progress: bool) -> Data:
    """Open all parts of the data; those that are streamed are checked in one pass."""
    kind = model.type_names, model.cutoff_A
    train = read_frames(spec.train, *kind, spec.n_train, spec.subset_seed)
    val = read_frames(spec.val, *kind)
    test = None if spec.test is None else read_frames(spec.test, *kind)
    for name, part in (("val", val), ("test", test)):
        if part is not None:
            check_streamed(part, model.type_names, name, progress=progress)
    return Data(train, val, test)


def build_module(
    start: Start, spec: TrainSpec, frames: Frames, *, progress: bool
) -> tuple[dict[str, Any], Any]:
    """Return builder arguments and nequip's Lightning module, with the parent's weights."""
    from nequip.utils.global_state import set_global_state

    set_global_state()
    names = start.model.type_names
    if start.parent is None:
        found = gather_statistics(frames, names, progress=progress)
        config = builder_config(
            start.model,
            seed=spec.training.seed,
            avg_num_neighbors=found.avg_num_neighbors,
            energy_scale_eV=found.force_rms_eV_A,
            energy_shifts_eV=found.energies_per_type(names),
        )
        return config, lightning_module(config, spec.training)
    parent = load_checkpoint(start.parent)
    shifts = energy_shifts(parent)
    if spec.finetuning.reference_energies == "refit":
        found = gather_statistics(frames, names, energy_only(parent), progress=progress)
        change = found.energies_per_type(names)
        shifts = {name: shifts[name] + change[name] for name in names}
    config = (start.parent_config or {}) | {"per_type_energy_shifts": shifts}
    module = lightning_module(config, spec.training, start.lineage)
    take_weights(module, parent)
    apply_finetuning(module, spec.finetuning)
    if spec.finetuning.replay is not None and spec.finetuning.replay.weights != (1.0, 1.0):
        weigh_frames(module)
    return config, module


def lightning_module(
    config: dict[str, Any], spec: TrainingSpec, lineage: Sequence[str] = ()
) -> Any:
    """Return nequip's Lightning module around a new model of these builder arguments.

    ``lineage`` (hashes of the parent, its parent, ...) is kept in its checkpoints.
    """
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
            LINEAGE: list(lineage),
        },
    )
