"""Commands of campaigns: many runs, here or on a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tempermd.cli.application import Engine, Workers, app, group

campaign_app = group("Many runs: models, structures, protocols, temperatures, seeds.")
app.add_typer(campaign_app, name="campaign")

Spec = Annotated[Path, typer.Argument(help="campaign.toml, or a campaign's folder.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The campaign's folder; the spec's name if not given."),
]
Again = Annotated[bool, typer.Option("--again", help="Also try what is stuck once more.")]


@campaign_app.command()
def plan(
    spec: Spec,
    output: Output = None,
    engine: Engine = None,
    probe: Annotated[bool, typer.Option(help="Run a model for some steps to time it.")] = True,
) -> None:
    """Show what would run, and what it would cost by a measured rate.

    Example: tempermd campaign plan campaign.toml
    """
    from tempermd import campaign

    print(campaign.planned(spec, output, engine=engine, probe=probe))


@campaign_app.command()
def run(
    spec: Spec,
    output: Output = None,
    engine: Engine = None,
    workers: Workers = None,
    again: Again = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the script of a Slurm array only.")
    ] = False,
) -> None:
    """Run what has not ended; the same command goes on. Exit code 1 when runs are left.

    Example: tempermd campaign run campaign.toml
    """
    from tempermd import campaign

    options = {"engine": engine, "workers": workers, "again": again}
    _ended(campaign.drive(spec, output, dry_run=dry_run, **options))


@campaign_app.command()
def resume(
    spec: Spec,
    output: Output = None,
    engine: Engine = None,
    workers: Workers = None,
    again: Again = False,
) -> None:
    """Go on with a campaign that was stopped.

    Example: tempermd campaign resume campaign.toml --again
    """
    from tempermd import campaign

    _ended(campaign.resume(spec, output, engine=engine, workers=workers, again=again))


def _ended(driven: Any) -> None:
    print(driven.said, file=sys.stderr)
    print(driven.folder)
    raise typer.Exit(0 if driven.done else 1)


@campaign_app.command()
def status(
    spec: Spec,
    by: Annotated[Literal["model", "condition"], typer.Option(help="A line for each.")] = "model",
    once: Annotated[bool, typer.Option("--once", help="Print it and end.")] = False,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between looks.")] = 5.0,
) -> None:
    """Show how far a campaign is, live in a terminal.

    Example: tempermd campaign status campaign --once
    """
    from tempermd import campaign

    campaign.show_status(campaign.folder_of(spec), by, once=once, every_s=every)


@campaign_app.command()
def stop(spec: Spec) -> None:
    """Stop a campaign: what runs here ends at once, jobs are cancelled, others end with a run.

    Example: tempermd campaign stop campaign
    """
    from tempermd import campaign

    print(campaign.halt(spec), file=sys.stderr)


@campaign_app.command()
def collect(
    spec: Spec,
    thresholds: Annotated[Path | None, typer.Option(help="TOML of other limits.")] = None,
    details: Annotated[int, typer.Option(min=0, help="Failed runs that get a page.")] = 6,
    workers: Workers = None,
) -> None:
    """Write the table and the page of all runs; the exit code is the verdict's.

    Example: tempermd campaign collect campaign
    """
    from tempermd import campaign

    page, code = campaign.collect_campaign(
        campaign.folder_of(spec), thresholds=thresholds, details=details, workers=workers
    )
    print(page)
    raise typer.Exit(code)


@campaign_app.command()
def verify(spec: Spec, workers: Workers = None) -> None:
    """Check every product against its hash; one line for each fault, exit code 1 with any.

    Example: tempermd campaign verify campaign
    """
    from tempermd import campaign

    faults, checked = campaign.verify(
        campaign.read_campaign(campaign.folder_of(spec)), workers=workers
    )
    for fault in faults:
        print(fault)
    print(f"{checked} files checked, {len(faults)} faults", file=sys.stderr)
    raise typer.Exit(1 if faults else 0)


@campaign_app.command("run-one")
def run_one(
    folder: Annotated[Path, typer.Argument(help="A campaign's folder.")],
    run_id: Annotated[str, typer.Argument(help="Of a run, or the beginning of it.")],
) -> None:
    """Run one run of a campaign unless it has ended or is held by another; exit code 1 if broken.

    Example: tempermd campaign run-one campaign 0123456789abcdef
    """
    from tempermd import campaign

    taken = campaign.run_by_id(folder, run_id)
    print(f"{taken.what}: {taken.said}" if taken.said else taken.what)
    raise typer.Exit(1 if taken.what == "broken" else 0)


@campaign_app.command()
def work(
    folder: Annotated[Path, typer.Argument(help="A campaign's folder.")],
    task: Annotated[int, typer.Option(min=0, help="Number of this worker.")] = 0,
    of: Annotated[int, typer.Option(min=1, help="How many workers there are.")] = 1,
    workers: Workers = None,
) -> None:
    """Take runs until none is left or the job's time is short: what a task of an array does.

    Exit code 75 when time ended before the runs did.

    Example: tempermd campaign work campaign --task 3 --of 8
    """
    from tempermd import campaign

    raise typer.Exit(campaign.work(folder, task, of, workers=workers))
