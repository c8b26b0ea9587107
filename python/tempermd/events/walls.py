"""Tubes as a whole: cut through, or out of shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tempermd.events.beginning import Beginning, winding
from tempermd.events.limits import SeveredLimits, ShapeLimits
from tempermd.events.products import Event
from tempermd.events.snapshot import Pairs, PerNetwork, Snapshot
from tempermd.events.spells import SLACK_PS, Spells
from tempermd.trajectory import Frame

ROUND = 0.2
"""Radii that scatter by less than this share of their mean make a tube of one wall."""

OVAL = 1.2
"""Opposite walls of a tube that is rounder than this are not near each other."""


class Severed:
    """A body no bonded path of which winds around an axis any more that it wound around before.

    Bonds between two bodies do not count: one wall of two may be cut.
    """

    def __init__(self, limits: SeveredLimits, start: Beginning) -> None:
        self._limits = limits
        self._start = start
        self._spells = Spells(3 * start.n_bodies)
        self._wound = PerNetwork(self._windings)
        self._lengths_A = np.linalg.norm(start.frame.cell, axis=1)
        self._began_strain = np.zeros(3 * start.n_bodies)
        self._events: list[Event] = []

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        if shot.network is None or not self._start.windings.any():
            return
        wound = self._wound(shot)
        cut = (self._start.windings & ~wound).ravel()
        strain = np.linalg.norm(shot.frame.cell, axis=1) / self._lengths_A - 1  # (3,)
        new = cut & ~self._spells.running
        self._began_strain[new] = np.tile(strain, self._start.n_bodies)[new]
        self._spells.update(cut, shot.time_ps, shot.frame.step)
        for index in np.flatnonzero(self._spells.due(self._limits.lasting_ps, shot.time_ps)):
            self._tell(shot, int(index))

    def _within_bodies(self, shot: Snapshot) -> Pairs:
        ends = shot.rows[np.stack([shot.bonds.first, shot.bonds.second], axis=1)]
        bodies = self._start.bodies[ends]
        return shot.bonds[(ends >= 0).all(axis=1) & (bodies[:, 0] == bodies[:, 1])]

    def _windings(self, shot: Snapshot) -> np.ndarray:
        """Return whether each body still winds around each axis, (n_bodies, 3) bool."""
        by_atom = winding(shot.frame, self._within_bodies(shot)) & (shot.rows >= 0)[:, None]
        wound = np.zeros_like(self._start.windings)
        for axis in range(3):
            wound[self._start.bodies[shot.rows[by_atom[:, axis]]], axis] = True
        return wound

    def _tell(self, shot: Snapshot, index: int) -> None:
        body, axis = divmod(index, 3)
        wall = f"wall {body + 1} of {self._start.n_bodies}" if self._start.n_bodies > 1 else "it"
        strain = float(self._began_strain[index])
        step, time_ps = self._spells.began(index)
        self._events.append(
            Event(
                kind="severed",
                severity="severe",
                step=step,
                time_ps=time_ps,
                atom_ids=[],
                value=100 * strain,
                limit=None,
                unit="% strain",
                message=f"cut through: no bonded path of {wall} goes all the way along "
                f"{'xyz'[axis]}, since a strain of {100 * strain:.1f} %",
                shown_step=shot.frame.step,
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


@dataclass(frozen=True)
class CrossSections:
    """Slices of one wall across its axis.

    Parameters
    ----------
    radius_A : float
        Mean distance of the wall's atoms from the middle of their slice.
    ellipticity : (k,) array
        Ratio of the longer to the shorter half-axis of each slice, by second moments.
    number : (n,) int array
        The slice of each atom.
    off_A : (n, 2) array
        Places of the atoms from the middle of their slice.
    """

    radius_A: float
    ellipticity: np.ndarray
    number: np.ndarray
    off_A: np.ndarray

    @cached_property
    def width_A(self) -> float:
        """Least distance within a slice of two atoms more than 120 degrees apart."""
        count = len(self.ellipticity)
        order = np.argsort(self.number, kind="stable")
        widths = [np.inf]
        ends = np.cumsum(np.bincount(self.number, minlength=count))[:-1]
        for rows in np.split(order, ends):
            off = self.off_A[rows]
            unit = off / np.maximum(np.linalg.norm(off, axis=1), 1e-9)[:, None]
            gaps = np.linalg.norm(off[:, None] - off[None], axis=2)
            widths.append(gaps[unit @ unit.T < -0.5].min(initial=np.inf))
        return float(min(widths))


def cross_sections(
    along_A: np.ndarray, across_A: np.ndarray, length_A: float, slice_A: float
) -> CrossSections:
    """Measure the slices of a wall.

    Parameters
    ----------
    along_A : (n,) array
        Places along the axis.
    across_A : (n, 2) array
        Places across it, unwrapped.
    length_A : float
        Period of the axis.
    slice_A : float
        Least length of a slice.

    Returns
    -------
    CrossSections
    """
    count = max(1, int(length_A // slice_A))
    number = np.floor(along_A / length_A * count).astype(int) % count
    sizes = np.maximum(np.bincount(number, minlength=count), 1)
    middle = _means(number, across_A, sizes)
    off = across_A - middle[number]  # (n, 2)
    xx, yy, xy = (
        np.bincount(number, weights=values, minlength=count) / sizes
        for values in (off[:, 0] ** 2, off[:, 1] ** 2, off[:, 0] * off[:, 1])
    )
    mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    short = np.sqrt(np.maximum(mean - spread, 1e-12))
    ellipticity = np.where(sizes >= 6, np.sqrt(mean + spread) / short, 1.0)
    radius_A = float(np.sqrt(np.einsum("ij,ij->i", off, off)).mean())
    return CrossSections(radius_A, ellipticity, number, off)


def _means(number: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    sums = [np.bincount(number, weights=column, minlength=len(sizes)) for column in values.T]
    return np.stack(sums, axis=1) / sizes[:, None]


class Shape:
    """A tube that grew or shrank, went flat, or buckled, for long enough: a warning each."""

    def __init__(self, limits: ShapeLimits, start: Beginning) -> None:
        self._limits = limits
        self._walls = _round_walls(start, limits.slice_A)
        self._ids = start.frame.ids
        self._spells: dict[str, Spells] = {}
        self._events: list[Event] = []
        self.ellipticity = np.nan
        self.worst = {"ellipticity": np.nan, "radius_share": np.nan}
        # what must last need not be looked at in every frame
        self._interval_ps = limits.lasting_ps / 3 - SLACK_PS
        self._last_ps = -np.inf

    @property
    def is_judged(self) -> bool:
        """Whether the structure began as a tube, or several, along a periodic axis."""
        return bool(self._walls)

    def update(self, shot: Snapshot) -> None:
        """Look at one frame, if due; ``ellipticity`` becomes the flattest wall's."""
        waited_ps = shot.time_ps - self._last_ps
        if shot.network is None or not self._walls or waited_ps < self._interval_ps:
            return
        self._last_ps = shot.time_ps
        limits = self._limits
        found = [self._measure(shot, wall) for wall in self._walls]
        middle = np.array([np.median(one.ellipticity) for one in found])
        worst = np.array([one.ellipticity.max() for one in found])
        width_A = np.array(
            [one.width_A if one.ellipticity.max() > OVAL else np.inf for one in found]
        )
        growth = np.array([one.radius_A for one in found]) / self._of_walls("radius_A") - 1
        flat = middle > limits.ellipticity
        near = (width_A < limits.walls_apart_A) & (self._of_walls("width_A") > limits.walls_apart_A)
        kink = ~flat & (worst > limits.kink_ellipticity)
        self.ellipticity = float(middle.max())
        for name, value in (("ellipticity", middle), ("radius_share", np.abs(growth))):
            self.worst[name] = np.fmax(self.worst[name], value.max())
        wide = np.abs(growth) > limits.radius_share
        self._look(
            shot, wide, 100 * growth, 100 * limits.radius_share, "%", "radius off by {:.0f} %"
        )
        self._look(shot, flat, middle, limits.ellipticity, "", "flat: an axis ratio of {:.2f}")
        self._look(shot, near, width_A, limits.walls_apart_A, "Å", "opposite walls {:.2f} Å apart")
        self._look(shot, kink, worst, limits.kink_ellipticity, "", "a kink: axis ratio {:.2f}")

    def _of_walls(self, name: str) -> np.ndarray:
        """Return a number of each wall as it was in the first frame."""
        return np.array([getattr(wall, name) for wall in self._walls])

    def _measure(self, shot: Snapshot, wall: _Wall) -> CrossSections:
        chosen = wall.rows
        if shot.frame.ids is not self._ids and not np.array_equal(shot.frame.ids, self._ids):
            chosen = np.flatnonzero(np.isin(shot.rows, wall.rows))
        return _sections(shot.frame, chosen, wall.axis, self._limits.slice_A)

    def _look(
        self,
        shot: Snapshot,
        holds: np.ndarray,
        values: np.ndarray,
        limit: float,
        unit: str,
        words: str,
    ) -> None:
        """Report the walls for which this has held for long enough, each spell once."""
        spells = self._spells.setdefault(words, Spells(len(self._walls)))
        spells.update(holds, shot.time_ps, shot.frame.step)
        for wall in np.flatnonzero(spells.due(self._limits.lasting_ps, shot.time_ps)):
            step, time_ps = spells.began(wall)
            n_walls = len(self._walls)
            name = f" (wall {wall + 1} of {n_walls})" if n_walls > 1 else ""
            self._events.append(
                Event(
                    kind="shape",
                    severity="warn",
                    step=step,
                    time_ps=time_ps,
                    atom_ids=[],
                    value=float(values[wall]),
                    limit=limit,
                    unit=unit,
                    message=words.format(values[wall]) + name,
                    shown_step=shot.frame.step,
                )
            )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


