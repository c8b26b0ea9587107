"""Units of labels: conversion on the way in, and a guess and a question where they look wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tempermd.dataset.frames import close_pairs
from tempermd.dataset.plain import labels_of
from tempermd.records import Spec, UserError

if TYPE_CHECKING:
    from ase import Atoms

LengthUnit = Literal["A", "Bohr", "nm"]
EnergyUnit = Literal["eV", "Ha", "Ry", "kcal/mol", "kJ/mol"]
LENGTHS_A = {"A": 1.0, "Bohr": 0.529177210903, "nm": 10.0}
"""CODATA 2018."""
ENERGIES_EV = {
    "eV": 1.0,
    "Ha": 27.211386245988,
    "Ry": 13.605693122994,
    "kcal/mol": 0.0433641043,
    "kJ/mol": 0.0103642697,
}
"""CODATA 2018; one thermochemical kcal is 4.184 kJ."""


class Units(Spec):
    """Units of a file's labels; None where nobody has said, which is eV and A, and is checked.

    ``force_unit`` is ENERGY/LENGTH, by default that of the other two. Stresses are energies by
    volume in the same units.
    """

    length_unit: LengthUnit | None = None
    energy_unit: EnergyUnit | None = None
    force_unit: str | None = None

    @property
    def length_A(self) -> float:
        """What one unit of length is in A."""
        return LENGTHS_A[self.length_unit or "A"]

    @property
    def energy_eV(self) -> float:
        """What one unit of energy is in eV."""
        return ENERGIES_EV[self.energy_unit or "eV"]

    @property
    def force_eV_A(self) -> float:
        """What one unit of force is in eV/A."""
        if self.force_unit is None:
            return self.energy_eV / self.length_A
        energy, _, length = self.force_unit.rpartition("/")
        if energy not in ENERGIES_EV or length not in LENGTHS_A:
            raise UserError(
                f"--force-unit: expected ENERGY/LENGTH of {', '.join(ENERGIES_EV)} and "
                f"{', '.join(LENGTHS_A)} (as Ha/Bohr), got {self.force_unit!r}"
            )
        return ENERGIES_EV[energy] / LENGTHS_A[length]


def to_eV_and_A(atoms: Atoms, units: Units) -> Atoms:
    """Return the frame in eV and A."""
    from ase.calculators.singlepoint import SinglePointCalculator

    factors = {
        "energy": units.energy_eV,
        "free_energy": units.energy_eV,
        "energies": units.energy_eV,
        "forces": units.force_eV_A,
        "stress": units.energy_eV / units.length_A**3,
    }
    if units.length_A == 1.0 and all(factor == 1.0 for factor in factors.values()):
        return atoms
    copy = atoms.copy()
    copy.set_cell(atoms.cell * units.length_A, scale_atoms=False)
    copy.positions *= units.length_A
    results = labels_of(atoms)
    if results:
        converted = {
            name: np.asarray(value) * factors[name] if name in factors else value
            for name, value in results.items()
        }
        converted = {k: float(v) if np.ndim(v) == 0 else v for k, v in converted.items()}
        copy.calc = SinglePointCalculator(copy, **converted)
    return copy


NEIGHBOR_SEARCHES_A = (3.2, 7.0)
"""The second where an atom has no neighbor within the first."""
BOHR_RATIO = (1.55, 2.35)
"""Nearest neighbors over covalent bond lengths: bonded matter in A has 0.85 to 1.35, so in Bohr
1.6 to 2.5, and in nm a tenth."""
NM_RATIO = (0.07, 0.14)
NOBLE = {2, 10, 18, 36, 54, 86}
"""Their neighbors are far apart without being in Bohr."""
CLOSE_A = 0.3
"""Frames whose atoms moved by less than this are close: work by forces gives their energies."""
ENOUGH_PAIRS = 4
SOFTEST, SOFTEST_COVALENT, STIFFEST = 0.4, 1.8, 100.0
"""Curvature along the way between close frames, eV/A^2: sodium 0.6, silicon 12, diamond 44, a
tube's soft modes 3. In Hartree it is 27 times less, in kcal/mol 23 times more."""
COVALENT = {5, 6, 7, 14}
"""Boron, carbon, nitrogen, silicon: without others among them they are stiff."""
LARGE_FORCES = 12.0
"""Median rms force, eV/A, of frames without short contacts: liquid carbon at 8000 K has 8."""
SAMPLE = 100


