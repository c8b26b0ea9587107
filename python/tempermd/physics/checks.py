"""A potential's tube held against known carbon, and against a reference potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from tempermd.pages import Table, number_text
from tempermd.physics.bands import PhysicsCheck, check_of, radius_band
from tempermd.physics.distributions import overlap, pair_distribution, vibrational_spectrum
from tempermd.physics.motion import FREE_K, Motion, free_motion
from tempermd.physics.statics import RelaxedTube, relax_tube
from tempermd.physics.strength import peak_strain
from tempermd.physics.truth import OwnFrames, errors_in
from tempermd.physics.vibrations import frequencies_THz
from tempermd.records import Record, UserError

if TYPE_CHECKING:
    from ase import Atoms

UNSTABLE_THZ = 0.5
"""Softer imaginary modes are what finite differences make of the four zeros."""
SMOOTHING_THZ = 3.0
LABELLED = 5
"""Frames of the free motion that the truth labels."""


class PhysicsRecord(Record):
    """The checks of one potential on one tube.

    ``fault`` says why there are none, ``notes`` what was left out of them.
    """

    format_name: ClassVar[str] = "tempermd-physics"

    potential: str
    structure: str
    reference: str | None
    checks: list[PhysicsCheck]
    fault: str = ""
    notes: list[str] = Field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all checks are in their bands."""
        return not self.fault and all(check.good for check in self.checks)

    @property
    def sentence(self) -> str:
        """What a reader needs to know first."""
        if self.fault:
            return f"{self.potential} on {self.structure}: no checks, {self.fault}"
        return "; ".join([f"{self.potential} on {self.structure}: {self._said}", *self.notes])

    @property
    def _said(self) -> str:
        bad = [check for check in self.checks if not check.good]
        if not bad:
            return f"all {len(self.checks)} numbers are right"
        what = "; ".join(
            f"{_words(check.name)} {number_text(check.value)} {check.unit} ({check.why})"
            for check in bad
        )
        return f"wrong, though stable: {what}"


def check_physics(
    atoms: Atoms,
    calculator: Any,
    names: tuple[str, str],
    reference: tuple[str, Any] | None = None,
    truth: Any = None,
    *,
    indices: tuple[int, int] | None = None,
    hot: OwnFrames | None = None,
) -> PhysicsRecord:
    """Relax a tube, vibrate it, pull it until it yields, and let it move at 300 K.

    ``pair_distances`` and ``vibrations`` are the common share (1: equal) of the distributions of
    its free motion and the reference's; the errors against the truth are those of `errors_in`.
    A frame without a label is left out and told.

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
        Labels five frames of the potential's own motion, and those in ``hot``.
    indices : (int, int) or None
        Chiral indices of a tube with one wall, by which its radius is judged.
    hot : OwnFrames or None
        Frames of other motions of the potential.

    Returns
    -------
    PhysicsRecord
    """
    fault, checks, notes = "", [], []
    try:
        own, motion = _compared(atoms, calculator, reference, indices)
        frames = [
            OwnFrames(_spread(motion.snapshots), FREE_K, named=False),
            *([hot] if hot else []),
        ]
        found = [errors_in(one, calculator, truth) for one in frames if truth is not None]
        checks = [*own, *(check for errors, _ in found for check in errors)]
        notes = [sentence for _, told in found for sentence in told]
    except UserError as error:
        fault = str(error)
    return PhysicsRecord(
        potential=names[0],
        structure=names[1],
        reference=reference[0] if reference else None,
        checks=checks,
        fault=fault,
        notes=notes,
    )


def _compared(
    atoms: Atoms,
    calculator: Any,
    reference: tuple[str, Any] | None,
    indices: tuple[int, int] | None,
) -> tuple[list[PhysicsCheck], Motion]:
    """Return what one potential says of a tube beside what the reference says, and its motion."""
    own, motion = _numbers(atoms, calculator)
    other: dict[str, tuple[float, str]] = {}
    if reference is not None:
        other, other_motion = _numbers(atoms, reference[1])
        shared = overlaps(motion, other_motion)
        own |= {name: (share, "of the reference's") for name, share in shared.items()}
    bands = {} if indices is None else {"radius": radius_band(*indices)}
    checks = []
    for name, (value, unit) in own.items():
        beside = other[name][0] if name in other else None
        checks.append(check_of(name, value, unit, reference=beside, band=bands.get(name)))
    return checks, motion


def _spread(snapshots: Sequence[Atoms]) -> list[Atoms]:
    """Return a few frames, evenly taken."""
    places = np.linspace(0, len(snapshots) - 1, LABELLED).round().astype(int)
    return [snapshots[place] for place in places]


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


def overlaps(one: Motion, other: Motion) -> dict[str, float]:
    """Return how much two motions share of pair distances and of vibrations (1: equal)."""
    pairs = [pair_distribution(motion.frames) for motion in (one, other)]
    spectra = []
    for motion in (one, other):
        frequency, density = vibrational_spectrum(
            motion.velocities, motion.masses, motion.spacing_ps
        )
        edges = np.arange(0.0, frequency[-1] + SMOOTHING_THZ, SMOOTHING_THZ)
        spectra.append(np.histogram(frequency, bins=edges, weights=density)[0])
    return {"pair_distances": overlap(*pairs), "vibrations": overlap(*spectra)}


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
    for name in dict.fromkeys(name for checks in found for name in checks):
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
