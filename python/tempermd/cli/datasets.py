"""Commands of the station of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tempermd.cli.application import app


@app.command("dataset")
def dataset_command(
    inputs: Annotated[list[Path], typer.Argument(help="Labelled extxyz files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    val: Annotated[float, typer.Option(help="Fraction of the frames to validate on.")] = 0.1,
    test: Annotated[float, typer.Option(help="Fraction of the frames to test on.")] = 0.0,
    test_file: Annotated[
        list[Path] | None, typer.Option(help="Labelled frames that all go to the test.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Shuffles the trajectories.")] = 1,
    scale: Annotated[
        str | None, typer.Option(help="With labels of several sources: whose zero all take.")
    ] = None,
) -> None:
    """Split labelled frames by trajectory into train, val and test.

    Example: tempermd dataset tubes_xtb.extxyz --val 0.25 -o tubes/
    """
    from tempermd import dataset as station

    fractions = {"train": 1.0 - val - test} | ({"test": test} if test else {}) | {"val": val}
    print(
        station.build(
            inputs, output, fractions=fractions, seed=seed, scale=scale, test_inputs=test_file
        )
    )
