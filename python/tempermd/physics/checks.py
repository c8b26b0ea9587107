"""A potential's tube held against known carbon, and against a reference potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tempermd.pages import Table, number_text
from tempermd.physics.distributions import overlap, pair_distribution, vibrational_spectrum
from tempermd.physics.motion import Motion, free_motion
from tempermd.physics.statics import RelaxedTube, relax_tube
from tempermd.physics.strength import peak_strain
from tempermd.physics.vibrations import frequencies_THz
from tempermd.records import Record, Spec, UserError

if TYPE_CHECKING:
    from ase import Atoms

UNSTABLE_THZ = 0.5
"""Softer imaginary modes are what finite differences make of the four zeros."""


class Band(Spec):
    """What a right potential gives, and why."""

    low: float | None
    high: float | None
    why: str


BANDS: dict[str, Band] = {
    "bond": Band(low=1.39, high=1.46, why="graphene's bonds are 1.42 Å"),
    "radius": Band(low=None, high=None, why=""),
    "youngs_modulus": Band(low=0.8, high=1.3, why="about 1 TPa is measured, walls 3.35 Å thick"),
    "stiffness": Band(low=None, high=None, why=""),
    "highest_mode": Band(low=44.0, high=55.0, why="the G band lies near 1,590 / cm, 47.7 THz"),
    "unstable_modes": Band(low=0.0, high=0.0, why="a tube at rest is a minimum"),
    "peak_strain": Band(low=0.15, high=0.30, why="tubes are known to bear up to 15 to 30 %"),
    "pair_distances": Band(low=None, high=None, why=""),
    "vibrations": Band(low=None, high=None, why=""),
    "force_error": Band(low=0.0, high=0.5, why="more than half of the forces' own size"),
    "energy_error": Band(low=None, high=None, why=""),
}
SMOOTHING_THZ = 3.0
LABELLED = 5
"""Frames of the free motion that the truth labels."""


class PhysicsCheck(Spec):
    """One number of a potential, the band it should be in, and the reference's."""

    name: str
    value: float
    unit: str
    low: float | None
    high: float | None
    why: str
    reference: float | None

    @property
    def good(self) -> bool:
        """Whether it is in its band, where it has one."""
        return (self.low is None or self.value >= self.low) and (
            self.high is None or self.value <= self.high
        )


class PhysicsRecord(Record):
    """The checks of one potential on one tube; ``fault`` says why there are none."""

    format_name: ClassVar[str] = "tempermd-physics"

    potential: str
    structure: str
    reference: str | None
    checks: list[PhysicsCheck]
    fault: str = ""

    @property
    def good(self) -> bool:
        """Whether all checks are in their bands."""
        return not self.fault and all(check.good for check in self.checks)

    @property
    def sentence(self) -> str:
        """What a reader needs to know first."""
        if self.fault:
            return f"{self.potential} on {self.structure}: no checks, {self.fault}"
        bad = [check for check in self.checks if not check.good]
        if not bad:
            return f"{self.potential} on {self.structure}: all {len(self.checks)} numbers are right"
        what = "; ".join(
            f"{_words(check.name)} {number_text(check.value)} {check.unit} ({check.why})"
            for check in bad
        )
        return f"{self.potential} on {self.structure}: wrong, though stable: {what}"


def check_physics(
    atoms: Atoms,
    calculator: Any,
    names: tuple[str, str],
    reference: tuple[str, Any] | None = None,
    truth: Any = None,
) -> PhysicsRecord:
    """Relax a tube, vibrate it, pull it until it yields, and let it move at 300 K.

    ``pair_distances`` and ``vibrations`` are the common share (1: equal) of the distributions of
    its free motion and the reference's; ``force_error`` is the RMS deviation from the truth's
    forces in frames of that motion over their RMS, ``energy_error`` the standard deviation of
    the energy's per atom.

    Parameters
    ----------
    atoms : Atoms
        Periodic along z; a hundred atoms or fewer, for each is moved six times.
    calculator
        Of ASE.
    names : (str, str)
        Of the potential and of the structure.
    reference : (str, calculator) or None
        Another potential to hold it against.
    truth : calculator or None
        Labels five frames of the potential's own motion.

    Returns
    -------
    PhysicsRecord
    """
    fault, checks = "", []
    try:
        own, motion = _numbers(atoms, calculator)
        other, other_motion = _numbers(atoms, reference[1]) if reference else ({}, None)
        if other_motion is not None:
            own |= _likeness(motion, other_motion)
        if truth is not None:
            own |= _errors(motion, calculator, truth)
        checks = [_check(name, *found, other.get(name)) for name, found in own.items()]
    except UserError as error:
        fault = str(error)
    return PhysicsRecord(
        potential=names[0],
        structure=names[1],
        reference=reference[0] if reference else None,
        checks=checks,
        fault=fault,
    )


