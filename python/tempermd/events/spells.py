"""How long a condition has held: without a break, or with pauses too short to count."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

SLACK_PS = 1e-9


class Spells:
    """Unbroken spells of a condition: when each began, and which are long enough.

    Frames tell of moments only: a spell counts from the first frame that shows it.

    Parameters
    ----------
    size : int
        Number of things (atoms, walls) whose condition is followed.
    """

    def __init__(self, size: int) -> None:
        self.since_ps = np.full(size, np.nan)
        self.since_step = np.zeros(size, dtype=np.int64)
        self._told = np.zeros(size, dtype=bool)
        self._any = False

    def update(self, holds: np.ndarray, time_ps: float, step: int) -> None:
        """Take in for which of the things the condition holds now, (size,) bool."""
        was_any, self._any = self._any, bool(holds.any())
        if not was_any and not self._any:
            return
        began = holds & np.isnan(self.since_ps)
        self.since_ps[began] = time_ps
        self.since_step[began] = step
        self.since_ps[~holds] = np.nan
        self._told &= holds

    @property
    def running(self) -> np.ndarray:
        """For which the condition holds now, (size,) bool."""
        return ~np.isnan(self.since_ps)

    def due(self, least_ps: float, time_ps: float) -> np.ndarray:
        """Return for which the condition has held for so long, each spell once, (size,) bool."""
        if not self._any:
            return np.zeros(len(self._told), dtype=bool)
        lasting = time_ps - self.since_ps >= least_ps - SLACK_PS  # NaN compares as false
        new = lasting & ~self._told
        self._told |= new
        return new

    def began(self, chosen: np.ndarray | int) -> tuple[int, float]:
        """Return step and time (ps) at which the earliest of the chosen spells began."""
        mask = np.zeros(len(self.since_ps), dtype=bool)
        mask[chosen] = True
        first = int(np.argmin(np.where(mask & self.running, self.since_ps, np.inf)))
        return int(self.since_step[first]), float(self.since_ps[first])


@dataclass
class Spike:
    """A value beyond its limit, from its first frame to its last."""

    step: int
    time_ps: float
    last_ps: float
    worst: float
    worst_step: int


class Spikes:
    """Values beyond a limit, by atom or by pair; a short pause ends nothing.

    Parameters
    ----------
    pause_ps : float
        What comes back within this time belongs to the same spike.
    least : bool
        Whether small values are the bad ones.
    """

    def __init__(self, pause_ps: float, *, least: bool = False) -> None:
        self._pause_ps = pause_ps
        self._sign = -1.0 if least else 1.0
        self._open: dict[Hashable, Spike] = {}
        self._closed: list[tuple[Hashable, Spike]] = []

    def update(self, beyond: Iterable[tuple[Hashable, float]], time_ps: float, step: int) -> None:
        """Take in what is beyond the limit in this frame."""
        for key, value in beyond:
            spike = self._open.setdefault(key, Spike(step, time_ps, time_ps, value, step))
            spike.last_ps = time_ps
            if self._sign * value > self._sign * spike.worst:
                spike.worst, spike.worst_step = value, step
        for key, spike in list(self._open.items()):
            if time_ps - spike.last_ps > self._pause_ps:
                self._closed.append((key, self._open.pop(key)))

    def finish(self) -> list[tuple[Hashable, Spike]]:
        """Return all spikes, each with its atom or pair."""
        self._closed += self._open.items()
        self._open = {}
        return self._closed