@dataclass
class UnitEvidence:
    """What frames, seen one after another, tell about the units they are in.

    Work done by the forces between two frames of one trajectory that are close is the
    difference of their energies, dE = -(F1 + F2) dr / 2 + O(dr^3); the slope of one against the
    other is the ratio of units. Distances are held against covalent radii, curvatures and
    forces against what matter has.
    """

    ratios: list[float] = field(default_factory=list)
    shortest: list[float] = field(default_factory=list)
    forces: list[float] = field(default_factory=list)
    changes: list[tuple[float, float, float]] = field(default_factory=list)
    covalent: bool = True
    _seen: int = 0
    _stride: int = 1
    _before: Any = None

    def add(self, atoms: Atoms) -> None:
        """Take in one frame, labelled or not, in what is taken for eV and A."""
        if len(self.changes) < SAMPLE:
            self._compare(atoms)
        if self._seen % self._stride == 0:
            self._measure(atoms)
        self._seen += 1
        if len(self.ratios) >= SAMPLE:
            for values in (self.ratios, self.shortest, self.forces):
                del values[1::2]
            self._stride *= 2

    def _measure(self, atoms: Atoms) -> None:
        nearest = neighbor_ratios(atoms)
        self.ratios.append(float(np.median(nearest)) if len(nearest) else np.nan)
        self.shortest.append(float(nearest.min()) if len(nearest) else np.nan)
        forces = labels_of(atoms).get("forces")
        self.forces.append(np.nan if forces is None else float(np.sqrt(np.mean(forces**2))))

    def _compare(self, atoms: Atoms) -> None:
        before, self._before = self._before, atoms
        labels = labels_of(atoms)
        if before is None or "energy" not in labels or "forces" not in labels:
            return
        same = len(before) == len(atoms) and (before.numbers == atoms.numbers).all()
        same = same and before.info.get("trajectory") == atoms.info.get("trajectory")
        same = same and np.allclose(before.cell.array, atoms.cell.array, atol=1e-6)
        if not same or not {"energy", "forces"} <= set(labels_of(before)):
            return
        step = _shortest_way(atoms.positions - before.positions, atoms)
        if not 1e-5 < np.abs(step).max() < CLOSE_A:
            return
        one, other = labels_of(before), labels
        step = step - step.mean(axis=0)  # a drift does no work and is no stiffness
        work = -0.5 * float(np.sum((one["forces"] + other["forces"]) * step))
        change = float(other["energy"]) - float(one["energy"])
        pull = -float(np.sum((other["forces"] - one["forces"]) * step))
        self.changes.append((change, work, pull / float(np.sum(step**2))))
        self.covalent &= set(atoms.numbers.tolist()) <= COVALENT


def _shortest_way(step: np.ndarray, atoms: Atoms) -> np.ndarray:
    from ase.geometry import find_mic

    return find_mic(step, atoms.cell, atoms.pbc)[0] if atoms.pbc.any() else step


def neighbor_ratios(atoms: Atoms) -> np.ndarray:
    """Return each atom's nearest distance over the sum of covalent radii; lone atoms left out."""
    from ase.data import covalent_radii

    if len(atoms) < 2 or set(atoms.numbers.tolist()) <= NOBLE:
        return np.empty(0)
    radii_A = covalent_radii[atoms.numbers]
    nearest = np.full(len(atoms), np.inf)
    for cutoff_A in NEIGHBOR_SEARCHES_A:
        first, second, distances = close_pairs(atoms, cutoff_A)
        np.minimum.at(nearest, first, distances / (radii_A[first] + radii_A[second]))
        if np.isfinite(nearest).all():
            break
    return nearest[np.isfinite(nearest)]


def ask_about_units(evidence: UnitEvidence, units: Units, origin: str) -> None:
    """Refuse, with a guess and a question, what looks to be in other units than it is read in.

    Units that were said (``--length-unit A``) are believed.
    """
    if units.length_unit is None:
        _ask_length(evidence, origin)
    if units.energy_unit is None and units.force_unit is None:
        _ask_ratio(evidence, origin)
        _ask_size(evidence, origin)


