"""Frames on their way in: labels under any name, units converted, faults named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.dataset.frames import (
    check_energy_sum,
    check_frame_labels,
    check_structure,
    iter_structures,
)
from tempermd.dataset.plain import labels_of
from tempermd.dataset.units import UnitEvidence, Units, ask_about_units, to_eV_and_A
from tempermd.records import Spec, UserError

if TYPE_CHECKING:
    from ase import Atoms


class LabelKeys(Spec):
    """Names of labels in a file, the first that a frame has; empty for ASE's own names.

    ``virial`` is minus stress times volume, in the unit of energy.
    """

    energy: tuple[str, ...] = ()
    forces: tuple[str, ...] = ()
    energies: tuple[str, ...] = ()
    stress: tuple[str, ...] = ()
    virial: tuple[str, ...] = ()


class ImportSpec(Spec):
    """How a file's frames are to be understood.

    ``source`` is given to frames that do not say which source labelled them.
    """

    keys: LabelKeys = LabelKeys()
    units: Units = Units()
    source: str | None = None


def iter_imported(
    path: Path | str,
    spec: ImportSpec,
    *,
    need_labels: bool,
    check: bool = True,
) -> Iterator[Atoms]:
    """Yield a file's frames in eV and A, their labels in a calculator, each checked.

    With ``check``, structures and units are judged, too; the question about units comes after
    the last frame, so nothing may be published before the iteration ends.

    Raises
    ------
    UserError
        Names the file, the frame and the reason.
    """
    evidence = UnitEvidence()
    labelled: bool | None = None
    for number, atoms in enumerate(iter_structures(path)):
        origin = f"{path}: frame {number}"
        atoms = take_labels(atoms, spec.keys, origin)
        has_labels = bool({"energy", "forces"} & set(labels_of(atoms)))
        if labelled is None:
            labelled = has_labels
            _refuse_unknown_names(atoms, origin, need_labels, labelled)
        if has_labels != labelled and not need_labels:
            raise UserError(
                f"{origin} has {'labels' if has_labels else 'no labels'}, unlike those before it; "
                "keep labelled and unlabelled frames in files of their own"
            )
        if need_labels or has_labels:
            check_frame_labels(atoms, origin)
        atoms = to_eV_and_A(atoms, spec.units)
        if check:
            evidence.add(atoms)
            _check(atoms, evidence, spec.units, origin)
        if spec.source is not None:
            atoms.info.setdefault("source", spec.source)
        yield atoms
    if check:
        ask_about_units(evidence, spec.units, str(path))


def _check(atoms: Atoms, evidence: UnitEvidence, units: Units, origin: str) -> None:
    try:
        check_structure(atoms, origin)
    except UserError:
        ask_about_units(evidence, units, origin)  # atoms may overlap because of the unit
        raise
    check_energy_sum(atoms, origin)


def _refuse_unknown_names(atoms: Atoms, origin: str, need_labels: bool, labelled: bool) -> None:
    """Ask where the labels are, when a first frame has none under ASE's names."""
    energies, forces = candidates(atoms)
    if labelled or not (need_labels or (energies and forces)):
        if labelled and need_labels:
            _refuse_half(atoms, origin)
        return
    raise UserError(
        f"{origin} has no energy and forces under these names; it has info "
        f"{', '.join(map(str, atoms.info)) or '(none)'} and arrays "
        f"{', '.join(k for k in atoms.arrays if k not in ('numbers', 'positions')) or '(none)'}; "
        + _suggestion(energies, forces)
    )


def _refuse_half(atoms: Atoms, origin: str) -> None:
    """Ask for the one of energy and forces that a first frame lacks."""
    has = set(labels_of(atoms))
    energies, forces = candidates(atoms)
    if "energy" not in has:
        raise UserError(f"{origin} has forces but no energy; " + _suggestion(energies, ["forces"]))
    if "forces" not in has:
        raise UserError(f"{origin} has an energy but no forces; " + _suggestion(["energy"], forces))


def _suggestion(energies: Sequence[str], forces: Sequence[str]) -> str:
    text = "name them by --energy-key and --forces-key, or label the frames (tempermd label)"
    if energies and forces:
        text += f"; perhaps --energy-key {energies[0]} --forces-key {forces[0]}"
    return text


def candidates(atoms: Atoms) -> tuple[list[str], list[str]]:
    """Return names in a frame that may be its energy and its forces."""
    energies = [
        str(key)
        for key, value in atoms.info.items()
        if "energy" in str(key).lower() and isinstance(value, float | int | np.number)
    ]
    forces = [
        key
        for key, value in atoms.arrays.items()
        if "force" in key.lower() and value.shape == (len(atoms), 3)
    ]
    return energies, forces


def take_labels(atoms: Atoms, keys: LabelKeys, origin: str) -> Atoms:
    """Move the labels that ``keys`` names into the frame's calculator."""
    from ase.calculators.singlepoint import SinglePointCalculator

    if keys == LabelKeys():
        return atoms
    results = labels_of(atoms)
    found: dict[str, Any] = {}
    for label, names in keys.model_dump().items():
        value = _take(atoms, results, names)
        if value is not None:
            found[label] = value
        elif names and label in ("energy", "forces"):
            raise UserError(
                f"{origin} has no {' or '.join(names)} to take as {label}; it has info "
                f"{', '.join(map(str, atoms.info)) or '(none)'} and arrays "
                f"{', '.join(atoms.arrays)}"
            )
    if "virial" in found:
        virial = np.asarray(found.pop("virial"), dtype=float)
        found.setdefault("stress", -virial / atoms.get_volume())
    if "stress" in found:
        found["stress"] = _voigt(found["stress"], origin)
    if "energy" in found:
        found["energy"] = _number(found["energy"], origin)
    if {"energy", "forces"} & set(found):
        results.pop("free_energy", None)
    atoms.calc = SinglePointCalculator(atoms, **(results | found))
    return atoms


def _number(value: Any, origin: str) -> float:
    try:
        return float(np.asarray(value, dtype=float).reshape(()))
    except (ValueError, TypeError):
        raise UserError(f"{origin}: its energy is no number (got {value!r})") from None


def _take(atoms: Atoms, results: dict[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        for place in (atoms.info, atoms.arrays, results):
            if name in place:
                return place[name] if place is results else place.pop(name)
    return None


def _voigt(value: Any, origin: str) -> np.ndarray:
    from ase.stress import full_3x3_to_voigt_6_stress

    array = np.asarray(value, dtype=float)
    if array.size == 9:
        return full_3x3_to_voigt_6_stress(array.reshape(3, 3))
    if array.shape != (6,):
        raise UserError(f"{origin}: its stress has shape {array.shape}, expected (6,) or (3, 3)")
    return array
