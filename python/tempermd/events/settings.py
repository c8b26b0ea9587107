"""Settings of a foreign run, read from what its log echoes and its dump tells."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from tempermd.md import Stage
from tempermd.trajectory import Thermo, ThermoRun, iter_frames

USUAL_DAMPING_FS = 100.0


def stages_from_log(thermo: Thermo | None) -> list[Stage]:
    """Read ramps, holds and runs without a thermostat from the fixes that a log echoes.

    A run is free only where the log says so: fix nve and nothing else that could change its energy.
    Runs that follow one another under the same settings are one stage. What a box was deformed by
    is taken to be meant to break.
    """
    stages = []
    for run in thermo.runs if thermo is not None else ():
        steps = run.columns.get("Step", np.empty(0))
        if run.minimised or len(steps) < 2:
            continue
        start_K, stop_K, _ = run.thermostat or (0.0, 0.0, 0.0)
        stage = Stage(
            kind=_kind(run),
            first_step=int(steps[0]),
            last_step=int(steps[-1]),
            start_temperature_K=start_K,
            stop_temperature_K=stop_K,
            box=run.box,
            breaks=run.box == "deformed",
            unaccounted=run.unaccounted,
        )
        if stages and not run.anew and _goes_on(stages[-1], stage):
            stage = stage.model_copy(update={"first_step": stages.pop().first_step})
        stages.append(stage)
    return stages


def _kind(run: ThermoRun) -> Literal["ramp", "hold", "free", "unknown"]:
    if run.thermostat is None:
        return "unknown" if run.unaccounted else "free"
    start_K, stop_K, _ = run.thermostat
    return "hold" if start_K == stop_K else "ramp"


def _goes_on(before: Stage, stage: Stage) -> bool:
    """Tell whether a hold goes on from where another ended, nothing changed."""
    joint = {"first_step": 0, "last_step": 0}
    same = before.model_copy(update=joint) == stage.model_copy(update=joint)
    return same and stage.kind != "ramp" and before.last_step == stage.first_step


def damping_from_log(thermo: Thermo | None) -> float:
    """Return the thermostat's time constant in fs, the usual one where the log has none."""
    runs = thermo.runs if thermo is not None else ()
    return next((run.thermostat[2] * 1000 for run in runs if run.thermostat), USUAL_DAMPING_FS)


def timestep_from_log(thermo: Thermo | None) -> float | None:
    """Return the timestep in fs by the echoed command or by the Time column."""
    for run in thermo.runs if thermo is not None else ():
        if run.minimised:
            continue
        steps, times = run.columns.get("Step"), run.columns.get("Time")
        if steps is not None and times is not None and len(steps) > 1 and steps[-1] > steps[0]:
            return float((times[-1] - times[0]) / (steps[-1] - steps[0])) * 1000
        if run.timestep_fs is not None:
            return run.timestep_fs
    return None


def timestep_from_dump(dump: Path | str, units: str | None = None) -> float | None:
    """Return the timestep in fs by the times of the first two frames."""
    frames = iter_frames(dump, units)
    first, second = next(frames, None), next(frames, None)
    if first is None or second is None or first.time_ps is None or second.time_ps is None:
        return None
    steps = second.step - first.step
    return (second.time_ps - first.time_ps) / steps * 1000 if steps > 0 else None
