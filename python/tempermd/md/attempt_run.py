"""One attempt: LAMMPS from its start or a restart file, its judgement, quench and products."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tempermd import lmp
from tempermd.md.assemble import assemble
from tempermd.md.attempts import (
    ATTEMPT,
    PART,
    AttemptFile,
    Origin,
    chain_to,
    choose_origin,
    output_folder,
    total_wall_s,
)
from tempermd.md.budget import Budget
from tempermd.md.case import (
    DATA,
    DUMP,
    LOG,
    MODEL,
    PROTOCOLS,
    Case,
    environment,
    lammps_arguments,
)
from tempermd.md.failures import KILLING_SIGNALS, Crash, class_of, crash_of, signal_of
from tempermd.md.judge import Outcome, Progress, judge, rate_atom_steps_per_s, read_progress
from tempermd.md.launch import Launch
from tempermd.md.lease import Lease
from tempermd.md.owner import this_process
from tempermd.md.quench import QUENCH, quench_run
from tempermd.md.result import Failure, RunResult, attempt_results
from tempermd.records import sha256_file, write_record

FROM = "from.restart"
FINAL = "final.data"
PRODUCTS = (DUMP, LOG, QUENCH, FINAL)


@dataclass(frozen=True)
class Setting:
    """What a run is, where it is, and what it may use."""

    case: Case
    folder: Path
    launch: Launch | None
    budget: Budget

    def environment(self) -> dict[str, str]:
        """Return the variables of LAMMPS: by its launch, or one thread unless the user says so."""
        return environment() if self.launch is None else self.launch.environment()

    def prefix(self) -> list[str]:
        """Return what stands before ``lmp``."""
        return [] if self.launch is None else self.launch.prefix()


@dataclass
class _Found:
    """What an attempt showed; judged step by step."""

    outcome: Outcome
    reason: str
    failure: Failure | None = None
    crash: Crash | None = None
    hashes: Mapping[str, str] | None = None


def run_attempt(
    setting: Setting, lease: Lease, before: Crash | None
) -> tuple[RunResult, Crash | None]:
    """Run one attempt.

    Parameters
    ----------
    setting : Setting
    lease : Lease
        Of a new attempt.
    before : Crash or None
        How the attempt before this one crashed: the same again is the model's fault.

    Returns
    -------
    (RunResult, Crash or None)
        The result is not written yet; the crash, where it may be replayed.
    """
    case, attempt = setting.case, lease.attempt
    origin = choose_origin(case, setting.folder, lease.number)
    output = _prepare(setting, lease, origin)
    margin_s = _margin_s(setting)
    process, ending_s = _run_lammps(setting, lease, origin, margin_s)
    (output / "screen.txt").write_text(process.stdout_tail)
    progress = read_progress(output / LOG)
    found = _judged(case, process, progress, output, origin, before)
    if found.outcome != "infrastructure_failure" and origin is not None:
        _assemble(case, attempt, process, found)
        progress = read_progress(attempt / LOG) if found.hashes else progress
    if found.outcome != "infrastructure_failure":
        _quench(setting, lease, found)
    result = RunResult(
        outcome=found.outcome,
        reason=found.reason,
        exit_code=process.exit_code,
        signal=process.signal,
        last_step=progress.last_step,
        planned_steps=case.planned_steps,
        wall_s=total_wall_s(attempt) + lease.elapsed_s,
        attempt=attempt.name,
        versions=lmp.versions(),
        failure=found.failure,
        attempts=lease.number,
        products=_products(attempt, found),
        rate_atom_steps_per_s=rate_atom_steps_per_s(output / LOG),
        ending_s=ending_s,
    )
    return result, found.crash


def _prepare(setting: Setting, lease: Lease, origin: Origin | None) -> Path:
    """Write what the attempt is, and lay out its files; return where LAMMPS writes."""
    attempt, case = lease.attempt, setting.case
    record = AttemptFile(number=lease.number, origin=origin, owner=this_process())
    write_record(attempt / ATTEMPT, record)
    output = output_folder(attempt, origin is not None)
    output.mkdir(exist_ok=True)
    (attempt / DATA).symlink_to(Path(case.structure).resolve())
    if case.model is not None:
        (attempt / MODEL).symlink_to(Path(case.model).resolve())
    if origin is not None:
        (attempt / FROM).symlink_to(Path(os.pardir) / origin.file)
    return output


def _run_lammps(
    setting: Setting, lease: Lease, origin: Origin | None, margin_s: float
) -> tuple[lmp.ProcessResult, float | None]:
    """Run LAMMPS; return how it ended, and how long after its time limit."""
    case, attempt, budget = setting.case, lease.attempt, setting.budget
    output = output_folder(attempt, origin is not None)
    changes = {"out": os.path.relpath(output, attempt)}
    if origin is not None:
        changes |= {"resume": "1", "from": FROM}
    limit_s = max(1, math.floor(budget.remaining_s() - margin_s)) if _ends(budget) else None
    if limit_s is not None:
        changes["limit"] = str(limit_s)
    script = lmp.inputs_folder() / PROTOCOLS[case.protocol].script
    log = os.path.relpath(output / LOG, attempt)
    arguments = ["-in", str(script), "-log", log, *lammps_arguments(case, DATA, MODEL, changes)]
    begin_s = time.monotonic()
    process = _start(setting, lease, arguments, budget.remaining_s() - margin_s / 4)
    if limit_s is None or process.wall_s < limit_s:
        return process, None
    return process, time.monotonic() - begin_s - limit_s


def _start(
    setting: Setting, lease: Lease, arguments: list[str], timeout_s: float
) -> lmp.ProcessResult:
    """Run LAMMPS in the attempt's folder; it ends when the lease is lost."""
    process = lmp.run_process(
        arguments,
        cwd=lease.attempt,
        env=setting.environment(),
        timeout_s=max(timeout_s, 0.1) if _ends(setting.budget) else None,
        prefix=setting.prefix(),
        on_start=lease.guard,
    )
    lease.unguard()
    return replace(process, signal=signal_of(process))


