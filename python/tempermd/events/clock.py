"""The time of each frame, also where a dump holds a run that went on, or two runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tempermd.records import UserError
from tempermd.trajectory import Frame

GAP = 3.0
"""So many times as far apart as those before and those after, something is missing in between."""


def gap_notes(times_ps: Sequence[float] | np.ndarray, what: str) -> list[str]:
    """Say where frames, or thermo lines, are missing within a run.

    Output that becomes sparser from some time on has no gap there.
    """
    between = np.diff(times_ps)
    if len(between) < 3:
        return []
    beside = np.maximum(between[:-2], between[2:])
    gaps = 1 + np.flatnonzero(between[1:-1] > GAP * beside)
    if not gaps.size:
        return []
    widest = gaps[np.argmax(between[gaps])]
    begin, end = times_ps[widest], times_ps[widest + 1]
    often = "" if gaps.size == 1 else f" and {gaps.size - 1} times more"
    return [f"{what} are missing from {begin:.3g} to {end:.3g} ps{often}"]


def check_timestep(timestep_fs: float | None) -> None:
    """Refuse a given timestep that is not a positive number of fs."""
    if timestep_fs is not None and not (math.isfinite(timestep_fs) and timestep_fs > 0):
        raise UserError(
            f"expected a timestep above 0 fs, got {timestep_fs:g}; give the run's own, or none "
            "where the dump or the log tells it"
        )


class Clock:
    """Gives frames their time, which only ever rises.

    A run that went on from a restart repeats steps that the dump has already: those are left
    out. Where steps begin anew, a second run follows, and its time goes on after the first's.

    Parameters
    ----------
    dump : Path
        For messages.
    timestep_fs : float or None
        For dumps without times.
    """

    def __init__(self, dump: Path, timestep_fs: float | None) -> None:
        self._dump = dump
        self._timestep_fs = timestep_fs
        self._first_step: int | None = None
        self._last: tuple[int, float] | None = None
        self._spacing_ps = 0.0
        self._offset_ps = 0.0
        self._n_repeated = 0
        self._n_anew = 0

    def time_ps(self, frame: Frame) -> float | None:
        """Return the time of the next frame (ps), or None where it repeats what was seen."""
        own_ps = self._own_ps(frame)
        if self._last is None or self._first_step is None:
            self._first_step, self._last = frame.step, (frame.step, own_ps)
            return own_ps
        last_step, last_ps = self._last
        if self._first_step < frame.step <= last_step:
            self._n_repeated += 1
            return None
        if frame.step <= self._first_step:
            self._n_anew += 1
            self._first_step = frame.step
            self._offset_ps = last_ps + self._spacing_ps - own_ps
        now_ps = own_ps + self._offset_ps
        if frame.step > last_step:
            self._spacing_ps = now_ps - last_ps
        self._last = frame.step, now_ps
        return now_ps

    def _own_ps(self, frame: Frame) -> float:
        """Return a frame's time by the dump or by its step."""
        if frame.time_ps is not None:
            return frame.time_ps
        if self._timestep_fs is None:
            raise UserError(f"{self._dump}: the dump has no times; give the timestep in fs")
        return frame.step * self._timestep_fs / 1000

    def notes(self) -> list[str]:
        """Say what was left out or joined."""
        found = []
        if self._n_repeated:
            found.append(f"{self._n_repeated} frames repeat steps and were left out (a restart?)")
        if self._n_anew:
            often = "once" if self._n_anew == 1 else f"{self._n_anew} times"
            found.append(f"steps begin anew {often}: the runs were joined in time")
        return found
