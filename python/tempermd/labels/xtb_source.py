"""GFN-xTB by tblite as a label source; the Gamma point only in periodic cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.data import chemical_symbols
from pydantic import Field

from tempermd.labels.open_axes import closed_in_vacuum
from tempermd.labels.specs import Source, SourceSpec, no_argument, package_version
from tempermd.records import Spec, parse_spec

LAST_ELEMENT = 86
"""GFN-xTB has parameters up to radon."""

VACUUM_A = 20.0
"""Between the images of a slab or a tube whose cell has open axes."""


class XtbSettings(Spec):
    """Settings of tblite; temperature in K, the others as tblite documents them."""

    method: Literal["GFN1-xTB", "GFN2-xTB", "IPEA1-xTB"] = "GFN1-xTB"
    electronic_temperature: float = Field(2500.0, ge=0)
    accuracy: float = Field(1.0, gt=0)
    max_iterations: int = Field(250, ge=1)


def open_xtb(spec: SourceSpec) -> tuple[Source, Any]:
    """Open GFN-xTB; a self-consistency that does not converge is a failure, never a label."""
    from tblite.ase import TBLite

    no_argument(spec)
    settings = parse_spec(spec.settings, XtbSettings, "settings of label source 'xtb'").model_dump()
    calculator = _alone_and_open(TBLite)(verbosity=0, **settings)
    calculator.known_elements = tuple(chemical_symbols[1 : LAST_ELEMENT + 1])
    source = Source(
        name="xtb", version=package_version("tblite"), settings=settings, gamma_only=True
    )
    return source, calculator


def _alone_and_open(base: type) -> type:
    """Return tblite's calculator without its memory, and for cells with some axes open.

    By itself it starts from the wave function of the structure before, so that labels depend
    on their order, and takes a cell as periodic along all axes or none.
    """

    class XtbCalculator(base):
        """GFN-xTB, each structure anew, with vacuum along the open axes of slabs and tubes."""

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: Sequence[str] | None = None,
            system_changes: Sequence[str] = all_changes,
        ) -> None:
            """Compute all that tblite gives."""
            given = (atoms if atoms is not None else self.atoms).copy()
            self._xtb = self._res = None
            closed = closed_in_vacuum(given, VACUUM_A) if given.pbc.any() else given
            super().calculate(closed, properties, list(system_changes))
            # what ASE compares the next structure with
            self.atoms = given

    return XtbCalculator