def _ends(budget: Budget) -> bool:
    return budget.end_unix_s is not None


def _margin_s(setting: Setting) -> float:
    """Return the margin, no less than what earlier attempts needed to end, half as much again."""
    needed = [result.ending_s or 0.0 for result in attempt_results(setting.folder)]
    return max(setting.budget.margin_s, 1.5 * max(needed, default=0.0))


def _judged(
    case: Case,
    process: lmp.ProcessResult,
    progress: Progress,
    output: Path,
    origin: Origin | None,
    before: Crash | None,
) -> _Found:
    """Judge what LAMMPS itself did in this attempt."""
    begin_step = -1 if origin is None else origin.step
    first_frame = 0 if origin is None else -(-origin.step // case.dump_every) * case.dump_every
    outcome, reason = judge(case, process, progress, output / DUMP, first_frame=first_frame)
    if outcome != "infrastructure_failure":
        return _Found(outcome, reason)
    failure = class_of(case, process, progress, output, begin_step)
    crash = crash_of(process, progress, begin_step) if failure == "crash" else None
    if crash is not None and crash == before:
        return _Found("model_failure", f"it crashed twice at the same step: {reason}")
    return _Found(outcome, reason, failure, crash)


def _assemble(case: Case, attempt: Path, process: lmp.ProcessResult, found: _Found) -> None:
    """Make one run of the chain's parts, and judge it as a whole."""
    found.hashes = assemble(chain_to(attempt), attempt, case.ramp_steps)
    with suppress(FileNotFoundError):  # a failed run has none
        os.link(attempt / PART / FINAL, attempt / FINAL)
    outcome, reason = judge(case, process, read_progress(attempt / LOG), attempt / DUMP)
    if outcome != "infrastructure_failure":
        found.outcome, found.reason = outcome, reason
    elif found.outcome == "finished":
        found.outcome, found.reason, found.failure = outcome, reason, "disk"


def _quench(setting: Setting, lease: Lease, found: _Found) -> None:
    """Minimise some frames; what ends that from outside leaves no result."""
    begin_s = setting.budget.remaining_s() - setting.budget.margin_s / 4

    def start(arguments: list[str]) -> lmp.ProcessResult:
        return _start(setting, lease, arguments, begin_s)

    process = quench_run(
        setting.case, lease.attempt, last_ones=found.outcome == "model_failure", start=start
    )
    if process is None or process.exit_code == 0:
        return
    if process.timed_out:
        found.outcome, found.failure = "infrastructure_failure", "walltime"
        found.reason = f"{found.reason}, but the job's end came during the quench"
    elif process.signal in KILLING_SIGNALS:
        found.outcome, found.failure = "infrastructure_failure", "signal"
        found.reason = f"{found.reason}, but the quench was ended by signal {process.signal}"
    elif found.outcome == "finished":
        found.reason = f"{found.reason}, but the quench stopped early: see quench.log"


def _products(attempt: Path, found: _Found) -> dict[str, str]:
    """Return the sha256 of what a result stands for, all of it safe on the disk."""
    if found.outcome == "infrastructure_failure":
        return {}
    hashes = dict(found.hashes or {})
    for name in PRODUCTS:
        path = attempt / name
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            hashes.setdefault(name, sha256_file(path))
    return hashes
