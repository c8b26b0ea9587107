"""Gaussian approximation potentials by quippy as a label source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.data import chemical_symbols

from tempermd.labels.specs import Source, SourceSpec, hashes, needed_file, package_version
from tempermd.records import Spec, UserError, parse_spec


class GapSettings(Spec):
    """A GAP has no settings: its files say all."""


def open_gap(spec: SourceSpec) -> tuple[Source, Any]:
    """Open a GAP, ``gap:FILE.xml``, with its sparse points in files beside it or inside."""
    from quippy.potential import Potential

    parse_spec(spec.settings, GapSettings, "settings of label source 'gap'")
    path = needed_file(spec, "GAP.xml")
    elements, sparse = _read_xml(path)
    missing = [file.name for file in sparse if not file.is_file()]
    if missing:
        raise UserError(f"{path}: its file {missing[0]} of sparse points is missing beside it")
    try:
        calculator = _all_at_once(Potential)("IP GAP", param_filename=str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: not a GAP that quippy reads ({error})") from None
    calculator.known_elements = elements
    source = Source(
        name=f"gap:{path.name}",
        version=package_version("quippy-ase"),
        settings={},
        files=hashes([path, *sparse]),
    )
    return source, calculator


def _read_xml(path: Path) -> tuple[tuple[str, ...], list[Path]]:
    """Return the elements of a GAP's descriptors, and its files of sparse points.

    quippy gives zero for other elements, without a word.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable XML file ({error})") from None
    numbers: set[int] = set()
    for descriptor in root.iter("descriptor"):
        for value in re.findall(r"\bZ\d?\s*=\s*\{*([\d ]+)", descriptor.text or ""):
            numbers |= {int(number) for number in value.split()}
        for value in re.findall(r"\bspecies_Z\s*=\s*\{*([\d ]+)", descriptor.text or ""):
            numbers |= {int(number) for number in value.split()}
    if not numbers:
        raise UserError(f"{path}: no GAP: it has no descriptor that names an element")
    elements = tuple(chemical_symbols[number] for number in sorted(numbers))
    names = [node.get("sparseX_filename") for node in root.iter("gpCoordinates")]
    return elements, [path.parent / name for name in names if name]


def _all_at_once(base: type) -> type:
    """Return quippy's calculator, which computes anew for every property, asked once for all."""

    class GapCalculator(base):
        """A GAP whose first call gives all properties of a structure."""

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: Sequence[str] | None = None,
            system_changes: Sequence[str] = all_changes,
        ) -> None:
            """Compute energy, forces, local energies and, in full periodicity, stress."""
            wanted = ["energy", "forces", "energies"]
            if atoms is not None and atoms.pbc.all():
                wanted.append("stress")
            super().calculate(atoms, wanted, system_changes)

    return GapCalculator
