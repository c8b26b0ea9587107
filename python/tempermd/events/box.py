"""A box that follows the pressure, and goes too far."""

from __future__ import annotations

import numpy as np

from tempermd.events.beginning import Beginning
from tempermd.events.limits import BoxLimits
from tempermd.events.products import Event
from tempermd.events.protocol import Protocol
from tempermd.events.snapshot import Snapshot
from tempermd.events.spells import Spells


class Box:
    """A bonded axis that a barostat made much longer or shorter than in the first frame."""

    def __init__(self, limits: BoxLimits, start: Beginning, protocol: Protocol) -> None:
        self._limits = limits
        self._protocol = protocol
        self._lengths_A = np.linalg.norm(start.frame.cell, axis=1)
        self._bonded = start.windings.any(axis=0)
        self._spells = Spells(3)
        self._events: list[Event] = []

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        step = shot.frame.step
        if shot.network is None or not self._protocol.has_barostat(step):
            return
        change = np.linalg.norm(shot.frame.cell, axis=1) / self._lengths_A - 1
        far = self._bonded & (np.abs(change) > self._limits.axial_share)
        self._spells.update(far, shot.time_ps, step)
        for axis in np.flatnonzero(self._spells.due(self._limits.lasting_ps, shot.time_ps)):
            began_step, began_ps = self._spells.began(axis)
            self._events.append(
                Event(
                    kind="box",
                    severity="severe",
                    step=began_step,
                    time_ps=began_ps,
                    atom_ids=[],
                    value=100 * float(change[axis]),
                    limit=100 * self._limits.axial_share,
                    unit="%",
                    message=f"the box changed by {100 * change[axis]:+.1f} % along "
                    f"{'xyz'[axis]} under constant pressure",
                    shown_step=step,
                )
            )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events
