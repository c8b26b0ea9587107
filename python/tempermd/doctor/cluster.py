"""One short job through an engine: does it come back, and if not, why."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from tempermd.doctor.finding import Finding
from tempermd.engine import EngineProfile, Resources, open_crew, slurm
from tempermd.records import UserError, read_record, write_record

WALLTIME = "00:05:00"
"""Asked for; the job takes about one minute of it."""
PATIENCE_S, ASK_EVERY_S = 600.0, 2.0
MOST_SKEW_S = 10.0

HOPELESS = {
    "PartitionDown": "the partition is down: name another, see sinfo",
    "PartitionInactive": "the partition takes no jobs now: name another, see sinfo",
    "PartitionTimeLimit": "the partition allows less time than five minutes",
    "PartitionNodeLimit": "the partition has fewer nodes than the profile asks for",
    "PartitionConfig": "the partition gives no job so many cores, GPUs, memory or five minutes",
    "BadConstraints": "no node of the partition has so many cores, GPUs or memory",
    "AccountNotAllowed": "the account may not use this partition",
    "InvalidAccount": "no such account, or it is not yours",
    "InvalidQOS": "no such QOS, or it is not yours",
    "QOSNotAllowed": "the QOS may not be used in this partition",
    "JobHeldUser": "the job is held: scontrol release it",
    "JobHeldAdmin": "an administrator holds the job",
}
"""Reasons of Slurm's for which waiting longer does not help, in words."""


def examine_cluster(
    profile: EngineProfile, folder: Path, patience_s: float = PATIENCE_S
) -> list[Finding]:
    """Send one job through an engine and return what it found on its node.

    Parameters
    ----------
    profile
        Its jobs are asked for as they are, but for five minutes, and one of them.
    folder
        That nodes share with this machine; a folder is made in it and removed.
    patience_s
        How long the job may wait and run.

    Returns
    -------
    list of Finding
        If the job did not come back, the last says why, in words.
    """
    from tempermd.doctor.probe import ASKED, FOUND, Asked, Found

    profile = _short(profile)
    with _folder_in(folder) as shared:
        asked = Asked(
            tempermd_version=metadata.version("tempermd"),
            token=secrets.token_hex(8),
            gpus=profile.gpus_per_task,
            walltime_s=None if _has_no_end(profile) else profile.walltime_s,
        )
        write_record(shared / ASKED, asked)
        (shared / "token").write_text(asked.token)
        start_s = time.time()
        obstacle = _send(profile, shared, start_s + patience_s)
        end_s = time.time()
        if not (shared / FOUND).exists():
            return [Finding("job", False, obstacle or "it ended and left nothing in the folder")]
        found = read_record(shared / FOUND, Found)
    findings = [
        Finding("job", obstacle is None, obstacle or f"came back in {end_s - start_s:.0f} s")
    ]
    findings += [Finding(*finding) for finding in found.findings]
    return [*findings, _clock(found.unix_s, start_s, end_s)]


def _short(profile: EngineProfile) -> EngineProfile:
    """Return the profile of one short job on one node."""
    changes = {"walltime": WALLTIME, "max_blocks": 1, "min_blocks": 0, "nodes": 1}
    return profile.model_copy(update=changes | {"last_start_s": 0.0, "tasks_per_node": 1})


def _has_no_end(profile: EngineProfile) -> bool:
    return profile.kind == "local" or (profile.kind, profile.scheduler) == ("parsl", "local")


@contextmanager
def _folder_in(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    shared = Path(tempfile.mkdtemp(prefix=".tempermd-doctor-", dir=folder)).resolve()
    try:
        yield shared
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _clock(node_s: float, start_s: float, end_s: float) -> Finding:
    """Compare the node's clock with this machine's: it read ``node_s`` in between."""
    skew_s = max(start_s - node_s, node_s - end_s, 0.0)
    detail = "the node's agrees with this machine's"
    if skew_s > MOST_SKEW_S:
        detail = f"the node's differs by at least {skew_s:.0f} s; ask for time synchronisation"
    return Finding("clock", skew_s <= MOST_SKEW_S, detail)


def _send(profile: EngineProfile, shared: Path, deadline_s: float) -> str | None:
    """Run the probe through the engine; return why it did not end well."""
    try:
        if profile.kind == "slurm_array":
            return _by_array(profile, shared, deadline_s)
        return _by_crew(profile, shared, deadline_s)
    except UserError as error:
        return str(error)


def _by_array(profile: EngineProfile, shared: Path, deadline_s: float) -> str | None:
    command = [profile.python or sys.executable, "-m", "tempermd.doctor.probe", str(shared)]
    resources = Resources(threads=profile.cores_per_task, gpus=profile.gpus_per_task)
    script = slurm.write_array(
        shared / "doctor.sh",
        profile,
        command,
        1,
        resources,
        log_folder=shared / "logs",
        name="tempermd-doctor",
    )
    job = slurm.submit(script)
    try:
        while True:
            state = slurm.jobs([job]).get(f"{job}_0", slurm.GONE)
            if state in slurm.ENDED:
                return None if state == "COMPLETED" else _end_of(job, state, shared)
            obstacle = _obstacle([job], state, deadline_s)
            if obstacle:
                return obstacle
            time.sleep(ASK_EVERY_S)
    finally:
        slurm.cancel([job])


def _end_of(job: str, state: str, shared: Path) -> str:
    """Return how a job ended and the last that it printed."""
    logs = sorted((shared / "logs").glob("*.log"))
    lines = [line.strip() for line in logs[-1].read_text().splitlines()] if logs else []
    lines = [line for line in lines if line]
    said = "; ".join(lines[-3:]) or (
        "no log: is the folder the same on the nodes?" if not logs else "it printed nothing"
    )
    return f"job {job} ended as {state}: {said}"


def _by_crew(profile: EngineProfile, shared: Path, deadline_s: float) -> str | None:
    from tempermd.doctor.probe import probe

    crew = _crew(profile, shared)
    try:
        future = crew.submit(probe, str(shared))
        while not future.done():
            jobs = list(crew.executor.provider.resources) if profile.kind == "parsl" else []
            state = ""
            if profile.scheduler == "slurm" and jobs:
                state = slurm.jobs(jobs[-1:]).get(jobs[-1], slurm.GONE)
            obstacle = _obstacle(jobs[-1:], state, deadline_s)
            if obstacle and not future.done():
                return obstacle
            time.sleep(ASK_EVERY_S)
        return future.result().failure
    finally:
        crew.stop()


def _crew(profile: EngineProfile, shared: Path) -> Any:
    """Open a crew that gives up on the first job whose worker does not start."""
    if profile.kind != "parsl":
        return open_crew(profile, 1)
    from tempermd.engine.parsl_crew import ParslCrew

    return ParslCrew(profile, 1, scratch=shared / "engine", lost_blocks=1)


def _obstacle(jobs: list[str], state: str, deadline_s: float) -> str | None:
    """Return why waiting for a job is of no use, if it is."""
    reason = slurm.reason(jobs[0]) if state == "PENDING" else ""
    if reason in HOPELESS:
        return f"job {jobs[0]} waits ({reason}): {HOPELESS[reason]}"
    if time.time() < deadline_s:
        return None
    if state == "PENDING":
        return f"job {jobs[0]} still waits ({reason or 'no reason given'}); --patience waits longer"
    name = f"job {jobs[0]}" if jobs else "the job"
    return (
        f"no word from {name}{f' ({state})' if state else ''} in time; ask the scheduler where it "
        "is, --patience waits longer"
    )
