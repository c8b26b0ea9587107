"""Running a campaign here, analysing what ran, and reporting it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempermd import lmp, md
from tempermd.campaign.checking import check_models, read_checks
from tempermd.campaign.planning import CampaignPlan, plan
from tempermd.campaign.spec import RobustnessSpec
from tempermd.engine import run_tasks
from tempermd.md import Case, RunResult
from tempermd.records import UserError, read_record, write_record, write_spec

if TYPE_CHECKING:
    from tempermd.events import Analysis

PLAN = "campaign.json"
EXIT_GOOD, EXIT_COULD_NOT_RUN, EXIT_FAIL = 0, 1, 2


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
    place = case.protocol_name, case.structure_name, case.temperature_K, case.seed
    return control, case.model_name, *place


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

    analyses = analyse_all(root, thresholds=thresholds, workers=workers)
    return report.write_report(analyses, output, physics=read_checks(Path(root).parent))


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
    events.read_thresholds(thresholds)  # a fault in them must show before hours of runs
    run_cases(spec, output, workers)
    check_models(spec, output, workers)
    page = collect(output / "runs", output, thresholds=thresholds, workers=workers)
    return page, exit_code(output / "summary.json")


def run_cases(spec: RobustnessSpec, output: Path, workers: int | None = None) -> None:
    """Run all cases of a spec below ``output``, what is finished not again; tell what failed."""
    lmp.lmp_command()
    cases = _open_output(spec, output)
    tasks = [(case, output / "runs") for case in cases]
    for index, result in run_tasks(_run_task, tasks, workers=workers, title="runs"):
        _tell(cases[index], result)


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
        what = f"{case.protocol_name}, " if case.protocol_name else ""
        where = f"{case.model_name} on {case.structure_name}, {what}{case.temperature_K:g} K"
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


def movie(
    run: Path | str,
    output: Path | str,
    *,
    log: Path | str | None = None,
    most_frames: int = 120,
    timestep_fs: float | None = None,
) -> Path:
    """Make a movie of a run directory, or of any LAMMPS dump and its log, with its events named."""
    from tempermd import events, report

    run = Path(run)
    if run.is_dir():
        analysis = events.analyse_run(run)
    else:
        analysis = events.analyse_trajectory(run, log, timestep_fs=timestep_fs)
    return report.write_movie(analysis, output, most_frames=most_frames)
