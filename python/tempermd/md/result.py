"""How an attempt at a case ended, and where a run stands."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from tempermd.md.attempts import ATTEMPT, PART
from tempermd.md.judge import Outcome
from tempermd.md.lease import (
    LEASE,
    RESULT,
    LeaseFile,
    attempt_name,
    attempt_number,
    attempt_numbers,
    beat_age_s,
)
from tempermd.md.restarts import scheduled_restarts, stopped_restarts
from tempermd.records import Record, UserError, read_record

CASE = "case.json"
STUCK = "stuck.json"

Failure = Literal[
    "walltime", "signal", "memory", "disk", "crash", "restart", "held", "fenced", "stuck"
]
"""Why an attempt gave no result: the job's end, a kill, no memory, no space, LAMMPS itself, a
restart file that cannot be read, another runner at it, a newer runner, no progress."""
State = Literal["planned", "running", "waiting", "finished", "model_failure", "stuck"]


class RunResult(Record):
    """How an attempt at a case ended; ``reason`` is one sentence for a reader."""

    format_name: ClassVar[str] = "tempermd-run"

    outcome: Outcome
    reason: str
    exit_code: int | None
    signal: int | None
    last_step: int = Field(description="last step in the thermo output, -1 when there is none")
    planned_steps: int
    wall_s: float = Field(description="of all attempts in the chain that led here")
    attempt: str = Field(description="its folder; empty when none was begun")
    versions: dict[str, str]
    failure: Failure | None = None
    attempts: int = Field(default=1, description="made so far, this one included")
    products: dict[str, str] = Field(default={}, description="file in the attempt to its sha256")
    rate_atom_steps_per_s: float | None = Field(default=None, description="of the last attempt")
    ending_s: float | None = Field(
        default=None, description="from the time limit of LAMMPS until it had ended"
    )


class Stuck(Record):
    """Says that attempts made no progress; ``released`` is the last one that no longer counts."""

    format_name: ClassVar[str] = "tempermd-stuck"

    reason: str = ""
    stuck: bool
    released: int = 0


@dataclass(frozen=True)
class RunState:
    """Where a run stands, as far as its folder tells at a glance.

    ``step`` is what is safe: of the result, or of the newest restart file. ``running`` on another
    machine is what its holder said last: watch ``beats`` to see it live.
    """

    state: State
    step: int = 0
    planned_steps: int = 0
    attempts: int = 0
    failure: str | None = None
    reason: str = ""
    owner: str | None = None
    beats: int = 0
    heartbeat_age_s: float | None = None


def read_result(folder: Path | str) -> RunResult | None:
    """Read the published result of a run directory, or else that of its newest attempt."""
    folder = Path(folder)
    if (folder / RESULT).exists():
        return read_record(folder / RESULT, RunResult)
    results = attempt_results(folder)
    return results[-1] if results else None


def attempt_results(folder: Path) -> list[RunResult]:
    """Return the results of a run's attempts, oldest first; what a lost machine cut is left out."""
    results = []
    for number in attempt_numbers(folder):
        with suppress(UserError):
            results.append(read_record(folder / attempt_name(number) / RESULT, RunResult))
    return results


def newest_attempt(folder: Path | str) -> Path | None:
    """Return the attempt of the published result, or else the newest one, or None."""
    folder = Path(folder)
    result = read_result(folder)
    if result is not None:
        return folder / result.attempt
    numbers = attempt_numbers(folder)
    return folder / attempt_name(numbers[-1]) if numbers else None


def state_of(folder: Path | str) -> RunState:
    """Tell where a run stands from names and small files only.

    Parameters
    ----------
    folder : path
        A run directory.

    Returns
    -------
    RunState
    """
    folder = Path(folder)
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: not a run directory (it is not there)") from None
    numbers = [number for name in names if (number := attempt_number(name)) is not None]
    raw = _json(folder / RESULT) if RESULT in names else {}
    if raw:
        return RunState(
            state="model_failure" if raw.get("outcome") == "model_failure" else "finished",
            step=raw.get("last_step", 0),
            planned_steps=raw.get("planned_steps", 0),
            attempts=len(numbers),
            reason=raw.get("reason", ""),
        )
    planned = _planned_steps(folder)
    if not numbers:
        return RunState(state="planned", planned_steps=planned)
    return _unfinished(folder, max(numbers), planned, STUCK in names)


def _unfinished(folder: Path, number: int, planned_steps: int, marked: bool) -> RunState:
    attempt = folder / attempt_name(number)
    ended = _json(attempt / RESULT)
    lease = None if ended else _lease(attempt)
    alive = lease is not None and lease.owner.is_dead() is not True
    stuck = marked and _json(folder / STUCK).get("stuck", False)
    return RunState(
        state="stuck" if stuck else "running" if alive else "waiting",
        step=_safe_step(attempt),
        planned_steps=planned_steps,
        attempts=number,
        failure=ended.get("failure"),
        reason=ended.get("reason", ""),
        owner=str(lease.owner) if alive and lease else None,
        beats=lease.beats if alive and lease else 0,
        heartbeat_age_s=beat_age_s(lease) if alive and lease else None,
    )


def _safe_step(attempt: Path) -> int:
    """Return the step of the newest restart file, or the one that the attempt goes on from."""
    origin = _json(attempt / ATTEMPT).get("origin")
    output = attempt / PART if origin else attempt
    restarts = scheduled_restarts(output) or stopped_restarts(output)
    return max(restarts, default=origin["step"] if origin else 0)


def _planned_steps(folder: Path) -> int:
    case = _json(folder / CASE)
    return int(case.get("ramp_steps", 0)) + int(case.get("hold_steps", 0))


def _lease(attempt: Path) -> LeaseFile | None:
    raw = _json(attempt / LEASE)
    with suppress(ValueError):
        if raw:
            return LeaseFile.model_validate({k: raw[k] for k in LeaseFile.model_fields if k in raw})
    return None


def _json(path: Path) -> dict[str, Any]:
    """Read a small JSON object; an absent or cut one is empty: a glance must not fail."""
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}


def read_stuck(folder: Path) -> Stuck:
    """Read whether a run was found stuck, and which attempts no longer count."""
    if not (folder / STUCK).is_file():
        return Stuck(stuck=False)
    return read_record(folder / STUCK, Stuck)
