"""ASE databases (.db): frames with labels and all their info, one row each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.dataset.plain import labels_of, plain
from tempermd.records import UserError

if TYPE_CHECKING:
    from ase import Atoms

ROWS_AT_A_TIME = 500


def iter_database(path: Path) -> Iterator[Atoms]:
    """Yield the rows of an ASE database in the order of their ids.

    Labels come in a calculator; ``info`` is what this package stored, else the row's
    key-value pairs.
    """
    import sqlite3

    from ase.db import connect

    last = 0
    try:
        with connect(path, type="db") as database:
            while True:
                rows = list(database.select(f"id>{last}", limit=ROWS_AT_A_TIME, sort="id"))
                for row in rows:
                    yield _to_atoms(row)
                if not rows:
                    return
                last = rows[-1].id
    except (sqlite3.DatabaseError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read as an ASE database ({error})") from None


def _to_atoms(row: Any) -> Atoms:
    atoms = row.toatoms()
    data = dict(row.data)
    atoms.info.update(data.pop("info", None) or dict(row.key_value_pairs))
    for name, values in (data.pop("arrays", None) or {}).items():
        atoms.set_array(name, values)
    if "energies" in data:  # a label that rows have no column for
        atoms.calc.results["energies"] = np.asarray(data["energies"])
    return atoms


class DatabaseWriter:
    """Write frames to a new ASE database; use as a context."""

    def __init__(self, path: Path | str) -> None:
        from ase.db import connect

        self.path = Path(path)
        self._database = connect(self.path, type="db", append=False)

    def __enter__(self) -> DatabaseWriter:
        self._database.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._database.__exit__(kind, error, trace)

    def add(self, atoms: Atoms) -> None:
        """Append one frame, labelled or not."""
        known = {"numbers", "positions", "initial_magmoms", "initial_charges", "tags", "momenta"}
        arrays = {k: v for k, v in atoms.arrays.items() if k not in {*known, "masses"}}
        data = {"info": plain(atoms.info), "arrays": arrays}
        if "energies" in (labels := labels_of(atoms)):
            data["energies"] = np.asarray(labels["energies"])
        self._database.write(atoms, data=data)
