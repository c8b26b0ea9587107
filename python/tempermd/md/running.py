"""Runs a case: attempts that go on from one another until there is a result, published once."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tempermd import lmp
from tempermd.md.attempt_run import Setting, run_attempt
from tempermd.md.attempts import failure_of, newest_restart_step
from tempermd.md.budget import LEAST_S, Budget
from tempermd.md.case import Case
from tempermd.md.failures import Crash, is_full_disk
from tempermd.md.launch import Launch
from tempermd.md.lease import RESULT, Lease, attempt_name, attempt_numbers, take_turn
from tempermd.md.result import (
    CASE,
    STUCK,
    Failure,
    RunResult,
    Stuck,
    attempt_results,
    read_stuck,
)
from tempermd.records import UserError, atomic_write, read_record, sha256_file, write_record

PATIENCE = 3
"""Attempts without progress after which a run is not tried again."""
NO_FAULT = ("fenced", "restart")
"""Classes of failures that say nothing about the run itself."""


def run(
    case: Case,
    root: Path | str,
    *,
    launch: Launch | None = None,
    budget: Budget | None = None,
    again: bool = False,
) -> RunResult:
    """Run a case unless its result is there already; go on where an earlier attempt ended.

    A finished run and a model failure are results, published once. An infrastructure failure is
    recorded in its attempt only: the next call goes on from the newest restart file.

    Parameters
    ----------
    case : Case
    root : path
        Folder of run directories; this run's is ``root / case.id``.
    launch : Launch, optional
        How LAMMPS is started; by default on one core.
    budget : Budget, optional
        Until when; by default what the batch system says.
    again : bool
        Try again a run that made no progress in three attempts.

    Returns
    -------
    RunResult
    """
    folder = Path(root) / case.id
    if (folder / RESULT).exists():
        return read_record(folder / RESULT, RunResult)
    check_files(case)
    lmp.lmp_command()
    setting = Setting(case, folder, launch, budget or Budget.from_environment())
    try:
        _write_case(case, folder)
        if again:
            release(folder)
        return _attempts(setting)
    except OSError as error:
        if not is_full_disk(error):
            raise
        return _not_run(setting, "disk", f"{folder}: {error.strerror}")


def release(folder: Path | str) -> None:
    """Let a run that made no progress be tried again: earlier attempts count no more."""
    folder = Path(folder)
    newest = max(attempt_numbers(folder), default=0)
    if newest:
        write_record(folder / STUCK, Stuck(stuck=False, released=newest))


def check_files(case: Case) -> None:
    """Refuse files that are gone or are no longer those of the plan."""
    pairs = [(case.structure, case.structure_sha256)]
    if case.potential == "nequip":
        if case.model is None or case.model_sha256 is None:
            raise UserError("a case with potential 'nequip' needs a model and its sha256")
        pairs.append((case.model, case.model_sha256))
    for path, expected in pairs:
        if sha256_file(path) != expected:
            raise UserError(f"{path}: changed since this run was planned; plan it anew")


def publish(attempt_result: Path, published: Path) -> RunResult:
    """Publish an attempt's result; where another attempt was faster, its result stands."""
    with suppress(FileExistsError):
        _to_disk(attempt_result)
        os.link(attempt_result, published)
        _to_disk(published.parent)
    return read_record(published, RunResult)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_case(case: Case, folder: Path) -> None:
    text = case.model_dump_json(indent=1) + "\n"
    path = folder / CASE
    if not path.is_file() or path.read_text() != text:
        with atomic_write(path) as temporary:
            temporary.write_text(text)


@dataclass
class _History:
    """What attempts of this call have shown."""

    crash: Crash | None = None


def _attempts(setting: Setting) -> RunResult:
    """Make attempts until one gives a result, or a failure that is left for the next call."""
    history = _History()
    while True:
        turn = _turn(setting)
        if isinstance(turn, RunResult):
            return turn
        result = _one_attempt(setting, turn, history)
        if result is not None:
            return result


