"""All detectors that look at thermo output, fed by one log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tempermd.events.curves import thermo_curves
from tempermd.events.limits import Thresholds
from tempermd.events.numbers import NonFiniteThermo
from tempermd.events.products import Event, Series
from tempermd.events.settings import damping_from_log, stages_from_log
from tempermd.events.thermostat import EnergyDrift, Temperature
from tempermd.events.uncertainty import Uncertainty
from tempermd.md import Stage
from tempermd.trajectory import Thermo


class LogWatch:
    """Passes a log through its detectors, each part of it by itself.

    Parameters
    ----------
    limits : Thresholds
    stages : sequence of Stage or None
        What the run was meant to do; None to read it from the log, part by part: a log whose steps
        begin anew tells of several moments by one step.
    n_atoms : int
    timestep_fs : float
    damping_fs : float or None
        None to read it from the log.
    """

    def __init__(
        self,
        limits: Thresholds,
        stages: Sequence[Stage] | None,
        n_atoms: int,
        timestep_fs: float,
        damping_fs: float | None,
    ) -> None:
        self._limits = limits
        self._stages = stages
        self._n_atoms = n_atoms
        self._timestep_fs = timestep_fs
        self._damping_fs = damping_fs
        self._band = np.empty((0, 4))
        self._events: list[Event] = []
        self._notes: list[str] = []
        self._thermo: Thermo | None = None

    def take(self, thermo: Thermo) -> None:
        """Look at a whole log."""
        self._thermo = thermo
        parts = thermo.parts() if self._stages is None else [thermo]
        stages_of = [
            stages_from_log(part) if self._stages is None else self._stages for part in parts
        ]
        for number, (part, stages) in enumerate(zip(parts, stages_of, strict=True), start=1):
            where = f" (part {number} of {len(parts)} of the log)" if len(parts) > 1 else ""
            for event in self._judge(part, stages):
                told = event.model_copy(update={"message": event.message + where})
                self._events.append(told)
        if len(parts) > 1:
            times = "once" if len(parts) == 2 else f"{len(parts) - 1} times"
            self._notes.append(
                f"the log's steps begin anew {times}: its parts were judged one by one, each "
                "dated by its own steps"
            )
        self._notes += _unseen(thermo, [stage for stages in stages_of for stage in stages])
        if thermo.truncated:
            self._notes.append("the log is cut off inside a run")

    def _judge(self, thermo: Thermo, stages: Sequence[Stage]) -> list[Event]:
        """Return the events of thermo output in which every step means one moment."""
        limits, timestep_fs = self._limits, self._timestep_fs
        damping_fs = damping_from_log(thermo) if self._damping_fs is None else self._damping_fs
        numbers = NonFiniteThermo(timestep_fs)
        drift = EnergyDrift(limits.energy_drift, stages, self._n_atoms, timestep_fs)
        temperature = Temperature(
            limits.temperature, stages, self._n_atoms, timestep_fs, damping_fs
        )
        doubt = Uncertainty(limits.uncertainty, timestep_fs)
        detectors = (numbers, temperature, drift, doubt)
        for detector in detectors:
            detector.update(thermo)
        self._band = temperature.band
        self._notes += drift.notes
        return [event for detector in detectors for event in detector.finish()]

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events

    def series(self) -> dict[str, Series]:
        """Return the curves of the log; where steps begin anew, each step's last line."""
        if self._thermo is None:
            return {}
        return thermo_curves(self._thermo, self._band, self._n_atoms, self._timestep_fs)

    def notes(self) -> list[str]:
        """Say what could not be judged, each thing once."""
        return list(dict.fromkeys(self._notes))


def _unseen(thermo: Thermo, stages: Sequence[Stage]) -> list[str]:
    """Say which thermo output is missing, and that no target is known for the rest."""
    n_runs, n_with = thermo.n_runs(), thermo.n_runs("Temp")
    if not n_runs and thermo.undated:
        return ["the log's thermo output has no Step column: temperature and drift were not judged"]
    if not n_runs:
        return [
            "the log has no thermo output (of thermo_style one, custom or yaml): temperature and "
            "drift were not judged"
        ]
    found = ["thermo output without a Step column was left out"] if thermo.undated else []
    if not n_with:
        found.append("the log has no Temp column: the temperature was not judged")
    elif not any(stage.has_target for stage in stages):
        found.append("no target temperature known: the temperature was not judged")
    elif n_with < n_runs:
        found.append(
            f"{n_runs - n_with} of {n_runs} runs in the log have no Temp column: there the "
            "temperature was not judged"
        )
    return found
