"""What a card says of a model, and what a guard found: machine-readable records."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from tempermd.records import Record, Spec
from tempermd.training import Errors, ModelSpec
from tempermd.training.alchemy import Transmutation

Outcome = Literal["better", "worse", "not told apart"]


class TypeErrors(Spec):
    """Errors on the frames of one configuration type."""

    kind: str
    n_frames: int
    n_atoms: int
    force_rmse_eV_per_A: float
    force_mae_eV_per_A: float
    energy_rmse_meV_per_atom: float
    energy_mae_meV_per_atom: float


class Difference(Spec):
    """A model's RMSE less its rival's, with the 95 % interval of the paired bootstrap.

    The interval is None where there are too few frames for one.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def outcome(self) -> Outcome:
        """Tell whether the interval is clear of zero, and on which side."""
        if self.low is None or self.high is None:
            return "not told apart"
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "not told apart"


class Rival(Spec):
    """What a fine-tuned model is compared with; forces in eV/Å, energies in meV/atom."""

    kind: Literal["direct", "start", "source"]
    name: str
    errors: Errors
    forces: Difference
    energy: Difference


class GuardOptions(Spec):
    """What a guard shall do: whether to train directly, and whose labels to judge as well."""

    train_direct: bool = True
    source: str | None = None


class Guard(Record):
    """A fine-tuned model against direct training, its start and its label source.

    ``resampled`` tells of what the bootstrap draws: trajectories where there are enough of
    them, else frames. ``not_compared`` gives reasons.
    """

    format_name: ClassVar[str] = "tempermd-guard"

    checkpoint_sha256: str
    parent_sha256: str
    options: GuardOptions
    source_asked: str | None
    part: Literal["test", "val"]
    n_frames: int
    resampled: Literal["frames", "trajectories"]
    n_resampled: int
    errors: Errors
    rivals: list[Rival]
    not_compared: list[str]
    verdict: Outcome
    sentence: str
    direct_core_s: float = 0.0
    direct_gpu_s: float = 0.0


class LabelSource(Spec):
    """Who made labels: name, version, settings and parameter files (name -> sha256)."""

    name: str
    version: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    n_frames: int


class DataPart(Spec):
    """A part of the data; of one whose file is gone, only what the training wrote down."""

    part: Literal["train", "val", "test"]
    file: str
    sha256: str
    n_frames: int
    n_atoms: int | None = None
    kinds: dict[str, int] = Field(default_factory=dict)
    n_trajectories: int | None = None
    sources: list[LabelSource] = Field(default_factory=list)


class Parity(Spec):
    """A sample of labels and predictions for plots, and percentiles of the errors.

    Forces in eV/Å (components; percentiles of their absolute errors), energies in eV/atom
    relative to the mean label (percentiles in meV/atom).
    """

    true_forces: list[float]
    forces: list[float]
    true_energies: list[float]
    energies: list[float]
    force_percentiles: dict[str, float]
    energy_percentiles: dict[str, float]


class Bin(Spec):
    """One bin of a reliability diagram, eV/Å: rms spread and rms error."""

    n: int
    spread: float
    error: float


class Calibration(Spec):
    """How well a committee's spread tells its error, over force components.

    See `tempermd.cards.committees` for the formulas.
    """

    members: list[str]
    n_components: int
    rms_error_eV_per_A: float
    rms_spread_eV_per_A: float
    factor: float
    correlation: float
    rank_correlation: float
    negative_log_likelihood: float
    scaled_negative_log_likelihood: float
    miscalibration_area: float
    scaled_miscalibration_area: float
    calibration_error: float
    bins: list[Bin]
    expected: list[float]
    observed: list[float]


class Robustness(Spec):
    """The verdicts of a robustness report, one for each of its models."""

    summary_sha256: str
    verdict: str
    n_runs: int
    total_ps: float
    sentences: dict[str, str]


class Cost(Spec):
    """Core- and GPU-seconds: this training, the guard's direct one, all ancestors' known."""

    training_core_s: float
    guard_core_s: float
    ancestors_core_s: float
    wall_s: float
    n_steps: int
    ms_per_step: float
    training_gpu_s: float = 0.0
    guard_gpu_s: float = 0.0
    ancestors_gpu_s: float = 0.0


class Card(Record):
    """Everything that a user of a model should know of it, its ancestors' cards included.

    ``parent_sha256`` is known even where the parent's own card is not. ``zero_shift_eV`` is what
    was added to the model's energies, per atom, before they were compared with labels that count
    from another zero.
    """

    format_name: ClassVar[str] = "tempermd-model-card"

    name: str
    checkpoint_sha256: str
    made_by: Literal["training", "fine-tuning", "transmutation", "unknown"]
    model: ModelSpec
    n_parameters: int
    reference_energies_eV: dict[str, float]
    data: list[DataPart] = Field(default_factory=list)
    spec: dict[str, Any] = Field(default_factory=dict)
    seed: int | None = None
    parent_sha256: str | None = None
    parent: Card | None = None
    transmutation: Transmutation | None = None
    curve: list[dict[str, float]] = Field(default_factory=list)
    errors: dict[str, Errors] = Field(default_factory=dict)
    judged_on: str | None = None
    zero_shift_eV: dict[str, float] | None = None
    by_type: list[TypeErrors] = Field(default_factory=list)
    parity: Parity | None = None
    calibration: Calibration | None = None
    cost: Cost | None = None
    guard: Guard | None = None
    robustness: Robustness | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    notes: str = ""

    def line(self) -> list[Card]:
        """Return the card and its ancestors', the youngest first."""
        return [self] + ([] if self.parent is None else self.parent.line())

    def label_sources(self) -> list[str]:
        """Return the names of who labelled the training frames."""
        names = [one.name for part in self.data if part.part == "train" for one in part.sources]
        return list(dict.fromkeys(names))
