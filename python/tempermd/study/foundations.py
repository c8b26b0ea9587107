"""What rows stand on: structures, labels, parts and bases, as stages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempermd.study.loading import LoadedStudy
from tempermd.study.specs import TARGET_STRUCTURES, TargetSpec
from tempermd.study.stages import Stage, given_file

Reference = dict[str, Any]

LARGE_PRETRAINING = 5000
"""Pre-training sets from so many frames on are kept as LMDB and streamed."""
STEP_S = 0.02
"""A guess of the core-seconds of a training step per structure in its batch."""


@dataclass(frozen=True)
class BaseModel:
    """A model to start from, and what a row needs to know of it.

    ``stages`` are its own trainings and labellings, for the cost; ``general`` is the file that
    its pre-training held out, ``trained_on`` what it saw last, ``source`` what labelled that.
    """

    checkpoint: Reference
    name: str
    n_pretrain: int | None
    stages: tuple[Stage, ...] = ()
    general: Reference | None = None
    trained_on: Reference | None = None
    source: dict[str, Any] | None = None


@dataclass(frozen=True)
class TargetFiles:
    """The labelled parts of a target."""

    pool: Reference
    val: Reference
    test: Reference


class Foundations:
    """Plans the labelled parts of targets and the models of bases; each stage is kept once."""

    def __init__(self, study: LoadedStudy) -> None:
        self.study, self.spec = study, study.spec
        self.stages: dict[str, Stage] = {}
        self.files: dict[str, TargetFiles] = {}

    def add(self, stage: Stage) -> Stage:
        """Take a stage into the plan, once."""
        return self.stages.setdefault(stage.key, stage)

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
            source=stages[-1].parameters["source"],
        )

    def _base_on_target(self, name: str, target: str, n: int, seed: int) -> BaseModel:
        """Pre-train on the frames of the target's own draw, labelled by the base's sources."""
        base, shared, files = self.spec.bases[name], self.spec.pretraining, self.files[target]
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
            source=stages[-1].parameters["source"],
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

    # draws

    def _draw(self, pool: Reference, n: int | None, seed: int, what: str, **options: Any) -> Stage:
        parameters = {"pool": pool, "n": n, "seed": seed, "selection": "random"}
        parameters |= {"checkpoint": None, "extra": None}
        return self.add(Stage("draw", parameters | options, f"draw of {what}", 1, "draw"))

    def _target_draw(self, target: str, n: int, seed: int, **options: Any) -> Stage:
        what = f"{target} n={n} seed {seed}"
        return self._draw(self.files[target].pool, n, seed, what, **options)


def training_cost_s(settings: dict[str, Any], n_frames: int) -> float:
    """Guess the core-seconds of a training from its steps and its batches."""
    batch = settings.get("batch_size", 4)
    steps = settings.get("max_steps")
    if steps is None:
        steps = settings.get("max_epochs", 1) * math.ceil(n_frames / batch)
    return STEP_S * steps * min(batch, n_frames)