@dataclass(frozen=True)
class _Wall:
    """One wall of a tube as it was in the first frame."""

    rows: np.ndarray
    axis: int
    radius_A: float
    width_A: float


def _round_walls(start: Beginning, slice_A: float) -> list[_Wall]:
    """Return the bodies that are tubes around a periodic axis."""
    walls = []
    for body in range(start.n_bodies):
        axes = np.flatnonzero(start.windings[body])
        rows = np.flatnonzero(start.bodies == body)
        if len(axes) != 1 or len(rows) < 12:
            continue
        axis = int(axes[0])
        across = _across(start.frame, rows, axis)
        radii = np.linalg.norm(across - across.mean(axis=0), axis=1)
        if radii.mean() > 1.0 and radii.std() / radii.mean() < ROUND:
            found = _sections(start.frame, rows, axis, slice_A)
            walls.append(_Wall(rows, axis, found.radius_A, found.width_A))
    return walls


def _sections(frame: Frame, rows: np.ndarray, axis: int, slice_A: float) -> CrossSections:
    length_A = float(np.linalg.norm(frame.cell[axis]))
    along = (frame.positions[rows] - frame.origin) @ (frame.cell[axis] / length_A)
    return cross_sections(along, _across(frame, rows, axis), length_A, slice_A)


def _across(frame: Frame, rows: np.ndarray, axis: int) -> np.ndarray:
    """Return places across an axis (k, 2), all images nearest to one another's middle."""
    inverse = np.linalg.inv(frame.cell)
    fractional = (frame.positions[rows] - frame.origin) @ inverse
    others = [other for other in range(3) if other != axis]
    for other in others:
        if frame.pbc[other]:
            angle = 2 * np.pi * fractional[:, other]
            middle = np.arctan2(np.sin(angle).mean(), np.cos(angle).mean()) / (2 * np.pi)
            fractional[:, other] -= np.rint(fractional[:, other] - middle)
    fractional[:, axis] = 0.0
    places = fractional @ frame.cell
    direction = frame.cell[axis] / np.linalg.norm(frame.cell[axis])
    one = frame.cell[others[0]] - (frame.cell[others[0]] @ direction) * direction
    one /= np.linalg.norm(one)
    return np.stack([places @ one, places @ np.cross(direction, one)], axis=1)
