"""Unphysical geometry: atoms that leave their body, and atoms that come too close."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from tempermd.events.limits import BondLimits, ContactLimits, DetachedLimits
from tempermd.events.numbers import named
from tempermd.events.products import Event
from tempermd.events.snapshot import Pairs, Snapshot, gap_between
from tempermd.trajectory import Frame


class BondMemory:
    """Bonds with hysteresis: made at or below one distance, broken at or above another."""

    def __init__(self, limits: BondLimits) -> None:
        self._limits = limits
        self._bonds = np.empty(0, dtype=np.int64)

    def update(self, ids: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices (b,), (b,) of the bonded pairs of this frame."""
        # ids and not indices, since an atom may get lost between two frames
        keys = (ids[pairs.first] << 32) + ids[pairs.second]
        alive = pairs.distance < self._limits.broken_A
        old = np.isin(keys, self._bonds, assume_unique=True)
        bonded = (pairs.distance <= self._limits.made_A) | (old & alive)
        self._bonds = keys[bonded]
        return pairs.first[bonded], pairs.second[bonded]


class Detached:
    """Atoms outside the body they began in, for long enough and far enough from any body.

    A body is a bonded cluster of the first frame (the walls of a double-walled tube are
    two). Its heir in a later frame is the cluster that holds most of its atoms; an atom is
    outside when no heir holds it.
    """

    def __init__(
        self, limits: DetachedLimits, bonds: BondLimits, elements: dict[int, str] | None = None
    ) -> None:
        self._limits = limits
        self._memory = BondMemory(bonds)
        self._elements = elements or {}
        self._ids = np.empty(0, dtype=np.int64)
        self._bodies = np.empty(0, dtype=np.int64)
        self._since_ps = np.empty(0)
        self._since_step = np.empty(0, dtype=np.int64)
        self._reported = np.empty(0, dtype=bool)
        self._events: list[Event] = []

    @property
    def n_bodies(self) -> int:
        """Number of bonded clusters in the first frame."""
        return int(self._bodies.max(initial=-1)) + 1

    @property
    def outside_unreported(self) -> list[int]:
        """Ids that are outside now without having been so for long enough."""
        return self._ids[~np.isnan(self._since_ps) & ~self._reported].tolist()

    def update(self, snapshot: Snapshot) -> None:
        """Look at one frame."""
        if snapshot.pairs is None:
            return
        labels = self._clusters(snapshot)
        ids = snapshot.frame.ids
        if not self._ids.size:
            self._begin(ids, labels)
            return
        known = np.isin(ids, self._ids)
        rows = np.searchsorted(self._ids, ids[known])  # (k,) of the first frame's atoms
        heirs = self._heirs(labels[known], self._bodies[rows])
        inside = np.isin(labels, heirs)
        self._keep_time(snapshot, rows, inside[known])
        for label in np.unique(labels[~inside]):
            self._judge(snapshot, np.flatnonzero(labels == label), np.flatnonzero(inside))

    def _begin(self, ids: np.ndarray, labels: np.ndarray) -> None:
        self._ids, self._bodies = ids.copy(), labels.astype(np.int64)
        self._since_ps = np.full(len(ids), np.nan)
        self._since_step = np.zeros(len(ids), dtype=np.int64)
        self._reported = np.zeros(len(ids), dtype=bool)

    def _clusters(self, snapshot: Snapshot) -> np.ndarray:
        """Return the cluster label of each atom, (n,)."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        n_atoms = len(snapshot.frame.ids)
        first, second = self._memory.update(snapshot.frame.ids, snapshot.pairs)
        graph = coo_array((np.ones(len(first)), (first, second)), shape=(n_atoms, n_atoms))
        return connected_components(graph, directed=False)[1]

    def _heirs(self, labels: np.ndarray, bodies: np.ndarray) -> np.ndarray:
        """Return for each body the label that most of its atoms bear."""
        shared = Counter(zip(bodies.tolist(), labels.tolist(), strict=True))
        heirs: dict[int, int] = {}
        for (body, label), _ in shared.most_common():
            heirs.setdefault(body, label)
        return np.array(sorted(set(heirs.values())), dtype=np.int64)

    def _keep_time(self, snapshot: Snapshot, rows: np.ndarray, inside: np.ndarray) -> None:
        back, out = rows[inside], rows[~inside]
        self._since_ps[back] = np.nan
        self._reported[back] = False
        new = out[np.isnan(self._since_ps[out])]
        self._since_ps[new] = snapshot.time_ps
        self._since_step[new] = snapshot.frame.step

    def _judge(self, snapshot: Snapshot, cluster: np.ndarray, inside: np.ndarray) -> None:
        """Report a cluster whose atoms have all been outside long enough, once."""
        frame = snapshot.frame
        member = np.isin(self._ids, frame.ids[cluster])
        new = member & ~self._reported
        waited_ps = snapshot.time_ps - self._since_ps[new].min(initial=np.inf)
        if waited_ps < self._limits.outside_ps - 1e-9:
            return
        distance_A = gap_between(frame, cluster, inside)
        if distance_A <= self._limits.distance_A:
            return
        self._reported |= member
        began = int(np.argmin(np.where(new, self._since_ps, np.inf)))
        ids = frame.ids[cluster].tolist()
        self._events.append(
            Event(
                kind="detached",
                severity="severe",
                step=int(self._since_step[began]),
                time_ps=float(self._since_ps[began]),
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


@dataclass
class _Contact:
    """A pair that has come too close and may still do so."""

    began_step: int
    began_ps: float
    last_ps: float
    shortest_A: float
    shortest_step: int


class CloseContact:
    """Pairs nearer than atoms can come; one event for each time a pair does so."""

    def __init__(self, limits: ContactLimits) -> None:
        self._limits = limits
        self._open: dict[tuple[int, int], _Contact] = {}
        self._events: list[Event] = []

    def update(self, snapshot: Snapshot) -> None:
        """Look at one frame."""
        if snapshot.pairs is None:
            return
        frame, pairs, now_ps = snapshot.frame, snapshot.pairs, snapshot.time_ps
        for row in np.flatnonzero(pairs.distance < self._limits.warn_A):
            pair = (int(frame.ids[pairs.first[row]]), int(frame.ids[pairs.second[row]]))
            distance_A = float(pairs.distance[row])
            contact = self._open.get(pair)
            if contact is None:
                contact = _Contact(frame.step, now_ps, now_ps, distance_A, frame.step)
                self._open[pair] = contact
            contact.last_ps = now_ps
            if distance_A < contact.shortest_A:
                contact.shortest_A, contact.shortest_step = distance_A, frame.step
        for pair, contact in list(self._open.items()):
            if now_ps - contact.last_ps > self._limits.pause_ps:
                self._close(pair)

    def _close(self, pair: tuple[int, int]) -> None:
        contact = self._open.pop(pair)
        severe = contact.shortest_A < self._limits.severe_A
        lasted_ps = contact.last_ps - contact.began_ps
        length = f", again and again for {lasted_ps:.2f} ps" if lasted_ps > 0 else ""
        self._events.append(
            Event(
                kind="close_contact",
                severity="severe" if severe else "warn",
                step=contact.began_step,
                time_ps=contact.began_ps,
                atom_ids=list(pair),
                value=contact.shortest_A,
                limit=self._limits.severe_A if severe else self._limits.warn_A,
                unit="Å",
                message=f"atoms {pair[0]} and {pair[1]} {contact.shortest_A:.2f} Å apart{length}",
                shown_step=contact.shortest_step,
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        for pair in list(self._open):
            self._close(pair)
        return self._events
