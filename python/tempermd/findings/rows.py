"""What a study knows of each model that it trained: one row, from which all tables are made."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tempermd.records import Record, Spec
from tempermd.training import Errors

Quantity = Literal["forces", "energy"]


class Arm(Spec):
    """One way to a model: a strategy, and the base it starts from where it has one.

    ``base`` names a pre-training (usually its label source) or a given checkpoint; None is
    direct training. ``n_pretrain`` is the number of structures that the base has seen, None
    where it was not trained by the study.
    """

    strategy: str
    base: str | None = None
    n_pretrain: int | None = None

    @property
    def name(self) -> str:
        """Return the arm's name in tables and file names."""
        base = "" if self.base is None else f" {self.base}"
        number = "" if self.n_pretrain is None else f" {self.n_pretrain}"
        return f"{self.strategy}{base}{number}"


class Cost(Spec):
    """What a row cost: its own training, and its share of what others use too.

    Processor time in core-seconds and GPU time in seconds. ``tuning_core_s`` is the time of
    the trainings at rates that were not chosen, which ``gpu_s`` includes; what begins with
    ``pretraining`` and ``labels`` is of the whole base, however many rows start from it.
    """

    training_core_s: float
    tuning_core_s: float = 0.0
    pretraining_core_s: float = 0.0
    labels_core_s: float = 0.0
    gpu_s: float = 0.0
    pretraining_gpu_s: float = 0.0


class Fate(Spec):
    """What became of one MD run of a row's model."""

    case: str
    structure: str
    temperature_K: float
    md_seed: int
    outcome: str
    failed: bool
    survived: bool
    time_ps: float = Field(description="of the first fatal or severe event, else of the end")
    first_events: list[str] = Field(default_factory=list)


class Row(Spec):
    """One model: target x arm x n_train x seed.

    ``errors`` has the key ``test`` (structures of the target that no training or selection
    saw) and one for each further set it was judged on, such as ``general``. ``start_errors``
    are those of the model before its first step (the base with reference energies refitted),
    by the same keys; empty for direct training. ``source_errors`` are those of what labelled the
    base's structures, by its name, on the target's test set at the zero of energy that fits that
    set best; ``sources_not_compared`` says why there are none.
    """

    target: str
    arm: Arm
    n_train: int
    seed: int
    learning_rate: float
    learning_rates_tried: list[float]
    steps: int
    best_step: int
    val_force_rmse_eV_per_A: float
    errors: dict[str, Errors]
    start_errors: dict[str, Errors] = Field(default_factory=dict)
    source_errors: dict[str, Errors] = Field(default_factory=dict)
    sources_not_compared: dict[str, str] = Field(default_factory=dict)
    cost: Cost
    checkpoint_sha256: str
    fates: list[Fate] = Field(default_factory=list)

    def error(self, quantity: Quantity, of: str = "test") -> float:
        """Return the RMSE of forces (eV/A) or of the energy (meV/atom) on a set."""
        found = self.errors[of]
        if quantity == "forces":
            return found.force_rmse_eV_per_A
        return found.energy_rmse_meV_per_atom


class Study(Record):
    """The rows of a finished study and what they were made from."""

    format_name: ClassVar[str] = "tempermd-study-rows"

    title: str
    notes: dict[str, str] = Field(
        default_factory=dict, description="target -> what its truth is, for the tables' titles"
    )
    spec_sha256: str
    rows: list[Row]
    versions: dict[str, str]
