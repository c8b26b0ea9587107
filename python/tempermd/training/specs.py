"""What a training is asked for (TOML) and what it reports (JSON)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tempermd.records import Record, Spec, parse_spec, read_spec
from tempermd.training.errors import Errors
from tempermd.training.finetuning import FineTuningSpec
from tempermd.training.models import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable


class DataSpec(Spec):
    """Files of labelled structures (extxyz, or LMDB, which is streamed), relative to the spec."""

    train: str
    val: str
    test: str | None = None
    n_train: PositiveInt | None = None
    subset_seed: int = Field(0, ge=0)


class TrainingSpec(Spec):
    """How to train; the budget is a number of epochs or of steps, never of minutes."""

    max_epochs: PositiveInt | None = None
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    batch_atoms: PositiveInt | None = None
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
    compile: bool | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    devices: PositiveInt = 1
    tensorboard: bool = False
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _has_a_batch(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("batch_size") is None and not raw.get("batch_atoms"):
            return raw | {"batch_size": 4}
        return raw

    @model_validator(mode="after")
    def _has_one_kind_of_batch(self) -> TrainingSpec:
        if (self.batch_size is None) == (self.batch_atoms is None):
            raise ValueError("give only one of batch_size and batch_atoms")
        if self.batch_size is not None and self.batch_size < self.devices:
            raise ValueError(
                f"batch_size = {self.batch_size} is shared by devices = {self.devices}: it must "
                "be at least as many"
            )
        return self

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
    finetuning: FineTuningSpec = FineTuningSpec()


class TrainingInputs(Record):
    """What a training was started from; decides whether a folder can be resumed."""

    format_name: ClassVar[str] = "tempermd-training-inputs"

    spec_sha256: str
    train_sha256: str
    val_sha256: str
    test_sha256: str | None
    parent_sha256: str | None
    replay_sha256: str | None = None


class Training(Record):
    """What a training found, and what it cost."""

    format_name: ClassVar[str] = "tempermd-training"

    inputs: TrainingInputs
    checkpoint_sha256: str
    avg_num_neighbors: float | dict[str, float] | None
    energy_scales_eV: float | dict[str, float] | None
    reference_energies_eV: dict[str, float]
    reference_energies_from: Literal["labels", "labels minus parent", "parent"]
    lineage: list[str] = Field(default_factory=list, description="hashes: parent, its parent, ...")
    n_train: int
    n_replay: int = 0
    n_replay_per_epoch: int = 0
    replay_shifts_eV: dict[str, float] | None = None
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
    gpu_s: float = 0.0
    ms_per_step: float
    seed: int
    threads: int
    warnings: list[str] = Field(default_factory=list)
    versions: dict[str, str]


def resolved_spec(spec: TrainSpec | Path | str, **where: Any) -> TrainSpec:
    """Read a spec file and make its data paths absolute.

    ``device`` and ``devices`` override the spec's where they are given and not None.
    """
    origin = Path.cwd()
    if not isinstance(spec, TrainSpec):
        origin = Path(spec).resolve().parent
        spec = read_spec(spec, TrainSpec)
    given = {name: value for name, value in where.items() if value is not None}
    if given:
        shown = ", ".join(f"{name} = {value}" for name, value in given.items())
        training = parse_spec(spec.training.model_dump() | given, TrainingSpec, shown)
        spec = spec.model_copy(update={"training": training})
    return with_paths(spec, lambda path: str((origin / path).resolve()))


def with_paths(spec: TrainSpec, change: Callable[[str], str]) -> TrainSpec:
    """Return a spec with every data path changed."""
    paths = {name: getattr(spec.data, name) for name in ("train", "val", "test")}
    changed = {name: change(path) for name, path in paths.items() if path is not None}
    data = spec.data.model_copy(update=changed)
    replay = spec.finetuning.replay
    if replay is None:
        return spec.model_copy(update={"data": data})
    replay = replay.model_copy(update={"file": change(replay.file)})
    finetuning = spec.finetuning.model_copy(update={"replay": replay})
    return spec.model_copy(update={"data": data, "finetuning": finetuning})
