"""Writes the report: one self-contained HTML page, its summary and its events."""

from __future__ import annotations

import base64
import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tempermd import pages
from tempermd.events import Analysis, Event, write_events
from tempermd.pages import Table
from tempermd.pages.palette import Palette
from tempermd.physics import PhysicsRecord, physics_table
from tempermd.records import atomic_write, write_record
from tempermd.report.classes import class_table
from tempermd.report.clips import Clip, clips_of, extended_xyz
from tempermd.report.curves import most_points, packed_curves
from tempermd.report.figures import survival_figure
from tempermd.report.junit import junit_xml
from tempermd.report.markdown import summary_markdown
from tempermd.report.pictures import RendererMissingError, render_clip
from tempermd.report.summary import Summary, kind_name, summarise
from tempermd.report.survival import SurvivalCurve

MOST_ROWS_PER_KIND = 5
MOST_ROWS = 600
"""With more, fewer of each kind are shown: a model that fails in every run tells the same often."""
MOST_CLIPS_PER_RUN = 6
MOST_CLIP_BYTES = 2_500_000
MOST_DRAWN_BYTES = 3_000_000
"""Of curves, clips and pictures: with plotly's 2 MB the page of a suite stays below 6 MB."""
MOST_PICTURES_PER_RUN = 3
MOST_PICTURES = 24
MOST_COLUMNS = 5
"""Of the survival table; with more conditions they become its rows."""
MOST_TRIPLES = 6
"""Events that are also shown before and after."""
SHOWN_WHOLE = ("lost_atoms", "nonfinite", "crash", "spurious_minimum", "severed", "shape", "box")


@dataclass
class _Row:
    """One event as the page shows it."""

    run: _RunView
    event: Event
    pictures: list[str] = field(default_factory=list)
    clip: int | None = None

    @property
    def command(self) -> str:
        """What runs the moments around the event again, with a frame for every step."""
        folder = self.run.analysis.folder
        if folder is None:
            return ""
        return shlex.join(["tempermd", "replay", folder, str(self.event.step)])


