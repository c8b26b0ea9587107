"""The detectors' limits, read strictly from a thresholds file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt

from tempermd.records import Spec, UserError, read_spec

DEFAULT_FILE = Path(__file__).parent.parent / "thresholds.toml"


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
    if limits.bond.broken_A < limits.bond.made_A:
        raise UserError(f"{path}: expected bond.broken_A >= bond.made_A; mend one of them")
    if limits.close_contact.warn_A < limits.close_contact.severe_A:
        raise UserError(f"{path}: expected close_contact.warn_A >= severe_A; mend one of them")
    return limits