def _ask_length(evidence: UnitEvidence, origin: str) -> None:
    ratios = _finite(evidence.ratios)
    if not len(ratios):
        return
    ratio = float(np.median(ratios))
    for unit, (low, high) in (("Bohr", BOHR_RATIO), ("nm", NM_RATIO)):
        if low <= ratio <= high:
            raise UserError(
                f"{origin}: nearest neighbors are {ratio:.2f} times a covalent bond apart; are "
                f"positions in {unit}? say --length-unit {unit}, or --length-unit A if they are "
                "right"
            )


def _ask_ratio(evidence: UnitEvidence, origin: str) -> None:
    """Compare differences of energy with the work of the forces."""
    if len(evidence.changes) < ENOUGH_PAIRS:
        return
    change, work = np.array(evidence.changes).T[:2]
    told = np.abs(work) > 0.1 * np.abs(work).max()
    if not told.any() or not np.any(change[told]):
        return
    slopes = change[told] / work[told]
    slope = float(np.median(slopes))
    # a few pairs may be no neighbors in time; where most disagree, nothing is told
    if np.mean(np.abs(slopes - slope) < 0.15 * abs(slope)) < 0.6:
        return
    if 0.75 < slope < 1.33:
        return
    guess = min(_SLOPES, key=lambda text: abs(np.log(abs(slope) / _SLOPES[text])))
    near = slope > 0 and abs(np.log(slope / _SLOPES[guess])) < 0.15
    question = f"are {guess}? " if near else ""
    options = _OPTIONS[guess] if near else "--energy-unit and --force-unit"
    raise UserError(
        f"{origin}: energies change by {slope:.3g} times the work of the forces between frames; "
        f"{question}say {options}, or --energy-unit eV if they are right"
    )


def _ask_size(evidence: UnitEvidence, origin: str) -> None:
    """Hold curvatures and forces against what matter has."""
    forces, contacts = _finite(evidence.forces), _finite(evidence.shortest)
    rms = float(np.median(forces)) if len(forces) else 0.0
    curvatures = np.array(evidence.changes).reshape(-1, 3)[:, 2]
    small = large = False
    if len(curvatures) >= ENOUGH_PAIRS:
        softest = SOFTEST_COVALENT if evidence.covalent else SOFTEST
        small = rms > 1e-3 and 0 < np.quantile(curvatures, 0.9) < softest
        large = np.median(curvatures) > STIFFEST
    calm = len(contacts) > 0 and float(np.median(contacts)) > 0.8
    if small:
        _ask_energy(origin, f"{rms:.2g}, and change as little between frames", "Ha", "Ry")
    if large or (calm and rms > LARGE_FORCES):
        _ask_energy(origin, f"{rms:.3g} on ordinary structures", "kcal/mol", "kJ/mol")


def _finite(values: list[float]) -> np.ndarray:
    array = np.array(values)
    return array[np.isfinite(array)]


def _ask_energy(origin: str, seen: str, unit: str, other: str) -> None:
    raise UserError(
        f"{origin}: forces are {seen}; are energies and forces in {unit} or {other}? say "
        f"--energy-unit {unit} (or {other}), or --energy-unit eV if they are right"
    )


def _ratio_table() -> tuple[dict[str, float], dict[str, str]]:
    """Return the slope that each mixture of units gives, and the options that mend it."""
    slopes, options = {}, {}
    for energy, value_eV in ENERGIES_EV.items():
        if energy != "eV":
            text = f"energies in {energy} and forces in eV/A"
            slopes[text] = 1 / value_eV
            options[text] = f"--energy-unit {energy} --force-unit eV/A"
            text = f"energies in eV and forces in {energy}/A"
            slopes[text] = value_eV
            options[text] = f"--energy-unit eV --force-unit {energy}/A"
        if energy in ("Ha", "Ry"):
            force_eV_A = value_eV / LENGTHS_A["Bohr"]
            text = f"energies in {energy} and forces in {energy}/Bohr"
            slopes[text] = force_eV_A / value_eV
            options[text] = f"--energy-unit {energy} --force-unit {energy}/Bohr"
            text = f"energies in eV and forces in {energy}/Bohr"
            slopes[text] = force_eV_A
            options[text] = f"--energy-unit eV --force-unit {energy}/Bohr"
    return slopes, options


_SLOPES, _OPTIONS = _ratio_table()
