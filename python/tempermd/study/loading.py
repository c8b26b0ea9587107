"""A study's spec file read, its files found, and every fault told before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempermd import training
from tempermd.campaign import RobustnessSpec
from tempermd.distillation import DistilSpec
from tempermd.labels import FrameFiles, SourceSpec
from tempermd.records import UserError, parse_spec, read_spec, sha256_file
from tempermd.structures import StructureSpec
from tempermd.study.specs import OWN_OF_STUDY, BaseSpec, MdSpec, StrategySpec, StudySpec
from tempermd.study.stages import given_file
from tempermd.training import AlchemySpec, ModelSpec, TrainingSpec, TrainSpec

FILE_SOURCES = ("nep", "gap")
"""Sources whose argument is always a parameter file."""


@dataclass(frozen=True)
class LoadedStudy:
    """A spec with its place, which answers what stages need of it in checked form."""

    spec: StudySpec
    path: Path

    @property
    def folder(self) -> Path:
        """Return the folder that paths in the spec start from."""
        return self.path.resolve().parent

    def file(self, name: str, where: str) -> Path:
        """Return a file that the spec names, which must be there."""
        path = self.folder / name
        if not path.is_file():
            raise UserError(f"{self.path}: {where}: no such file {path}; put it there")
        return path

    def source(self, spec: SourceSpec, where: str) -> dict[str, Any]:
        """Return a source as parameters, its files by content."""
        name: Any = spec.name
        argument = spec.argument
        if argument is not None and spec.kind != "ase":
            if spec.kind in FILE_SOURCES and not (self.folder / argument).is_file():
                raise UserError(
                    f"{self.path}: {where}: the parameter file {self.folder / argument} is "
                    "missing; put it there"
                )
            if (self.folder / argument).is_file():
                name = given_file(self.folder / argument, prefix=f"{spec.kind}:")
        settings = {key: self._setting(value) for key, value in spec.settings.items()}
        return {"name": name, "settings": settings}

    def _setting(self, value: Any) -> Any:
        """Return a setting; the name of a file that is there stands for its content."""
        if isinstance(value, str) and value and (self.folder / value).is_file():
            return given_file(self.folder / value)
        return value

    def structures(self, name: str, where: str) -> dict[str, Any] | Path:
        """Return structures as parameters of their making, or the file that has them."""
        path = self.file(name, where)
        if path.suffix != ".toml":
            return path
        spec = read_spec(path, StructureSpec).relative_to(path.resolve().parent)
        raw = spec.model_dump(mode="json", exclude_defaults=True)
        for chain in raw.get("rattle_relax", []):
            if chain.get("file"):
                chain["file"] = given_file(chain["file"])
        file = raw.get("driver", {}).get("file")
        if file and Path(file).is_file():
            raw["driver"]["file"] = given_file(file)
        return {"spec": raw}

    def model(self, overrides: dict[str, Any], where: str) -> dict[str, Any]:
        """Return a model's hyperparameters, those that differ from the defaults."""
        raw = self.spec.model | overrides
        spec = parse_spec(raw, ModelSpec, f"{self.path}: {where}")
        return spec.model_dump(mode="json", exclude_defaults=True)

    def training(self, settings: dict[str, Any], where: str) -> dict[str, Any]:
        """Return a training's settings, those that differ from the defaults."""
        spec = parse_spec(settings, TrainingSpec, f"{self.path}: {where}")
        return spec.model_dump(mode="json", exclude_defaults=True)

    def target_training(
        self, name: str, target: str, n_train: int, rate: float, seed: int
    ) -> dict[str, Any]:
        """Return the settings of a strategy's training on a target at a rate."""
        strategy, shared = self.spec.strategy_on(name, target), self.spec.targets[target].training
        where = f"strategies.{name}.training"
        taken = set(OWN_OF_STUDY) & ({*strategy.training} | {*shared})
        if taken:
            raise UserError(
                f"{self.path}: {where} (or the target's) has {', '.join(sorted(taken))}: give "
                f"learning_rates and max_steps in [strategies.{name}] and seeds in the target"
            )
        own = {"learning_rate": rate, "max_steps": strategy.steps_for(n_train), "seed": seed}
        return self.training(self.spec.training | shared | strategy.training | own, where)

    def pretraining(self, base: BaseSpec, name: str) -> dict[str, Any]:
        """Return the settings of a base's training; its own budget replaces the shared one."""
        shared = dict(self.spec.pretraining.training)
        if {"max_steps", "max_epochs"} & set(base.training):
            shared = {k: v for k, v in shared.items() if k not in ("max_steps", "max_epochs")}
        settings = shared | base.training
        settings.setdefault("seed", self.spec.pretraining.seed)
        return self.training(settings, f"[pretraining.training] of base '{name}'")

    def finetuning(self, name: str) -> dict[str, Any]:
        """Return a strategy's table of fine-tuning, which the training station must know."""
        table = self.spec.strategies[name].finetuning
        if table and "finetuning" not in TrainSpec.model_fields:
            raise UserError(
                f"{self.path}: strategies.{name}.finetuning: this tempermd's training has no such "
                "switches"
            )
        if table:
            replay = table.get("replay")
            filled = table | ({"replay": {"file": "-"} | replay} if replay else {})
            data, budget = {"train": "-", "val": "-"}, {"max_steps": 1}
            raw = {"data": data, "training": budget, "finetuning": filled}
            parse_spec(raw, TrainSpec, f"{self.path}: strategies.{name}")
        return table

    def distillation(self, name: str, seed: int) -> dict[str, Any] | None:
        """Return the student of a strategy as parameters; its model is the study's if none."""
        raw, where = self.spec.strategies[name].distil, f"strategies.{name}.distil"
        if raw is None:
            return None
        raw = {"seed": seed} | raw
        if raw.get("model") is None and raw.get("base") is None:
            raw["model"] = self.model({}, "[model]")
        spec = parse_spec(raw, DistilSpec, f"{self.path}: {where}")
        settings = spec.model_dump(mode="json", exclude_defaults=True)
        if spec.base is not None:
            settings["base"] = given_file(self.file(spec.base, f"{where}.base"))
        return {"augment": {}} | settings

    def robustness(self, md: MdSpec) -> dict[str, Any]:
        """Return the settings of MD as parameters, structures by content."""
        raw = md.robustness
        structures = raw.get("structures", {})
        if isinstance(structures, list):
            structures = {Path(name).name.split(".")[0]: name for name in structures}
        files = {n: str(self.file(f, f"md.structures.{n}")) for n, f in structures.items()}
        raw = raw | {"models": {"model": "model.nequip.pth"}, "structures": files}
        spec = parse_spec(raw, RobustnessSpec, f"{self.path}: [md]")
        settings = spec.model_dump(mode="json", exclude_defaults=True, exclude={"models"})
        settings["structures"] = {name: given_file(path) for name, path in files.items()}
        return settings | {"seeds": spec.seeds, "control": spec.control}

    @property
    def sha256(self) -> str:
        """Return the sha256 of the spec file."""
        return sha256_file(self.path)


