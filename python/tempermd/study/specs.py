"""What a study is asked for: sources, bases, targets and strategies, every name checked."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tempermd.labels import LabelOptions, SourceSpec
from tempermd.records import Spec

GENERAL = "general"
"""The further test set that a base brings: what was held out of its pre-training."""
TARGET_STRUCTURES = "target"
"""As a base's structures: the very frames that the target's model is trained on."""
OWN_OF_STUDY = ("learning_rate", "max_steps", "max_epochs", "seed")
"""Keys of a training that strategies, seeds and the pre-training set, not [training]."""


class PretrainingSpec(Spec):
    """How bases are made: structures, how many are drawn, what is held out, and the training."""

    structures: str = Field(description="a spec of `tempermd structures`, or structures")
    n_pretrain: list[PositiveInt] | None = Field(None, min_length=1)
    n_val: PositiveInt = 50
    seed: int = Field(1, ge=0)
    training: dict[str, Any] = Field(default_factory=dict)
    labelling: LabelOptions = LabelOptions()


class BaseSpec(Spec):
    """A model to start from: a checkpoint, or a pre-training on labels of sources."""

    checkpoint: str | None = None
    sources: list[str] = Field(default_factory=list)
    structures: str | None = None
    n_pretrain: list[PositiveInt] | None = Field(None, min_length=1)
    model: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_thing(self) -> BaseSpec:
        if (self.checkpoint is None) == (not self.sources):
            raise ValueError("give exactly one of checkpoint and sources")
        made = (self.structures, self.n_pretrain, self.model or None, self.training or None)
        if self.checkpoint is not None and any(value is not None for value in made):
            raise ValueError("a checkpoint is taken as it is: give no other key beside it")
        if self.structures == TARGET_STRUCTURES and self.n_pretrain is not None:
            raise ValueError("a base on the target's structures has the target's n_train")
        return self


class TargetSpec(Spec):
    """What models are trained for: labelled files, or structures and a truth to label them."""

    train: str | None = None
    val: str | None = None
    test: str | None = None
    structures: str | None = None
    truth: SourceSpec | None = None
    test_structures: str | None = None
    test_fraction: float = Field(0.3, gt=0, lt=1)
    truth_note: str = ""
    n_val: PositiveInt | None = Field(None, description="frames of the pool, if val is not given")
    n_train: list[PositiveInt] = Field(min_length=1)
    seeds: list[int] = Field([1], min_length=1)
    tune: Literal["first_seed", "each"] = "first_seed"
    judge_on: list[str] = Field(default_factory=list)
    training: dict[str, Any] = Field(
        default_factory=dict, description="settings of the trainings on this target only"
    )
    split_seed: int = Field(1, ge=0)
    labelling: LabelOptions = LabelOptions()

    @model_validator(mode="after")
    def _has_frames(self) -> TargetSpec:
        given, made = self.train is not None, self.structures is not None
        if given == made:
            raise ValueError("give exactly one of train (labelled) and structures (to be labelled)")
        if given and self.test is None:
            raise ValueError("test is missing: a study compares errors on a test set")
        if made and self.truth is None:
            raise ValueError("truth is missing: the source that labels the structures")
        if made and (self.test or self.val):
            raise ValueError("test and val are for labelled files; structures are split here")
        if given and (self.truth or self.test_structures):
            raise ValueError("truth and test_structures are for structures, not labelled files")
        if self.val is None and self.n_val is None:
            raise ValueError("give val (a file) or n_val (frames of the pool)")
        for name in ("n_train", "seeds", "judge_on"):
            value = getattr(self, name)
            if len(set(value)) < len(value):
                raise ValueError(f"{name} names a value twice")
        return self


class ExtraFrames(Spec):
    """Frames that a strategy adds to its training set; all of the file if ``n`` is not given."""

    file: str
    n: PositiveInt | None = None


class OnTarget(Spec):
    """What a strategy does otherwise on one target."""

    learning_rates: list[PositiveFloat] | None = Field(None, min_length=1)
    max_steps: PositiveInt | dict[PositiveInt, PositiveInt] | None = None


class StrategySpec(Spec):
    """A way to a model, tried on every target, or on some."""

    bases: list[str] | Literal["all"] | None = None
    learning_rates: list[PositiveFloat] = Field(min_length=1)
    max_steps: PositiveInt | dict[PositiveInt, PositiveInt] = Field(
        description="for all sizes of the training set, or for each: { 10 = 500, 40 = 1000 }"
    )
    training: dict[str, Any] = Field(default_factory=dict)
    model: dict[str, Any] = Field(default_factory=dict)
    finetuning: dict[str, Any] = Field(default_factory=dict)
    alchemy: dict[str, Any] | None = None
    distil: dict[str, Any] | None = None
    selection: Literal["random", "farthest"] = "random"
    targets: list[str] | None = None
    n_train: list[PositiveInt] | None = None
    extra_train: ExtraFrames | None = None
    on: dict[str, OnTarget] = Field(
        default_factory=dict, description="other rates or steps on a target"
    )

    def steps_for(self, n_train: int) -> int:
        """Return the budget of a training with so many structures."""
        if isinstance(self.max_steps, int):
            return self.max_steps
        return self.max_steps[n_train]

    @model_validator(mode="after")
    def _fits_together(self) -> StrategySpec:
        for rates in (self.learning_rates, *(one.learning_rates or [] for one in self.on.values())):
            if len(set(rates)) < len(rates):
                raise ValueError("learning_rates names a value twice")
        if self.bases is None:
            for name in ("finetuning", "alchemy", "distil"):
                if getattr(self, name):
                    raise ValueError(f"{name} needs bases to start from")
            if self.selection != "random":
                raise ValueError("selection = 'farthest' needs bases: it uses their features")
        elif self.alchemy is not None and self.selection != "random":
            raise ValueError("selection = 'farthest' would use features of another element")
        elif self.model:
            raise ValueError("fine-tuning keeps the base's model; override it in the base")
        return self


class MdSpec(Spec):
    """Which rows are driven in MD; every other key is one of a robustness spec."""

    model_config = Spec.model_config | {"extra": "allow"}

    target: str | None = None
    n_train: PositiveInt | None = None
    strategies: list[str] | None = None
    bases: list[str] | None = None

    @property
    def robustness(self) -> dict[str, Any]:
        """The keys of a robustness spec."""
        return dict(self.model_extra or {})


class StudySpec(Spec):
    """Strategies x bases, on targets x n_train x seeds; paths are relative to the spec file."""

    title: str
    model: dict[str, Any]
    sources: dict[str, SourceSpec] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    pretraining: PretrainingSpec | None = None
    bases: dict[str, BaseSpec] = Field(default_factory=dict)
    targets: dict[str, TargetSpec] = Field(min_length=1)
    strategies: dict[str, StrategySpec] = Field(min_length=1)
    md: MdSpec | None = None

    @model_validator(mode="after")
    def _names_what_exists(self) -> StudySpec:
        taken = set(OWN_OF_STUDY) & set(self.training)
        if taken:
            raise ValueError(
                f"[training] has {', '.join(sorted(taken))}: rates and steps belong to each "
                "strategy, seeds to each target"
            )
        _check_bases(self)
        _check_strategies(self)
        for name, target in self.targets.items():
            known = {*self.targets, GENERAL} - {name}
            _known(target.judge_on, known, f"targets.{name}.judge_on")
            if GENERAL in target.judge_on and not self.pretrained_bases:
                raise ValueError(
                    f"targets.{name}.judge_on: '{GENERAL}' is what a base's pre-training held "
                    "out, and no base is pre-trained here"
                )
        if self.md is not None:
            _check_md(self, self.md)
        return self

    @property
    def pretrained_bases(self) -> list[str]:
        """The bases that have a held-out set of their own."""
        return [
            name
            for name, base in self.bases.items()
            if base.sources and base.structures != TARGET_STRUCTURES
        ]

    def bases_of(self, strategy: str) -> list[str | None]:
        """Return the bases of a strategy; [None] for training from nothing."""
        bases = self.strategies[strategy].bases
        if bases is None:
            return [None]
        return list(self.bases) if bases == "all" else list(bases)

    def targets_of(self, strategy: str) -> list[str]:
        """Return the targets of a strategy."""
        return self.strategies[strategy].targets or list(self.targets)

    def strategy_on(self, strategy: str, target: str) -> StrategySpec:
        """Return a strategy with the rates and steps that it has on a target."""
        found = self.strategies[strategy]
        other = found.on.get(target, OnTarget())
        return found.model_copy(update={key: one for key, one in other if one is not None})

    def n_train_of(self, strategy: str, target: str) -> list[int]:
        """Return the sizes of training sets of a strategy on a target."""
        subset = self.strategies[strategy].n_train
        sizes = self.targets[target].n_train
        return sizes if subset is None else [n for n in sizes if n in subset]


def _known(names: list[str], known: Any, where: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: '{name}' is unknown; there is {_listed(known)}")


def _listed(names: Any) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


def _check_bases(spec: StudySpec) -> None:
    for name, base in spec.bases.items():
        _known(base.sources, spec.sources, f"bases.{name}.sources")
        if base.sources and spec.pretraining is None:
            raise ValueError(f"bases.{name} has sources, so a table [pretraining] is needed")


def _check_strategies(spec: StudySpec) -> None:
    for name, strategy in spec.strategies.items():
        where = f"strategies.{name}"
        if strategy.bases == "all" and not spec.bases:
            raise ValueError(f"{where}.bases: there are no bases")
        if isinstance(strategy.bases, list):
            _known(strategy.bases, spec.bases, f"{where}.bases")
        _known(strategy.targets or [], spec.targets, f"{where}.targets")
        sizes = {n for one in spec.targets_of(name) for n in spec.targets[one].n_train}
        _known(strategy.n_train or [], sizes, f"{where}.n_train")
        _known(list(strategy.on), spec.targets_of(name), f"{where}.on")
        for one in spec.targets_of(name):
            steps = spec.strategy_on(name, one).max_steps
            if isinstance(steps, dict) and (
                missing := sorted(set(spec.n_train_of(name, one)) - set(steps))
            ):
                raise ValueError(
                    f"{where}.max_steps: no steps for n_train = {_listed(missing)} on {one}"
                )


def _check_md(spec: StudySpec, md: MdSpec) -> None:
    if md.target is None and len(spec.targets) > 1:
        raise ValueError(f"md.target is missing; name one of {_listed(spec.targets)}")
    target = md.target or next(iter(spec.targets))
    _known([target], spec.targets, "md.target")
    sizes = spec.targets[target].n_train
    if md.n_train is None and len(sizes) > 1:
        raise ValueError(f"md.n_train is missing; name one of {_listed(sizes)}")
    _known([md.n_train] if md.n_train else [], sizes, "md.n_train")
    _known(md.strategies or [], spec.strategies, "md.strategies")
    _known(md.bases or [], spec.bases, "md.bases")
    if "models" in md.robustness:
        raise ValueError("md.models: the models are the study's own; leave it out")
