"""The cache of labels: one SQLite file, keyed by content of structure and identity of source."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tempermd.labels.content import Fault
from tempermd.labels.specs import Source
from tempermd.records import UserError, sha256_json

APPLICATION_ID = 0x746D6C62
FORMAT_VERSION = 1
WAIT_S = 60.0
"""How long a command waits for another one that writes to the same cache."""

_TABLES = """
CREATE TABLE source (id INTEGER PRIMARY KEY, identity TEXT UNIQUE, description TEXT);
CREATE TABLE label (
    source INTEGER, structure BLOB, energy REAL, forces BLOB, stress BLOB, energies BLOB,
    seconds REAL, UNIQUE (source, structure));
CREATE TABLE fault (
    source INTEGER, structure BLOB, kind TEXT, reason TEXT, PRIMARY KEY (source, structure));
CREATE TABLE gate (
    source INTEGER, cell TEXT, figure REAL, reason TEXT, PRIMARY KEY (source, cell));
"""


@dataclass(frozen=True)
class Label:
    """What a source says of one structure.

    ``energy`` in eV, ``forces`` (N, 3) in eV/A, ``stress`` (6,) in eV/A^3 where all axes are
    periodic, ``energies`` (N,) in eV where the source has them; ``seconds`` of processor time.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    energies: np.ndarray | None
    seconds: float

    def on(self, atoms: Atoms) -> Atoms:
        """Return a copy of a structure that carries this label; its ``info`` is kept."""
        results = {"energy": self.energy, "forces": self.forces}
        results |= {} if self.stress is None else {"stress": self.stress}
        results |= {} if self.energies is None else {"energies": self.energies}
        copy = atoms.copy()
        for name in results:
            copy.arrays.pop(name, None)
        copy.calc = SinglePointCalculator(copy, **results)
        return copy


@dataclass(frozen=True)
class Finding:
    """What a worker found for the structure of this key: its label, or why it has none.

    ``elapsed_s`` is what the clock on the wall says it took.
    """

    key: bytes
    n_atoms: int
    found: Label | Fault
    elapsed_s: float = 0.0


class LabelCache:
    """Labels of one source in a file that any number of commands and sources may share.

    Arrays are stored as their float64 bytes, so that a label from the cache is the label that
    was computed, to the last bit. Each call of `store` is one transaction: a kill at any time
    leaves all of it or nothing.

    Raises
    ------
    UserError
        When the file is no cache of labels, is damaged, or its disk is full.
    """

    def __init__(self, path: Path, source: Source) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._base = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
            self._prepare()
            identity = (sha256_json(source.model_dump(mode="json")), source.model_dump_json())
            insert = "INSERT OR IGNORE INTO source (identity, description) VALUES (?, ?)"
            self._base.execute(insert, identity)
            query = "SELECT id FROM source WHERE identity = ?"
            (self._source,) = self._base.execute(query, identity[:1]).fetchone()

    def _prepare(self) -> None:
        """Make the tables in a new file; refuse a foreign one."""
        with self._transaction():
            (mark,) = self._base.execute("PRAGMA application_id").fetchone()
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            (tables,) = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables and not mark:
                self._base.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._base.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
                for statement in _TABLES.split(";"):
                    self._base.execute(statement)
            elif (mark, version) != (APPLICATION_ID, FORMAT_VERSION):
                raise UserError(
                    f"{self.path}: expected a cache of labels (version {FORMAT_VERSION}), got "
                    "another file; name another cache"
                )

    def store(self, findings: Iterable[Finding]) -> None:
        """Store what was found, all of it or, if the disk is full, nothing."""
        with self._explained(), self._transaction():
            for finding in findings:
                here = (self._source, finding.key)
                if isinstance(finding.found, Fault):
                    row = (*here, *finding.found)
                    self._base.execute("INSERT OR REPLACE INTO fault VALUES (?, ?, ?, ?)", row)
                    continue
                label = finding.found
                row = (*here, label.energy, *_blobs(label), label.seconds)
                self._base.execute("INSERT OR IGNORE INTO label VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                self._base.execute("DELETE FROM fault WHERE source = ? AND structure = ?", here)

    def knows(self, key: bytes) -> bool:
        """Whether a structure has a label or a fault."""
        with self._explained():
            query = "SELECT 1 FROM {} WHERE source = ? AND structure = ?"
            both = " UNION ALL ".join(query.format(table) for table in ("label", "fault"))
            here = (self._source, key)
            return self._base.execute(both + " LIMIT 1", here + here).fetchone() is not None

    def find(self, key: bytes) -> Label | Fault | None:
        """Return a structure's label, or its fault, or None if it has neither."""
        here = (self._source, key)
        with self._explained():
            query = "SELECT energy, forces, stress, energies, seconds FROM label"
            row = self._base.execute(f"{query} {_HERE}", here).fetchone()
            if row is not None:
                forces, stress, energies = map(_array, row[1:4])
                return Label(row[0], forces.reshape(-1, 3), stress, energies, row[4])
            row = self._base.execute(f"SELECT kind, reason FROM fault {_HERE}", here).fetchone()
            return None if row is None else Fault(*row)

    def forget_faults(self) -> None:
        """Forget which structures failed, so that they are tried again."""
        with self._explained(), self._transaction():
            self._base.execute("DELETE FROM fault WHERE source = ?", (self._source,))
            self._base.execute(
                "DELETE FROM gate WHERE source = ? AND figure IS NULL", (self._source,)
            )

    def store_figure(self, cell: str, figure: float | Fault) -> None:
        """Store the convergence figure (eV/A) of a group of cells, or why there is none."""
        failed = isinstance(figure, Fault)
        row = (None, figure.reason) if failed else (figure, None)
        with self._explained(), self._transaction():
            statement = "INSERT OR REPLACE INTO gate VALUES (?, ?, ?, ?)"
            self._base.execute(statement, (self._source, cell, *row))

    def figure(self, cell: str) -> float | Fault | None:
        """Return the convergence figure (eV/A) of a group of cells, or why there is none."""
        with self._explained():
            query = "SELECT figure, reason FROM gate WHERE source = ? AND cell = ?"
            row = self._base.execute(query, (self._source, cell)).fetchone()
        if row is None or row[0] is not None:
            return row and row[0]
        return Fault("convergence gate", row[1])

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            # where the disk is full, SQLite has rolled back by itself
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one sentence what went wrong with the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UserError(
                f"{self.path}: the cache of labels cannot be used ({error}); if the disk is full, "
                "make room and give the same command again: what is labelled is kept"
            ) from None
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"{self.path}: expected a cache of labels, got a damaged or foreign file "
                f"({error}); remove it or name another"
            ) from None


_HERE = "WHERE source = ? AND structure = ?"


def _blobs(label: Label) -> tuple[bytes | None, ...]:
    arrays = (label.forces, label.stress, label.energies)
    return tuple(None if a is None else np.asarray(a, dtype="<f8").tobytes() for a in arrays)


def _array(blob: bytes | None) -> np.ndarray | None:
    return None if blob is None else np.frombuffer(blob, dtype="<f8").copy()
