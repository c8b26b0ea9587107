"""Commands of the station of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tempermd.cli.application import Workers, app, group, json_object

sources_app = group(
    "List the label sources and what each needs, or `compare` them.\n\nExample: tempermd sources"
)
app.add_typer(sources_app, name="sources", invoke_without_command=True, no_args_is_help=False)


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
    workers: Workers = None,
) -> None:
    """Label structures with energies, forces and stresses; goes on where it was stopped.

    Example: tempermd label tubes.extxyz --source xtb -o tubes_xtb.extxyz
    """
    from tempermd import dataset, labels

    spec = labels.SourceSpec(name=source, settings=json_object("--settings", settings))
    limit = labels.GATE_LIMIT_EV_PER_A if gate is None else gate
    structures_ = dataset.read_structures(frames)
    print(labels.label(structures_, spec, output, workers=workers, gate_limit_eV_per_A=limit))


@sources_app.callback()
def sources(context: typer.Context) -> None:
    """List the label sources and what each needs."""
    if context.invoked_subcommand is None:
        from tempermd import labels

        print(labels.sources_text())


@sources_app.command("compare")
def sources_compare(
    truth: Annotated[Path, typer.Argument(help="Labelled frames that count as the truth.")],
    source: Annotated[list[str], typer.Option(help="A source to judge; repeat the option.")],
    workers: Workers = None,
) -> None:
    """Measure the error of label sources against labelled frames.

    Example: tempermd sources compare tubes_xtb.extxyz --source lcbop --source tersoff
    """
    from tempermd import dataset, labels

    specs = [labels.SourceSpec(name=name) for name in source]
    print(labels.compare(dataset.read_labelled(truth), specs, workers))
