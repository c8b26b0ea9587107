"""The row of a run: what its analysis found, small enough that ten thousand are read at once."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tempermd import events, md, trajectory
from tempermd.campaign.settling import Fate
from tempermd.events import Analysis, Event, RunLabel, Thresholds, analyse_run
from tempermd.records import (
    Record,
    UserError,
    read_record,
    sha256_file,
    sha256_json,
    write_record,
)
from tempermd.report import kind_name

if TYPE_CHECKING:
    from tempermd.md import RunResult

MOST_EVENTS = 6
MOST_ATOMS = 8

RunVerdict = Literal["clean", "warned", "failed", "not judged"]


class RowEvent(BaseModel):
    """An event as the page of a campaign tells it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    severity: str
    step: int
    time_ps: float
    atom_ids: list[int]
    message: str


class RunCost(BaseModel):
    """What a run took. Apart from the rest of a row: it differs from machine to machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wall_s: float
    core_hours: float
    atom_steps_per_s: float | None
    attempts: int
    attempt: str
    judged_unix_s: float = 0.0


class RunRow(Record):
    """One line of a campaign's table.

    ``events`` are the first of each kind, the severe ones before the others; ``event_counts``
    counts all. ``limits`` is the hash of what the verdict rests on, see `limits_key`.
    """

    format_name: ClassVar[str] = "tempermd-run-row"

    label: RunLabel
    outcome: md.Outcome
    reason: str
    verdict: RunVerdict
    first_severe: str | None
    first_severe_ps: float | None
    event_counts: dict[str, int]
    events: list[RowEvent]
    notes: list[str]
    duration_ps: float
    planned_ps: float | None
    n_atoms: int
    limits: str
    made_up: bool = False
    cost: RunCost

    @property
    def survived(self) -> bool:
        """Whether the run ended by itself without a fatal or severe event."""
        return self.verdict in ("clean", "warned")

    @property
    def failed(self) -> bool:
        """Whether the model is to blame: a fatal or severe event, or its own crash."""
        return self.verdict == "failed"

    @property
    def fate(self) -> Fate:
        """What the run says of its model."""
        return "failed" if self.failed else "survived" if self.survived else "censored"

    @property
    def failure(self) -> str:
        """How it failed, in words; empty where it did not."""
        if not self.failed:
            return ""
        if self.first_severe is None or self.first_severe_ps is None:
            return self.reason
        return f"{kind_name(self.first_severe)} at {self.first_severe_ps:.3g} ps"

    @property
    def lived_ps(self) -> float:
        """Time until the first severe event, or until the end."""
        return self.duration_ps if self.first_severe_ps is None else self.first_severe_ps


def limits_key(limits: Thresholds) -> str:
    """Return a short hash of what a verdict rests on: the limits, and the detectors' sources."""
    return sha256_json([limits.model_dump(mode="json"), _detectors()])[:12]


@cache
def _detectors() -> list[str]:
    """Return the hashes of all that looks at a run: rows of other detectors are made anew."""
    rooms = [Path(room.__file__).parent for room in (events, trajectory)]
    return [sha256_file(path) for room in rooms for path in sorted(room.glob("*.py"))]


def row_path(run: Path, key: str) -> Path:
    """Return where the row of a run by such limits lies: beside its result."""
    return run / f"row.{key}.json"


def read_row(run: Path, key: str) -> RunRow | None:
    """Read a run's row, or return None where there is none, or not one that can be read."""
    path = row_path(run, key)
    try:
        return read_record(path, RunRow)
    except UserError:
        return None  # it is made anew from the run


def make_row(run: Path, limits: Thresholds, cores: int = 1) -> RunRow | None:
    """Analyse a run that has its result, and leave its row beside it; None without a result."""
    if not (run / md.RESULT).exists():
        return None
    result = md.read_result(run)
    row = row_of(analyse_run(run, limits), result, limits_key(limits), cores)
    write_record(row_path(run, row.limits), row)
    return row


def row_of(analysis: Analysis, result: RunResult, key: str, cores: int = 1) -> RunRow:
    """Return the row of a run by its analysis and its result."""
    damning = [event for event in analysis.events if event.severity != "warn"]
    first = min(damning, key=lambda event: event.time_ps, default=None)
    return RunRow(
        label=analysis.label,
        outcome=analysis.outcome,
        reason=result.reason,
        verdict=_verdict(analysis),
        first_severe=None if first is None else first.kind,
        first_severe_ps=analysis.first_severe_ps,
        event_counts=analysis.event_counts,
        events=_told(analysis.events),
        notes=analysis.notes,
        duration_ps=analysis.duration_ps,
        planned_ps=analysis.planned_ps,
        n_atoms=analysis.n_atoms,
        limits=key,
        cost=_cost(result, analysis.n_atoms, cores),
    )


def _verdict(analysis: Analysis) -> RunVerdict:
    if analysis.failed:
        return "failed"
    if not analysis.survived:
        return "not judged"
    return "warned" if analysis.events else "clean"


def _cost(result: RunResult, n_atoms: int, cores: int) -> RunCost:
    steps = max(result.last_step, 0)
    return RunCost(
        wall_s=result.wall_s,
        core_hours=result.wall_s * cores / 3600,
        atom_steps_per_s=n_atoms * steps / result.wall_s if result.wall_s > 0 else None,
        attempts=result.attempts,
        attempt=result.attempt,
        judged_unix_s=time.time(),
    )


def _told(events: list[Event]) -> list[RowEvent]:
    """Take the first event of each kind and severity, severe ones first, then by time."""
    firsts: dict[tuple[str, str], Event] = {}
    for event in sorted(events, key=lambda event: event.step):
        firsts.setdefault((event.kind, event.severity), event)
    order = sorted(firsts.values(), key=lambda event: (event.severity == "warn", event.step))
    return [
        RowEvent(
            kind=event.kind,
            severity=event.severity,
            step=event.step,
            time_ps=event.time_ps,
            atom_ids=event.atom_ids[:MOST_ATOMS],
            message=event.message,
        )
        for event in order[:MOST_EVENTS]
    ]
