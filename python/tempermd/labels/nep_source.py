"""NEP models by calorine as a label source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes

from tempermd.labels.open_axes import closed_in_vacuum
from tempermd.labels.specs import Source, SourceSpec, hashes, needed_file, package_version
from tempermd.records import Spec, UserError, parse_spec


class NepSettings(Spec):
    """NEP has no settings: its file says all."""


def open_nep(spec: SourceSpec) -> tuple[Source, Any]:
    """Open a NEP model, ``nep:FILE``, of any kind that gives energies and forces."""
    from calorine.calculators import CPUNEP
    from calorine.nep import read_model

    parse_spec(spec.settings, NepSettings, "settings of label source 'nep'")
    path = needed_file(spec, "NEP.txt")
    try:
        model = read_model(str(path))
        calculator = _with_open_axes(CPUNEP, np.max(model.radial_cutoff))(str(path))
    except (ValueError, RuntimeError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a NEP model that calorine reads ({error})") from None
    if "energy" not in calculator.implemented_properties:
        raise UserError(f"{path}: a NEP model of {model.model_type}, which gives no energies")
    calculator.known_elements = tuple(model.types)
    source = Source(
        name=f"nep:{path.name}",
        version=package_version("calorine"),
        settings={},
        files=hashes([path]),
    )
    return source, calculator


def _with_open_axes(base: type, cutoff_A: float) -> type:
    """Return calorine's calculator, which repeats every axis, with vacuum along open ones."""

    class NepCalculator(base):
        """NEP for cells with open axes too."""

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: Sequence[str] | None = None,
            system_changes: Sequence[str] = all_changes,
        ) -> None:
            """Compute all that the model gives."""
            structure = atoms if atoms is not None else self.atoms
            super().calculate(closed_in_vacuum(structure, cutoff_A), properties, system_changes)
            if not structure.pbc.all():
                # what ASE compares the next structure with
                self.atoms = structure.copy()

    return NepCalculator
