"""One run of a campaign, taken by whoever comes first: a worker, a task of an array, a user."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tempermd import md
from tempermd.campaign.campaign_spec import EarlyStopping, Resources
from tempermd.campaign.folder import RUNS, Campaign
from tempermd.campaign.rows import limits_key, make_row, read_row
from tempermd.campaign.settling import Fate, cells_of, settle
from tempermd.campaign.stopping import is_stopped
from tempermd.engine import available_cores, take_slot
from tempermd.events import Thresholds
from tempermd.md import Case
from tempermd.records import UserError

What = Literal["ended", "skipped", "held", "late", "broken", "stuck", "stopped"]
FAILURES: dict[str, What] = {
    "held": "held",
    "fenced": "held",
    "walltime": "late",
    "stuck": "stuck",
}
"""What a failure of an attempt means for its run; all others mean that it is broken."""


LOOK_S = 10.0
"""So often a run that waits for free cores looks whether its campaign is stopped."""

MARGIN_S = 45.0
"""So long before a job's end a run writes its restart file: before the array's own warning."""


class Taken(NamedTuple):
    """What became of a run; ``said`` is how its model failed, or why it has no end."""

    what: What
    said: str = ""


@dataclass(frozen=True)
class RunTask:
    """All that a worker needs to know to take a run; picklable.

    ``before`` are the runs of the same cell that come before this one in the plan. Without
    ``rows`` what ran is analysed later, without ``pinned`` it shares the cores with others.
    """

    folder: Path
    case: Case
    resources: Resources
    limits: Thresholds
    rule: EarlyStopping | None
    before: tuple[str, ...]
    gpus_per_node: int = 0
    rows: bool = True
    pinned: bool = True


def tasks_of(
    campaign: Campaign,
    ids: Iterable[str] | None = None,
    *,
    rows: bool = True,
    pinned: bool = True,
) -> list[RunTask]:
    """Return the tasks of some runs of a campaign, of all if none are named."""
    before: dict[str, tuple[str, ...]] = {}
    rule = campaign.spec.early_stopping
    if rule is not None:
        for runs in cells_of(campaign.cases).values():
            before |= {one: tuple(runs[:place]) for place, one in enumerate(runs)}
    folder, resources, limits = campaign.folder.resolve(), campaign.spec.resources, campaign.limits
    gpus_per_node = campaign.spec.profile().gpus_per_node if resources.gpus else 0
    return [
        RunTask(
            folder,
            campaign.cases[one],
            resources,
            limits,
            rule,
            before.get(one, ()),
            gpus_per_node,
            rows,
            pinned,
        )
        for one in (campaign.cases if ids is None else ids)
    ]


def take(task: RunTask) -> Taken:
    """Run a case unless it has ended, is held by another, or need not be run; leave its row.

    Calling it again, anywhere and at any time, does no harm.
    """
    run = task.folder / RUNS / task.case.id
    if not (run / md.RESULT).exists():
        without_end = _run(task, run)
        if without_end is not None:
            return without_end
    if task.rows and read_row(run, limits_key(task.limits)) is None:
        make_row(run, task.limits, task.resources.cores)
    result = md.read_result(run)
    return Taken("ended", "" if result.outcome == "finished" else result.reason)


def _run(task: RunTask, run: Path) -> Taken | None:
    """Run a case; say why it has no end, or None."""
    try:
        with _launch(task) as launch:
            # asked last: it may have waited long for free cores
            refused = _refused(task, run)
            if refused is not None:
                return refused
            budget = md.Budget.from_environment(MARGIN_S)
            result = md.run(task.case, run.parent, launch=launch, budget=budget)
    except _GivenUpError as waited:
        return waited.taken
    except UserError as error:
        if _is_stuck(run):  # it has found so itself
            return Taken("stuck", str(error))
        raise
    if result.outcome == "infrastructure_failure":
        return Taken(FAILURES.get(result.failure or "", "broken"), result.reason)
    return None


def _refused(task: RunTask, run: Path) -> Taken | None:
    """Say why a run is not begun, or None."""
    if is_stopped(task.folder):
        return Taken("stopped", "the campaign is stopped")
    if _is_settled(task):
        return Taken("skipped", "its model is a settled loser here")
    if _is_stuck(run):
        return Taken("stuck", md.state_of(run).reason)
    return None


def _is_stuck(run: Path) -> bool:
    """Whether attempts at a run have made no progress, so that it is left alone."""
    return run.is_dir() and md.state_of(run).state == "stuck"


@contextmanager
def _launch(task: RunTask) -> Iterator[md.Launch]:
    """Hold cores and GPUs of this node for a run, where it is to have its own."""
    asked = task.resources
    shape = {"ranks": asked.ranks, "threads": asked.threads, "gpus": asked.gpus}
    cores = cores_of_job()
    if not task.pinned or asked.cores > cores:
        yield md.Launch(**shape)
        return
    gpus = {"gpus_per_slot": asked.gpus, "total_gpus": max(asked.gpus, task.gpus_per_node)}
    with take_slot(asked.cores, cores, **gpus, waiting=_Wait(task)) as slot:
        yield md.Launch(**shape, cores=slot.cores, devices=slot.devices or None)


class _GivenUpError(Exception):
    """A run was given up while it waited."""

    def __init__(self, taken: Taken) -> None:
        super().__init__(taken.said)
        self.taken = taken


class _Wait:
    """What a run does while no core is free: it says so once, and ends when it is stopped."""

    def __init__(self, task: RunTask) -> None:
        self.task = task
        self.next_look_s = LOOK_S

    def __call__(self, waited_s: float) -> None:
        if waited_s < self.next_look_s:
            return
        if self.next_look_s == LOOK_S:
            asked = self.task.resources
            wanted = f"free cores ({asked.cores})" + (
                f", GPUs ({asked.gpus})" if asked.gpus else ""
            )
            print(
                f"{self.task.case.id}: waits for {wanted}: other runs of yours on this node hold "
                "them, perhaps of another campaign",
                file=sys.stderr,
            )
        self.next_look_s = waited_s + LOOK_S
        if is_stopped(self.task.folder):
            raise _GivenUpError(Taken("stopped", "the campaign is stopped"))


def cores_of_job() -> int:
    """Return the cores of this job: a scheduler that does not bind its jobs shows them all."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(available_cores(), int(given)) if given.isdigit() else available_cores()


def _is_settled(task: RunTask) -> bool:
    """Whether the runs before this one have made its model a loser in this cell."""
    if task.rule is None:
        return False
    key = limits_key(task.limits)
    fates = [_fate(task.folder / RUNS / one, key) for one in task.before]
    return settle(fates, task.rule).verdict == "loser"


def _fate(run: Path, key: str) -> Fate | None:
    """Return the fate of a run by its row, None where it may still end."""
    row = read_row(run, key)
    if row is not None:
        return row.fate
    return "censored" if _is_stuck(run) else None
