"""The pair styles of LAMMPS as label sources: by name, by commands, or a deployed NequIP."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tempermd.labels.lammps_calculator import LammpsCalculator
from tempermd.labels.specs import Source, SourceSpec, hashes, no_argument, package_version
from tempermd.pair_styles import (
    PotentialSpec,
    pair_commands,
    parameter_file,
    parameter_files,
    potential_elements,
)
from tempermd.records import Spec, UserError, parse_spec


class NoSettings(Spec):
    """A source without settings."""


class CommandSettings(Spec):
    """Settings of the source ``lammps``: commands of your own.

    Attributes
    ----------
    commands
        pair_style, pair_coeff and what else the potential needs, in order.
    elements
        Symbols of the atom types 1, 2, ... of the commands.
    files
        Parameter files to keep the sha256 of, beside those that the commands name.
    units
        LAMMPS's units for these commands; labels are in eV and Angstrom all the same.
    atom_style
        ``charge`` for potentials that equilibrate charges.
    """

    commands: list[str] = Field(min_length=1)
    elements: list[str] = Field(min_length=1)
    files: list[str] = Field(default_factory=list)
    units: Literal["metal", "real"] = "metal"
    atom_style: Literal["atomic", "charge"] = "atomic"


def open_known(spec: SourceSpec) -> tuple[Source, LammpsCalculator]:
    """Open a pair style by name: ``tersoff``, ``eam:CuNi.eam.alloy``, ``nequip:MODEL``..."""
    parse_spec(spec.settings, NoSettings, f"settings of label source '{spec.name}'")
    potential = PotentialSpec(name=spec.kind, file=spec.argument)
    if spec.kind == "nequip":
        _need_plugin()
    paths = parameter_files(potential)
    elements = potential_elements(potential)
    calculator = LammpsCalculator(lambda symbols: pair_commands(potential, symbols, resolved=True))
    calculator.known_elements = elements
    name = spec.kind if spec.argument is None else f"{spec.kind}:{paths[0].name}"
    version = package_version("lammps")
    if spec.kind == "nequip":
        version += f", {package_version('tempermd')}"
    return Source(name=name, version=version, settings={}, files=hashes(paths)), calculator


def open_commands(spec: SourceSpec) -> tuple[Source, LammpsCalculator]:
    """Open ``lammps``: any pair style by its commands."""
    no_argument(spec)
    origin = "settings of label source 'lammps'"
    settings = parse_spec(spec.settings, CommandSettings, origin)
    _refuse_foreign_symbols(settings.elements)
    potential = PotentialSpec(name="lammps", commands=settings.commands)
    paths = parameter_files(potential) + [parameter_file(name) for name in settings.files]
    calculator = LammpsCalculator(
        lambda symbols: pair_commands(potential, symbols),
        elements=settings.elements,
        units=settings.units,
        atom_style=settings.atom_style,
    )
    calculator.known_elements = tuple(settings.elements)
    calculator.open(settings.elements)
    source = Source(
        name="lammps",
        version=package_version("lammps"),
        settings=settings.model_dump(mode="json"),
        files=hashes(paths),
    )
    return source, calculator


def _need_plugin() -> None:
    from tempermd import lmp

    lmp.plugin_path()


def _refuse_foreign_symbols(symbols: list[str]) -> None:
    from ase.data import atomic_numbers

    unknown = [symbol for symbol in symbols if symbol not in atomic_numbers]
    if unknown:
        raise UserError(
            f"settings of label source 'lammps': elements are symbols such as C, got {unknown}"
        )