def load_study(path: Path | str) -> LoadedStudy:
    """Read a study's spec and check all that can be checked before any stage runs."""
    path = Path(path)
    study = LoadedStudy(read_spec(path, StudySpec), path)
    spec = study.spec
    study.model({}, "[model]")
    for name, source in spec.sources.items():
        study.source(source, f"sources.{name}")
    for name, strategy in spec.strategies.items():
        _check_strategy(study, name, strategy)
    for name, target in spec.targets.items():
        if target.train is not None:
            pool = study.file(target.train, f"targets.{name}.train")
            _check_size(study, name, pool)
        if target.truth is not None:
            study.source(target.truth, f"targets.{name}.truth")
    for name, base in spec.bases.items():
        if base.sources:
            study.pretraining(base, name)
            study.model(base.model, f"bases.{name}.model")
    if spec.md is not None:
        study.robustness(spec.md)
    return study


def _check_strategy(study: LoadedStudy, name: str, strategy: StrategySpec) -> None:
    for target in study.spec.targets_of(name):
        rate = study.spec.strategy_on(name, target).learning_rates[0]
        for n_train in study.spec.n_train_of(name, target):
            study.target_training(name, target, n_train, rate, 0)
    study.finetuning(name)
    if strategy.bases is None:
        study.model(strategy.model, f"strategies.{name}.model")
    for base in study.spec.bases_of(name):
        _check_frozen(study, name, base)
    study.distillation(name, 0)
    if strategy.alchemy is not None:
        parse_spec(strategy.alchemy, AlchemySpec, f"{study.path}: strategies.{name}.alchemy")
    if strategy.selection == "farthest" and not hasattr(training, "select_farthest"):
        raise UserError(f"{study.path}: strategies.{name}.selection: not known to this tempermd")


def _check_frozen(study: LoadedStudy, name: str, base: str | None) -> None:
    """Refuse parts that a base made here will not have; a given one is asked when it is used."""
    from tempermd.training.finetuning import check_parts

    frozen = study.finetuning(name).get("freeze", [])
    if frozen and base is not None and study.spec.bases[base].sources:
        raw = study.spec.model | study.spec.bases[base].model
        check_parts(frozen, ModelSpec.model_validate(raw).num_layers)


def _check_size(study: LoadedStudy, name: str, pool: Path) -> None:
    """Refuse to draw more frames than a given file has."""
    from tempermd.dataset import iter_structures

    target = study.spec.targets[name]
    held = 0 if target.val is not None else target.n_val
    count = FrameFiles((pool,), iter_structures).count()
    if max(target.n_train) > count - held:
        raise UserError(
            f"{study.path}: targets.{name}.n_train: {max(target.n_train)} frames are to be drawn, "
            f"but {pool} has {count}"
            + (f", of which {held} are for validation" if held else "")
            + "; ask for fewer"
        )