@dataclass
class _RunView:
    """One run as the page shows it."""

    number: int
    analysis: Analysis
    rows: list[_Row] = field(default_factory=list)
    hidden: dict[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        label = self.analysis.label
        parts = [label.model, label.structure]
        parts += [] if label.condition == "all runs" else [label.condition]
        parts += [] if label.seed is None else [f"seed {label.seed}"]
        return " · ".join(part for part in parts if part)

    @property
    def state(self) -> str:
        analysis = self.analysis
        if analysis.failed:
            return "failed"
        if analysis.outcome == "infrastructure_failure":
            return "not judged"
        return "warned" if analysis.events else "clean"

    @property
    def span_ps(self) -> float:
        return max(self.analysis.planned_ps or 0.0, self.analysis.duration_ps, 1e-9)

    def percent(self, time_ps: float) -> str:
        return f"{min(100.0, max(0.0, 100 * time_ps / self.span_ps)):.1f}"

    @property
    def marks(self) -> list[tuple[str, bool]]:
        """Places on the bar of its life, in percent, and whether only warnings are there."""
        places: dict[str, bool] = {}
        for event in self.analysis.events:
            place = self.percent(event.time_ps)
            places[place] = places.get(place, True) and event.severity == "warn"
        return list(places.items())


def _drawn(
    analyses: Sequence[Analysis], runs: Sequence[_RunView], pictures: bool
) -> tuple[dict[str, Any], str]:
    """Return the page's curves and clips, which share its room, and the frames of events."""
    most = most_points(len(analyses))
    curves = [packed_curves(analysis, most) for analysis in analyses]
    room = min(MOST_CLIP_BYTES, MOST_DRAWN_BYTES - sum(map(len, curves)))
    clips, culprits, no_pictures = _show_events(runs, pictures, room)
    return {"clips": clips, "curves": curves, "no_pictures": no_pictures}, culprits


def write_report(
    analyses: Sequence[Analysis],
    out_dir: Path | str,
    *,
    title: str = "Robustness in molecular dynamics",
    tables: Sequence[Table] = (),
    provenance: Mapping[str, str] | None = None,
    pictures: bool = True,
    physics: Sequence[PhysicsRecord] = (),
) -> Path:
    """Write ``report.html``, and beside it what other programs and people read.

    ``report.md`` (verdicts), ``junit.xml`` (a case for each run), ``events.jsonl``,
    ``culprits.extxyz`` (frames that show events) and, last, ``summary.json``.

    Parameters
    ----------
    analyses : sequence of Analysis
    out_dir : path
        Made where it does not exist.
    title : str
    tables : sequence of Table
        Shown above the verdicts.
    provenance : mapping of str to str or None
        Further facts for the last section.
    pictures : bool
        Whether to render culprit frames; without OVITO the page says why it has none.
    physics : sequence of PhysicsRecord
        Checks of the models; wrong numbers turn a PASS into a WARN.

    Returns
    -------
    Path
        The page.
    """
    out_dir = Path(out_dir)
    summary = summarise(analyses, physics)
    runs = _views(analyses)
    drawn, culprits = _drawn(analyses, runs, pictures)
    values = drawn | {
        "title": title,
        "tables": tables,
        "provenance": dict(provenance or {}),
        "plotly": pages.plotly_packed(),
    }
    values |= _of_runs(runs) | _of_physics(physics)
    values |= _of_summary(summary) | _of_models(analyses)
    written = {
        "report.html": _environment().get_template("report.html.j2").render(values),
        "culprits.extxyz": culprits,
        "junit.xml": junit_xml(summary, analyses),
        "report.md": summary_markdown(summary, title),
    }
    _write_all(out_dir, written, analyses, summary)
    return out_dir / "report.html"


def _of_runs(runs: Sequence[_RunView]) -> dict[str, Any]:
    return {"runs": runs, "rows": [row for run in runs for row in run.rows]}


def _of_physics(physics: Sequence[PhysicsRecord]) -> dict[str, Any]:
    return {
        "physics": physics_table(physics) if physics else None,
        "physics_sentences": [record.sentence for record in physics],
    }


def _write_all(
    out_dir: Path, texts: Mapping[str, str], analyses: Sequence[Analysis], summary: Summary
) -> None:
    """Write texts by their names, the events, and the summary."""
    for name, text in texts.items():
        with atomic_write(out_dir / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    pairs = [(one.label, event) for one in analyses for event in one.events]
    write_events(out_dir / "events.jsonl", pairs)
    write_record(out_dir / "summary.json", summary)  # last: its presence means all is there


def _of_summary(summary: Summary) -> dict[str, Any]:
    """Return what the page shows of verdicts and survival."""
    figures = _survival_figures(summary)
    return {
        "summary": summary,
        "conditions": summary.conditions,
        "turned": len(summary.conditions) > max(MOST_COLUMNS, len(summary.models)),
        "classes": class_table(summary.models),
        "cells": {(cell.model, cell.condition): cell for cell in summary.survival},
        "shown_figures": figures,
        "figures": [{"data": figure.data, "layout": figure.layout} for figure in figures],
    }


def _of_models(analyses: Sequence[Analysis]) -> dict[str, Any]:
    """Return what the page shows of where all this comes from."""
    return {
        "thresholds": _thresholds(analyses),
        "models": _models(analyses),
        "versions": _versions(analyses),
    }


def _views(analyses: Sequence[Analysis]) -> list[_RunView]:
    """Take as many events of each kind and severity as there is room for, one at least."""
    views: list[_RunView] = []
    for most in range(MOST_ROWS_PER_KIND, 0, -1):
        views = [_view(number, analysis, most) for number, analysis in enumerate(analyses)]
        if sum(len(view.rows) for view in views) <= MOST_ROWS:
            break
    return views


def _view(number: int, analysis: Analysis, most: int) -> _RunView:
    """Take the first few events of each kind and severity: a model that collapses has hundreds."""
    view = _RunView(number, analysis)
    seen: Counter[tuple[str, str]] = Counter()
    for event in analysis.events:
        seen[event.kind, event.severity] += 1
        if seen[event.kind, event.severity] <= most:
            view.rows.append(_Row(view, event))
    shown = Counter(row.event.kind for row in view.rows)
    view.hidden = {
        kind: count - shown[kind]
        for kind, count in analysis.event_counts.items()
        if count > shown[kind]
    }
    return view


def _show_events(
    runs: Sequence[_RunView], pictures: bool, room_bytes: int
) -> tuple[list[dict[str, Any]], str, str]:
    """Give the most telling events their clips, as far as there is room, and pictures.

    Returns
    -------
    (clips, frames, reason)
        What the viewer plays, the frames that show the events as extended xyz, and why there are
        no pictures, or nothing.
    """
    packed: list[dict[str, Any]] = []
    culprits: list[str] = []
    left = _Left("" if pictures else "they were not asked for", room_bytes)
    for run in runs:
        rows = _telling(run.rows)[:MOST_CLIPS_PER_RUN]
        found = clips_of(run.analysis, [row.event for row in rows])
        for place, (row, clip) in enumerate(zip(rows, found, strict=True)):
            if clip is None:
                continue
            culprits.append(extended_xyz(clip))
            one = clip.packed()
            size = len(json.dumps(one))
            if left.bytes >= size:
                left.bytes -= size
                row.clip = len(packed)
                packed.append(one)
            if place < MOST_PICTURES_PER_RUN:
                left.render(row, clip)
    return packed, "".join(culprits), left.reason


@dataclass
class _Left:
    """What may still go on the page."""

    reason: str
    bytes: int
    pictures: int = MOST_PICTURES
    triples: int = MOST_TRIPLES

    def render(self, row: _Row, clip: Clip) -> None:
        """Render an event's pictures, if there is room for them and a renderer."""
        if self.reason or not self.pictures:
            return
        try:
            images = render_clip(clip, around=self.triples > 0)
        except RendererMissingError as reason:
            self.reason = str(reason)
            return
        row.pictures = [base64.b64encode(image).decode("ascii") for image in images]
        self.bytes -= sum(map(len, row.pictures))
        self.pictures -= 1
        self.triples -= len(images) > 1


def _survival_figures(summary: Summary) -> list[pages.Figure]:
    """Return a figure for each condition in which a run failed, of models with several runs."""
    palette = Palette([model.name for model in summary.models if not model.control], "")
    curves_of: dict[str, dict[str, SurvivalCurve]] = {}
    for cell in summary.survival:
        if cell.curve is not None and cell.n_usable > 1:
            curves_of.setdefault(cell.condition, {})[cell.model] = cell.curve
    return [
        survival_figure(condition, curves, palette)
        for condition, curves in curves_of.items()
        if any(min(curve.survival) < 1 for curve in curves.values())
    ]


def _telling(rows: Sequence[_Row]) -> list[_Row]:
    """Order rows for pictures: fatal and severe first, each kind once before any twice."""
    rank = {"fatal": 0, "severe": 0, "warn": 1}
    seen: dict[str, int] = {}
    keys = []
    for row in rows:
        seen[row.event.kind] = seen.get(row.event.kind, 0) + 1
        keys.append((rank[row.event.severity], seen[row.event.kind], row.event.step))
    order = sorted(range(len(rows)), key=keys.__getitem__)
    sorted_rows = [rows[index] for index in order]
    return [row for row in sorted_rows if row.event.atom_ids or row.event.kind in SHOWN_WHOLE]


def _thresholds(analyses: Sequence[Analysis]) -> list[dict[str, Any]]:
    """Return the distinct threshold sets of the runs, normally one."""
    distinct: list[dict[str, Any]] = []
    for analysis in analyses:
        values = analysis.thresholds.model_dump()
        if values not in distinct:
            distinct.append(values)
    return distinct


def _models(analyses: Sequence[Analysis]) -> list[dict[str, Any]]:
    """Return name, hash, seeds and cost of each model."""
    rows = []
    for name in dict.fromkeys(analysis.label.model for analysis in analyses):
        runs = [analysis for analysis in analyses if analysis.label.model == name]
        wall_s = sum(run.wall_s or 0.0 for run in runs)
        seeds = sorted({run.label.seed for run in runs if run.label.seed is not None})
        rows.append(
            {
                "name": name,
                "potential": runs[0].label.potential,
                "sha256": runs[0].label.model_sha256,
                "seeds": ", ".join(map(str, seeds)),
                "wall_s": wall_s or None,
                "total_ps": sum(run.duration_ps for run in runs),
            }
        )
    return rows


def _versions(analyses: Sequence[Analysis]) -> dict[str, str]:
    """Return the software versions of the runs, all that occurred, and of this page."""
    found: dict[str, set[str]] = {"plotly (this page)": {version("plotly")}}
    for analysis in analyses:
        for name, number in analysis.versions.items():
            found.setdefault(name, set()).add(number)
    return {name: ", ".join(sorted(numbers)) for name, numbers in sorted(found.items())}


def _environment() -> Any:
    """Return the template engine with what this page needs besides."""
    environment = pages.templates()
    environment.filters["kind"] = kind_name
    return environment
