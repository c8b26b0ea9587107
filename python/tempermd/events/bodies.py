"""Atoms that leave the body they began in."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tempermd.events.beginning import Beginning
from tempermd.events.limits import DetachedLimits
from tempermd.events.numbers import named
from tempermd.events.products import Event
from tempermd.events.snapshot import PerNetwork, Snapshot, gap_between
from tempermd.events.spells import SLACK_PS, Spells
from tempermd.trajectory import Frame


class Detached:
    """Atoms outside the body they began in, for long enough and far enough from any body.

    A body is a bonded cluster of the first frame (the walls of a double-walled tube are
    two). Its heir in a later frame is the cluster that holds most of its atoms; an atom is
    outside when no heir holds it.
    """

    def __init__(
        self, limits: DetachedLimits, start: Beginning, elements: dict[int, str] | None = None
    ) -> None:
        self._limits = limits
        self._start = start
        self._elements = elements or {}
        self._outside = Spells(len(start.bodies))
        self._reported = np.zeros(len(start.bodies), dtype=bool)
        self._outside_of = PerNetwork(self._find_outside)
        self._inside = np.empty(0, dtype=bool)
        self._events: list[Event] = []

    @property
    def outside_unreported(self) -> list[int]:
        """Ids that are outside now without having been so for long enough."""
        return self._start.frame.ids[self._outside.running & ~self._reported].tolist()

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        if shot.network is None:
            return
        outside = self._outside_of(shot)
        self._outside.update(outside, shot.time_ps, shot.frame.step)
        self._reported &= outside
        if not outside.any():
            return
        labels, inside = shot.network.clusters, self._inside
        for label in np.unique(labels[~inside]):
            self._judge(shot, np.flatnonzero(labels == label), np.flatnonzero(inside))

    def _find_outside(self, shot: Snapshot) -> np.ndarray:
        """Return which atoms of the first frame are in no body's heir, (n,) bool."""
        labels, known = shot.network.clusters, shot.rows >= 0
        rows = shot.rows[known]
        self._inside = np.isin(labels, self._heirs(labels[known], self._start.bodies[rows]))
        outside = self._outside.running  # of an atom that is gone nothing new is known
        outside[rows] = ~self._inside[known]
        return outside

    def _heirs(self, labels: np.ndarray, bodies: np.ndarray) -> np.ndarray:
        """Return for each body the label that most of its atoms bear."""
        shared = Counter(zip(bodies.tolist(), labels.tolist(), strict=True))
        heirs: dict[int, int] = {}
        for (body, label), _ in shared.most_common():
            heirs.setdefault(body, label)
        return np.array(sorted(set(heirs.values())), dtype=np.int64)

    def _judge(self, shot: Snapshot, cluster: np.ndarray, inside: np.ndarray) -> None:
        """Report a cluster whose atoms have all been outside long enough, once."""
        frame = shot.frame
        member = np.zeros(len(self._reported), dtype=bool)
        member[shot.rows[cluster][shot.rows[cluster] >= 0]] = True
        new = member & ~self._reported
        if not new.any():
            return
        step, time_ps = self._outside.began(new)
        waited_ps = shot.time_ps - time_ps
        if waited_ps < self._limits.outside_ps - SLACK_PS:
            return
        distance_A = gap_between(frame, cluster, inside)
        if distance_A <= self._limits.distance_A:
            return
        self._reported |= member
        ids = frame.ids[cluster].tolist()
        self._events.append(
            Event(
                kind="detached",
                severity="severe",
                step=step,
                time_ps=time_ps,
                atom_ids=ids,
                value=distance_A,
                limit=self._limits.distance_A,
                unit="Å",
                message=(
                    f"{self._formula(frame, cluster)} ({named(ids)}) left its body; "
                    f"{distance_A:.1f} Å away after {waited_ps:.2f} ps"
                    f"{_drift_speed(frame, cluster)}"
                ),
                shown_step=frame.step,
            )
        )

    def _formula(self, frame: Frame, cluster: np.ndarray) -> str:
        if frame.elements is not None:
            symbols = frame.elements[cluster].tolist()
        elif frame.types is None or (not self._elements and np.ptp(frame.types) == 0):
            symbols = ["C"] * len(cluster)  # one unnamed type: the limits are carbon's anyway
        else:
            symbols = [self._elements.get(kind, f"X{kind}") for kind in frame.types[cluster]]
        counts = sorted(Counter(symbols).items())
        return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in counts)

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


def _drift_speed(frame: Frame, cluster: np.ndarray) -> str:
    """Tell the speed of a cluster's mean velocity, where the dump has velocities."""
    if frame.velocities is None:
        return ""
    speed = np.linalg.norm(frame.velocities[cluster].mean(axis=0))
    return f", moving at {speed:.1f} Å/ps"
