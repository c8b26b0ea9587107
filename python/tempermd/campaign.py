"""Campaigns: models x structures x temperatures x seeds, run, analysed and reported."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from tempermd import lmp, md
from tempermd.dataset import read_structures
from tempermd.engine import run_tasks
from tempermd.md import Case, RunResult
from tempermd.records import (
    Record,
    Spec,
    UserError,
    atomic_write,
    read_record,
    sha256_file,
    write_record,
    write_spec,
)

if TYPE_CHECKING:
    from ase import Atoms

    from tempermd.events import Analysis

CONTROL = "LCBOP"
"""Name of the control in reports; no model may have it."""
SHIPPED_STRUCTURE = "tube_8_8.data"
PLAN = "campaign.json"
MODEL_SUFFIX = ".nequip.pth"
DATA_SUFFIXES = (".data", ".lmp", ".lammps-data")
VACUUM_A = 10.0

EXIT_GOOD, EXIT_COULD_NOT_RUN, EXIT_FAIL = 0, 1, 2


class RobustnessSpec(Spec):
    """Which models are run on which structures, how hot, how long and how often."""

    models: dict[str, str] = Field(description="name -> deployed model, or a list of files")
    structures: dict[str, str] = Field(
        default={}, description="name -> LAMMPS data file or what ASE reads; the shipped tube"
    )
    temperatures_K: list[PositiveFloat] = Field(default=[3000.0], min_length=1)
    seeds: list[PositiveInt] = Field(default=[1, 2], min_length=1)
    start_temperature_K: PositiveFloat = 300.0
    ramp_ps: float = Field(default=2.0, ge=0)
    hold_ps: float = Field(default=4.0, ge=0)
    timestep_fs: PositiveFloat = 0.5
    damping_fs: PositiveFloat = 100.0
    dump_every_fs: PositiveFloat = 50.0
    thermo_every_fs: PositiveFloat = 5.0
    quench_frames: int = Field(default=4, ge=0)
    control: bool = Field(default=False, description="also run LCBOP on the same tubes")

    @field_validator("models", "structures", mode="before")
    @classmethod
    def _name_files(cls, value: Any) -> Any:
        """Give each file of a list the name that it has without its suffixes."""
        if not isinstance(value, (list, tuple)):
            return value
        names = [file_stem(path) for path in value]
        if len(set(names)) < len(names):
            raise ValueError("two files have the same name; give names: NAME = 'path'")
        return {name: str(path) for name, path in zip(names, value, strict=True)}

    @field_validator("models")
    @classmethod
    def _keep_control_apart(cls, value: dict[str, str]) -> dict[str, str]:
        if CONTROL in value:
            raise ValueError(f"'{CONTROL}' is the name of the control; rename the model")
        return value

    @field_validator("temperatures_K", "seeds")
    @classmethod
    def _refuse_repeats(cls, value: list[Any]) -> list[Any]:
        if len(set(value)) < len(value):
            raise ValueError("the same value twice would be the same run; name each once")
        return value


class CampaignPlan(Record):
    """The cases of a campaign, each with the name of its model and structure."""

    format_name: ClassVar[str] = "tempermd-campaign"

    cases: list[Case]

    @property
    def identity(self) -> set[tuple[str, str, str]]:
        """What must be the same for an output folder to be gone on with."""
        return {(case.id, case.model_name, case.structure_name) for case in self.cases}


def file_stem(path: str | Path) -> str:
    """Return a file's name without the suffixes of models and data files."""
    name = Path(path).name
    for suffix in (MODEL_SUFFIX, *DATA_SUFFIXES):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return Path(path).stem


def plan(spec: RobustnessSpec, folder: Path | str) -> list[Case]:
    """Return all cases of a spec, seeds outermost, so that early results span all models.

    Structures are written to ``folder / "structures"`` as LAMMPS data files.
    """
    if not spec.models and not spec.control:
        raise UserError("no model to run: name a deployed model, or ask for the control")
    structures = spec.structures or {
        file_stem(SHIPPED_STRUCTURE): str(lmp.potentials_folder() / SHIPPED_STRUCTURE)
    }
    data = {
        name: prepare_structure(path, Path(folder) / "structures" / f"{name}.data")
        for name, path in structures.items()
    }
    arms = [_arm(name, path) for name, path in spec.models.items()]
    if spec.control:
        arms.append({"potential": "lcbop", "model_name": CONTROL})
    _check_elements(spec, data)
    cases = [
        _case(spec, arm, (name, path), temperature_K, seed)
        for seed in spec.seeds
        for temperature_K in spec.temperatures_K
        for name, path in data.items()
        for arm in arms
    ]
    _refuse_twins(cases)
    return cases


