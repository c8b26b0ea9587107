"""Gathers what is known of all runs of a campaign: by their rows, or by how far they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tempermd import md
from tempermd.campaign.folder import Campaign
from tempermd.campaign.rows import RunRow, limits_key, make_row, read_row
from tempermd.campaign.settling import Settled, skipped_runs
from tempermd.campaign.states import state_of
from tempermd.campaign.table import Line, State
from tempermd.engine import run_tasks
from tempermd.events import Thresholds
from tempermd.md import Case

Unended = tuple[State, str, int]
"""State of a run without a row, why it is no further, and its step."""


def gather(
    campaign: Campaign,
    limits: Thresholds | None = None,
    *,
    complete: bool = True,
    workers: int | None = None,
) -> list[Line]:
    """Return a line for every run, sorted.

    Parameters
    ----------
    campaign : Campaign
    limits : Thresholds or None
        Judge by these instead of the campaign's own.
    complete : bool
        Whether to analyse now what has ended and has no row by these limits.
    """
    limits = limits or campaign.limits
    key = limits_key(limits)
    begun = _begun(campaign.runs)
    rows = _rows(campaign, begun, key)
    if complete:
        rows |= _missing_rows(campaign, begun - set(rows), limits, workers)
    # the decisions to skip rest on the campaign's own limits, as they did when it ran
    fates = {one: row.fate for one, row in rows.items()}
    if campaign.spec.early_stopping is not None and key != campaign.key:
        fates = {one: row.fate for one, row in _rows(campaign, begun, campaign.key).items()}
    unended = _unended(campaign, begun - set(rows))
    fates |= {one: "censored" for one, (state, *_) in unended.items() if state == "stuck"}
    skipped = skipped_runs(campaign.cases, fates, campaign.spec.early_stopping)
    lines = [_line(one, case, rows, unended, skipped) for one, case in campaign.cases.items()]
    return sorted(lines, key=lambda line: line.place)


def open_runs(lines: Sequence[Line], cases: Mapping[str, Case]) -> list[str]:
    """Return the runs that want work, in the order of the plan: to be run, or to be analysed."""
    done = {line.id for line in lines if line.row is not None or line.state in ("skipped", "stuck")}
    return [one for one in cases if one not in done]


def _begun(runs: Path) -> set[str]:
    """Return the ids of runs that have a folder, by one look at the disk."""
    if not runs.is_dir():
        return set()
    with os.scandir(runs) as entries:
        return {entry.name for entry in entries}


def _rows(campaign: Campaign, begun: set[str], key: str) -> dict[str, RunRow]:
    found = {one: read_row(campaign.runs / one, key) for one in campaign.cases if one in begun}
    return {one: row for one, row in found.items() if row is not None}


def _missing_rows(
    campaign: Campaign, without: set[str], limits: Thresholds, workers: int | None
) -> dict[str, RunRow]:
    """Analyse runs that have ended and have no row by these limits."""
    runs = [campaign.runs / one for one in sorted(without) if one in campaign.cases]
    ended = [run for run in runs if (run / md.RESULT).exists()]
    cores = campaign.spec.resources.cores
    tasks = [(run, limits, cores) for run in ended]
    made = run_tasks(_make_row, tasks, workers=workers, title="analysis")
    return {ended[index].name: row for index, row in made if row is not None}


def _make_row(task: tuple[Path, Thresholds, int]) -> RunRow | None:
    run, limits, cores = task
    return make_row(run, limits, cores)


def _unended(campaign: Campaign, begun: set[str]) -> dict[str, Unended]:
    """Return how far runs without a row are, and why they are no further."""
    return {one: state_of(campaign.runs / one) for one in campaign.cases if one in begun}


def _line(
    run_id: str,
    case: Case,
    rows: dict[str, RunRow],
    unended: dict[str, Unended],
    skipped: dict[str, Settled],
) -> Line:
    if run_id in skipped:
        settled = skipped[run_id]
        said = f"a settled loser after {settled.after} runs, {settled.failed} of them failed"
        return Line(run_id, case, "skipped", None, said)
    row = rows.get(run_id)
    if row is not None:
        return Line(run_id, case, "failed" if row.failed else "finished", row, row.reason)
    state, said, step = unended.get(run_id, ("planned", "", 0))
    return Line(run_id, case, state, None, said, step)
