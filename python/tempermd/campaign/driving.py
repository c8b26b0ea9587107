"""What the commands of a campaign do: plan it, run it on its engine, work on it, stop it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tempermd import lmp
from tempermd.campaign.campaign_spec import CampaignSpec, read_campaign_spec
from tempermd.campaign.estimating import estimate, plan_text
from tempermd.campaign.folder import PLAN, SPEC, Campaign, open_campaign, read_campaign
from tempermd.campaign.gathering import gather
from tempermd.campaign.running import run_here, slots_here
from tempermd.campaign.stopping import MARK, StopRecord, go_on, is_stopped, stop
from tempermd.campaign.table import Line
from tempermd.campaign.taking import Taken, take, tasks_of
from tempermd.records import UserError, read_record, read_spec

MORE = ("running", "waiting", "planned")


def folder_of(given: Path, output: Path | None = None) -> Path:
    """Return a campaign's folder: named itself, or by the spec beside which it lies."""
    if output is not None:
        return output
    return given.with_suffix("") if given.is_file() else given


def opened(given: Path, output: Path | None = None) -> Campaign:
    """Plan a campaign by its spec, or read the one that lies in a folder."""
    folder = folder_of(given, output)
    if given.is_dir():
        if not (given / PLAN).is_file():
            raise UserError(f"{given}: no campaign here; expected a spec (TOML) or its folder")
        return open_campaign(read_spec(given / SPEC, CampaignSpec), folder)
    return open_campaign(read_campaign_spec(given), folder)


def planned(given: Path, output: Path | None = None, *, probe: bool = True) -> str:
    """Plan a campaign, and say what it would run and cost."""
    campaign = opened(given, output)
    lines = gather(campaign, complete=False)
    return plan_text(estimate(campaign, lines, slots_here(campaign), probe=probe))


def drive(
    given: Path, output: Path | None = None, *, workers: int | None = None, again: bool = False
) -> tuple[Path, str, int]:
    """Run what has not ended; a campaign that is stopped must be resumed instead.

    Returns
    -------
    (folder, sentence, open)
        What has become of its runs in words, and how many are still to do.
    """
    folder = folder_of(given, output)
    if is_stopped(folder):
        by = read_record(folder / MARK, StopRecord).by
        raise UserError(f"{folder}: stopped by {by}; `tempermd campaign resume` goes on with it")
    lmp.lmp_command()
    campaign = opened(given, output)
    run_here(campaign, workers=workers)
    sentence, open_runs = summed_up(gather(campaign, complete=False))
    return folder, sentence, open_runs


def resume(
    given: Path, output: Path | None = None, *, workers: int | None = None, again: bool = False
) -> tuple[Path, str, int]:
    """Take the mark of a stop away and run on."""
    go_on(folder_of(given, output))
    return drive(given, output, workers=workers, again=again)


def halt(given: Path) -> str:
    """Stop a campaign, and say what was told to end."""
    folder = folder_of(given)
    read_campaign(folder)
    interrupted = stop(folder)
    return f"{folder} is marked to stop; {interrupted} drivers here were interrupted"


def run_by_id(folder: Path, run_id: str) -> Taken:
    """Take one run of a campaign, whoever else works on it."""
    campaign = read_campaign(folder)
    lmp.lmp_command()
    (task,) = tasks_of(campaign, [campaign.run_id(run_id)])
    return take(task)


def summed_up(lines: list[Line]) -> tuple[str, int]:
    """Return the states of all runs in words, and how many are still to do."""
    counts = Counter(line.state for line in lines)
    open_runs = sum(counts[state] for state in MORE)
    words = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    return f"{len(lines)} runs: {words}", open_runs