def _arm(name: str, path: str) -> dict[str, Any]:
    if not path.endswith(MODEL_SUFFIX):
        raise UserError(f"{path}: expected a model made by deploy-model, NAME{MODEL_SUFFIX}")
    return {
        "potential": "nequip",
        "model": str(Path(path).resolve()),
        "model_sha256": sha256_file(path),
        "model_name": name,
    }


def _case(
    spec: RobustnessSpec,
    arm: dict[str, Any],
    structure: tuple[str, Path],
    temperature_K: float,
    seed: int,
) -> Case:
    name, data = structure
    return Case(
        **arm,
        structure=str(data.resolve()),
        structure_sha256=sha256_file(data),
        structure_name=name,
        temperature_K=temperature_K,
        start_temperature_K=min(spec.start_temperature_K, temperature_K),
        ramp_steps=round(spec.ramp_ps * 1e3 / spec.timestep_fs),
        hold_steps=round(spec.hold_ps * 1e3 / spec.timestep_fs),
        timestep_fs=spec.timestep_fs,
        damping_fs=spec.damping_fs,
        seed=seed,
        dump_every=max(1, round(spec.dump_every_fs / spec.timestep_fs)),
        thermo_every=max(1, round(spec.thermo_every_fs / spec.timestep_fs)),
        quench_frames=spec.quench_frames,
    )


def _check_elements(spec: RobustnessSpec, data: dict[str, Path]) -> None:
    """Refuse a model that is damaged, or that does not know an element of a structure."""
    from tempermd.deploy import model_info

    known = {name: set(model_info(path)["type_names"]) for name, path in spec.models.items()}
    if spec.control:
        known[CONTROL] = {"C"}
    for structure, path in data.items():
        needed = set(md.data_elements(path))
        for model, elements in known.items():
            if needed - elements:
                raise UserError(
                    f"{structure}: has {', '.join(sorted(needed - elements))}, but {model} knows "
                    f"only {', '.join(sorted(elements))}"
                )


def _refuse_twins(cases: list[Case]) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        twin = seen.setdefault(case.id, case)
        if twin is not case:
            raise UserError(
                f"{case.model_name} on {case.structure_name} is the same as {twin.model_name} on "
                f"{twin.structure_name} (the files are equal); name each file once"
            )


def prepare_structure(source: str | Path, target: Path) -> Path:
    """Write a structure as a LAMMPS data file with masses.

    A LAMMPS data file is copied as it is. Of other formats, axes that are not periodic get
    10 A of vacuum on both sides.
    """
    source = Path(source)
    if not source.is_file():
        raise UserError(f"{source}: no such structure file")
    with atomic_write(target) as temporary:
        if source.name.endswith(DATA_SUFFIXES):
            md.data_elements(source)
            md.count_atoms(source)
            shutil.copyfile(source, temporary)
        else:
            _write_data(_read_structure(source), temporary)
    return target


def _read_structure(source: Path) -> Atoms:
    frames = read_structures(source)
    if len(frames) != 1 or len(frames[0]) == 0:
        raise UserError(f"{source}: expected one structure, found {len(frames)}")
    return frames[0]


def _write_data(atoms: Atoms, path: Path) -> None:
    from ase.io import write

    atoms = atoms.copy()
    open_axes = [axis for axis in range(3) if not atoms.pbc[axis]]
    if open_axes:
        atoms.center(vacuum=VACUUM_A, axis=open_axes)
    elements = sorted(set(atoms.get_chemical_symbols()))
    write(path, atoms, format="lammps-data", masses=True, specorder=elements)


def run_one(case: Case, root: Path | str) -> RunResult:
    """Run one case; calling it again returns its result, or goes on after a breakdown."""
    return md.run(case, root)


def _run_task(task: tuple[Case, Path]) -> RunResult:
    return run_one(*task)


def _analyse_task(task: tuple[Path, Path | None]) -> Analysis:
    from tempermd.events import analyse_run

    folder, thresholds = task
    return analyse_run(folder, thresholds)


