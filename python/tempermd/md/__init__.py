"""One molecular dynamics run: a directory named by its case, numbered attempts, one result."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from tempermd import lmp
from tempermd.md.case import (
    DATA,
    DUMP,
    LOG,
    MODEL,
    PROTOCOLS,
    Case,
    Stage,
    environment,
    lammps_arguments,
)
from tempermd.md.data_file import count_atoms, data_elements, outermost_atom
from tempermd.md.judge import Outcome, Progress, finite_frames, judge, read_progress
from tempermd.md.quench import QUENCH, Quench, QuenchedFrame, quench_run, read_quench
from tempermd.md.replay import replay_run
from tempermd.records import (
    Record,
    UserError,
    atomic_write,
    parse_spec,
    read_record,
    sha256_file,
    write_record,
)

RESULT = "result.json"
KILLING_SIGNALS = (signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGXCPU)
"""They come from outside; other signals come from what LAMMPS itself did."""

__all__ = [
    "DUMP",
    "LOG",
    "PROTOCOLS",
    "QUENCH",
    "RESULT",
    "Case",
    "Outcome",
    "Progress",
    "Quench",
    "QuenchedFrame",
    "RunResult",
    "Stage",
    "count_atoms",
    "data_elements",
    "finite_frames",
    "judge",
    "lammps_arguments",
    "newest_attempt",
    "outermost_atom",
    "read_case",
    "read_progress",
    "read_quench",
    "read_result",
    "replay",
    "run",
]


class RunResult(Record):
    """How an attempt at a case ended; ``reason`` is one sentence for a reader."""

    format_name: ClassVar[str] = "tempermd-run"

    outcome: Outcome
    reason: str
    exit_code: int | None
    signal: int | None
    last_step: int = Field(description="last step in the thermo output, -1 when there is none")
    planned_steps: int
    wall_s: float
    attempt: str
    versions: dict[str, str]


def run(case: Case, root: Path | str) -> RunResult:
    """Run a case unless its result is there already.

    An infrastructure failure is recorded in its attempt only, so the next call tries again
    in a new attempt. A finished run and a model failure are results, published once.

    Parameters
    ----------
    case : Case
    root : path
        Folder of run directories; this run's is ``root / case.id``.

    Returns
    -------
    RunResult
    """
    folder = Path(root) / case.id
    if (folder / RESULT).exists():
        return read_record(folder / RESULT, RunResult)
    _check_files(case)
    lmp.lmp_command()
    with atomic_write(folder / "case.json") as temporary:
        temporary.write_text(case.model_dump_json(indent=1) + "\n")
    attempt = _new_attempt(folder)
    result = _run_attempt(case, attempt)
    write_record(attempt / RESULT, result)
    if result.outcome == "infrastructure_failure":
        return result
    return _publish(attempt / RESULT, folder / RESULT)


def read_case(folder: Path | str) -> Case:
    """Read the case of a run directory."""
    path = Path(folder) / "case.json"
    if not path.is_file():
        raise UserError(f"{folder}: not a run directory (it has no case.json)")
    return parse_spec(json.loads(path.read_text()), Case, str(path))


def read_result(folder: Path | str) -> RunResult | None:
    """Read the published result of a run directory, or else that of its newest attempt."""
    folder = Path(folder)
    if (folder / RESULT).exists():
        return read_record(folder / RESULT, RunResult)
    attempts = sorted(folder.glob(f"attempt-*/{RESULT}"))
    return read_record(attempts[-1], RunResult) if attempts else None


def newest_attempt(folder: Path | str) -> Path | None:
    """Return the attempt of the published result, or else the newest one, or None."""
    folder = Path(folder)
    result = read_result(folder)
    if result is not None:
        return folder / result.attempt
    return max(folder.glob("attempt-*"), default=None)


def replay(folder: Path | str, step: int, output: Path | str, *, every: int = 1) -> Path:
    """Run some moments of a run again, with more frames; see `tempermd.md.replay.replay_run`.

    Parameters
    ----------
    folder : path
        A run directory.
    step : int
        What is to be seen.
    output : path
        New folder.
    every : int
        Steps between frames.

    Returns
    -------
    Path
        The trajectory.
    """
    case, attempt = read_case(folder), newest_attempt(folder)
    if attempt is None:
        raise UserError(f"{folder}: this run has not begun yet")
    _check_files(case)
    lmp.lmp_command()
    return replay_run(case, attempt, step, output, every=every)


def _check_files(case: Case) -> None:
    """Refuse files that are gone or are no longer those of the plan."""
    pairs = [(case.structure, case.structure_sha256)]
    if case.potential == "nequip":
        if case.model is None or case.model_sha256 is None:
            raise UserError("a case with potential 'nequip' needs a model and its sha256")
        pairs.append((case.model, case.model_sha256))
    for path, expected in pairs:
        if sha256_file(path) != expected:
            raise UserError(f"{path}: changed since this run was planned; plan it anew")


def _new_attempt(folder: Path) -> Path:
    """Make the next attempt's folder; two processes never get the same one."""
    number = 1
    while True:
        attempt = folder / f"attempt-{number:03d}"
        try:
            attempt.mkdir()
            return attempt
        except FileExistsError:
            number += 1


def _publish(attempt_result: Path, published: Path) -> RunResult:
    """Publish an attempt's result; where another attempt was faster, its result stands."""
    with suppress(FileExistsError):
        os.link(attempt_result, published)
    return read_record(published, RunResult)


def _run_attempt(case: Case, attempt: Path) -> RunResult:
    (attempt / DATA).symlink_to(Path(case.structure).resolve())
    if case.model is not None:
        (attempt / MODEL).symlink_to(Path(case.model).resolve())
    script = lmp.inputs_folder() / PROTOCOLS[case.protocol].script
    arguments = ["-in", str(script), "-log", LOG, *lammps_arguments(case, DATA, MODEL)]
    process = lmp.run_process(arguments, cwd=attempt, env=environment())
    (attempt / "screen.txt").write_text(process.stdout_tail)
    progress = read_progress(attempt / LOG)
    outcome, reason = judge(case, process, progress, attempt / DUMP)
    wall_s = process.wall_s
    if outcome != "infrastructure_failure":
        quenching = quench_run(case, attempt, last_ones=outcome == "model_failure")
        wall_s += quenching.wall_s if quenching else 0.0
        if quenching and quenching.signal in KILLING_SIGNALS:
            outcome = "infrastructure_failure"
            reason = f"{reason}, but the quench was ended by signal {quenching.signal}"
        elif quenching and quenching.exit_code != 0 and outcome == "finished":
            reason = f"{reason}, but the quench stopped early: see quench.log"
    return RunResult(
        outcome=outcome,
        reason=reason,
        exit_code=process.exit_code,
        signal=process.signal,
        last_step=progress.last_step,
        planned_steps=case.planned_steps,
        wall_s=wall_s,
        attempt=attempt.name,
        versions=lmp.versions(),
    )
