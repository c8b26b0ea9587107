"""Frames around an event, for its pictures and for the page's viewer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tempermd import pages
from tempermd.events import Analysis, Event
from tempermd.events.clock import Clock
from tempermd.records import UserError
from tempermd.trajectory import Frame, iter_frames

AROUND = 10
"""Frames before and after the one that shows an event."""
LEVELS = 65_534
ABSENT = 65_535
FARTHEST_A = 1e4


@dataclass
class Clip:
    """The frames around an event, the one that shows it among them."""

    event: Event
    elements: dict[int, str]
    frames: list[Frame] = field(default_factory=list)
    shown: int = 0

    @property
    def frame(self) -> Frame:
        """The frame that shows the event."""
        return self.frames[self.shown]

    def symbols(self) -> list[str]:
        """Return the element of each atom of the shown frame, carbon where none is known."""
        frame = self.frame
        if frame.elements is not None:
            return frame.elements.tolist()
        if frame.types is None:
            return ["C"] * len(frame.ids)
        return [self.elements.get(kind, "C") for kind in frame.types.tolist()]

    def packed(self) -> dict[str, Any]:
        """Return what the page's viewer unpacks.

        Positions are 16-bit steps between the lowest and the highest coordinate, frame by frame and
        atom by atom, gzipped in base64; 65535 stands for an atom that is not there.
        """
        ids = self.frame.ids
        places = np.full((len(self.frames), len(ids), 3), np.nan)
        for number, frame in enumerate(self.frames):
            rows = np.minimum(np.searchsorted(frame.ids, ids), len(frame.ids) - 1)
            there = frame.ids[rows] == ids
            places[number, there] = frame.positions[rows[there]]
        places[~(np.abs(places) < FARTHEST_A)] = np.nan
        finite = places[np.isfinite(places)]
        low = float(finite.min()) if finite.size else 0.0
        step = (float(finite.max()) - low) / LEVELS if finite.size else 1.0
        step = step or 1.0
        coded = np.where(np.isfinite(places), np.rint((places - low) / step), ABSENT)
        return {
            "low": low,
            "step": step,
            "shown": self.shown,
            "steps": [frame.step for frame in self.frames],
            "ids": ids.tolist(),
            "symbols": self.symbols(),
            "marked": self.event.atom_ids,
            "cell": [round(float(x), 6) for x in self.frame.cell.ravel()],
            "pbc": [bool(flag) for flag in self.frame.pbc],
            "places": pages.packed(coded.astype("<u2").tobytes()),
        }


def clips_of(analysis: Analysis, events: Sequence[Event]) -> list[Clip | None]:
    """Return the frames around each event, in one pass through the trajectory.

    Parameters
    ----------
    analysis : Analysis
        Its ``trajectory`` must still be there, otherwise there are none.
    events : sequence of Event

    Returns
    -------
    list of Clip or None
        The frame that shows an event is the last one not after its moment that can be shown; None
        where there is none.
    """
    path = analysis.trajectory
    gathering = _Gathering(events, analysis)
    if events and path is not None and Path(path).is_file():
        clock = Clock(Path(path), analysis.timestep_fs)
        try:
            for frame in iter_frames(path, analysis.units):
                time_ps = clock.time_ps(frame)
                if time_ps is None:
                    continue
                if can_be_shown(frame):
                    gathering.take(frame, time_ps)
                if gathering.is_complete:
                    break
        except UserError:
            pass  # the analysis has told already what is wrong with the dump
        gathering.finish()
    return gathering.found


def can_be_shown(frame: Frame) -> bool:
    """Whether a frame has atoms, all of them somewhere."""
    finite = np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()
    return bool(len(frame.ids) and finite)


class _Gathering:
    """Clips that begin when their frame has passed, and grow for some frames more."""

    def __init__(self, events: Sequence[Event], analysis: Analysis) -> None:
        self._events = events
        self._elements = analysis.elements
        self.found: list[Clip | None] = [None] * len(events)
        # by time and not by step, for a second run in the same dump has the same steps again
        moments = [_shown_ps(event, analysis.timestep_fs) for event in events]
        self._waiting = sorted(zip(moments, range(len(events)), strict=True), reverse=True)
        self._growing: list[Clip] = []
        self._before: deque[Frame] = deque(maxlen=AROUND + 1)

    @property
    def is_complete(self) -> bool:
        """Whether no further frame is wanted."""
        return not self._waiting and not self._growing

    def take(self, frame: Frame, time_ps: float) -> None:
        """Go on to the next frame that can be shown."""
        while self._waiting and time_ps > self._waiting[-1][0]:
            self._begin(self._waiting.pop()[1])
        for clip in self._growing:
            clip.frames.append(frame)
        self._growing = [c for c in self._growing if len(c.frames) <= c.shown + AROUND]
        self._before.append(frame)

    def _begin(self, number: int) -> None:
        """Make the clip of an event that the last frame shows."""
        if self._before:
            frames = list(self._before)
            clip = Clip(self._events[number], self._elements, frames, shown=len(frames) - 1)
            self.found[number] = clip
            self._growing.append(clip)

    def finish(self) -> None:
        """Make the clips of the events that the very last frames show."""
        while self._waiting:
            self._begin(self._waiting.pop()[1])


def _shown_ps(event: Event, timestep_fs: float | None) -> float:
    """Return the time at which an event is to be seen, and half a step."""
    later = 0 if event.shown_step is None else event.shown_step - event.step
    return event.time_ps + (later + 0.5) * (timestep_fs or 0.0) / 1000


def extended_xyz(clip: Clip) -> str:
    """Return the frame that shows an event as extended xyz, with velocities and forces if known."""
    from io import StringIO

    from ase import Atoms
    from ase.io import write

    frame = clip.frame
    atoms = Atoms(clip.symbols(), frame.positions - frame.origin, cell=frame.cell, pbc=frame.pbc)
    atoms.arrays["id"] = frame.ids
    for name, values in (("velocities_A_per_ps", frame.velocities), ("forces", frame.forces)):
        if values is not None:
            atoms.arrays[name] = values
    atoms.info = {"step": frame.step, "event": clip.event.kind, "message": clip.event.message}
    text = StringIO()
    write(text, atoms, format="extxyz")
    return text.getvalue()
