"""Commands of whole studies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tempermd.cli.application import Engine, Workers, app, group

MOST_LINES = 20
"""Lines of a table that the end of a run shows."""

study_app = group("Whole studies.")
app.add_typer(study_app, name="study")


@study_app.command("run")
def study_run(
    spec: Annotated[Path, typer.Argument(help="TOML: targets, bases, strategies, MD.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder to make; the spec's stem if not given."),
    ] = None,
    workers: Workers = None,
    engine: Engine = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which stages there are and what is done.")
    ] = False,
) -> None:
    """Label, train, tune, judge and drive all models of a study; goes on where it was stopped.

    Example: tempermd study run studies/demo.toml -o demo/
    """
    from tempermd import study
    from tempermd.engine import read_profile

    if dry_run:
        print(study.dry_run(spec, output))
        return
    page, code = study.run(spec, output, workers, read_profile(engine))
    print(study.table(page.parent, MOST_LINES), file=sys.stderr)
    print(page)
    if words := study.last_words(page.parent):
        print(words, file=sys.stderr)
    raise typer.Exit(code)


@study_app.command("table")
def study_table(
    output: Annotated[Path, typer.Argument(help="Folder of a study.")],
) -> None:
    """Print the table of a study as Markdown, one line for each model.

    Example: tempermd study table demo/
    """
    from tempermd import study

    print(study.table(output))


@study_app.command("findings")
def study_findings(
    output: Annotated[Path, typer.Argument(help="Folder of a study.")],
) -> None:
    """Print what a study found as Markdown: curves, factors, fates, forgetting, costs.

    Example: tempermd study findings demo/
    """
    from tempermd import study

    print(study.findings(output))
