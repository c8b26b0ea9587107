"""A committee that disagrees about the forces."""

from __future__ import annotations

import numpy as np

from tempermd.events.limits import UncertaintyLimits
from tempermd.events.products import Event
from tempermd.trajectory import Thermo


class Uncertainty:
    """Largest committee deviation of a force beyond its limit, so many thermo lines in a row.

    Parameters
    ----------
    limits : UncertaintyLimits
        Names the column of the thermo output; a log without it is not judged.
    timestep_fs : float
    """

    def __init__(self, limits: UncertaintyLimits, timestep_fs: float) -> None:
        self._limits = limits
        self._timestep_ps = timestep_fs / 1000
        self._events: list[Event] = []
        self.deviations = np.empty((0, 2))

    def update(self, thermo: Thermo) -> None:
        """Look at all lines of a log; ``deviations`` gets time (ps) and value (eV/Å), (m, 2)."""
        table = thermo.table([self._limits.column])
        table = table[np.isfinite(table[:, 1])]
        self.deviations = table * [self._timestep_ps, 1.0]
        beyond = table[:, 1] > self._limits.warn_eV_per_A
        edges = np.flatnonzero(np.diff(np.concatenate([[0], beyond.astype(int), [0]])))
        for begin, end in edges.reshape(-1, 2):
            if end - begin >= self._limits.evaluations:
                self._report(table[begin:end])

    def _report(self, spell: np.ndarray) -> None:
        limits = self._limits
        worst = spell[np.argmax(spell[:, 1])]
        rows = np.sort(spell[:, 1])[::-1]
        severe = bool(rows[limits.evaluations - 1] > limits.severe_eV_per_A)
        self._events.append(
            Event(
                kind="uncertainty",
                severity="severe" if severe else "warn",
                step=int(spell[0, 0]),
                time_ps=float(spell[0, 0]) * self._timestep_ps,
                atom_ids=[],
                value=float(worst[1]),
                limit=limits.severe_eV_per_A if severe else limits.warn_eV_per_A,
                unit="eV/Å",
                message=f"the committee disagrees by up to {worst[1]:.2f} eV/Å about a force, "
                f"in {len(spell)} evaluations in a row",
                shown_step=int(worst[0]),
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events
