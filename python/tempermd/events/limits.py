"""The detectors' limits, read strictly from a thresholds file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt

from tempermd.records import Spec, UserError, read_spec

DEFAULT_FILE = Path(__file__).parent.parent / "thresholds.toml"


ORDERED = (
    ("bond.broken_A", "bond.made_A"),
    ("close_contact.warn_A", "close_contact.severe_A"),
    ("dangling.severe_share", "dangling.warn_share"),
    ("force_spike.severe_eV_per_A", "force_spike.warn_eV_per_A"),
    ("uncertainty.severe_eV_per_A", "uncertainty.warn_eV_per_A"),
    ("energy_drift.severe_eV_per_atom_ps", "energy_drift.warn_eV_per_atom_ps"),
)
"""Pairs of limits of which the first may not be smaller."""


class BondLimits(Spec):
    """Hysteresis of a bond: made at or below one distance, broken at or above another."""

    made_A: PositiveFloat
    broken_A: PositiveFloat


class DetachedLimits(Spec):
    """When atoms outside their body count as lost to it."""

    outside_ps: float = Field(ge=0)
    distance_A: PositiveFloat


class ContactLimits(Spec):
    """Distances that no healthy tube shows."""

    severe_A: PositiveFloat
    warn_A: PositiveFloat
    pause_ps: float = Field(ge=0)


class OvercoordinatedLimits(Spec):
    """How many atoms of a wall may have four bonds or more, and for how long any may have five."""

    share: PositiveFloat
    lasting_ps: float = Field(ge=0)


class DanglingLimits(Spec):
    """How many atoms of a wall may lose a bond, and for how long."""

    warn_share: PositiveFloat
    severe_share: PositiveFloat
    lasting_ps: float = Field(ge=0)


class RingLimits(Spec):
    """How long changed bonds and damage must last, and the rate at which heat rotates bonds."""

    lasting_ps: float = Field(ge=0)
    damage_ps: float = Field(ge=0)
    barrier_eV: PositiveFloat
    prefactor_per_s: PositiveFloat
    least_chance: float = Field(gt=0, lt=1)


class InterwallLimits(Spec):
    """How long a bond between two walls must last."""

    lasting_ps: float = Field(ge=0)


class SeveredLimits(Spec):
    """How long a tube must be cut through."""

    lasting_ps: float = Field(ge=0)


class ShapeLimits(Spec):
    """How far and how long the cross-section of a tube may leave its first shape."""

    slice_A: PositiveFloat
    radius_share: PositiveFloat
    ellipticity: float = Field(gt=1)
    kink_ellipticity: float = Field(gt=1)
    walls_apart_A: PositiveFloat
    lasting_ps: float = Field(ge=0)


class HotAtomLimits(Spec):
    """Kinetic energy of an atom in units of kT at the target temperature, and that one's lag."""

    kT: PositiveFloat
    lag_ps: PositiveFloat = 0.2  # records of before have none
    pause_ps: float = Field(ge=0)


class ForceLimits(Spec):
    """Sizes of the force on an atom."""

    warn_eV_per_A: PositiveFloat
    severe_eV_per_A: PositiveFloat
    pause_ps: float = Field(ge=0)


class UncertaintyLimits(Spec):
    """Largest committee deviation of a force, and for how many evaluations in a row."""

    column: str
    warn_eV_per_A: PositiveFloat
    severe_eV_per_A: PositiveFloat
    evaluations: PositiveInt


class BoxLimits(Spec):
    """How far the length of a tube's axis may go under constant pressure."""

    axial_share: PositiveFloat
    lasting_ps: float = Field(ge=0)


class TemperatureLimits(Spec):
    """How far and how long the temperature may leave its target."""

    sigmas: PositiveFloat
    damping_times: float = Field(ge=0)
    equilibration_damping_times: float = Field(ge=0)
    lag_damping_times: PositiveFloat
    runaway_factor: float = Field(gt=1)


class DriftLimits(Spec):
    """Slopes of the conserved energy in a hold."""

    warn_eV_per_atom_ps: PositiveFloat
    severe_eV_per_atom_ps: PositiveFloat
    shortest_hold_ps: PositiveFloat


class MinimumLimits(Spec):
    """Depth below the pristine structure that makes a minimum spurious."""

    depth_eV_per_atom: PositiveFloat


class Thresholds(Spec):
    """All limits of the detectors; ``python/tempermd/thresholds.toml`` gives the reasons."""

    events_per_kind: PositiveInt
    bond: BondLimits
    detached: DetachedLimits
    close_contact: ContactLimits
    overcoordinated: OvercoordinatedLimits
    dangling: DanglingLimits
    ring_change: RingLimits
    interwall_bond: InterwallLimits
    severed: SeveredLimits
    shape: ShapeLimits
    hot_atom: HotAtomLimits
    force_spike: ForceLimits
    uncertainty: UncertaintyLimits
    box: BoxLimits
    temperature: TemperatureLimits
    energy_drift: DriftLimits
    spurious_minimum: MinimumLimits


def read_thresholds(path: Path | str | None = None) -> Thresholds:
    """Read a thresholds file, by default the one shipped with the package.

    Parameters
    ----------
    path : path or None
        A TOML file with every key of the shipped ``thresholds.toml``.

    Returns
    -------
    Thresholds
    """
    path = DEFAULT_FILE if path is None else path
    limits = read_spec(path, Thresholds)
    for harder, easier in ORDERED:
        if value_of(limits, harder) < value_of(limits, easier):
            raise UserError(f"{path}: expected {harder} >= {easier}; mend one of them")
    return limits


def value_of(limits: Thresholds, name: str) -> float:
    """Return a limit by its name in `ORDERED`, SECTION.KEY."""
    section, key = name.split(".")
    return getattr(getattr(limits, section), key)
