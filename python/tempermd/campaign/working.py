"""What a task of an array does: take runs, several at a time, until none or no time is left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from tempermd import lmp, md
from tempermd.campaign.checking import check_models
from tempermd.campaign.folder import read_campaign
from tempermd.campaign.gathering import gather, open_runs
from tempermd.campaign.running import take_all
from tempermd.campaign.stopping import is_stopped
from tempermd.campaign.taking import cores_of_job, tasks_of
from tempermd.engine import MORE_TO_DO

DONE = 0
LAST_S = 60.0
"""A signal so shortly before the job's end is its end, not a user's wish."""
Thing = TypeVar("Thing")


def work(folder: Path, task: int, of: int, *, workers: int | None = None) -> int:
    """Take the runs that have not ended; safe beside any number of others.

    Parameters
    ----------
    folder : Path
        A campaign's.
    task, of : int
        Each worker takes its own share first, so that they seldom meet.
    workers : int or None
        Runs at a time; as many as the cores of this job hold if None.

    Returns
    -------
    int
        0, or 75 when the job's time ended before its runs did.
    """
    lmp.lmp_command()
    campaign = read_campaign(folder)
    open_ones = open_runs(gather(campaign, complete=False), campaign.cases)
    tasks = tasks_of(campaign, own_order(open_ones, task, of))
    count = workers or max(1, cores_of_job() // campaign.spec.resources.cores)
    budget = md.Budget.from_environment()
    try:
        late = take_all(tasks, workers=count, title=f"task {task}")["late"] > 0
    except KeyboardInterrupt:
        if budget.remaining_s() > LAST_S or is_stopped(folder):
            raise
        late = True  # it was the job's end that told us to end
    if late:
        return MORE_TO_DO
    if task == 0:
        check_models(campaign.spec, folder, workers)
    return DONE


def own_order(things: Sequence[Thing], task: int, of: int) -> list[Thing]:
    """Return things in an order of one's own: every of-th first, then the others' shares."""
    places = sorted(range(len(things)), key=lambda place: ((place - task) % of, place))
    return [things[place] for place in places]