def _turn(setting: Setting) -> Lease | RunResult:
    """Take the next attempt, or say why not."""
    folder, budget = setting.folder, setting.budget
    stuck = read_stuck(folder)
    if stuck.stuck:
        raise _stuck_error(folder, stuck.reason)
    spare_s = budget.remaining_s() - budget.margin_s - LEAST_S
    if spare_s < 0:
        left_s = max(0.0, budget.remaining_s())
        return _not_run(setting, "walltime", f"not begun: the job ends in {left_s:.0f} s")
    turn = take_turn(folder, stop_s=spare_s)
    if isinstance(turn, Lease):
        _publish_what_was_left(folder)
        if (folder / RESULT).exists():
            turn.attempt.rmdir()
    if (folder / RESULT).exists():
        return read_record(folder / RESULT, RunResult)
    if isinstance(turn, str):
        return _not_run(setting, "held", f"{turn} is running it")
    if _is_stuck(folder, before=turn.number):
        turn.attempt.rmdir()
        reason = "it ended without a word each time"
        write_record(folder / STUCK, Stuck(stuck=True, reason=reason))
        raise _stuck_error(folder, reason)
    return turn


def _publish_what_was_left(folder: Path) -> None:
    """Publish a result whose runner was killed before it could."""
    for result in attempt_results(folder):
        if result.outcome != "infrastructure_failure":
            publish(folder / result.attempt / RESULT, folder / RESULT)
            return


def _one_attempt(setting: Setting, lease: Lease, history: _History) -> RunResult | None:
    """Make one attempt; None when another one should follow at once."""
    with lease:
        result, crash = run_attempt(setting, lease, history.crash)
        if lease.is_lost():
            result = _fenced(result)
        elif result.outcome == "infrastructure_failure":
            result = _told_if_stuck(setting.folder, lease, result)
        write_record(lease.attempt / RESULT, result)
        if result.outcome != "infrastructure_failure":
            return publish(lease.attempt / RESULT, setting.folder / RESULT)
    first = history.crash is None
    history.crash = crash
    if result.failure == "restart" or (result.failure == "crash" and crash and first):
        return None
    return result


def _fenced(result: RunResult) -> RunResult:
    """Turn what an attempt found into nothing: a newer one has taken over."""
    changes = {
        "outcome": "infrastructure_failure",
        "failure": "fenced",
        "reason": f"a newer attempt has taken over ({result.reason})",
    }
    return result.model_copy(update=changes)


def _told_if_stuck(folder: Path, lease: Lease, result: RunResult) -> RunResult:
    """Say so when this was the last attempt that may end without progress."""
    if result.failure in NO_FAULT or not _is_stuck(folder, before=lease.number + 1):
        return result
    write_record(folder / STUCK, Stuck(stuck=True, reason=result.reason))
    reason = f"no progress in {PATIENCE} attempts: {result.reason}"
    return result.model_copy(update={"failure": "stuck", "reason": reason})


def _stuck_error(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder}: no progress in {PATIENCE} attempts (the last: {reason}); mend the cause, then "
        "let it go on by tempermd.md.release(folder)"
    )


def _is_stuck(folder: Path, *, before: int) -> bool:
    """Tell whether the last attempts that count wrote no restart file beyond those of earlier ones.

    Attempts from number ``before`` on do not count: one of them may be running.
    """
    released = read_stuck(folder).released
    safe_step, idle = -1, 0
    for number in attempt_numbers(folder):
        attempt = folder / attempt_name(number)
        step = newest_restart_step(attempt)
        if step > safe_step:
            safe_step, idle = step, 0
        elif released < number < before and failure_of(attempt) not in NO_FAULT:
            idle += 1
    return idle >= PATIENCE


def _not_run(setting: Setting, failure: Failure, reason: str) -> RunResult:
    """Return a failure that no attempt stands for."""
    return RunResult(
        outcome="infrastructure_failure",
        reason=reason,
        exit_code=None,
        signal=None,
        last_step=-1,
        planned_steps=setting.case.planned_steps,
        wall_s=0.0,
        attempt="",
        versions=lmp.versions(),
        failure=failure,
        attempts=len(attempt_numbers(setting.folder)),
    )
