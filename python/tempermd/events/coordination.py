"""Atoms with too many bonds or too few, and bonds between walls that began apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempermd.events.beginning import Beginning
from tempermd.events.limits import DanglingLimits, InterwallLimits, OvercoordinatedLimits
from tempermd.events.numbers import named
from tempermd.events.products import Event, Severity
from tempermd.events.snapshot import PerNetwork, Snapshot, ids_of_keys, pair_keys
from tempermd.events.spells import SLACK_PS, Spells

CROWDED = 5


class Overcoordinated:
    """Atoms with five bonds or more, or many with four in one wall, for long enough.

    Bonds that the first frame had are nobody's fault: an atom counts only when it has more.
    """

    def __init__(self, limits: OvercoordinatedLimits, start: Beginning) -> None:
        self._limits = limits
        self._start = start
        self._crowded = Spells(len(start.bodies))
        self._share = _SharesOfBodies(start)
        self._fourfold = PerNetwork(lambda shot: self._with_more(shot, 4))
        self._fivefold = PerNetwork(lambda shot: self._with_more(shot, CROWDED))
        self._events: list[Event] = []

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        if shot.network is None:
            return
        self._look_at_atoms(shot, self._fivefold(shot))
        found = self._share.over(
            shot, self._fourfold(shot), self._limits.share, self._limits.lasting_ps
        )
        for spell in found:
            self._events.append(
                spell.event(
                    "overcoordinated",
                    "severe",
                    self._limits.share,
                    f"{spell.share:.1%} of the atoms of a wall have four bonds or more",
                )
            )

    def _with_more(self, shot: Snapshot, least: int) -> np.ndarray:
        """Return which of the first atoms have so many bonds and more than then, (n,) bool."""
        coordination = _coordination_of_first(shot, self._start)
        return (coordination >= least) & (coordination > self._start.coordination)

    def _look_at_atoms(self, shot: Snapshot, crowded: np.ndarray) -> None:
        self._crowded.update(crowded, shot.time_ps, shot.frame.step)
        new = self._crowded.due(self._limits.lasting_ps, shot.time_ps)
        if not new.any():
            return
        ids = self._start.frame.ids[new].tolist()
        most = int(_coordination_of_first(shot, self._start)[new].max())
        step, time_ps = self._crowded.began(new)
        self._events.append(
            Event(
                kind="overcoordinated",
                severity="severe",
                step=step,
                time_ps=time_ps,
                atom_ids=ids,
                value=float(most),
                limit=float(CROWDED),
                unit="bonds",
                message=f"{named(ids)} with {most} bonds for {self._limits.lasting_ps:g} ps",
                shown_step=shot.frame.step,
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


class Dangling:
    """Many atoms of one wall that lost a bond for long enough."""

    def __init__(self, limits: DanglingLimits, start: Beginning) -> None:
        self._limits = limits
        self._start = start
        self._levels: list[tuple[Severity, float, _SharesOfBodies]] = [
            ("warn", limits.warn_share, _SharesOfBodies(start)),
            ("severe", limits.severe_share, _SharesOfBodies(start)),
        ]
        self._fewer = PerNetwork(self._with_fewer)
        self._events: list[Event] = []

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        if shot.network is None:
            return
        fewer = self._fewer(shot)
        for severity, limit, shares in self._levels:
            for spell in shares.over(shot, fewer, limit, self._limits.lasting_ps):
                message = f"{spell.share:.1%} of the atoms of a wall have lost a bond"
                self._events.append(spell.event("dangling", severity, limit, message))

    def _with_fewer(self, shot: Snapshot) -> np.ndarray:
        """Return which of the first atoms are there and have fewer bonds than then, (n,) bool."""
        coordination = _coordination_of_first(shot, self._start)
        fewer = (coordination < 3) & (coordination < self._start.coordination)
        return fewer & (coordination >= 0)

    def finish(self) -> list[Event]:
        """Return what was found; a warning that became worse is told once, as the worse."""
        severe = {event.step for event in self._events if event.severity == "severe"}
        return [e for e in self._events if e.severity == "severe" or e.step not in severe]


class InterwallBond:
    """A bond between two bodies that began apart, for long enough: one event per pair of atoms."""

    def __init__(self, limits: InterwallLimits, start: Beginning) -> None:
        self._limits = limits
        self._start = start
        self._since: dict[int, tuple[float, int]] = {}
        self._reported: set[int] = set()
        self._between = PerNetwork(self._bonds_between)
        self._events: list[Event] = []

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        if shot.network is None or self._start.n_bodies < 2:
            return
        keys = self._between(shot)
        now = (shot.time_ps, shot.frame.step)
        self._since = {key: self._since.get(key, now) for key in keys}
        for key, (since_ps, since_step) in self._since.items():
            if (
                key in self._reported
                or shot.time_ps - since_ps < self._limits.lasting_ps - SLACK_PS
            ):
                continue
            self._reported.add(key)
            ids = ids_of_keys(np.array([key]))[0].tolist()
            self._events.append(
                Event(
                    kind="interwall_bond",
                    severity="warn",
                    step=since_step,
                    time_ps=since_ps,
                    atom_ids=ids,
                    value=shot.time_ps - since_ps,
                    limit=self._limits.lasting_ps,
                    unit="ps",
                    message=f"a bond between two walls: {named(ids)}",
                    shown_step=shot.frame.step,
                )
            )

    def _bonds_between(self, shot: Snapshot) -> list[int]:
        network = shot.network
        ends = shot.rows[np.stack([network.first, network.second], axis=1)]  # (b, 2)
        bodies = self._start.bodies[ends]
        between = (ends >= 0).all(axis=1) & (bodies[:, 0] != bodies[:, 1])
        return pair_keys(shot.frame.ids, network)[between].tolist()

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


@dataclass(frozen=True)
class _Spell:
    """Too large a share of the atoms of one body, for long enough."""

    shot: Snapshot
    ids: list[int]
    share: float
    step: int
    time_ps: float
    lasting_ps: float

    def event(self, kind: str, severity: Severity, limit: float, what: str) -> Event:
        return Event(
            kind=kind,
            severity=severity,
            step=self.step,
            time_ps=self.time_ps,
            atom_ids=self.ids,
            value=100 * self.share,
            limit=100 * limit,
            unit="%",
            message=f"{what} for {self.lasting_ps:g} ps: {named(self.ids)}",
            shown_step=self.shot.frame.step,
        )


class _SharesOfBodies:
    """The share of each body's atoms that something is true of, and how long it is too large."""

    def __init__(self, start: Beginning) -> None:
        self._start = start
        self._sizes = np.maximum(np.bincount(start.bodies, minlength=start.n_bodies), 1)
        self._spells = Spells(start.n_bodies)
        self._seen: np.ndarray | None = None
        self._shares = np.zeros(start.n_bodies)

    def over(
        self, shot: Snapshot, true: np.ndarray, limit: float, lasting_ps: float
    ) -> list[_Spell]:
        """Return the spells that are long enough in this frame, each of them once."""
        if true is not self._seen:
            bodies = self._start.bodies[true]
            self._shares = np.bincount(bodies, minlength=len(self._sizes)) / self._sizes
            self._seen = true
        self._spells.update(self._shares > limit, shot.time_ps, shot.frame.step)
        found = []
        for body in np.flatnonzero(self._spells.due(lasting_ps, shot.time_ps)):
            members = true & (self._start.bodies == body)
            ids = self._start.frame.ids[members].tolist()
            step, time_ps = self._spells.began(body)
            found.append(_Spell(shot, ids, float(self._shares[body]), step, time_ps, lasting_ps))
        return found


def _coordination_of_first(shot: Snapshot, start: Beginning) -> np.ndarray:
    """Return the number of bonds of the first frame's atoms, -1 for those that are gone, (n,)."""
    found = np.full(len(start.coordination), -1)
    known = shot.rows >= 0
    found[shot.rows[known]] = shot.network.coordination[known]
    return found
