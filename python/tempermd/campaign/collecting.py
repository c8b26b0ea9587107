"""Collects a campaign: one table, one page, and pages of the runs that failed first."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tempermd.campaign.breaking import with_breaks
from tempermd.campaign.checking import read_checks
from tempermd.campaign.folder import Campaign, read_campaign
from tempermd.campaign.gathering import gather
from tempermd.campaign.judging import exit_code
from tempermd.campaign.page import write_campaign_page
from tempermd.campaign.rows import RunCost, RunRow, limits_key
from tempermd.campaign.table import Line, write_table
from tempermd.engine import run_tasks
from tempermd.events import Thresholds, analyse_run, read_thresholds
from tempermd.records import write_record
from tempermd.report import Summary, summarise, write_report

DETAILS = "details"
MOST_CONTRASTED = 4
"""Models that are compared pair by pair; with more the page would be pairs only."""


def collect_campaign(
    folder: Path,
    *,
    thresholds: Path | None = None,
    details: int = 6,
    workers: int | None = None,
) -> tuple[Path, int]:
    """Write the table and the page of a campaign, whether it has ended or not.

    Parameters
    ----------
    folder : Path
    thresholds : Path or None
        Other limits than the campaign's own.
    details : int
        How many of the failed runs get a page of their own with pictures and curves.

    Returns
    -------
    (path, exit code)
        The page; the code is that of the verdict, see `exit_code`.
    """
    campaign = read_campaign(folder)
    limits = campaign.limits if thresholds is None else read_thresholds(thresholds)
    lines = gather(campaign, limits, workers=workers)
    write_table(lines, folder, limits_key(limits))
    runs = [(line.case, line.row) for line in lines if line.row is not None]
    physics = with_breaks(read_checks(folder), runs)
    summary = _summary(lines, physics)
    page = write_campaign_page(
        folder,
        lines,
        summary,
        details=_details(campaign, lines, limits, details, workers),
        physics=physics,
        facts=_facts(campaign, limits),
    )
    write_record(folder / "summary.json", summary)  # last: its presence means all is there
    return page, exit_code(folder / "summary.json")


def _summary(lines: Sequence[Line], physics: Sequence) -> Summary:
    """Judge all models by the rows of runs that count, and by those that came to no end."""
    judged = [row for line in lines if (row := _judged(line)) is not None]
    models = {row.label.model for row in judged if not row.label.is_control}
    return summarise(judged, physics, contrasts=len(models) <= MOST_CONTRASTED)


def _judged(line: Line) -> RunRow | None:
    if line.row is not None or line.state != "stuck":
        return line.row
    return RunRow(
        label=line.label,
        outcome="infrastructure_failure",
        reason=line.said,
        verdict="not judged",
        first_severe=None,
        first_severe_ps=None,
        event_counts={},
        events=[],
        notes=[],
        duration_ps=line.done_ps,
        planned_ps=line.case.planned_steps * line.case.timestep_fs / 1000,
        n_atoms=0,
        limits="",
        cost=RunCost(wall_s=0, core_hours=0, atom_steps_per_s=None, attempts=0, attempt=""),
    )


def _details(
    campaign: Campaign,
    lines: Sequence[Line],
    limits: Thresholds,
    most: int,
    workers: int | None,
) -> dict[str, str]:
    """Make pages for the run that failed first in each cell of the matrix, up to a number."""
    failed = [line for line in lines if line.row is not None and line.row.failed]
    firsts: dict[tuple[str, str], Line] = {}
    for line in sorted(failed, key=lambda line: line.row.lived_ps if line.row else 0.0):
        label = line.label
        firsts.setdefault((label.model, label.condition), line)
    chosen = [line for line in firsts.values() if line.row and not line.row.made_up][:most]
    key = limits_key(limits)
    places = {line.id: f"{DETAILS}/{line.id}.{key}" for line in chosen}
    tasks = [
        (campaign.runs / one, campaign.folder / place, limits)
        for one, place in places.items()
        if not (campaign.folder / place / "summary.json").is_file()
    ]
    for _ in run_tasks(_write_details, tasks, workers=workers, title="pages of failures"):
        pass
    return {one: f"{place}/report.html" for one, place in places.items()}


def _write_details(task: tuple[Path, Path, Thresholds]) -> None:
    run, output, limits = task
    analysis = analyse_run(run, limits)
    write_report([analysis], output, title=f"Run {analysis.label.run_id}")


def _facts(campaign: Campaign, limits: Thresholds) -> dict[str, str]:
    spec = campaign.spec
    found = {
        "tempermd": version("tempermd"),
        "limits and detectors": limits_key(limits),
        "a run has": f"{spec.resources.ranks} ranks of {spec.resources.threads} threads, "
        f"{spec.resources.gpus} GPUs",
    }
    rule = spec.early_stopping
    if rule is not None:
        found["early stopping"] = (
            f"Wald's sequential test of survival {rule.survival_bad:g} against "
            f"{rule.survival_good:g}, error {rule.error:g}, for each model, structure, protocol "
            "and temperature"
        )
    models = {case.model_name: case.model_sha256 for case in campaign.cases.values()}
    return found | {name: sha256 for name, sha256 in models.items() if sha256 is not None}
