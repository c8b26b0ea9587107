"""The rows of one dumped frame as columns of numbers and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic_core import from_json

from tempermd.records import UserError

WORDS = frozenset({"element", "typelabel"})
"""Columns of a dump that hold no numbers."""
AS_LIST = bytes.maketrans(b" \n", b",,")


class FrameTable:
    """The numbers and words of one frame by column.

    Ids, types and elements seldom change from frame to frame: where they are those of the frame
    before, they are given as the very arrays of that frame.
    """

    def __init__(
        self,
        columns: list[str],
        rows: list[bytes],
        step: int,
        labels: dict[str, np.ndarray],
        fault: Callable[[str], UserError],
    ) -> None:
        self.columns = columns
        self._rows = rows
        self._fault = fault
        self._step = step
        self._labels = labels
        self._places = {name: n for n, name in enumerate(c for c in columns if c not in WORDS)}
        self._words: list[bytes] = []
        if len(self._places) < len(columns):
            self._words = b" ".join(rows).split()
            if len(self._words) != len(rows) * len(columns):
                raise self._uneven()
        self._numbers = self._read() if rows else np.empty((0, len(self._places)))

    def _read(self) -> np.ndarray:
        """Return all columns of numbers, (rows, columns)."""
        wanted = [n for n, name in enumerate(self.columns) if name in self._places]
        if not self._words:
            found = _plain_numbers(self._rows, len(wanted))
            if found is not None:
                return found
        try:
            found = np.loadtxt(
                self._rows, comments=None, ndmin=2, usecols=wanted if self._words else None
            )
        except ValueError as error:
            raise self._bad_number(error) from None
        if found.shape != (len(self._rows), len(wanted)):
            raise self._uneven()
        return found

    def _bad_number(self, error: ValueError) -> UserError:
        """Return the fault of the first word that is no number, or of rows that are no table."""
        if any(len(row.split()) != len(self.columns) for row in self._rows):
            return self._uneven()
        return self._fault(f"numbers in the frame of step {self._step}: {error}")

    def _uneven(self) -> UserError:
        return self._fault(f"{len(self.columns)} values per atom in the frame of step {self._step}")

    def integers(self, name: str) -> np.ndarray | None:
        if name not in self._places:
            return None
        found = self._numbers[:, self._places[name]]
        if name not in self._labels or not np.array_equal(self._labels[name], found):
            if not np.array_equal(found, np.rint(found)):
                raise self._fault(f"whole numbers in column {name}")
            self._labels[name] = found.astype(np.int64)
        return self._labels[name]

    def words(self, name: str) -> np.ndarray | None:
        if name not in self.columns:
            return None
        column = self._words[self.columns.index(name) :: len(self.columns)]
        found = np.array([word.decode() for word in column])
        if name not in self._labels or not np.array_equal(self._labels[name], found):
            self._labels[name] = found
        return self._labels[name]

    def vectors(self, *names: str) -> np.ndarray | None:
        if not set(names) <= set(self._places):
            return None
        return self._numbers.take([self._places[name] for name in names], axis=1)


def _plain_numbers(rows: Sequence[bytes], n_columns: int) -> np.ndarray | None:
    """Read rows as LAMMPS writes them, (rows, columns); None for any other, NaN among them.

    Numbers with single blanks between are a list of JSON but for its brackets: pydantic's parser
    rounds as exactly as numpy's own reader and needs a third of its time.
    """
    text = b"".join(rows)
    between = text.translate(None, b"0123456789+-.e")
    if between == (b" " * n_columns + b"\n") * len(rows):  # older LAMMPS ends each row by a blank
        text = text.replace(b" \n", b"\n")
    elif between != (b" " * (n_columns - 1) + b"\n") * len(rows):
        return None
    try:
        found = np.array(from_json(b"[" + text.translate(AS_LIST)[:-1] + b"]"), dtype=float)
    except ValueError:
        return None
    return found.reshape(len(rows), n_columns) if found.size == len(rows) * n_columns else None