def analyse_all(
    root: Path | str, *, thresholds: Path | None = None, workers: int | None = None
) -> list[Analysis]:
    """Analyse every run directory below ``root``: models by name, the control last.

    A run without a result counts as an infrastructure failure.
    """
    folders = sorted((path.parent for path in Path(root).glob("*/case.json")), key=_place)
    if not any(md.read_result(folder) for folder in folders):
        raise UserError(f"{root}: no run in it has a result; run the campaign first")
    tasks = [(folder, thresholds) for folder in folders]
    found = dict(run_tasks(_analyse_task, tasks, workers=workers, title="analysis"))
    return [found[index] for index in sorted(found)]


def _place(folder: Path) -> tuple[Any, ...]:
    """Return where a run stands in a report."""
    case = md.read_case(folder)
    control = case.potential != "nequip"
    return control, case.model_name, case.structure_name, case.temperature_K, case.seed


def collect(
    root: Path | str,
    output: Path | str,
    *,
    thresholds: Path | None = None,
    workers: int | None = None,
) -> Path:
    """Analyse every run directory below ``root`` and write the report.

    Returns
    -------
    path
        The report; ``summary.json`` and ``events.jsonl`` lie beside it.
    """
    from tempermd import report

    return report.write_report(analyse_all(root, thresholds=thresholds, workers=workers), output)


def robustness(
    spec: RobustnessSpec,
    output: Path | str,
    *,
    thresholds: Path | None = None,
    workers: int | None = None,
) -> tuple[Path, int]:
    """Run a whole campaign here and report it; a second call goes on where it was stopped.

    Returns
    -------
    (path, exit code)
        The report; 0 when every model passes (with or without a warning), 2 when one fails,
        1 when none fails but one could not be judged.
    """
    from tempermd import events

    output = Path(output)
    lmp.lmp_command()
    events.read_thresholds(thresholds)  # a fault in them must show before hours of runs
    cases = _open_output(spec, output)
    tasks = [(case, output / "runs") for case in cases]
    for index, result in run_tasks(_run_task, tasks, workers=workers, title="runs"):
        _tell(cases[index], result)
    page = collect(output / "runs", output, thresholds=thresholds, workers=workers)
    return page, exit_code(output / "summary.json")


def _open_output(spec: RobustnessSpec, output: Path) -> list[Case]:
    """Plan into a new output folder, or into one that was begun with the same plan."""
    begun = output / PLAN
    if output.exists() and not begun.is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: exists and is no campaign; name another output")
    # a plan that is refused must leave nothing behind
    with tempfile.TemporaryDirectory(prefix="tempermd-") as scratch:
        identity = CampaignPlan(cases=plan(spec, scratch)).identity
    if begun.is_file() and read_record(begun, CampaignPlan).identity != identity:
        raise UserError(f"{output}: holds another campaign; name another output")
    new = CampaignPlan(cases=plan(spec, output))
    write_spec(output / "campaign.toml", spec)
    write_record(begun, new)
    return new.cases


def _tell(case: Case, result: RunResult) -> None:
    """Say on stderr at once what did not finish."""
    if result.outcome != "finished":
        where = f"{case.model_name} on {case.structure_name}, {case.temperature_K:g} K"
        kind = result.outcome.replace("_", " ")
        print(f"{where}, seed {case.seed}: {kind}: {result.reason}", file=sys.stderr)


def exit_code(summary: Path | str) -> int:
    """Return 2 for FAIL, 0 for PASS and WARN, or else 1; the control's verdict is apart."""
    from tempermd.report import Summary

    codes = {"PASS": EXIT_GOOD, "WARN": EXIT_GOOD, "FAIL": EXIT_FAIL}
    return codes.get(read_record(summary, Summary).verdict, EXIT_COULD_NOT_RUN)


def shown(folder: Path | str, *, markdown: bool = False) -> tuple[str, int]:
    """Return the verdicts of a report as text, and its exit code."""
    from tempermd import report

    path = Path(folder) / "summary.json"
    summary = read_record(path, report.Summary)
    text = report.summary_markdown(summary) if markdown else report.summary_text(summary)
    return text, exit_code(path)


def analyse(
    dump: Path | str,
    log: Path | str | None,
    output: Path | str,
    *,
    timestep_fs: float | None = None,
    thresholds: Path | None = None,
) -> tuple[Path, int]:
    """Report on a trajectory that any LAMMPS run has written.

    Returns
    -------
    (path, exit code)
        As `robustness` does.
    """
    from tempermd import events, report
    from tempermd.records import new_folder

    analysis = events.analyse_trajectory(dump, log, timestep_fs=timestep_fs, thresholds=thresholds)
    page = report.write_report([analysis], new_folder(output))
    return page, exit_code(output / "summary.json")
