"""The plan: a spec becomes stages, and rows that say which stages they are read from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from tempermd.findings.rows import Arm
from tempermd.study.foundations import (
    BaseModel,
    Foundations,
    Reference,
    TargetFiles,
    training_cost_s,
)
from tempermd.study.loading import LoadedStudy
from tempermd.study.specs import GENERAL, StrategySpec
from tempermd.study.stages import Stage, Store, given_file


@dataclass(frozen=True)
class PlannedRow:
    """A row before it is measured: its trainings by rate and, once chosen, what judges it."""

    target: str
    strategy: str
    arm: Arm
    n_train: int
    seed: int
    rates: list[float]
    trainings: dict[float, Stage]
    base: BaseModel | None
    draw: Stage
    chosen: float | None = None
    judges: dict[str, Stage] = field(default_factory=dict)
    start_judges: dict[str, Stage] = field(default_factory=dict)
    start_fit: Stage | None = None
    start_fit_is_pool: bool = False
    source_judge: Stage | None = None
    analyses: list[Stage] = field(default_factory=list)
    student: Stage | None = None

    @property
    def model(self) -> Reference:
        """The row's checkpoint, once its rate is chosen: the student's where there is one."""
        if self.student is not None:
            return self.student.product("student/best.ckpt")
        return self.trainings[self.chosen].product("training/best.ckpt")

    @property
    def title(self) -> str:
        """Return what people call it."""
        return f"{self.arm.name}, {self.target} n={self.n_train} seed {self.seed}"


@dataclass
class Plan:
    """All stages that are known, by key, and all rows."""

    stages: dict[str, Stage] = field(default_factory=dict)
    rows: list[PlannedRow] = field(default_factory=list)
    controls: list[Stage] = field(default_factory=list)
    files: dict[str, TargetFiles] = field(default_factory=dict)

    @property
    def undecided(self) -> list[PlannedRow]:
        """The rows whose learning rate is not chosen yet."""
        return [row for row in self.rows if row.chosen is None]


def plan_study(study: LoadedStudy, store: Store) -> Plan:
    """Return all stages that are known at this time; finished ones decide the choice of rates."""
    return _Planner(study, store).plan()


class _Planner(Foundations):
    """Plans rows on what they stand on."""

    def __init__(self, study: LoadedStudy, store: Store) -> None:
        super().__init__(study)
        self.store, self.made = store, Plan(stages=self.stages, files=self.files)

    def plan(self) -> Plan:
        for name in self.spec.targets:
            self.files[name] = self._target_files(name)
        for target in self.spec.targets:
            for strategy in self.spec.strategies:
                if target in self.spec.targets_of(strategy):
                    for base in self.spec.bases_of(strategy):
                        self._rows(target, strategy, base)
        return self.made

    def _rows(self, target: str, strategy: str, base_name: str | None) -> None:
        seeds = self.spec.targets[target].seeds
        for n in self.spec.n_train_of(strategy, target):
            first: dict[int, float | None] = {}
            for seed in seeds:
                bases: list[BaseModel | None] = [None]
                if base_name is not None:
                    bases = list(self._bases(base_name, target, n, seed))
                for number, base in enumerate(bases):
                    waits = seed != seeds[0] and self.spec.targets[target].tune == "first_seed"
                    row = self._row(
                        target, strategy, base, n, seed, first.get(number) if waits else None
                    )
                    if not waits:
                        first[number] = row.chosen
                    self.made.rows.append(row)

    def _row(
        self,
        target: str,
        name: str,
        base: BaseModel | None,
        n: int,
        seed: int,
        rate: float | None,
    ) -> PlannedRow:
        """Plan a row; without a rate given, all are tried, unless the row waits for another's."""
        strategy = self.spec.strategy_on(name, target)
        shared = self.spec.targets[target]
        waits = rate is None and seed != shared.seeds[0] and shared.tune == "first_seed"
        rates = strategy.learning_rates if rate is None else [rate]
        if waits and len(strategy.learning_rates) == 1:
            waits = False
        chooser = None if base is None else base.checkpoint
        draw = self._strategy_draw(strategy, target, n, seed, chooser)
        parent = None if base is None else self._parent(base, strategy, draw)
        arm = Arm(
            strategy=name,
            base=None if base is None else base.name,
            n_pretrain=None if base is None else base.n_pretrain,
        )
        row = PlannedRow(target, name, arm, n, seed, strategy.learning_rates, {}, base, draw)
        if waits:
            return row
        for one in rates:
            row.trainings[one] = self._training(row, one, parent)
        chosen = self._choose(row.trainings)
        return row if chosen is None else self._judged(row, chosen, parent)

    def _parent(self, base: BaseModel, strategy: StrategySpec, draw: Stage) -> Reference:
        if strategy.alchemy is None:
            return base.checkpoint
        # a ratio is fitted to the frames of the row, so that no other frames are used
        frames = draw.product("train.extxyz") if "fit" in strategy.alchemy.values() else None
        parameters = {"base": base.checkpoint, "spec": strategy.alchemy, "frames": frames}
        stage = Stage("transmute", parameters, f"transmuted {base.name}", 5, "transmute")
        return self.add(stage).product("base.ckpt")

    def _strategy_draw(
        self, strategy: StrategySpec, target: str, n: int, seed: int, parent: Reference | None
    ) -> Stage:
        options: dict[str, Any] = {}
        if strategy.selection != "random":
            options = {"selection": strategy.selection, "checkpoint": parent}
        if strategy.extra_train is not None:
            path = self.study.file(strategy.extra_train.file, "extra_train.file")
            options["extra"] = {"file": given_file(path), "n": strategy.extra_train.n}
        return self._target_draw(target, n, seed, **options)

    def _training(self, row: PlannedRow, rate: float, parent: Reference | None) -> Stage:
        strategy = self.spec.strategies[row.strategy]
        where = f"strategies.{row.strategy}.model"
        settings = self.study.target_training(row.strategy, row.target, row.n_train, rate, row.seed)
        parameters = {
            "model": self.study.model(strategy.model, where) if parent is None else None,
            "training": settings,
            "finetuning": self._finetuning(row),
            "train": row.draw.product("train.extxyz"),
            "val": self.files[row.target].val,
            "parent": parent,
        }
        cost_s = training_cost_s(settings, row.n_train)
        title = f"training {row.title}, rate {rate:g}"
        return self.add(Stage("training", parameters, title, cost_s, f"training {row.target}"))

    def _finetuning(self, row: PlannedRow) -> dict[str, Any]:
        """Return a strategy's switches; replay without a file is of the pre-training set."""
        table = dict(self.study.finetuning(row.strategy))
        replay = table.get("replay")
        if replay is None:
            return table
        replay = dict(replay)
        name = replay.get("file", "pretraining")
        if name == "pretraining":
            if row.base is None or row.base.trained_on is None:
                raise self._no_replay(row)
            replay["file"] = row.base.trained_on
        else:
            replay["file"] = given_file(self.study.file(name, "replay.file"))
        return table | {"replay": replay}

    def _no_replay(self, row: PlannedRow) -> Exception:
        from tempermd.records import UserError

        return UserError(
            f"{self.study.path}: strategies.{row.strategy}.finetuning.replay: the base "
            f"{row.arm.base} is a given checkpoint, so its pre-training set is not known; name it "
            "as replay.file"
        )

    def _choose(self, trainings: dict[float, Stage]) -> float | None:
        """Return the rate with the lowest validation error once all are finished."""
        if len(trainings) == 1:
            return next(iter(trainings))
        errors = {}
        for rate, stage in trainings.items():
            done = self.store.done(stage)
            if done is None:
                return None
            error = done.facts.get("val_force_rmse_eV_per_A", math.inf)
            errors[rate] = error if math.isfinite(error) else math.inf
        return min(errors, key=lambda rate: errors[rate])

    def _judged(self, row: PlannedRow, chosen: float, parent: Reference | None) -> PlannedRow:
        row = self._taught(replace(row, chosen=chosen))
        sets = self._judge_sets(row)
        changes: dict[str, Any] = {}
        changes["judges"] = {
            name: self._judge(row.model, file, f"{row.title} on {name}")
            for name, file in sets.items()
        }
        if parent is not None:
            own = {k: sets[k] for k in ("test", GENERAL) if k in sets}
            start = f"start of {row.arm.name}"
            changes["start_judges"] = {
                name: self._judge(parent, file, f"{start} on {name}") for name, file in own.items()
            }
            pool = self.files[row.target].pool
            is_pool = row.base.n_pretrain is None or row.base.general is not None
            is_pool = is_pool and row.draw.parameters["extra"] is None
            file = pool if is_pool else row.draw.product("train.extxyz")
            changes["start_fit"] = self._judge(parent, file, f"{start} on {row.target}")
            changes["start_fit_is_pool"] = is_pool
            changes["source_judge"] = self._source_judge(row)
        return self._driven(replace(row, **changes))

    def _taught(self, row: PlannedRow) -> PlannedRow:
        """Add the student of a row whose strategy distils."""
        spec = self.study.distillation(row.strategy, row.seed)
        if spec is None:
            return row
        frames = row.draw.product("train.extxyz")
        parameters = {"teacher": row.model, "frames": frames, "spec": spec}
        cost_s = training_cost_s(spec["training"], spec["augment"].get("n_frames", 200))
        stage = Stage("distil", parameters, f"student of {row.title}", cost_s, "distil")
        return replace(row, student=self.add(stage))

    def _judge_sets(self, row: PlannedRow) -> dict[str, Reference]:
        """Return the sets that a row is judged on; a row without a base takes the first's."""
        sets = {"test": self.files[row.target].test}
        for name in self.spec.targets[row.target].judge_on:
            if name != GENERAL:
                sets[name] = self.files[name].test
            elif self.spec.strategies[row.strategy].alchemy is None:
                # a base's own set is of its own elements, which a transmuted model does not know
                sets[name] = self._general(row)
        return sets

    def _general(self, row: PlannedRow) -> Reference:
        if row.base is not None and row.base.general is not None:
            return row.base.general
        first = self._bases(self.spec.pretrained_bases[0], row.target, row.n_train, row.seed)[0]
        return first.general

    def _judge(self, checkpoint: Reference, frames: Reference, title: str) -> Stage:
        parameters = {"checkpoint": checkpoint, "frames": frames}
        return self.add(Stage("judge", parameters, f"errors of {title}", 3, "judge"))

    def _source_judge(self, row: PlannedRow) -> Stage | None:
        """Plan the errors of the source that labelled a base's set, unless it is the truth."""
        source, target = row.base.source, self.spec.targets[row.target]
        if source is None or self.spec.strategies[row.strategy].alchemy is not None:
            return None
        if target.truth is not None and source == self.study.source(target.truth, row.target):
            return None
        parameters = {"source": source, "frames": self.files[row.target].test}
        title = f"errors of the label source of {row.arm.base} on {row.target}"
        return self.add(Stage("source", parameters, title, 20, "judge"))

    # molecular dynamics

    def _driven(self, row: PlannedRow) -> PlannedRow:
        md = self.spec.md
        if md is None or not _is_driven(row, md, self.spec):
            return row
        deployed = self.add(
            Stage("deploy", {"checkpoint": row.model}, f"deploy {row.title}", 15, "deploy")
        )
        settings = self.study.robustness(md)
        model = deployed.product("model.nequip.pth")
        analyses = [
            self._run(
                settings | {"seeds": [s], "control": False}, model, f"{row.title}, MD seed {s}"
            )
            for s in settings["seeds"]
        ]
        if settings["control"] and not self.made.controls:
            self.made.controls = [
                self._run(settings | {"seeds": [s]}, None, f"control, MD seed {s}")
                for s in settings["seeds"]
            ]
        return replace(row, analyses=analyses)

    def _run(self, settings: dict[str, Any], model: Reference | None, title: str) -> Stage:
        from tempermd.events import read_thresholds

        cost_s = 30 * (settings.get("ramp_ps", 2.0) + settings.get("hold_ps", 4.0))
        run = self.add(
            Stage("md", {"model": model, "robustness": settings}, f"MD {title}", cost_s, "md")
        )
        limits = read_thresholds(None).model_dump(mode="json")
        parameters = {"runs": run.product("runs"), "thresholds": limits}
        return self.add(Stage("analysis", parameters, f"events of {title}", 5, "analysis"))


def _is_driven(row: PlannedRow, md: Any, spec: Any) -> bool:
    target = md.target or next(iter(spec.targets))
    n_train = md.n_train or spec.targets[target].n_train[0]
    return (
        (row.target, row.n_train) == (target, n_train)
        and (md.strategies is None or row.strategy in md.strategies)
        and (md.bases is None or row.arm.base is None or row.arm.base in md.bases)
    )
