"""Running a campaign on this machine, and the robustness report, which is a small campaign."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from tempermd import lmp, md
from tempermd.campaign.checking import check_models
from tempermd.campaign.folder import Campaign, open_campaign
from tempermd.campaign.judging import collect, exit_code
from tempermd.campaign.spec import RobustnessSpec
from tempermd.campaign.stopping import driving, refuse_stopped
from tempermd.campaign.submitting import array_slots
from tempermd.campaign.taking import RunTask, Taken, What, take, tasks_of
from tempermd.engine import EngineProfile, available_cores, run_tasks
from tempermd.md import Case, RunResult

SCRATCH = "engine"
"""Folder of the engine's own logs."""
MOST_ROUNDS = 20
"""So often runs that a machine or a job's end has stopped are taken up again."""


def run_one(case: Case, root: Path | str) -> RunResult:
    """Run one case; calling it again returns its result, or goes on after a breakdown."""
    return md.run(case, root)


def run_here(
    campaign: Campaign,
    ids: Iterable[str] | None = None,
    *,
    workers: int | None = None,
    profile: EngineProfile | None = None,
    rows: bool = True,
    pinned: bool = True,
) -> Counter[str]:
    """Run what has not ended, driven from here; tell at once what did not end well.

    Parameters
    ----------
    campaign : Campaign
    ids : iterable of str or None
        All of the campaign's if None.
    workers : int or None
        Runs at a time; as many as the cores hold if None.
    profile : EngineProfile or None
        Where; the campaign's engine if None.
    rows : bool
        Whether to analyse each run at once.
    pinned : bool
        Whether each run has cores of its own; without, runs share what there is.

    Returns
    -------
    Counter
        How many runs became what.
    """
    refuse_stopped(campaign.folder)
    profile = profile or campaign.spec.profile()
    if profile.kind == "local":
        lmp.lmp_command()
        fit = profile.slots_per_node(available_cores())
        pinned = pinned and (workers or fit) <= fit
    tasks = tasks_of(campaign, ids, rows=rows, pinned=pinned)
    again: set[What] = {"broken", "late"} if profile.kind == "parsl" else {"broken"}
    engine = {"workers": workers, "profile": profile, "scratch": campaign.folder / SCRATCH}
    with driving(campaign.folder):
        return take_all(tasks, again, rounds=MOST_ROUNDS if rows else 1, **engine)


def take_all(
    tasks: Sequence[RunTask],
    again: Collection[What] = ("broken",),
    *,
    rounds: int = MOST_ROUNDS,
    title: str = "runs",
    **engine: Any,
) -> Counter[str]:
    """Take all runs, and those again that a machine has stopped, until these are stuck or done.

    Parameters
    ----------
    tasks : sequence of RunTask
    again : collection of str
        What became of runs that are taken again.
    rounds : int
        How often at most.
    title, engine
        Of `run_tasks`.
    """
    became: Counter[str] = Counter()
    for _ in range(rounds):
        left = []
        for index, taken in run_tasks(take, tasks, title=title, **engine):
            tell(tasks[index].case, taken)
            if taken.what in again:
                left.append(index)
            else:
                became[taken.what] += 1
        tasks = [tasks[index] for index in sorted(left)]
        if not tasks:
            return became
    became["left"] = len(tasks)
    return became


def slots_of(profile: EngineProfile) -> int:
    """Return how many runs an engine has going at a time at most."""
    if profile.kind == "local":
        return profile.slots_per_node(available_cores())
    if profile.kind == "slurm_array":
        return array_slots(profile) * (profile.max_running or 1)
    cores = profile.cores_per_node or profile.cores_per_task
    return profile.slots_per_node(cores) * profile.nodes * profile.max_blocks


def tell(case: Case, taken: Taken) -> None:
    """Say on stderr at once what did not finish."""
    if taken.what in ("broken", "stuck"):
        _say(case, f"infrastructure failure: {taken.said}")
    elif taken.what == "ended" and taken.said:
        _say(case, f"model failure: {taken.said}")


def _say(case: Case, what: str) -> None:
    done = f"{case.protocol_name}, " if case.protocol_name else ""
    where = f"{case.model_name} on {case.structure_name}, {done}{case.temperature_K:g} K"
    print(f"{where}, seed {case.seed}: {what}", file=sys.stderr)


def robustness(
    spec: RobustnessSpec,
    output: Path | str,
    *,
    thresholds: Path | None = None,
    workers: int | None = None,
) -> tuple[Path, int]:
    """Run a whole campaign here and report it; a second call goes on where it was stopped.

    Returns
    -------
    (path, exit code)
        The report; 0 when every model passes (with or without a warning), 2 when one fails,
        1 when none fails but one could not be judged.
    """
    output = Path(output)
    run_cases(spec, output, workers, thresholds)
    check_models(spec, output, workers)
    page = collect(output / "runs", output, thresholds=thresholds, workers=workers)
    return page, exit_code(output / "summary.json")


def run_cases(
    spec: RobustnessSpec,
    output: Path,
    workers: int | None = None,
    thresholds: Path | None = None,
) -> None:
    """Run all cases of a spec below ``output``, to be analysed together afterwards."""
    lmp.lmp_command()
    run_here(
        open_campaign(spec, output, thresholds=thresholds),
        workers=workers,
        rows=False,
        pinned=False,
    )
