"""Temperature that leaves its target, and energy that is not conserved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tempermd.events.limits import DriftLimits, TemperatureLimits
from tempermd.events.products import Event
from tempermd.events.protocol import follow
from tempermd.md import Stage
from tempermd.trajectory import Thermo

CONSERVED_IN = {"hold": ("Econserve",), "free": ("Econserve", "TotEng")}
"""Columns that a sound run conserves, by the kind of its stage; the first one known counts."""


def target_band(
    steps: np.ndarray,
    stages: Sequence[Stage],
    timestep_fs: float,
    lag_ps: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the target temperature and the one that the thermostat can follow, in K.

    The lagged target L obeys dL/dt = (T(t) - L) / lag, from the first stage's start; each
    interval between thermo lines is integrated exactly for a linear T(t).

    Parameters
    ----------
    steps : (m,) array
        Steps of the thermo lines.
    stages : sequence of Stage
    timestep_fs : float
    lag_ps : float

    Returns
    -------
    target, lagged : (m,) arrays, K
        NaN outside all stages.
    """
    target = np.full(len(steps), np.nan)
    lagged = np.full(len(steps), np.nan)
    for stage in stages:
        if not stage.has_target:
            continue
        rows = (steps >= stage.first_step) & (steps <= stage.last_step)
        length = max(stage.last_step - stage.first_step, 1)
        part = (steps[rows] - stage.first_step) / length
        rise = stage.stop_temperature_K - stage.start_temperature_K
        target[rows] = stage.start_temperature_K + part * rise
    following = None
    for row in np.flatnonzero(np.isfinite(target)):
        if following is None:
            following = target[row]
        else:
            interval_ps = (steps[row] - steps[row - 1]) * timestep_fs / 1000
            before = target[row - 1] if np.isfinite(target[row - 1]) else target[row]
            following = follow(following, before, target[row], interval_ps / lag_ps)
        lagged[row] = following
    return target, lagged


