"""The application that all commands join, and what their options share."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tempermd.records import UserError


def group(text: str) -> typer.Typer:
    """Return a plain group of commands; rich help alone would take 0.2 s to load."""
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=text,
    )


app = group("Pre-train, fine-tune, deploy and stress machine-learned potentials in LAMMPS.")

Workers = Annotated[
    int | None, typer.Option("--workers", "-j", help="Processes at a time; all cores if not given.")
]

Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Where tasks run: local, slurm, slurm_gpu, pbs, lsf, or a profile: --engine my.toml",
    ),
]


def json_object(option: str, text: str) -> dict[str, object]:
    """Return the JSON object that an option holds."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{option}: expected a JSON object, got {text!r} ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{option}: expected a JSON object, got {text!r}")
    return value
