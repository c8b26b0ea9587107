"""Commands that drive models in molecular dynamics and judge them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tempermd.cli.application import Workers, app, group

report_app = group("Reports of runs.")
app.add_typer(report_app, name="report")


Output = Annotated[Path, typer.Option("--output", "-o", help="The folder of the report.")]
Structures = Annotated[
    list[Path] | None,
    typer.Option(help="LAMMPS data file or any format of ASE; the shipped tube if none."),
]
Temperatures = Annotated[
    list[float] | None, typer.Option("--temperature", "-T", help="Hold (K); repeatable.")
]
Seeds = Annotated[list[int] | None, typer.Option(help="Repeatable.")]
Ramp = Annotated[float | None, typer.Option(help="Length of the ramp (ps); 2.")]
Hold = Annotated[float | None, typer.Option(help="Length of the hold (ps); 4.")]
Timestep = Annotated[float | None, typer.Option(help="Timestep (fs); 0.5.")]
Suite = Annotated[
    str | None,
    typer.Option(help="quick, standard, paper, or a spec's TOML; other options override."),
]


def _spec(suite: str | None, **given: Any) -> Any:
    """Return the spec of a suite with what is given on the command line over it, and say how."""
    from tempermd import campaign

    spec, said = campaign.suite_with(suite, given)
    for sentence in said:
        print(sentence, file=sys.stderr)
    return spec


@app.command()
def robustness(
    output: Output,
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Deployed models (*.nequip.pth); none with --control alone."),
    ] = None,
    structure: Structures = None,
    temperature: Temperatures = None,
    seed: Seeds = None,
    ramp_ps: Ramp = None,
    hold_ps: Hold = None,
    timestep_fs: Timestep = None,
    control: Annotated[bool, typer.Option("--control", help="Also run LCBOP.")] = False,
    suite: Suite = None,
    thresholds: Annotated[Path | None, typer.Option(help="TOML of limits.")] = None,
    workers: Workers = None,
) -> None:
    """Heat and hold a tube with each model and judge it; exit code 2 when one fails.

    Example: tempermd robustness carbon.nequip.pth -o report/ --suite quick
    """
    from tempermd import campaign

    spec = _spec(
        suite,
        models=[str(path) for path in models or []],
        structures=[str(path) for path in structure or []],
        temperatures_K=temperature,
        seeds=seed,
        ramp_ps=ramp_ps,
        hold_ps=hold_ps,
        timestep_fs=timestep_fs,
        control=control or None,
    )
    page, code = campaign.robustness(spec, output, thresholds=thresholds, workers=workers)
    print(page)
    raise typer.Exit(code)


@app.command()
def calibrate(
    output: Output,
    model: Annotated[
        Path | None, typer.Argument(help="A deployed model that is trusted; LCBOP if none.")
    ] = None,
    structure: Structures = None,
    temperature: Temperatures = None,
    seed: Seeds = None,
    ramp_ps: Ramp = None,
    hold_ps: Hold = None,
    timestep_fs: Timestep = None,
    suite: Suite = None,
    workers: Workers = None,
) -> None:
    """Measure the detectors' limits on your own structures, with a potential that you trust.

    Example: tempermd calibrate -o limits/ --structure tube.data -T 300 -T 3000
    """
    from tempermd import campaign

    spec = _spec(
        suite,
        models=None if model is None else [str(model)],
        structures=[str(path) for path in structure or []],
        temperatures_K=temperature,
        seeds=seed,
        ramp_ps=ramp_ps,
        hold_ps=hold_ps,
        timestep_fs=timestep_fs,
        control=model is None or None,
    )
    print(campaign.calibrate(spec, output, workers))


@app.command("run-one")
def run_one(
    case: Annotated[Path, typer.Argument(help="case.json of a run directory.")],
    root: Annotated[Path, typer.Option(help="Folder of run directories.")],
) -> None:
    """Run one case, or give back its result if it is there.

    Example: tempermd run-one runs/0123456789abcdef/case.json --root runs
    """
    from tempermd import campaign, md

    found = md.read_case(case.parent)
    campaign.run_one(found, root)
    print(root / found.id)


@app.command()
def collect(
    root: Annotated[Path, typer.Argument(help="Folder of run directories.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of the report.")],
    thresholds: Annotated[Path | None, typer.Option(help="TOML of limits.")] = None,
    workers: Workers = None,
) -> None:
    """Analyse the runs that are there and write their report.

    Example: tempermd collect report/runs -o report/
    """
    from tempermd import campaign

    page = campaign.collect(root, output, thresholds=thresholds, workers=workers)
    print(page)
    raise typer.Exit(campaign.exit_code(page.parent / "summary.json"))


@app.command()
def analyse(
    dump: Annotated[Path, typer.Argument(help="LAMMPS text dump, plain, .gz or .zst.")],
    log: Annotated[Path | None, typer.Argument(help="Its log file.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")] = Path(
        "analysis"
    ),
    timestep_fs: Annotated[
        float | None, typer.Option(help="If neither dump nor log tells the time (fs).")
    ] = None,
    thresholds: Annotated[Path | None, typer.Option(help="TOML of limits.")] = None,
) -> None:
    """Find unphysical events in the trajectory of any LAMMPS run.

    Example: tempermd analyse trajectory.lammpstrj log.lammps -o analysis/
    """
    from tempermd import campaign

    page, code = campaign.analyse(dump, log, output, timestep_fs=timestep_fs, thresholds=thresholds)
    print(page)
    raise typer.Exit(code)


@app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="A run directory, as the report names it.")],
    step: Annotated[int, typer.Argument(help="The step to be seen.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")] = Path(
        "replay"
    ),
    every: Annotated[int, typer.Option(min=1, help="Steps between frames.")] = 1,
) -> None:
    """Run the moments around a step again from the nearest restart, with dense frames.

    Example: tempermd replay report/runs/0123456789abcdef 4200 -o replay/
    """
    from tempermd import md

    print(md.replay(run, step, output, every=every))


@app.command()
def movie(
    run: Annotated[Path, typer.Argument(help="A run directory, or a LAMMPS dump.")],
    log: Annotated[Path | None, typer.Argument(help="The dump's log file.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .gif, or a .mp4 where ffmpeg is at hand.")
    ] = Path("movie.gif"),
    most_frames: Annotated[int, typer.Option(min=2, help="Frames at most, evenly taken.")] = 120,
    timestep_fs: Annotated[
        float | None, typer.Option(help="If neither dump nor log tells the time (fs).")
    ] = None,
    thresholds: Annotated[Path | None, typer.Option(help="TOML of limits.")] = None,
) -> None:
    """Make a movie of a run, its events named as they happen.

    Example: tempermd movie report/runs/0123456789abcdef -o tube.gif
    """
    from tempermd import campaign

    made = campaign.movie(
        run,
        output,
        log=log,
        most_frames=most_frames,
        timestep_fs=timestep_fs,
        thresholds=thresholds,
    )
    print(made)


@report_app.command("show")
def report_show(
    folder: Annotated[Path, typer.Argument(help="Of a report, with its summary.json.")],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As Markdown, for a pull request.")
    ] = False,
) -> None:
    """Show the verdicts of a report; the exit code is the report's.

    Example: tempermd report show report/
    """
    from tempermd import campaign

    text, code = campaign.shown(folder, markdown=markdown)
    print(text)
    raise typer.Exit(code)
