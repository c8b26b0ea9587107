"""What the station makes: an event, and the analysis of one run."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tempermd.events.classes import EventClass, class_of
from tempermd.events.limits import Thresholds
from tempermd.records import Record

Severity = Literal["fatal", "severe", "warn"]
Outcome = Literal["finished", "model_failure", "infrastructure_failure"]


class Event(Record):
    """Something that a healthy run does not show.

    ``step`` is where it began; ``shown_step`` where ``value`` was taken, which is the
    frame that a picture of it should show.
    """

    format_name: ClassVar[str] = "tempermd-event"

    kind: str
    severity: Severity
    step: int
    time_ps: float
    atom_ids: list[int]
    value: float | None
    limit: float | None
    unit: str
    message: str
    shown_step: int | None = None

    @property
    def event_class(self) -> EventClass:
        """What it speaks of: numbers that fail, a structure that cannot be, or perhaps physics."""
        return class_of(self.kind, self.severity)


class RunLabel(BaseModel):
    """Which run this was; every field that is not known stays empty."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str = ""
    model: str = ""
    model_sha256: str | None = None
    potential: str = ""
    structure: str = ""
    protocol: str = ""
    temperature_K: float | None = None
    seed: int | None = None

    @property
    def condition(self) -> str:
        """What was done at which temperature, in words; runs of one condition are alike."""
        kelvin = [] if self.temperature_K is None else [f"{self.temperature_K:g} K"]
        return ", ".join([*filter(None, [self.protocol]), *kelvin]) or "all runs"

    @property
    def is_control(self) -> bool:
        """Whether an empirical potential ran, to prove the detectors."""
        return self.potential not in ("", "nequip")


class Series(BaseModel):
    """One curve for the report: the same number of times and values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit: str
    time_ps: list[float]
    value: list[float | None]


class Analysis(Record):
    """All that was found in one run.

    ``events`` holds the first ones of each kind, ``event_counts`` counts them all.
    ``duration_ps`` is the simulated time that was seen, ``first_severe_ps`` the time of the
    first fatal or severe event, both since the start of the run. ``folder`` is a run directory's.
    ``units`` are those of the trajectory where it does not name its own, ``timestep_fs`` what its
    steps mean where it has no times.
    """

    format_name: ClassVar[str] = "tempermd-analysis"

    label: RunLabel
    outcome: Outcome
    reason: str
    events: list[Event]
    event_counts: dict[str, int]
    notes: list[str]
    thresholds: Thresholds
    n_frames: int
    n_atoms: int
    duration_ps: float
    planned_ps: float | None
    first_severe_ps: float | None
    series: dict[str, Series]
    extremes: dict[str, float]
    trajectory: str | None
    units: str | None = None
    timestep_fs: float | None = None
    elements: dict[int, str]
    folder: str | None
    provenance: dict[str, str]
    versions: dict[str, str]
    wall_s: float | None

    @property
    def survived(self) -> bool:
        """Whether the run ended by itself without a fatal or severe event."""
        return self.outcome == "finished" and self.first_severe_ps is None

    @property
    def failed(self) -> bool:
        """Whether the model is to blame: a fatal or severe event, or its own crash."""
        return self.first_severe_ps is not None or self.outcome == "model_failure"
