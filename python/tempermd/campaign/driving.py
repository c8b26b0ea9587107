"""What the commands of a campaign do: plan it, run it on its engine, work on it, stop it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tempermd import lmp, md
from tempermd.campaign.campaign_spec import CampaignSpec, read_campaign_spec
from tempermd.campaign.checking import check_models
from tempermd.campaign.estimating import estimate, plan_text
from tempermd.campaign.folder import PLAN, SPEC, Campaign, open_campaign, read_campaign
from tempermd.campaign.gathering import gather, open_runs
from tempermd.campaign.running import run_here, slots_of
from tempermd.campaign.stopping import go_on, refuse_stopped, stop
from tempermd.campaign.submitting import cancel_jobs, submit, write_script
from tempermd.campaign.table import Line
from tempermd.campaign.taking import Taken, take, tasks_of
from tempermd.engine import EngineProfile
from tempermd.records import UserError, read_spec

MORE = ("running", "waiting", "planned")


def folder_of(given: Path, output: Path | None = None) -> Path:
    """Return a campaign's folder: named itself, or by the spec beside which it lies."""
    if output is not None:
        return output
    return given.with_suffix("") if given.is_file() else given


def opened(given: Path, output: Path | None = None, engine: str | None = None) -> Campaign:
    """Plan a campaign by its spec, or by the one that lies in a folder.

    ``engine`` goes over the spec's: the name of a profile, or its path.
    """
    if given.is_dir():
        if not (given / PLAN).is_file():
            raise UserError(f"{given}: no campaign here; expected a spec (TOML) or its folder")
        spec = read_spec(given / SPEC, CampaignSpec)
    else:
        spec = read_campaign_spec(given)
    if engine is not None:
        path = str(Path(engine).resolve()) if engine.endswith(".toml") else engine
        spec = spec.model_copy(update={"engine": path})
    spec.profile()  # a fault in it must show before anything is planned
    return open_campaign(spec, folder_of(given, output))


def planned(
    given: Path,
    output: Path | None = None,
    *,
    engine: str | None = None,
    probe: bool = True,
) -> str:
    """Plan a campaign, and say what it would run and cost."""
    campaign = opened(given, output, engine)
    lines = gather(campaign, complete=False)
    slots = slots_of(campaign.spec.profile())
    return plan_text(estimate(campaign, lines, slots, probe=probe))


@dataclass(frozen=True)
class Driven:
    """What came of driving a campaign: in words, and whether all that can be done is done."""

    folder: Path
    said: str
    done: bool


def drive(
    given: Path,
    output: Path | None = None,
    *,
    engine: str | None = None,
    workers: int | None = None,
    again: bool = False,
    dry_run: bool = False,
) -> Driven:
    """Run what has not ended on the campaign's engine; what is stopped must be resumed instead.

    Parameters
    ----------
    engine : str or None
        Instead of the spec's.
    workers : int or None
        Runs at a time; as many as the engine has room for if None.
    again : bool
        Whether to try what is stuck once more.
    dry_run : bool
        Write an array's script only.
    """
    folder = folder_of(given, output)
    refuse_stopped(folder)
    campaign = opened(given, output, engine)
    if again:
        release_stuck(campaign)
    profile = campaign.spec.profile()
    if profile.kind == "slurm_array":
        return _submit(campaign, profile, dry_run)
    if dry_run:
        raise UserError(f"--dry-run writes an array's script, but this engine is {profile.kind}")
    ids = open_runs(gather(campaign, complete=False), campaign.cases)
    run_here(campaign, ids, workers=workers, profile=profile)
    check_models(campaign.spec, folder, workers)
    counts = states_of(gather(campaign, complete=False))
    return Driven(folder, in_words(counts), done=not to_do(counts) and not counts["stuck"])


def _submit(campaign: Campaign, profile: EngineProfile, dry_run: bool) -> Driven:
    counts = states_of(gather(campaign, complete=False))
    left = to_do(counts)
    if dry_run:
        script = write_script(campaign, profile, max(1, left))
        return Driven(campaign.folder, f"{in_words(counts)}; {script} is written", done=True)
    if not left:
        return Driven(campaign.folder, in_words(counts), done=not counts["stuck"])
    return Driven(campaign.folder, submit(campaign, profile, left), done=True)


def release_stuck(campaign: Campaign) -> None:
    """Let runs that made no progress be tried again."""
    for line in gather(campaign, complete=False):
        if line.state == "stuck":
            md.release(campaign.runs / line.id)


def resume(
    given: Path,
    output: Path | None = None,
    *,
    engine: str | None = None,
    workers: int | None = None,
    again: bool = False,
) -> Driven:
    """Take the mark of a stop away and run on."""
    go_on(folder_of(given, output))
    return drive(given, output, engine=engine, workers=workers, again=again)


def halt(given: Path) -> str:
    """Stop a campaign, and say what was told to end."""
    folder = folder_of(given)
    read_campaign(folder)
    interrupted, cancelled = stop(folder), cancel_jobs(folder)
    here = f"{interrupted} driver{'s' * (interrupted != 1)} interrupted"
    return f"{folder} is marked to stop; {here}, {cancelled} jobs cancelled"


def run_by_id(folder: Path, run_id: str) -> Taken:
    """Take one run of a campaign, whoever else works on it."""
    campaign = read_campaign(folder)
    lmp.lmp_command()
    (task,) = tasks_of(campaign, [campaign.run_id(run_id)])
    return take(task)


def states_of(lines: Iterable[Line]) -> Counter[str]:
    """Return how many runs are in which state."""
    return Counter(line.state for line in lines)


def to_do(counts: Counter[str]) -> int:
    """Return how many runs have not ended and are not stuck."""
    return sum(counts[state] for state in MORE)


def in_words(counts: Counter[str]) -> str:
    """Say how many runs are in which state."""
    words = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    return f"{counts.total()} runs: {words}"
