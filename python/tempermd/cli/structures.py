"""Commands of the station of structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tempermd.cli.application import Workers, app


@app.command()
def structures(
    spec: Annotated[Path, typer.Argument(help="TOML: which structures, see docs/structures.md.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The extxyz to write.")],
    workers: Workers = None,
) -> None:
    """Make structures from a spec, and a page that shows them; goes on where it was stopped.

    Example: tempermd structures studies/tubes/structures.toml -o tubes.extxyz
    """
    from tempermd import structures as station
    from tempermd.records import read_spec

    wanted = read_spec(spec, station.StructureSpec).relative_to(spec.parent)
    made = station.make(wanted, output, workers)
    station.write_survey(output, made.dropped, {"sha256": made.sha256} | made.versions)
    print(output)


@app.command()
def tube(
    n: Annotated[int, typer.Argument(help="First chiral index.")],
    m: Annotated[int, typer.Argument(help="Second chiral index, at most the first.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="LAMMPS data file (.data).")],
    length: Annotated[float, typer.Option(help="At least this long (A).")] = 10.0,
    open_ends: Annotated[bool, typer.Option("--open", help="Open ends, not periodic.")] = False,
    vacancies: Annotated[int, typer.Option(help="Atoms to take out.")] = 0,
    seed: Annotated[int, typer.Option(help="Draws the vacancies.")] = 0,
) -> None:
    """Write one nanotube as a LAMMPS data file.

    Example: tempermd tube 10 10 --length 25 -o tube_10_10.data
    """
    from tempermd import structures as station

    atoms = station.nanotube(n, m, length, periodic=not open_ends, vacancies=vacancies, seed=seed)
    print(station.write_data(output, atoms))
