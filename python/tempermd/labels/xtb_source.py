"""GFN-xTB by tblite as a label source; the Gamma point only in periodic cells."""

from __future__ import annotations

from typing import Any, Literal

from ase.data import chemical_symbols
from pydantic import Field

from tempermd.labels.specs import Source, SourceSpec, no_argument, package_version
from tempermd.records import Spec, parse_spec

LAST_ELEMENT = 86
"""GFN-xTB has parameters up to radon."""


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
    # without its cache every label starts from the same guess, not from the structure before
    calculator = TBLite(verbosity=0, cache_api=False, **settings)
    calculator.known_elements = tuple(chemical_symbols[1 : LAST_ELEMENT + 1])
    source = Source(
        name="xtb", version=package_version("tblite"), settings=settings, gamma_only=True
    )
    return source, calculator
