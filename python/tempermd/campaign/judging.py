"""Judging what ran: analyses, reports and exit codes, of a campaign or of any trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tempermd import md
from tempermd.campaign.breaking import with_breaks
from tempermd.campaign.checking import read_checks
from tempermd.campaign.table import place_of
from tempermd.engine import run_tasks
from tempermd.records import UserError, read_record

if TYPE_CHECKING:
    from tempermd.events import Analysis

EXIT_GOOD, EXIT_COULD_NOT_RUN, EXIT_FAIL = 0, 1, 2


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
    folders = sorted(
        (path.parent for path in Path(root).glob("*/case.json")),
        key=lambda one: place_of(md.read_case(one)),
    )
    if not any(md.read_result(folder) for folder in folders):
        raise UserError(f"{root}: no run in it has a result; run the campaign first")
    tasks = [(folder, thresholds) for folder in folders]
    found = dict(run_tasks(_analyse_task, tasks, workers=workers, title="analysis"))
    return [found[index] for index in sorted(found)]


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
    runs = [(md.read_case(one.folder), one) for one in analyses if one.folder is not None]
    physics = with_breaks(read_checks(Path(root).parent), runs)
    return report.write_report(analyses, output, physics=physics)


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
    thresholds: Path | None = None,
) -> Path:
    """Make a movie of a run directory, or of any LAMMPS dump and its log, with its events named."""
    from tempermd import events, report

    run = Path(run)
    if run.is_dir():
        if log is not None or timestep_fs is not None:
            raise UserError(
                f"{run}: a run directory has a log and a timestep of its own; leave LOG and "
                "--timestep-fs out"
            )
        analysis = events.analyse_run(run, thresholds)
    else:
        analysis = events.analyse_trajectory(
            run, log, timestep_fs=timestep_fs, thresholds=thresholds
        )
    return report.write_movie(analysis, output, most_frames=most_frames)
