"""The table of a campaign: one line for each run, the same whichever engine ran it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from tempermd.campaign.rows import RunRow
from tempermd.events import RunLabel, label_of
from tempermd.md import Case
from tempermd.records import Record, atomic_write, write_record

TABLE = "table.csv"
TABLE_JSON = "table.json"
COSTS = "costs.csv"

State = Literal["finished", "failed", "skipped", "stuck", "running", "waiting", "planned"]
STATES: tuple[State, ...] = (
    "finished",
    "failed",
    "running",
    "waiting",
    "planned",
    "stuck",
    "skipped",
)
ENDED = ("finished", "failed")


@dataclass(frozen=True)
class Line:
    """A run and what is known of it; ``row`` is there for those that have ended and count.

    ``step`` is how far a run is that has not ended. ``id`` is the case's, which costs a hash.
    """

    id: str
    case: Case
    state: State
    row: RunRow | None = None
    said: str = ""
    step: int = 0

    @cached_property
    def label(self) -> RunLabel:
        """Names of the run."""
        return label_of(self.case)

    @property
    def done_ps(self) -> float:
        """Simulated time."""
        if self.row is not None:
            return self.row.duration_ps
        return max(self.step, 0) * self.case.timestep_fs / 1000

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it stands in the table."""
        return place_of(self.case)


def place_of(case: Case) -> tuple[Any, ...]:
    """Return where a run stands among others: models by name, the control last."""
    control = case.potential != "nequip"
    what = case.protocol_name, case.structure_name, case.temperature_K, case.seed
    return control, case.model_name, *what


class TableRecord(Record):
    """The table for programs; a cell of a run that has not ended is null."""

    format_name: ClassVar[str] = "tempermd-campaign-table"

    thresholds: str
    runs: list[dict[str, Any]]


def write_table(lines: Sequence[Line], folder: Path, key: str) -> Path:
    """Write ``table.csv`` and ``table.json`` (results) and ``costs.csv`` (what they took).

    Results do not depend on where and how often a run was begun, costs do: so they lie apart.
    """
    facts = [facts_of(line) for line in lines]
    _write_csv(folder / TABLE, [_flat(one) for one in facts])
    _write_csv(folder / COSTS, [_costs_of(line) for line in lines])
    write_record(folder / TABLE_JSON, TableRecord(thresholds=key, runs=facts))
    return folder / TABLE


def facts_of(line: Line) -> dict[str, Any]:
    """Return what is known of a run, numbers with six digits: no machine's last bits."""
    case, row, label = line.case, line.row, line.label
    return {
        "id": line.id,
        "model": label.model,
        "structure": label.structure,
        "protocol": label.protocol,
        "temperature_K": _rounded(case.temperature_K),
        "seed": case.seed,
        "state": line.state,
        "outcome": None if row is None else row.outcome,
        "verdict": None if row is None else row.verdict,
        "first_severe": None if row is None else row.first_severe,
        "first_severe_ps": None if row is None else _rounded(row.first_severe_ps),
        "duration_ps": None if row is None else _rounded(row.duration_ps),
        "planned_ps": _rounded(case.planned_steps * case.timestep_fs / 1000),
        "atoms": None if row is None else row.n_atoms,
        "events": None if row is None else row.event_counts,
        "reason": line.said,
        "model_sha256": case.model_sha256,
        "structure_sha256": case.structure_sha256,
    }


def _costs_of(line: Line) -> dict[str, Any]:
    cost = None if line.row is None else line.row.cost
    return {
        "id": line.id,
        "attempts": None if cost is None else cost.attempts,
        "wall_s": None if cost is None else round(cost.wall_s, 3),
        "core_hours": None if cost is None else _rounded(cost.core_hours),
        "atom_steps_per_s": None if cost is None else _rounded(cost.atom_steps_per_s),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    events = facts["events"]
    text = None if events is None else "; ".join(f"{kind} {n}" for kind, n in events.items())
    return facts | {"events": text}


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
