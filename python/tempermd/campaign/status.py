"""How far a campaign is: counts, speed, time left and the last failures, once or live."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tempermd.campaign.estimating import aligned, duration, run_seconds
from tempermd.campaign.folder import Campaign, read_campaign
from tempermd.campaign.gathering import gather
from tempermd.campaign.rates import Rate, model_key, rates_of
from tempermd.campaign.stopping import is_stopped
from tempermd.campaign.table import ENDED, STATES, Line
from tempermd.events import RunLabel

if TYPE_CHECKING:
    from rich.console import RenderableType

By = Literal["model", "condition"]
MOST_FAILURES = 5
TITLES = (*STATES, "ps done", "of", "ps/h", "left")
"""``ps/h`` is the speed of one run; ``left`` counts as many at a time as there are now."""


@dataclass
class Group:
    """Runs that share a line of the table."""

    counts: Counter[str] = field(default_factory=Counter)
    done_ps: float = 0.0
    planned_ps: float = 0.0
    left_s: float | None = 0.0
    timed_ps: float = 0.0
    timed_s: float = 0.0

    def take(self, line: Line, rate: Rate | None) -> None:
        """Count one run in."""
        case = line.case
        planned_ps = case.planned_steps * case.timestep_fs / 1000
        self.counts[line.state] += 1
        if line.state == "skipped":
            return
        self.planned_ps += planned_ps
        self.done_ps += line.done_ps
        if rate is not None:
            self.timed_ps += planned_ps
            self.timed_s += run_seconds(case, rate)
        if line.state in (*ENDED, "stuck"):
            return
        if rate is None or self.left_s is None:
            self.left_s = None
        else:
            share = 1 - min(1.0, line.done_ps / planned_ps) if planned_ps else 1.0
            self.left_s += share * run_seconds(case, rate)


@dataclass(frozen=True)
class Status:
    """What ``tempermd campaign status`` shows."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str]
    open_runs: int


def status(campaign: Campaign, by: By = "model") -> Status:
    """Look at all runs once; nothing is analysed or changed."""
    lines = gather(campaign, complete=False)
    rows = {line.id: line.row for line in lines if line.row is not None}
    rates = rates_of(campaign, rows, probe=False)
    groups: dict[tuple[str, ...], Group] = {}
    for line in lines:
        key = _key(line, by)
        groups.setdefault(key, Group()).take(line, rates.get(model_key(line.case)))
    running = sum(line.state == "running" for line in lines)
    head = ["model", *(["condition"] if by == "condition" else []), *TITLES]
    total = Group()
    for line in lines:
        total.take(line, rates.get(model_key(line.case)))
    body = [_row(key, group, running) for key, group in groups.items()]
    if len(body) > 1:
        body.append(_row(("all", *[""] * (len(head) - len(TITLES) - 1)), total, running))
    open_runs = sum(total.counts[state] for state in ("running", "waiting", "planned"))
    return Status(_title(campaign, total, running), head, body, _failures(lines), open_runs)


def _key(line: Line, by: By) -> tuple[str, ...]:
    label = line.label
    return (label.model,) if by == "model" else (label.model, label.condition)


def _row(key: tuple[str, ...], group: Group, running: int) -> list[str]:
    counts = [str(group.counts[state] or "–") for state in STATES]
    speed = f"{3600 * group.timed_ps / group.timed_s:.3g}" if group.timed_s else "?"
    lived = [f"{group.done_ps:.4g}", f"{group.planned_ps:.4g}"]
    return [*key, *counts, *lived, speed, _left(group, running)]


def _left(group: Group, running: int) -> str:
    """Say how long the rest takes with as many runs at a time as there are now."""
    if not any(group.counts[state] for state in ("running", "waiting", "planned")):
        return "done"
    if group.left_s is None or not running:
        return "?"
    return duration(group.left_s / running)


def _title(campaign: Campaign, total: Group, running: int) -> str:
    ended = sum(total.counts[state] for state in ENDED)
    runs = len(campaign.cases) - total.counts["skipped"]
    name = campaign.folder.resolve().name
    parts = [f"{name}: {ended} of {runs} runs have ended, {running} go on"]
    if is_stopped(campaign.folder):
        parts.append("STOPPED (resume goes on)")
    return "; ".join(parts)


def _failures(lines: Sequence[Line]) -> list[str]:
    """Tell the last failures: of models by their rows' age, of machines by what waits."""
    failed = [line.row for line in lines if line.state == "failed" and line.row is not None]
    failed.sort(key=lambda row: row.cost.judged_unix_s, reverse=True)
    stopped = [line for line in lines if line.state in ("stuck", "waiting") and line.said]
    told = [f"{_name(row.label)}: {row.failure}" for row in failed[:MOST_FAILURES]]
    return told + [
        f"{_name(line.label)}: {line.state}: {line.said}" for line in stopped[:MOST_FAILURES]
    ]


def _name(label: RunLabel) -> str:
    where = f"{label.model}, {label.structure}, {label.condition}, seed {label.seed}"
    return f"{where} ({label.run_id})"


def status_text(found: Status) -> str:
    """Return the status as plain text."""
    notes = [f"  {note}" for note in found.notes]
    head = ["last failures:"] if notes else []
    return "\n".join([found.title, aligned([found.head, *found.rows]), *head, *notes])


def show_status(
    folder: Path, by: By = "model", *, once: bool = False, every_s: float = 5.0
) -> None:
    """Print a campaign's status, or show it live until all has ended, where there is a terminal."""
    if once or not sys.stdout.isatty():
        print(status_text(status(read_campaign(folder), by)))
        return
    from rich.live import Live

    campaign = read_campaign(folder)
    found = status(campaign, by)
    with Live(_rich(found), auto_refresh=False, vertical_overflow="visible") as live:
        while found.open_runs:
            time.sleep(every_s)
            found = status(campaign, by)
            live.update(_rich(found), refresh=True)


def _rich(found: Status) -> RenderableType:
    from rich.console import Group as Rows
    from rich.table import Table
    from rich.text import Text

    table = Table(title=found.title, title_justify="left", box=None, header_style="bold")
    words = len(found.head) - len(TITLES)
    for place, name in enumerate(found.head):
        table.add_column(name, justify="left" if place < words else "right")
    for row in found.rows:
        table.add_row(*row)
    return Rows(table, *(Text(note, overflow="fold") for note in found.notes))
