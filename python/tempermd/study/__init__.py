"""Studies: several arms trained, tuned alike, deployed and driven in MD, from one spec."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tempermd import campaign, deploy, report, training
from tempermd.campaign import RobustnessSpec
from tempermd.engine import run_tasks
from tempermd.records import (
    Record,
    Spec,
    UserError,
    parse_spec,
    read_record,
    read_spec,
    sha256_file,
    sha256_json,
    write_record,
    write_spec,
)
from tempermd.training import DataSpec, TrainingSpec, TrainSpec
from tempermd.training.models import ModelSpec

RESULT = "study.json"


class ArmSpec(Spec):
    """One way to a model: from nothing or from a base, at each learning rate in turn."""

    base: str | None = Field(default=None, description="checkpoint to fine-tune; none: direct")
    learning_rates: list[PositiveFloat] = Field(min_length=1)
    max_steps: PositiveInt


class StudySpec(Spec):
    """Arms that share data, training settings and MD; paths are relative to the spec file."""

    title: str
    model: ModelSpec
    data: DataSpec
    training: dict[str, Any]
    arms: dict[str, ArmSpec] = Field(min_length=1)
    robustness: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _arms_own_rate_and_budget(self) -> StudySpec:
        taken = {"learning_rate", "max_steps", "max_epochs"} & set(self.training)
        if taken:
            raise ValueError(f"{', '.join(sorted(taken))} belong to each arm, not to [training]")
        return self


class Row(Spec):
    """What became of one arm; errors in eV/A and meV/atom, on structures never trained on."""

    arm: str
    base_sha256: str | None
    learning_rates_tried: list[float]
    learning_rate: float
    n_train: int
    steps: int
    best_step: int
    val_force_rmse_eV_per_A: float
    test_force_rmse_eV_per_A: float
    test_energy_rmse_meV_per_atom: float
    training_core_s: float
    runs: int
    survived: int
    censored: int
    infrastructure_failures: int
    verdict: str
    first_events: list[str]


class Study(Record):
    """The rows of a finished study and what they were made from."""

    format_name: ClassVar[str] = "tempermd-study"

    title: str
    spec_sha256: str
    data_sha256: dict[str, str]
    rows: list[Row]
    versions: dict[str, str]


def run(spec_path: Path, output: Path, workers: int | None = None) -> tuple[Path, int]:
    """Train all arms, choose each one's learning rate on validation, deploy, run MD, report.

    A second call goes on where the first was stopped; finished stages are not done again.

    Returns
    -------
    (path, exit code)
        The report page; 2 when a model fails in MD, as `campaign.robustness` says.
    """
    spec = _with_absolute_paths(read_spec(spec_path, StudySpec), spec_path.resolve().parent)
    if spec.data.test is None:
        raise UserError(f"{spec_path}: key 'data.test' is missing; a study compares test errors")
    _check_parts(spec, spec_path)
    _open_folder(spec, output)
    chosen = _train_arms(spec, output, workers)
    models = {}
    for arm, folder in chosen.items():
        models[arm] = output / "models" / f"{arm}.nequip.pth"
        if not models[arm].exists():
            deploy.deploy(folder / "best.ckpt", models[arm])
    robustness = RobustnessSpec(
        models={arm: str(path) for arm, path in models.items()}, **spec.robustness
    )
    campaign.robustness(robustness, output / "md", workers=workers)
    analyses = campaign.analyse_all(output / "md" / "runs", workers=workers)
    summary = report.summarise(analyses)
    study = _study(spec, spec_path, chosen, analyses, summary)
    write_record(output / RESULT, study)
    page = report.write_report(analyses, output, tables=[_report_table(study)])
    return page, campaign.exit_code(output / "summary.json")


def _with_absolute_paths(spec: StudySpec, folder: Path) -> StudySpec:
    def absolute(path: str | None) -> str | None:
        return None if path is None else str((folder / path).resolve())

    data = {name: absolute(getattr(spec.data, name)) for name in ("train", "val", "test")}
    arms = {
        name: arm.model_copy(update={"base": absolute(arm.base)}) for name, arm in spec.arms.items()
    }
    robustness = dict(spec.robustness)
    if "structures" in robustness:
        robustness["structures"] = {
            name: absolute(path) for name, path in robustness["structures"].items()
        }
    changes = {
        "data": spec.data.model_copy(update=data),
        "arms": arms,
        "robustness": robustness,
    }
    return spec.model_copy(update=changes)


def _check_parts(spec: StudySpec, origin: Path) -> None:
    """Find faults of trainings and MD before hours of training, not after."""
    for arm in spec.arms.values():
        _train_spec(spec, arm, arm.learning_rates[0], f"{origin} ")
    raw = {"models": {arm: arm for arm in spec.arms}} | spec.robustness
    parse_spec(raw, RobustnessSpec, f"{origin} [robustness]")


def _train_spec(spec: StudySpec, arm: ArmSpec, rate: float, origin: str = "") -> TrainSpec:
    """Return the training of an arm at a rate."""
    settings = spec.training | {"learning_rate": rate, "max_steps": arm.max_steps}
    return TrainSpec(
        model=spec.model,
        data=spec.data,
        training=parse_spec(settings, TrainingSpec, f"{origin}[training]"),
    )


def _identity(spec: StudySpec) -> str:
    """Hash what decides the products: the spec with files by content, not by place."""
    raw = spec.model_dump(mode="json")
    for name, path in raw["data"].items():
        if name in ("train", "val", "test") and path is not None:
            raw["data"][name] = sha256_file(path)
    for arm in raw["arms"].values():
        arm["base"] = arm["base"] and sha256_file(arm["base"])
    structures = raw["robustness"].get("structures", {})
    raw["robustness"]["structures"] = {k: sha256_file(v) for k, v in structures.items()}
    return sha256_json(raw)


def _open_folder(spec: StudySpec, output: Path) -> None:
    """Take a new folder, or one that was begun with the same spec and data."""
    mark = output / "study.sha256"
    identity = _identity(spec)
    if mark.is_file() and mark.read_text() == identity:
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: holds something else or another study; name another output")
    output.mkdir(parents=True, exist_ok=True)
    write_spec(output / "study.toml", spec)
    mark.write_text(identity)


def _train_arms(spec: StudySpec, output: Path, workers: int | None) -> dict[str, Path]:
    """Train every arm at every rate; return each arm's folder with the best validation."""
    tasks = [
        (spec, arm, rate, output / "training" / f"{arm}-lr{rate:g}")
        for arm in spec.arms
        for rate in spec.arms[arm].learning_rates
    ]
    for _ in run_tasks(_train_one, tasks, workers=workers, title="training"):
        pass
    chosen = {}
    for arm in spec.arms:
        folders = [folder for _, name, _, folder in tasks if name == arm]
        chosen[arm] = min(folders, key=_validation_error)
    return chosen


