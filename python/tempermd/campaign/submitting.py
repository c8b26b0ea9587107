"""A campaign as a Slurm array: the script, its submission, and what has become of it."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar

from tempermd.campaign.folder import Campaign
from tempermd.engine import EngineProfile, Resources
from tempermd.engine import slurm as queue
from tempermd.records import Record, UserError, read_record, write_record

SCRIPT = "array.sh"
JOBS = "jobs.json"
LOGS = "logs"
MOST_TASKS = 1000
"""Slurm's own ``MaxArraySize`` is 1001 unless a site changes it."""
OVER = queue.ENDED | {"COMPLETING"}
"""States of jobs that begin no run any more; what they leave behind is for leases to sort out."""
PATIENCE_S = 20.0


class JobsRecord(Record):
    """The jobs that a campaign has submitted."""

    format_name: ClassVar[str] = "tempermd-campaign-jobs"

    ids: list[str]


def array_slots(profile: EngineProfile) -> int:
    """Return how many runs an array task has going at a time."""
    if profile.cores_per_node is None:
        return profile.tasks_per_node or 1
    return profile.slots_per_node(profile.cores_per_node)


def array_tasks(profile: EngineProfile, open_runs: int) -> int:
    """Return how many array tasks a number of runs is worth."""
    return max(
        1, min(math.ceil(open_runs / array_slots(profile)), profile.max_running or MOST_TASKS)
    )


def write_script(campaign: Campaign, profile: EngineProfile, open_runs: int) -> Path:
    """Write the array script of a campaign for its user to read."""
    slots, one = array_slots(profile), campaign.spec.resources
    memory_GB = profile.memory_GB if one.memory_GB is None else slots * one.memory_GB
    whole = Resources(
        ranks=slots * one.ranks, threads=one.threads, gpus=slots * one.gpus, memory_GB=memory_GB
    )
    program = profile.python or sys.executable
    command = [str(Path(program).with_name("tempermd")), "campaign", "work"]
    return queue.write_array(
        campaign.folder / SCRIPT,
        profile,
        [*command, str(campaign.folder.resolve()), "--workers", str(slots)],
        array_tasks(profile, open_runs),
        whole,
        log_folder=campaign.folder / LOGS,
        name=f"tempermd-{campaign.folder.resolve().name}",
    )


def submit(campaign: Campaign, profile: EngineProfile, open_runs: int) -> str:
    """Write the script and submit it, unless jobs of this campaign are still in the queue.

    Returns
    -------
    str
        What was done, in a sentence.
    """
    going = active_jobs(campaign.folder)
    if going:
        states = Counter(going.values())
        words = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
        raise UserError(
            f"{campaign.folder}: its array is still in the queue ({words}); wait for it, or "
            "`tempermd campaign stop` it first"
        )
    script = write_script(campaign, profile, open_runs)
    number = queue.submit(script)
    ids = [*submitted(campaign.folder), number]
    write_record(campaign.folder / JOBS, JobsRecord(ids=ids))
    tasks = array_tasks(profile, open_runs)
    return f"array {number} of {tasks} task{'s' * (tasks > 1)} is submitted for {open_runs} runs"


def submitted(folder: Path) -> list[str]:
    """Return the ids of all jobs that a campaign has submitted."""
    path = folder / JOBS
    return read_record(path, JobsRecord).ids if path.is_file() else []


def active_jobs(folder: Path) -> dict[str, str]:
    """Return the states of a campaign's jobs that wait or run."""
    ids = submitted(folder)
    if not ids:
        return {}
    return {one: state for one, state in queue.jobs(ids).items() if state not in OVER}


def cancel_jobs(folder: Path) -> int:
    """Cancel what a campaign has in the queue; return how many jobs that were."""
    going = active_jobs(folder)
    queue.cancel(sorted(going))
    deadline_s = time.monotonic() + PATIENCE_S
    while active_jobs(folder) and time.monotonic() < deadline_s:
        time.sleep(0.5)  # the controller takes its time
    return len(going)
