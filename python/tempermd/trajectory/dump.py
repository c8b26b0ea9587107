"""Reads LAMMPS text dumps frame by frame.

Our own reader and not OVITO's: OVITO reads NaN, lost atoms and cut files just as well,
but tells of a cut file only on stderr, and cannot be imported without the system's
OpenGL and X11 libraries, while events must be found on any cluster node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from tempermd.records import UserError
from tempermd.trajectory.files import damage_as_sentence, open_lines
from tempermd.trajectory.table import FrameTable
from tempermd.trajectory.units import UNIT_FACTORS


@dataclass(frozen=True)
class Frame:
    """One dumped instant, atoms in the order of their ids.

    Parameters
    ----------
    step : int
        LAMMPS timestep.
    time_ps : float or None
        Simulated time, where the dump has it (``dump_modify time yes``).
    ids : (n,) int array
    positions : (n, 3) array, Å
        Cartesian, wrapped or unwrapped as the dump has them; may hold NaN or Inf.
    velocities : (n, 3) array or None, Å/ps
    forces : (n, 3) array or None, eV/Å
    cell : (3, 3) array, Å
        Cell vectors as rows.
    origin : (3,) array, Å
    pbc : (3,) bool array
    types : (n,) int array or None
    elements : (n,) str array or None
    """

    step: int
    time_ps: float | None
    ids: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray | None
    forces: np.ndarray | None
    cell: np.ndarray
    origin: np.ndarray
    pbc: np.ndarray
    types: np.ndarray | None = None
    elements: np.ndarray | None = None


def iter_frames(dump: Path | str, units: str | None = None) -> FrameReader:
    """Iterate over the frames of a LAMMPS text dump (plain, .gz or .zst), one in memory at a time.

    Parameters
    ----------
    dump : path
        File of ``dump custom`` or ``dump atom`` in metal or real units, with an ``id`` column
        and x, xu, xs or xsu positions; atoms may change order and number.
    units : str or None
        Where the dump does not name its own (``dump_modify units yes``), as LAMMPS by default does
        not: "metal" (so if None) or "real".

    Returns
    -------
    FrameReader
        Iterator of `Frame`; its ``truncated`` tells, once exhausted, whether the last
        frame was cut off (and left out).

    Examples
    --------
    >>> frames = iter_frames("trajectory.lammpstrj")  # doctest: +SKIP
    >>> steps = [frame.step for frame in frames]  # doctest: +SKIP
    """
    return FrameReader(Path(dump), units)


class _CutError(Exception):
    """The file ended inside a frame."""


class FrameReader(Iterator[Frame]):
    """Streaming reader behind `iter_frames`.

    Attributes
    ----------
    truncated : bool
        True when the file ended inside a frame.
    n_frames : int
        Whole frames read so far.
    units_known : bool
        Whether the caller or the dump has named the units.
    """

    def __init__(self, path: Path, units: str | None = None) -> None:
        self.path = path
        self.truncated = False
        self.n_frames = 0
        self.units_known = units is not None
        self._units = "metal" if units is None else self._known_units(units)
        self._time: float | None = None
        self._labels: dict[str, np.ndarray] = {}
        self._sorted_ids: np.ndarray | None = None
        self._sorting: np.ndarray | None = None
        if not path.is_file():
            raise UserError(f"{path}: no such dump file")
        self._stream: IO[bytes] = open_lines(path)

    def __next__(self) -> Frame:
        try:
            with damage_as_sentence(self.path):
                frame = self._read_frame()
        except (_CutError, EOFError):
            frame = None
            self.truncated = True
        if frame is not None:
            self.n_frames += 1
            return frame
        self._stream.close()
        if self.n_frames == 0:
            found = "its only frame is cut off" if self.truncated else "it is empty"
            raise UserError(
                f"{self.path}: expected a LAMMPS text dump, but {found}; run the MD longer"
            )
        raise StopIteration

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)
        if stream is not None:
            stream.close()

    def _read_frame(self) -> Frame | None:
        """Return the next whole frame, or None at a clean end of the file."""
        if self._stream.closed:
            return None
        step = n_atoms = box = None
        started = False
        while True:
            line = self._stream.readline()
            if not line.strip() and not started:
                if not line:
                    return None
                continue
            started = True
            title = self._whole(line).strip()
            if title == "ITEM: UNITS":
                self._units = self._known_units(self._line())
                self.units_known = True
            elif title == "ITEM: TIME":
                self._time = self._number(self._line())
            elif title == "ITEM: TIMESTEP":
                step = self._integer(self._line())
            elif title == "ITEM: NUMBER OF ATOMS":
                n_atoms = self._integer(self._line())
            elif title.startswith("ITEM: BOX BOUNDS"):
                box = self._box(title)
            elif title.startswith("ITEM: ATOMS"):
                if step is None or n_atoms is None or box is None:
                    raise self._fault("a TIMESTEP, NUMBER OF ATOMS and BOX BOUNDS before ATOMS")
                return self._frame(step, n_atoms, box, title.split()[2:])
            else:
                raise self._fault(f"'ITEM: ...' of a LAMMPS text dump, not {title[:40]!r}")

    def _box(self, title: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = [self._numbers(self._line()) for _ in range(3)]
        if len({len(row) for row in rows}) != 1 or not 2 <= len(rows[0]) <= 4:
            raise self._fault("three rows of two to four box bounds")
        return _box(title.split()[3:], np.array(rows))

    def _frame(self, step: int, n_atoms: int, box: tuple, columns: list[str]) -> Frame:
        rows = list(islice(self._stream, n_atoms))
        if len(rows) < n_atoms or (rows and not rows[-1].endswith(b"\n")):
            raise _CutError
        table = FrameTable(columns, rows, step, self._labels, self._fault)
        to_ps, to_speed, to_ev = UNIT_FACTORS[self._units]
        cell, origin, pbc = box
        ids = table.integers("id")
        if ids is None:
            raise UserError(
                f"{self.path}: expected an 'id' column, found {' '.join(columns)}; "
                "write the dump with 'dump ... custom ... id type x y z'"
            )
        order = self._order(ids)
        velocities = table.vectors("vx", "vy", "vz")
        forces = table.vectors("fx", "fy", "fz")
        types, elements = table.integers("type"), table.words("element")
        return Frame(
            step=step,
            time_ps=None if self._time is None else self._time * to_ps,
            ids=_sorted(ids, order),
            positions=_sorted(self._positions(table, cell, origin), order),
            velocities=_sorted(velocities, order, to_speed),
            forces=_sorted(forces, order, to_ev),
            cell=cell,
            origin=origin,
            pbc=pbc,
            types=_sorted(types, order),
            elements=_sorted(elements, order),
        )

    def _order(self, ids: np.ndarray) -> np.ndarray | None:
        """Return what sorts the ids, None where they are; frames often share one array of ids."""
        if ids is not self._sorted_ids:
            in_order = bool(np.all(np.diff(ids) > 0))
            self._sorted_ids = ids
            self._sorting = None if in_order else np.argsort(ids, kind="stable")
        return self._sorting

    def _positions(self, table: FrameTable, cell: np.ndarray, origin: np.ndarray) -> np.ndarray:
        for ending, scaled in (("u", False), ("", False), ("su", True), ("s", True)):
            found = table.vectors(f"x{ending}", f"y{ending}", f"z{ending}")
            if found is not None:
                return origin + found @ cell if scaled else found
        raise UserError(
            f"{self.path}: expected x y z (or xu, xs, xsu) columns, found {' '.join(table.columns)}"
        )

    def _line(self) -> bytes:
        return self._whole(self._stream.readline())

    def _whole(self, line: bytes) -> str:
        if not line.endswith(b"\n"):
            raise _CutError
        return line.decode("utf-8", errors="replace")

    def _numbers(self, line: str) -> list[float]:
        try:
            return [float(word) for word in line.split()]
        except ValueError:
            raise self._fault(f"numbers, not {line.strip()[:40]!r}") from None

    def _number(self, line: str) -> float:
        numbers = self._numbers(line)
        if len(numbers) != 1:
            raise self._fault(f"one number, not {line.strip()[:40]!r}")
        return numbers[0]

    def _integer(self, line: str) -> int:
        number = self._number(line)
        if not number.is_integer():
            raise self._fault(f"a whole number, not {line.strip()[:40]!r}")
        return int(number)

    def _known_units(self, line: str) -> str:
        units = line.strip()
        if units not in UNIT_FACTORS:
            raise UserError(f"{self.path}: expected units metal or real, the dump is in {units!r}")
        return units

    def _fault(self, expected: str) -> UserError:
        return UserError(f"{self.path}: expected {expected} (after {self.n_frames} good frames)")


def _sorted(
    values: np.ndarray | None, order: np.ndarray | None, factor: float = 1.0
) -> np.ndarray | None:
    """Return a column in the order of ids, in our units."""
    if values is None:
        return None
    if order is not None:
        values = values[order]
    return values if factor == 1.0 else values * factor


def _box(words: list[str], bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cell (3, 3), origin (3,) and pbc (3,) of a BOX BOUNDS section."""
    flags = [word for word in words if re.fullmatch(r"[pfsm]{2}", word)]
    pbc = np.array([flag == "pp" for flag in flags] if len(flags) == 3 else [True] * 3)
    if "abc" in words:
        return bounds[:, :3].copy(), bounds[:, 3].copy(), pbc
    low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
    xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else (0.0, 0.0, 0.0)
    # LAMMPS writes the bounding box of a tilted cell ("Triclinic simulation boxes")
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    lengths = high - low
    cell = np.array([[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]])
    return cell, low, pbc
