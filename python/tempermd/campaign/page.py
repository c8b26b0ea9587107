"""The page of a campaign: survival by model and condition, and every run a click away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tempermd import pages
from tempermd.campaign.estimating import duration
from tempermd.campaign.table import STATES, Line
from tempermd.pages import Table, number_text
from tempermd.pages.palette import Palette
from tempermd.physics import PhysicsRecord, physics_table
from tempermd.records import atomic_write
from tempermd.report import Summary, SurvivalCurve, class_table, kind_name, survival_figure

PAGE = "campaign.html"
TEMPLATE = "campaign.html.j2"
MOST_CURVES = 12
"""Conditions with survival curves on the page."""


def write_campaign_page(
    folder: Path,
    lines: Sequence[Line],
    summary: Summary,
    *,
    details: Mapping[str, str] | None = None,
    physics: Sequence[PhysicsRecord] = (),
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write ``campaign.html``; it needs no network.

    Parameters
    ----------
    folder : Path
        The campaign's; commands on the page are for it.
    lines : sequence of Line
        All runs, sorted.
    summary : Summary
        Of the runs that count.
    details : mapping of str to str or None
        Pages of single runs by their ids, relative to the folder.
    physics : sequence of PhysicsRecord
    facts : mapping of str to str or None
        For the last section.
    """
    counts = Counter(line.state for line in lines)
    figures = _figures(summary)
    page = pages.templates()
    page.filters["kind"] = kind_name
    text = page.get_template(TEMPLATE).render(
        title=folder.resolve().name,
        summary=summary,
        n_runs=len(lines),
        counts={state: counts[state] for state in STATES if counts[state]},
        cells=_cells(lines, summary),
        tables=_tables(lines, summary, physics),
        data=_packed(lines, details or {}),
        made_up=any(line.row is not None and line.row.made_up for line in lines),
        shown_figures=figures,
        figures=[{"data": figure.data, "layout": figure.layout} for figure in figures],
        plotly=pages.plotly_packed() if figures else "",
        facts=dict(facts or {}),
    )
    with atomic_write(folder / PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / PAGE


def _cells(lines: Sequence[Line], summary: Summary) -> dict[str, Any]:
    """Return the matrix: conditions, and for each model a cell for each of them."""
    conditions = list(dict.fromkeys(line.label.condition for line in lines))
    known = {(cell.model, cell.condition): cell for cell in summary.survival}
    groups: dict[tuple[str, str], Counter[str]] = {}
    for line in lines:
        label = line.label
        groups.setdefault((label.model, label.condition), Counter())[line.state] += 1
    verdicts = {model.name: model for model in summary.models}
    models = list(dict.fromkeys(line.label.model for line in lines))
    rows = [
        {
            "name": name,
            "verdict": verdicts[name].verdict if name in verdicts else "–",
            "sentence": verdicts[name].sentence if name in verdicts else "Nothing has ended yet.",
            "control": name in verdicts and verdicts[name].control,
            "failures_per_ns": verdicts[name].failures_per_ns if name in verdicts else None,
            "cells": [
                _cell(known.get((name, one)), groups.get((name, one), Counter()))
                for one in conditions
            ],
        }
        for name in models
    ]
    return {"conditions": conditions, "models": rows}


def _cell(cell: Any, states: Counter[str]) -> dict[str, Any]:
    usable = cell is not None and cell.n_usable > 0
    waiting = sum(states[state] for state in ("planned", "waiting", "running"))
    notes = [f"{waiting} to do"] if waiting else []
    notes += [f"{states[state]} {state}" for state in ("stuck", "skipped") if states[state]]
    return {
        "runs": sum(states.values()),
        "usable": cell.n_usable if usable else 0,
        "survived": cell.n_survived if usable else 0,
        "low": f"{100 * cell.low:.0f}" if usable else "",
        "high": f"{100 * cell.high:.0f}" if usable else "",
        "share": f"{100 * cell.n_survived / cell.n_usable:.1f}" if usable else "0",
        "notes": ", ".join(notes),
    }


def _tables(
    lines: Sequence[Line], summary: Summary, physics: Sequence[PhysicsRecord]
) -> list[Table]:
    tables = [_first_events(lines), class_table(summary.models), _costs(lines)]
    tables += [physics_table(physics)] if physics else []
    return [table for table in tables if table.rows]


def _first_events(lines: Sequence[Line]) -> Table:
    """Say what ended the runs of each model first."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        if line.row is not None and line.row.failed:
            kind = line.row.first_severe or "crash"
            found.setdefault(line.row.label.model, Counter())[kind_name(kind)] += 1
    rows = [
        [model, str(sum(kinds.values())), ", ".join(f"{k} {n}" for k, n in kinds.most_common())]
        for model, kinds in found.items()
    ]
    return Table(title="First severe events", head=["Model", "Failed", "By"], rows=rows)


def _costs(lines: Sequence[Line]) -> Table:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if line.row is not None:
            groups.setdefault(line.row.label.model, []).append(line)
    rows = []
    for model, group in groups.items():
        costs = [line.row.cost for line in group if line.row is not None]
        rates = sorted(cost.atom_steps_per_s for cost in costs if cost.atom_steps_per_s)
        rows.append(
            [
                model,
                str(len(group)),
                number_text(sum(line.done_ps for line in group)),
                number_text(sum(cost.core_hours for cost in costs)),
                duration(sum(cost.wall_s for cost in costs) / len(costs)),
                number_text(rates[len(rates) // 2] if rates else None),
                str(sum(cost.attempts > 1 for cost in costs)),
            ]
        )
    head = [
        "Model",
        "Runs",
        "ps",
        "Core-hours",
        "A run takes",
        "Atom-steps/s",
        "Went on after a stop",
    ]
    return Table(title="Costs", head=head, rows=rows)


def _figures(summary: Summary) -> list[pages.Figure]:
    """Return survival curves of conditions in which anything failed."""
    palette = Palette([model.name for model in summary.models if not model.control], "")
    curves: dict[str, dict[str, SurvivalCurve]] = {}
    for cell in summary.survival:
        if cell.curve is not None and cell.n_usable > 1:
            curves.setdefault(cell.condition, {})[cell.model] = cell.curve
    failing = [
        (condition, curves[condition])
        for condition in summary.conditions
        if any(min(curve.survival) < 1 for curve in curves.get(condition, {}).values())
    ]
    return [survival_figure(name, found, palette) for name, found in failing[:MOST_CURVES]]


def _packed(lines: Sequence[Line], details: Mapping[str, str]) -> dict[str, Any]:
    """Return the runs for the page's script; names that occur often stand in lists of their own."""
    words: dict[str, dict[str, int]] = {"models": {}, "structures": {}, "conditions": {}}

    def number(kind: str, word: str) -> int:
        return words[kind].setdefault(word, len(words[kind]))

    runs = []
    for line in lines:
        label, row = line.label, line.row
        run = {
            "id": line.id,
            "m": number("models", label.model),
            "s": number("structures", label.structure),
            "c": number("conditions", label.condition),
            "seed": label.seed,
            "state": line.state,
            "of": _short(line.case.planned_steps * line.case.timestep_fs / 1000),
            "ps": _short(line.done_ps),
        }
        if line.said:
            run["said"] = line.said
        if row is not None:
            run |= _of_row(row)
        if line.id in details:
            run["page"] = details[line.id]
        runs.append(run)
    return {"runs": runs, **{kind: list(found) for kind, found in words.items()}}


def _of_row(row: Any) -> dict[str, Any]:
    """Return what is shown of a run that has ended."""
    found: dict[str, Any] = {
        "at": row.cost.attempt,
        "wall": _short(row.cost.wall_s),
        "tries": row.cost.attempts,
    }
    if row.first_severe_ps is not None:
        found |= {"first": row.first_severe or "crash", "t": _short(row.first_severe_ps)}
    elif row.failed:
        found["first"] = "crash"
    if row.verdict == "warned":
        found["warned"] = 1
    if row.event_counts:
        found["n"] = row.event_counts
        found["events"] = [
            [one.kind, one.severity, one.step, _short(one.time_ps), one.atom_ids, one.message]
            for one in row.events
        ]
    if row.notes:
        found["notes"] = row.notes
    return found


def _short(value: float) -> float:
    return float(f"{value:.5g}")