def _train_one(task: tuple[StudySpec, str, float, Path]) -> None:
    spec, name, rate, folder = task
    arm = spec.arms[name]
    train_spec = _train_spec(spec, arm, rate)
    options: dict[str, Any] = {"resume": True, "threads": 1, "progress": False}
    if arm.base is None:
        training.train(train_spec, folder, **options)
    else:
        training.finetune(Path(arm.base), train_spec, folder, **options)


def _validation_error(folder: Path) -> float:
    record = read_record(folder / "training.json", training.Training)
    error = record.val.force_rmse_eV_per_A
    return error if math.isfinite(error) else math.inf


def _study(
    spec: StudySpec,
    spec_path: Path,
    chosen: dict[str, Path],
    analyses: list[Any],
    summary: report.Summary,
) -> Study:
    judged = {model.name: model for model in summary.models}
    rows = []
    for arm, folder in chosen.items():
        trained = read_record(folder / "training.json", training.Training)
        own = [analysis for analysis in analyses if analysis.label.model == arm]
        usable = [a for a in own if a.outcome != "infrastructure_failure"]
        rows.append(
            Row(
                arm=arm,
                base_sha256=trained.inputs.parent_sha256,
                learning_rates_tried=spec.arms[arm].learning_rates,
                learning_rate=float(folder.name.rsplit("-lr", 1)[1]),
                n_train=trained.n_train,
                steps=trained.n_steps,
                best_step=trained.best_step,
                val_force_rmse_eV_per_A=trained.val.force_rmse_eV_per_A,
                test_force_rmse_eV_per_A=trained.test.force_rmse_eV_per_A,
                test_energy_rmse_meV_per_atom=trained.test.energy_rmse_meV_per_atom,
                training_core_s=trained.core_s,
                runs=len(usable),
                survived=sum(analysis.survived for analysis in usable),
                censored=sum(not a.survived and not a.failed for a in usable),
                infrastructure_failures=len(own) - len(usable),
                verdict=judged[arm].verdict,
                first_events=[_first_events(analysis) for analysis in usable if analysis.failed],
            )
        )
    return Study(
        title=spec.title,
        spec_sha256=sha256_file(spec_path),
        data_sha256={
            name: sha256_file(getattr(spec.data, name)) for name in ("train", "val", "test")
        },
        rows=rows,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    from tempermd import lmp

    return lmp.versions()


def _first_events(analysis: Any, most: int = 3) -> str:
    """Say which kinds of fatal or severe events a run had first, and when each began."""
    severe = [event for event in analysis.events if event.severity in ("fatal", "severe")]
    first: dict[str, float] = {}
    for event in sorted(severe, key=lambda event: (event.time_ps, event.kind)):
        first.setdefault(event.kind.replace("_", " "), event.time_ps)
    told = [f"{kind} {time_ps:.2f}" for kind, time_ps in first.items()][:most]
    return f"seed {analysis.label.seed}: {', '.join(told) or analysis.reason}"


HEADS = (
    "arm",
    "training frames",
    "steps",
    "rate (chosen of)",
    "force RMSE, eV/Å",
    "energy RMSE, meV/atom",
    "survived",
    "verdict",
    "first events, ps",
)


def cells(study: Study) -> list[list[str]]:
    """Return the rows of the study's table as text."""
    return [
        [
            row.arm,
            str(row.n_train),
            str(row.steps),
            f"{row.learning_rate:g} ({', '.join(f'{r:g}' for r in row.learning_rates_tried)})",
            f"{row.test_force_rmse_eV_per_A:.3f}",
            f"{row.test_energy_rmse_meV_per_atom:.1f}",
            f"{row.survived} of {row.runs}",
            row.verdict,
            "; ".join(row.first_events) or "none",
        ]
        for row in study.rows
    ]


def table(output: Path) -> str:
    """Return the table of a finished study as Markdown."""
    study = read_record(output / RESULT, Study)
    lines = [HEADS, ["---"] * len(HEADS), *cells(study)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{study.title}\n\n{body}"


def _report_table(study: Study) -> report.Table:
    return report.Table(title=study.title, head=list(HEADS), rows=cells(study))
