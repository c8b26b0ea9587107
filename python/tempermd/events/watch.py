"""All detectors that look at frames, fed by one trajectory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tempermd.events.atoms import CloseContact, ForceSpike, HotAtom
from tempermd.events.beginning import Beginning
from tempermd.events.bodies import Detached
from tempermd.events.box import Box
from tempermd.events.clock import gap_notes
from tempermd.events.coordination import Dangling, InterwallBond, Overcoordinated
from tempermd.events.curves import frame_curve
from tempermd.events.extremes import Extremes
from tempermd.events.limits import Thresholds
from tempermd.events.numbers import LostAtoms, NonFinite
from tempermd.events.products import Event, Series
from tempermd.events.protocol import Protocol
from tempermd.events.ring_changes import RingChange
from tempermd.events.snapshot import Snapshot, Snapshots
from tempermd.events.walls import Severed, Shape
from tempermd.trajectory import Frame

BREAKABLE = frozenset({"dangling", "detached", "overcoordinated", "ring_change", "severed"})
"""Kinds that are no fault of a model while a protocol takes the structure apart."""
MEANT = " (this protocol is meant to do damage)"


SET_FREE_PS = 0.1
"""A break is seen in frames, the heat that it sets free in thermo lines, which lie closer."""


def heat_excused(events: Sequence[Event], protocol: Protocol) -> list[Event]:
    """Return events in which a temperature is no more than a warning after a break that was meant.

    What a pulled tube has stored as strain becomes heat when it breaks.
    """
    broken = [one.time_ps for one in events if one.kind in BREAKABLE and protocol.breaks(one.step)]
    since_ps = min(broken, default=np.inf) - SET_FREE_PS
    return [
        one.model_copy(update={"severity": "warn", "message": one.message + MEANT})
        if one.kind == "temperature" and one.time_ps >= since_ps and protocol.breaks(one.step)
        else one
        for one in events
    ]


class FrameWatch:
    """Passes frames through the detectors of numbers and geometry, one after the other.

    Parameters
    ----------
    limits : Thresholds
    protocol : Protocol
    elements : dict
        Of each atom type, where the dump does not name them.
    """

    def __init__(
        self,
        limits: Thresholds,
        protocol: Protocol,
        elements: dict[int, str] | None = None,
    ) -> None:
        self._limits = limits
        self._protocol = protocol
        self._elements = elements
        self._snapshots = Snapshots(limits.bond, limits.close_contact.warn_A)
        self._of_numbers = [NonFinite(), LostAtoms()]
        self._hot = HotAtom(limits.hot_atom, protocol, elements)
        self._of_atoms = [
            CloseContact(limits.close_contact),
            self._hot,
            ForceSpike(limits.force_spike),
        ]
        self._start: Beginning | None = None
        self._of_structure: list = []
        self._detached: Detached | None = None
        self._shape: Shape | None = None
        self.n_atoms = 0
        self.times_ps: list[float] = []
        self.extremes = Extremes()
        self._shortest_A: list[float] = []
        self._flattest: list[float] = []

    def take(self, frame: Frame, time_ps: float) -> None:
        """Look at the next frame."""
        shot = self._snapshots.take(frame, time_ps)
        if self._start is None and shot.network is not None:
            self._begin(shot)
        for detector in (*self._of_numbers, *self._of_atoms, *self._of_structure):
            detector.update(shot)
        self.extremes.update(shot, self._start)
        self.n_atoms = self.n_atoms or len(frame.ids)
        self.times_ps.append(time_ps)
        near = shot.pairs is not None and len(shot.pairs.distance) > 0
        self._shortest_A.append(float(shot.pairs.distance.min()) if near else np.nan)
        self._flattest.append(np.nan if self._shape is None else self._shape.ellipticity)

    @property
    def anneals(self) -> bool:
        """Whether the structure begins disordered: heat brings it further down in energy."""
        return self._start is not None and not self._start.is_ordered

    def _begin(self, shot: Snapshot) -> None:
        """Make the detectors that compare with the first frame."""
        limits, start = self._limits, Beginning.of(shot)
        self._start = start
        self._detached = Detached(limits.detached, start, self._elements)
        self._shape = Shape(limits.shape, start)
        self._of_structure = [
            self._detached,
            Severed(limits.severed, start),
            Box(limits.box, start, self._protocol),
            InterwallBond(limits.interwall_bond, start),
        ]
        if start.is_sp2:
            self._of_structure += [
                self._shape,
                Overcoordinated(limits.overcoordinated, start),
                Dangling(limits.dangling, start),
                RingChange(limits.ring_change, start, self._protocol),
            ]

    def finish(self) -> list[Event]:
        """Return all events; damage that the protocol is meant to do is no more than a warning."""
        detectors = (*self._of_numbers, *self._of_atoms, *self._of_structure)
        return [self._excused(event) for detector in detectors for event in detector.finish()]

    def _excused(self, event: Event) -> Event:
        if event.kind not in BREAKABLE or event.severity == "warn":
            return event
        if not self._protocol.breaks(event.step):
            return event
        return event.model_copy(update={"severity": "warn", "message": event.message + MEANT})

    def measured(self) -> dict[str, float]:
        """Return how near the run came to its limits; see `Extremes`."""
        self.extremes.take("kT", self._hot.hottest_kT)
        if self._shape is not None:
            for name, value in self._shape.worst.items():
                self.extremes.take(name, value)
        return self.extremes.found

    def series(self) -> dict[str, Series]:
        """Return the curves of the frames."""
        curves = {"shortest_distance": frame_curve("Å", self.times_ps, self._shortest_A)}
        if np.isfinite(self._flattest).any():
            curves["ellipticity"] = frame_curve("", self.times_ps, self._flattest)
        return curves

    def notes(self) -> list[str]:
        """Say what could not be judged, and what was left open at the end."""
        found = []
        if self._start is None:
            return ["no frame with usable numbers: geometry was not judged"]
        if self._start.n_bodies > 1:
            found.append(f"the structure begins as {self._start.n_bodies} separate bodies")
        others = self._other_elements()
        if others:
            found.append(
                f"the limits are for carbon, but there is {', '.join(others)}: give limits of your "
                "own, by --thresholds"
            )
        if not self._start.is_sp2:
            found.append(
                "the structure does not begin as sp2 carbon: coordination, rings and shape were "
                "not judged"
            )
        elif not self._shape.is_judged:
            found.append("the structure is no periodic tube: its shape was not judged")
        outside = self._detached.outside_unreported
        if outside:
            found.append(
                f"{len(outside)} atoms were outside their body at the end, too briefly or too near"
            )
        return found + self._sparse() + gap_notes(self.times_ps, "frames")

    def _other_elements(self) -> list[str]:
        """Return the elements besides carbon, where they are known."""
        frame, known = self._start.frame, self._elements or {}
        names = frame.elements
        if names is None:
            names = [] if frame.types is None else map(known.get, np.unique(frame.types).tolist())
        return sorted({str(name) for name in names if name is not None} - {"C"})

    def _sparse(self) -> list[str]:
        """Say so where frames lie too far apart to see the shortest persistent event."""
        if len(self.times_ps) < 2:
            return ["fewer than two frames: what must last could not be judged"]
        spacing_ps = float(np.median(np.diff(self.times_ps)))
        least_ps = min(self._limits.detached.outside_ps, self._limits.severed.lasting_ps)
        if spacing_ps <= least_ps / 2 * 1.001:
            return []
        return [
            f"frames are {spacing_ps:.3g} ps apart: too sparse to see everything that lasts for "
            f"{least_ps:g} ps, dump every {least_ps / 2:.2g} ps or more often"
        ]
