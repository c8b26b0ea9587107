"""Numerical failures: numbers that are none, and atoms that are gone."""

from __future__ import annotations

import numpy as np

from tempermd.events.products import Event
from tempermd.events.snapshot import FARTHEST_A, Snapshot
from tempermd.trajectory import Frame, Thermo

MOST_NAMED = 8


class NonFinite:
    """NaN, Inf or what no box holds in positions, velocities, forces, cell: one event, the first.

    Finite coordinates beyond `FARTHEST_A` have exploded, and in a cell without volume no distance
    can be told: frames that hold such numbers are not looked at any further.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []

    def update(self, snapshot: Snapshot) -> None:
        """Look at one frame."""
        if self._events:
            return
        frame = snapshot.frame
        moving = [values for values in (frame.velocities, frame.forces) if values is not None]
        where_is_usable = snapshot.pairs is not None or not len(frame.ids)
        if where_is_usable and all(np.isfinite(values).all() for values in moving):
            return
        broken = {name: rows for name, rows in _unusable_rows(frame).items() if rows.any()}
        hit = [rows for name, rows in broken.items() if name != "cell"]
        ids = frame.ids[np.any(hit, axis=0)].tolist() if hit else []
        where = f"in {', '.join(broken)} of {named(ids)}"
        finite = all(np.isfinite(getattr(frame, name)).all() for name in broken)
        what = f"numbers beyond {FARTHEST_A:g} Å" if finite else "NaN or Inf"
        self._events.append(
            Event(
                kind="nonfinite",
                severity="fatal",
                step=frame.step,
                time_ps=snapshot.time_ps,
                atom_ids=ids,
                value=float(len(ids)),
                limit=0.0,
                unit="atoms",
                message=f"{what} {where}" if broken else "the cell has no volume",
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


class NonFiniteThermo:
    """NaN or Inf in a thermo line: one event, the first line, naming its columns."""

    def __init__(self, timestep_fs: float) -> None:
        self._timestep_ps = timestep_fs / 1000
        self._events: list[Event] = []

    def update(self, thermo: Thermo) -> None:
        """Look at all lines of a log."""
        for run in thermo.runs:
            columns = sorted(set(run.columns) - {"Step"})
            bad = {name: ~np.isfinite(run.columns[name]) for name in columns}
            rows = np.flatnonzero(np.any([*bad.values()], axis=0))
            if rows.size:
                named_here = [name for name in columns if bad[name][rows[0]]]
                self._report(int(run.columns["Step"][rows[0]]), named_here)
                return

    def _report(self, step: int, columns: list[str]) -> None:
        self._events.append(
            Event(
                kind="nonfinite",
                severity="fatal",
                step=step,
                time_ps=step * self._timestep_ps,
                atom_ids=[],
                value=float(len(columns)),
                limit=0.0,
                unit="columns",
                message=f"NaN or Inf in the thermo columns {', '.join(columns)}",
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


class LostAtoms:
    """Ids that the first frame had and a later one has not, or the other way round."""

    def __init__(self) -> None:
        self._previous: Frame | None = None
        self._first_ids = np.empty(0, dtype=np.int64)
        self._events: list[Event] = []

    def update(self, snapshot: Snapshot) -> None:
        """Look at one frame."""
        frame, previous = snapshot.frame, self._previous
        self._previous = frame
        if previous is None:
            self._first_ids = frame.ids
            return
        if frame.ids is previous.ids or np.array_equal(frame.ids, previous.ids):
            return
        lost = np.setdiff1d(previous.ids, frame.ids)
        gained = np.setdiff1d(frame.ids, self._first_ids)
        doubled = len(frame.ids) - len(np.unique(frame.ids))
        if lost.size:
            message = f"{len(lost)} of {len(self._first_ids)} atoms are gone: "
            self._report(snapshot, lost, message + _last_seen(previous, lost), previous.step)
        if gained.size or doubled:
            message = f"{len(gained)} atoms with new ids and {doubled} with an id used twice"
            self._report(snapshot, gained, message, None)

    def _report(
        self, snapshot: Snapshot, ids: np.ndarray, message: str, shown_step: int | None
    ) -> None:
        self._events.append(
            Event(
                kind="lost_atoms",
                severity="fatal",
                step=snapshot.frame.step,
                time_ps=snapshot.time_ps,
                atom_ids=ids.tolist(),
                value=float(len(ids)),
                limit=0.0,
                unit="atoms",
                message=message,
                shown_step=shown_step,
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


def _last_seen(frame: Frame, ids: np.ndarray) -> str:
    """Tell where some atoms were in this frame, and how fast."""
    parts = []
    for atom_id in ids[:MOST_NAMED]:
        row = int(np.searchsorted(frame.ids, atom_id))
        place = ", ".join(f"{x:.2f}" for x in frame.positions[row])
        speed = ""
        if frame.velocities is not None:
            speed = f" at {np.linalg.norm(frame.velocities[row]):.1f} Å/ps"
        parts.append(f"{atom_id} last at ({place}) Å{speed}")
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return "; ".join(parts) + more


def _unusable_rows(frame: Frame) -> dict[str, np.ndarray]:
    """Return for each array of a frame which rows hold a number that is none, or is absurd."""
    found = {}
    for name in ("positions", "velocities", "forces", "cell"):
        values = getattr(frame, name)
        if values is not None:
            most = FARTHEST_A if name in ("positions", "cell") else np.inf
            found[name] = ~(np.abs(values) < most).all(axis=1)  # NaN is not below either
    return found


def named(ids: list[int]) -> str:
    """Return 'atom 7' or 'atoms 7, 9 and 12 more'."""
    if not ids:
        return "the cell"
    shown = ", ".join(str(atom_id) for atom_id in ids[:MOST_NAMED])
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return f"{'atom' if len(ids) == 1 else 'atoms'} {shown}{more}"
