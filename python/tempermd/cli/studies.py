"""Commands of whole studies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tempermd.cli.application import Workers, app, group

study_app = group("Whole studies.")
app.add_typer(study_app, name="study")


@study_app.command("run")
def study_run(
    spec: Annotated[Path, typer.Argument(help="TOML: data, arms, MD.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    workers: Workers = None,
) -> None:
    """Train, tune, deploy and stress all arms of a study; goes on where it was stopped.

    Example: tempermd study run studies/demo.toml -o demo/
    """
    from tempermd import study

    page, code = study.run(spec, output, workers)
    print(study.table(output), file=sys.stderr)
    print(page)
    raise typer.Exit(code)


@study_app.command("table")
def study_table(
    output: Annotated[Path, typer.Argument(help="Folder of a finished study.")],
) -> None:
    """Print the table of a finished study as Markdown.

    Example: tempermd study table demo/
    """
    from tempermd import study

    print(study.table(output))
