"""Commands of the station of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tempermd.cli.application import Engine, Workers, app, group, json_object

sources_app = group(
    "List the label sources and what each needs, or `compare` them.\n\nExample: tempermd sources"
)
app.add_typer(sources_app, name="sources", invoke_without_command=True, no_args_is_help=False)

Cache = Annotated[
    Path | None, typer.Option(help="A cache of labels that commands share and that stays.")
]


@app.command()
def label(
    frames: Annotated[Path, typer.Argument(help="Structures, any format that ASE reads.")],
    source: Annotated[
        str, typer.Option(help="NAME or NAME:ARGUMENT, as `tempermd sources` lists them.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The extxyz to write.")],
    settings: Annotated[str, typer.Option(help="Settings of the source, as JSON.")] = "{}",
    gate: Annotated[
        float | None, typer.Option(help="Limit of the convergence gate (eV/A).")
    ] = None,
    check_cell: Annotated[
        bool, typer.Option("--check-cell", help="Ask the gate for a doubled cell of any source.")
    ] = False,
    check_settings: Annotated[
        str, typer.Option(help="Ask the gate for these finer settings too, as JSON.")
    ] = "{}",
    accept_failures: Annotated[
        float, typer.Option(help="Fraction of the structures that may be set aside.")
    ] = 0.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try what failed before once more.")
    ] = False,
    cache: Cache = None,
    workers: Workers = None,
    engine: Engine = None,
) -> None:
    """Label structures with energies, forces and stresses; goes on where it was stopped.

    Example: tempermd label tubes.extxyz --source xtb -o tubes_xtb.extxyz
    """
    from tempermd import dataset, labels
    from tempermd.engine import read_profile
    from tempermd.records import parse_spec

    spec = labels.SourceSpec(name=source, settings=json_object("--settings", settings))
    asked = {"double_cell": check_cell, "finer": json_object("--check-settings", check_settings)}
    asked |= {} if gate is None else {"limit_eV_per_A": gate}
    chosen = {"accept_failures": accept_failures, "retry_failed": retry_failed, "cache": cache}
    options = parse_spec(chosen | {"gate": asked}, labels.LabelOptions, "options of label")
    structures_ = labels.FrameFiles((frames,), dataset.iter_structures)
    profile = read_profile(engine)
    print(labels.label(structures_, spec, output, options, workers=workers, profile=profile))


@sources_app.callback()
def sources(context: typer.Context) -> None:
    """List the label sources and what each needs."""
    if context.invoked_subcommand is None:
        from tempermd import labels

        print(labels.sources_text())


@sources_app.command("compare")
def sources_compare(
    frames: Annotated[list[Path], typer.Argument(help="Files of frames, or parts of a dataset.")],
    source: Annotated[list[str], typer.Option(help="A source to judge; repeat the option.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder of the report.")
    ] = Path("source_report"),
    truth: Annotated[
        str, typer.Option(help="labels (those in the file) or the source that is the truth.")
    ] = "labels",
    settings: Annotated[
        str, typer.Option(help="Settings by source, as JSON: {'xtb': {...}}.")
    ] = "{}",
    cache: Cache = None,
    workers: Workers = None,
) -> None:
    """Measure errors and costs of label sources against labelled frames or another source.

    Example: tempermd sources compare tubes_xtb.extxyz --source lcbop --source tersoff -o report
    """
    from tempermd import dataset, labels

    given = json_object("--settings", settings)
    specs = [labels.SourceSpec(name=name, settings=given.get(name, {})) for name in source]
    true = None
    if truth != labels.IN_FILE:
        true = labels.SourceSpec(name=truth, settings=given.get(truth, {}))
    page = labels.compare(
        labels.FrameFiles(tuple(frames), dataset.iter_structures),
        specs,
        output,
        truth=true,
        cache=cache,
        workers=workers,
    )
    print((output / "comparison.md").read_text())
    print(page)
