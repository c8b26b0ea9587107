"""One run of a campaign, taken by whoever comes first: a worker, a task of an array, a user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tempermd import md
from tempermd.campaign.campaign_spec import EarlyStopping, Resources
from tempermd.campaign.folder import RUNS, Campaign
from tempermd.campaign.rows import limits_key, make_row, read_row
from tempermd.campaign.settling import Fate, cells_of, settle
from tempermd.campaign.stopping import is_stopped
from tempermd.events import Thresholds
from tempermd.md import Case

What = Literal["ended", "skipped", "held", "late", "broken", "stopped"]


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
    return [
        RunTask(
            folder,
            campaign.cases[one],
            resources,
            limits,
            rule,
            before.get(one, ()),
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
        if is_stopped(task.folder):
            return Taken("stopped", "the campaign is stopped")
        if _is_settled(task):
            return Taken("skipped", "its model is a settled loser here")
        result = md.run(task.case, run.parent)
        if result.outcome == "infrastructure_failure":
            return Taken("broken", result.reason)
    if task.rows and read_row(run, limits_key(task.limits)) is None:
        make_row(run, task.limits, task.resources.cores)
    result = md.read_result(run)
    return Taken("ended", "" if result.outcome == "finished" else result.reason)


def _is_settled(task: RunTask) -> bool:
    """Whether the runs before this one have made its model a loser in this cell."""
    if task.rule is None:
        return False
    key = limits_key(task.limits)
    fates = fates_of(task.folder / RUNS, task.before, key)
    return settle(fates, task.rule).verdict == "loser"


def fates_of(runs: Path, ids: Sequence[str], key: str) -> list[Fate | None]:
    """Return the fates of runs by their rows; None for those that have not ended."""
    fates: list[Fate | None] = []
    for one in ids:
        row = read_row(runs / one, key)
        fates.append(None if row is None else row.fate)
    return fates
