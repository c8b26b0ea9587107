"""The plan: a spec becomes stages, and rows that say which stages they are read from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tempermd.study.loading import LoadedStudy
from tempermd.study.rows import Arm
from tempermd.study.specs import GENERAL, TARGET_STRUCTURES, StrategySpec, TargetSpec
from tempermd.study.stages import Stage, Store, given_file

Reference = dict[str, Any]

LARGE_PRETRAINING = 5000
"""Pre-training sets from so many frames on are kept as LMDB and streamed."""
STEP_S = 0.02
"""A guess of the core-seconds of a training step per structure in its batch."""


@dataclass(frozen=True)
class BaseModel:
    """A model to start from, and what a row needs to know of it.

    ``stages`` are its own trainings and labellings, for the cost; ``general`` is the file that
    its pre-training held out, ``trained_on`` what it saw last.
    """

    checkpoint: Reference
    name: str
    n_pretrain: int | None
    stages: tuple[Stage, ...] = ()
    general: Reference | None = None
    trained_on: Reference | None = None


@dataclass(frozen=True)
class TargetFiles:
    """The labelled parts of a target."""

    pool: Reference
    val: Reference
    test: Reference


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
    analyses: list[Stage] = field(default_factory=list)

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


class _Planner:
    def __init__(self, study: LoadedStudy, store: Store) -> None:
        self.study, self.spec, self.store = study, study.spec, store
        self.made = Plan()

    def plan(self) -> Plan:
        for name in self.spec.targets:
            self.made.files[name] = self._target_files(name)
        for target in self.spec.targets:
            for strategy in self.spec.strategies:
                if target in self.spec.targets_of(strategy):
                    for base in self.spec.bases_of(strategy):
                        self._rows(target, strategy, base)
        return self.made

    def add(self, stage: Stage) -> Stage:
        """Take a stage into the plan, once."""
        return self.made.stages.setdefault(stage.key, stage)

    # structures, labels, parts

    def _structures(self, name: str, where: str) -> Reference:
        found = self.study.structures(name, where)
        if isinstance(found, Path):
            return given_file(found)
        stage = Stage("structures", found, f"structures {name}", 60, "structures", greedy=True)
        return self.add(stage).product("frames.extxyz")

    def _labels(self, frames: Reference, source: Any, options: Any, what: str, n: int) -> Stage:
        """Label frames by a source; ``n`` is a guess of their number."""
        parameters = {
            "frames": frames,
            "source": self.study.source(source, what),
            "options": options.model_dump(
                mode="json", exclude_defaults=True, exclude={"cache", "retry_failed"}
            ),
        }
        title = f"labels by {source.name}, {what}"
        return self.add(Stage("labels", parameters, title, 0.1 * n, "labels", greedy=True))

    def _split(self, frames: Reference, what: str, **parameters: Any) -> Stage:
        shared = {"test": None, "test_fraction": None, "file_format": "extxyz"}
        stage = Stage(
            "split", {"frames": frames} | shared | parameters, f"parts of {what}", 2, "split"
        )
        return self.add(stage)

    def _target_files(self, name: str) -> TargetFiles:
        target, where = self.spec.targets[name], f"targets.{name}"
        if target.train is not None:
            pool = given_file(self.study.file(target.train, f"{where}.train"))
            test = given_file(self.study.file(target.test, f"{where}.test"))
            if target.val is not None:
                val = given_file(self.study.file(target.val, f"{where}.val"))
                return TargetFiles(pool, val, test)
            return self._parts(pool, name, target, test=test)
        frames = self._structures(target.structures, f"{where}.structures")
        labelled = self._truth(frames, target, where)
        if target.test_structures is None:
            return self._parts(labelled, name, target, test_fraction=target.test_fraction)
        held = self._structures(target.test_structures, f"{where}.test_structures")
        test = self._truth(held, target, f"{where} (test)")
        return self._parts(labelled, name, target, test=test)

    def _truth(self, frames: Reference, target: TargetSpec, what: str) -> Reference:
        stage = self._labels(frames, target.truth, target.labelling, what, 1000)
        return stage.product("labelled.extxyz")

    def _parts(self, frames: Reference, name: str, target: TargetSpec, **how: Any) -> TargetFiles:
        stage = self._split(frames, name, n_val=target.n_val, seed=target.split_seed, **how)
        parts = [stage.product(f"set/{part}.extxyz") for part in ("train", "val", "test")]
        return TargetFiles(*parts)

    # bases

    def _bases(self, name: str, target: str, n_train: int, seed: int) -> list[BaseModel]:
        """Return a base's models: one for each n_pretrain, or one for these very frames."""
        base = self.spec.bases[name]
        if base.checkpoint is not None:
            path = self.study.file(base.checkpoint, f"bases.{name}.checkpoint")
            return [BaseModel(given_file(path), name, None)]
        if base.structures == TARGET_STRUCTURES:
            return [self._base_on_target(name, target, n_train, seed)]
        sizes = base.n_pretrain or self.spec.pretraining.n_pretrain or [None]
        return [self._pretrained(name, n) for n in sizes]

    def _pretrained(self, name: str, n: int | None) -> BaseModel:
        base, shared = self.spec.bases[name], self.spec.pretraining
        frames = self._structures(base.structures or shared.structures, f"bases.{name}.structures")
        sizes = base.n_pretrain or shared.n_pretrain or [0]
        suffix = "lmdb" if max(sizes) >= LARGE_PRETRAINING else "extxyz"
        sets, stages = [], []
        for source in base.sources:
            what = f"pre-training {source}"
            labels = self._labels(
                frames, self.spec.sources[source], shared.labelling, what, n or 1000
            )
            split = self._split(
                labels.product("labelled.extxyz"),
                what,
                n_val=shared.n_val,
                seed=shared.seed,
                file_format=suffix,
            )
            pool = split.product(f"set/train.{suffix}")
            draw = self._draw(pool, n, shared.seed, f"{what}, {n or 'all'} frames")
            sets.append((draw.product(f"train.{suffix}"), split.product(f"set/val.{suffix}")))
            stages.append(labels)
        trainings = self._chain(name, sets, n or 1000, f"pre-training {name} {n or ''}".strip())
        return BaseModel(
            checkpoint=trainings[-1].product("training/best.ckpt"),
            name=name,
            n_pretrain=n,
            stages=(*stages, *trainings),
            general=sets[-1][1],
            trained_on=sets[-1][0],
        )

    def _base_on_target(self, name: str, target: str, n: int, seed: int) -> BaseModel:
        """Pre-train on the frames of the target's own draw, labelled by the base's sources."""
        base, shared, files = self.spec.bases[name], self.spec.pretraining, self.made.files[target]
        frames = self._target_draw(target, n, seed).product("train.extxyz")
        sets, stages = [], []
        for source in base.sources:
            spec, where = self.spec.sources[source], f"{name}, {target} n={n} seed {seed}"
            train = self._labels(frames, spec, shared.labelling, where, n)
            val = self._labels(files.val, spec, shared.labelling, f"{name}, {target} val", 20)
            sets.append((train.product("labelled.extxyz"), val.product("labelled.extxyz")))
            stages += [train, val]
        title = f"pre-training {name}, {target} n={n} seed {seed}"
        trainings = self._chain(name, sets, n, title)
        return BaseModel(
            checkpoint=trainings[-1].product("training/best.ckpt"),
            name=name,
            n_pretrain=n,
            stages=(*stages, *trainings),
            trained_on=sets[-1][0],
        )

    def _chain(
        self, name: str, sets: list[tuple[Reference, Reference]], n: int, title: str
    ) -> list[Stage]:
        """Train on one set after the other, each from the model of the former."""
        base, trainings = self.spec.bases[name], []
        settings = self.study.pretraining(base, name)
        for train, val in sets:
            parent = trainings[-1].product("training/best.ckpt") if trainings else None
            model = self.study.model(base.model, f"bases.{name}.model")
            parameters = {
                "model": None if parent else model,
                "training": settings,
                "finetuning": {},
                "train": train,
                "val": val,
                "parent": parent,
            }
            cost_s = training_cost_s(settings, n)
            stage = Stage("training", parameters, title, cost_s, "pre-training")
            trainings.append(self.add(stage))
        return trainings

    # rows

    def _draw(self, pool: Reference, n: int | None, seed: int, what: str, **options: Any) -> Stage:
        parameters = {"pool": pool, "n": n, "seed": seed, "selection": "random"}
        parameters |= {"checkpoint": None, "extra": None}
        return self.add(Stage("draw", parameters | options, f"draw of {what}", 1, "draw"))

    def _target_draw(self, target: str, n: int, seed: int, **options: Any) -> Stage:
        what = f"{target} n={n} seed {seed}"
        return self._draw(self.made.files[target].pool, n, seed, what, **options)

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
        strategy = self.spec.strategies[name]
        shared = self.spec.targets[target]
        waits = rate is None and seed != shared.seeds[0] and shared.tune == "first_seed"
        rates = strategy.learning_rates if rate is None else [rate]
        if waits and len(strategy.learning_rates) == 1:
            waits = False
        parent = None if base is None else self._parent(base, strategy)
        draw = self._strategy_draw(strategy, target, n, seed, parent)
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

    def _parent(self, base: BaseModel, strategy: StrategySpec) -> Reference:
        if strategy.alchemy is None:
            return base.checkpoint
        parameters = {"base": base.checkpoint, "spec": strategy.alchemy}
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
            "val": self.made.files[row.target].val,
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
        best = row.trainings[chosen].product("training/best.ckpt")
        sets = self._judge_sets(row)
        changes: dict[str, Any] = {"chosen": chosen}
        changes["judges"] = {
            name: self._judge(best, file, f"{row.title} on {name}") for name, file in sets.items()
        }
        if parent is not None:
            own = {k: sets[k] for k in ("test", GENERAL) if k in sets}
            start = f"start of {row.arm.name}"
            changes["start_judges"] = {
                name: self._judge(parent, file, f"{start} on {name}") for name, file in own.items()
            }
            pool = self.made.files[row.target].pool
            is_pool = row.base.n_pretrain is None or row.base.general is not None
            is_pool = is_pool and row.draw.parameters["extra"] is None
            file = pool if is_pool else row.draw.product("train.extxyz")
            changes["start_fit"] = self._judge(parent, file, f"{start} on {row.target}")
            changes["start_fit_is_pool"] = is_pool
        return self._driven(PlannedRow(**(row.__dict__ | changes)))

    def _judge_sets(self, row: PlannedRow) -> dict[str, Reference]:
        """Return the sets that a row is judged on; a row without a base takes the first's."""
        sets = {"test": self.made.files[row.target].test}
        for name in self.spec.targets[row.target].judge_on:
            sets[name] = self._general(row) if name == GENERAL else self.made.files[name].test
        return sets

    def _general(self, row: PlannedRow) -> Reference:
        if row.base is not None and row.base.general is not None:
            return row.base.general
        first = self._bases(self.spec.pretrained_bases[0], row.target, row.n_train, row.seed)[0]
        return first.general

    def _judge(self, checkpoint: Reference, frames: Reference, title: str) -> Stage:
        parameters = {"checkpoint": checkpoint, "frames": frames}
        return self.add(Stage("judge", parameters, f"errors of {title}", 3, "judge"))

    # molecular dynamics

    def _driven(self, row: PlannedRow) -> PlannedRow:
        md = self.spec.md
        if md is None or not _is_driven(row, md, self.spec):
            return row
        best = row.trainings[row.chosen].product("training/best.ckpt")
        deployed = self.add(
            Stage("deploy", {"checkpoint": best}, f"deploy {row.title}", 15, "deploy")
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
        return PlannedRow(**(row.__dict__ | {"analyses": analyses}))

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


def training_cost_s(settings: dict[str, Any], n_frames: int) -> float:
    """Guess the core-seconds of a training from its steps and its batches."""
    batch = settings.get("batch_size", 4)
    steps = settings.get("max_steps")
    if steps is None:
        steps = settings.get("max_epochs", 1) * math.ceil(n_frames / batch)
    return STEP_S * steps * min(batch, n_frames)