def _check(name: str, value: float, unit: str, other: tuple[float, str] | None) -> PhysicsCheck:
    """Put a number beside its band and the reference's."""
    band = BANDS[name]
    return PhysicsCheck(
        name=name,
        value=value,
        unit=unit,
        low=band.low,
        high=band.high,
        why=band.why,
        reference=other[0] if other else None,
    )


def _numbers(atoms: Atoms, calculator: Any) -> tuple[dict[str, tuple[float, str]], Motion]:
    """Return what one potential says of a tube, and how its tube moves."""
    tube = relax_tube(atoms, calculator)
    found = _at_rest(tube, calculator)
    found["peak_strain"] = (peak_strain(tube.atoms, calculator), "of its length")
    return found, free_motion(tube.atoms, calculator)


def _at_rest(tube: RelaxedTube, calculator: Any) -> dict[str, tuple[float, str]]:
    modes = frequencies_THz(tube.atoms, calculator)
    return {
        "bond": (tube.bond_A, "Å"),
        "radius": (tube.radius_A, "Å"),
        "youngs_modulus": (tube.youngs_modulus_TPa, "TPa"),
        "stiffness": (tube.stiffness_N_per_m, "N/m"),
        "highest_mode": (float(modes.max()), "THz"),
        "unstable_modes": (float(np.sum(modes < -UNSTABLE_THZ)), "modes"),
    }


def _likeness(one: Motion, other: Motion) -> dict[str, tuple[float, str]]:
    """Return how much of their distributions two motions share."""
    pairs = [pair_distribution(motion.frames) for motion in (one, other)]
    spectra = []
    for motion in (one, other):
        frequency, density = vibrational_spectrum(
            motion.velocities, motion.masses, motion.spacing_ps
        )
        edges = np.arange(0.0, frequency[-1] + SMOOTHING_THZ, SMOOTHING_THZ)
        spectra.append(np.histogram(frequency, bins=edges, weights=density)[0])
    return {
        "pair_distances": (overlap(*pairs), "of the reference's"),
        "vibrations": (overlap(*spectra), "of the reference's"),
    }


def _errors(motion: Motion, calculator: Any, truth: Any) -> dict[str, tuple[float, str]]:
    """Return how far a potential is from the truth along its own trajectory."""
    spread = np.linspace(0, len(motion.snapshots) - 1, LABELLED).round().astype(int)
    force_errors, true_forces, energy_errors = [], [], []
    for number in spread:
        atoms = motion.snapshots[number]
        forces = truth.get_forces(atoms)
        true_forces.append(forces)
        force_errors.append(calculator.get_forces(atoms) - forces)
        difference_eV = calculator.get_potential_energy(atoms) - truth.get_potential_energy(atoms)
        energy_errors.append(difference_eV / len(atoms))
    rms = [float(np.sqrt(np.mean(np.square(values)))) for values in (force_errors, true_forces)]
    return {
        "force_error": (rms[0] / rms[1], "of their size"),
        "energy_error": (1000 * float(np.std(energy_errors)), "meV/atom"),
    }


def physics_table(records: Sequence[PhysicsRecord]) -> Table:
    """Return the checks of several potentials side by side, the reference last."""
    places = {record.structure for record in records}
    names = [
        record.potential if len(places) == 1 else f"{record.potential}, {record.structure}"
        for record in records
    ]
    found = [{check.name: check for check in record.checks} for record in records]
    reference = next((record.reference for record in records if record.reference), None)
    if reference in names:
        reference = None  # it has a column of its own
    rows = []
    for name in (one for one in BANDS if any(one in checks for checks in found)):
        known = next(checks[name] for checks in found if name in checks)
        ends = [number_text(end) if end is not None else "" for end in (known.low, known.high)]
        unit = "" if name.endswith(known.unit) else f", {known.unit}"
        row = [f"{_words(name)}{unit}", " to ".join(ends) if any(ends) else "–"]
        row += [_value_text(checks.get(name)) for checks in found]
        if reference is not None:
            values = [checks[name].reference for checks in found if name in checks]
            row.append(number_text(next((one for one in values if one is not None), None)))
        rows.append(row)
    head = ["what", "band", *names, *([] if reference is None else [f"reference {reference}"])]
    return Table(title="Physics checks", head=head, rows=rows)


def _value_text(check: PhysicsCheck | None) -> str:
    """Return a number, and a word where it is out of its band."""
    if check is None:
        return "–"
    return number_text(check.value) if check.good else f"{number_text(check.value)} wrong"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("youngs", "Young's")