class Temperature:
    """Temperature beyond its canonical fluctuations for long, or far beyond them at once.

    In a canonical ensemble sigma = T sqrt(2 / 3N) (Frenkel and Smit, Understanding Molecular
    Simulation, section 6.1). The thermo lines come all at once: call ``update`` once.
    """

    def __init__(
        self,
        limits: TemperatureLimits,
        stages: Sequence[Stage],
        n_atoms: int,
        timestep_fs: float,
        damping_fs: float,
    ) -> None:
        self._limits = limits
        self._stages = stages
        self._relative_sigma = math.sqrt(2.0 / (3.0 * n_atoms))
        self._timestep_fs = timestep_fs
        self._damping_ps = damping_fs / 1000
        self._events: list[Event] = []
        self.band = np.empty((0, 4))

    def update(self, thermo: Thermo) -> None:
        """Look at all lines of a log; ``band`` gets time, target, low and high, (m, 4)."""
        table = thermo.table(["Temp"])
        table = table[np.isfinite(table[:, 1])]
        steps, temperature = table[:, 0], table[:, 1]
        lag_ps = self._limits.lag_damping_times * self._damping_ps
        target, lagged = target_band(steps, self._stages, self._timestep_fs, lag_ps)
        wide = self._limits.sigmas * self._relative_sigma
        low = np.minimum(target, lagged) * (1 - wide)
        high = np.maximum(target, lagged) * (1 + wide)
        times = steps * self._timestep_fs / 1000
        self.band = np.stack([times, target, low, high], axis=1)
        highest = np.maximum(target, lagged)
        self._find_runaway(steps, temperature, highest)
        beyond = ((temperature < low) | (temperature > high)) & self._settled(steps)
        nearest = np.where(temperature > highest, highest, np.minimum(target, lagged))
        deviation = (temperature - nearest) / (nearest * self._relative_sigma)
        self._find_spells(steps, temperature, deviation, beyond)

    def _settled(self, steps: np.ndarray) -> np.ndarray:
        """Whether a step is in a ramp, or in a hold after its equilibration; (m,) bool."""
        wait_ps = self._limits.equilibration_damping_times * self._damping_ps
        settled = np.zeros(len(steps), dtype=bool)
        for stage in self._stages:
            if not stage.has_target:
                continue
            wait = wait_ps * 1000 / self._timestep_fs if stage.kind == "hold" else 0.0
            settled |= (steps >= stage.first_step + wait) & (steps <= stage.last_step)
        return settled

    def _find_spells(
        self,
        steps: np.ndarray,
        temperature: np.ndarray,
        deviation: np.ndarray,
        beyond: np.ndarray,
    ) -> None:
        """Report each unbroken spell beyond the band that lasts long enough."""
        least_ps = self._limits.damping_times * self._damping_ps
        edges = np.flatnonzero(np.diff(np.concatenate([[0], beyond.astype(int), [0]])))
        for begin, end in edges.reshape(-1, 2):
            lasted_ps = (steps[end - 1] - steps[begin]) * self._timestep_fs / 1000
            if lasted_ps < least_ps - 1e-9:
                continue
            worst = begin + int(np.argmax(np.abs(deviation[begin:end])))
            self._report(
                steps[begin],
                steps[worst],
                value=float(deviation[worst]),
                limit=self._limits.sigmas,
                unit="σ",
                message=(
                    f"beyond {self._limits.sigmas:g} σ of its target for {lasted_ps:.2f} ps; "
                    f"at worst {temperature[worst]:.0f} K"
                ),
            )

    def _find_runaway(
        self, steps: np.ndarray, temperature: np.ndarray, highest: np.ndarray
    ) -> None:
        """Report the first line far above the target."""
        away = np.flatnonzero(temperature > self._limits.runaway_factor * highest)
        if not away.size:
            return
        first, worst = away[0], away[np.argmax(temperature[away])]
        later = f", later {temperature[worst]:.3g} K" if worst != first else ""
        self._report(
            steps[first],
            steps[first],
            value=float(temperature[first]),
            limit=float(self._limits.runaway_factor * highest[first]),
            unit="K",
            message=(
                f"ran away to {temperature[first]:.0f} K with a target of {highest[first]:.0f} K"
                f"{later}"
            ),
        )

    def _report(
        self, step: float, shown: float, *, value: float, limit: float, unit: str, message: str
    ) -> None:
        self._events.append(
            Event(
                kind="temperature",
                severity="severe",
                step=int(step),
                time_ps=float(step) * self._timestep_fs / 1000,
                atom_ids=[],
                value=value,
                limit=limit,
                unit=unit,
                message=message,
                shown_step=int(shown),
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


class EnergyDrift:
    """Slope of the conserved energy in each hold and free run at a fixed box, by least squares.

    Econserve, or the total energy of a free run whose log has no Econserve. ``notes`` says once
    for each reason where no slope was judged; a ramp is none of them, for it conserves nothing.
    """

    def __init__(
        self, limits: DriftLimits, stages: Sequence[Stage], n_atoms: int, timestep_fs: float
    ) -> None:
        self._limits = limits
        self._stages = stages
        self._n_atoms = n_atoms
        self._timestep_ps = timestep_fs / 1000
        self._events: list[Event] = []
        self.notes: list[str] = []

    def update(self, thermo: Thermo) -> None:
        """Look at all lines of a log."""
        left_out: dict[str, list[Stage]] = {}
        for stage in self._stages if thermo.n_runs() else ():
            reason = "" if stage.kind == "ramp" else self._judge(thermo, stage)
            if reason:
                left_out.setdefault(reason, []).append(stage)
        for reason, stages in left_out.items():
            where = f"the {_name(stages[0])} from step {stages[0].first_step}"
            more = f" and {len(stages) - 1} more" if len(stages) > 1 else ""
            self.notes.append(f"energy drift was not judged in {where}{more}: {reason}")

    def _judge(self, thermo: Thermo, stage: Stage) -> str:
        """Fit a line to a stage and report its slope, or say why that would tell nothing."""
        if stage.box != "fixed":
            return "a barostat moves the box" if stage.box == "barostat" else "the box is deformed"
        if stage.unaccounted or stage.kind not in CONSERVED_IN:
            return stage.unaccounted or "nothing is known about what moved its atoms"
        columns = CONSERVED_IN[stage.kind]
        if not any(map(thermo.n_runs, columns)):
            return f"the log has no {' or '.join(columns)} column"
        column, times, energies = self._lines(thermo, stage)
        n_lines = len(times)  # each stands for the time to the next one
        length_ps = np.ptp(times) * n_lines / (n_lines - 1) if n_lines > 1 else 0.0
        if n_lines < 3 or length_ps < self._limits.shortest_hold_ps - 1e-9:
            least_ps = self._limits.shortest_hold_ps
            return f"{length_ps:.2f} ps of {column}, {least_ps:g} ps needed"
        slope, rms = line_through(times, energies)
        message = (
            f"{column} drifts by {slope:.2g} eV/atom/ps over {length_ps:.1f} ps of the "
            f"{_name(stage)}, {rms:.2g} eV/atom rms about the line"
        )
        self._report(stage, slope, message)
        return ""

    def _lines(self, thermo: Thermo, stage: Stage) -> tuple[str, np.ndarray, np.ndarray]:
        """Return the column, times (m,) in ps and energies (m,) in eV/atom, finite only.

        The first column of `CONSERVED_IN` that has any number in this stage. A line at the very
        step where the next stage begins is that one's.
        """
        columns = CONSERVED_IN[stage.kind]
        table = thermo.table([*columns])
        inside = (table[:, 0] >= stage.first_step) & (table[:, 0] <= stage.last_step)
        if any(other.first_step == stage.last_step for other in self._stages):
            inside &= table[:, 0] < stage.last_step
        finite = np.isfinite(table[:, 1:]) & inside[:, None]
        number = int(np.argmax(finite.any(axis=0)))
        rows = table[finite[:, number]]
        return (
            columns[number],
            rows[:, 0] * self._timestep_ps,
            rows[:, 1 + number] / self._n_atoms,
        )

    def _report(self, stage: Stage, slope: float, message: str) -> None:
        limits = self._limits
        severe = abs(slope) > limits.severe_eV_per_atom_ps
        if not severe and abs(slope) <= limits.warn_eV_per_atom_ps:
            return
        self._events.append(
            Event(
                kind="energy_drift",
                severity="severe" if severe else "warn",
                step=stage.first_step,
                time_ps=stage.first_step * self._timestep_ps,
                atom_ids=[],
                value=slope,
                limit=limits.severe_eV_per_atom_ps if severe else limits.warn_eV_per_atom_ps,
                unit="eV/atom/ps",
                message=message,
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


def _name(stage: Stage) -> str:
    return "hold" if stage.kind == "hold" and stage.box == "fixed" else "run"


def line_through(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the least squares slope of y over x, and the rms distance from the line."""
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    residual = y - y.mean() - slope * centred
    return slope, float(np.sqrt(np.mean(residual**2)))
