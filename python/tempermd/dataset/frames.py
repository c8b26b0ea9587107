"""Frames: structures and labels read with care, written whole, and judged one by one."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from tempermd.dataset.plain import labels_of
from tempermd.records import UserError, atomic_write

if TYPE_CHECKING:
    from ase import Atoms

UNKNOWN_SOURCE = "unknown"
ENERGY_SUM_TOLERANCE_EV = 1e-4
"""By how much per atom the energies of atoms may miss the total energy."""


def read_labelled(path: Path | str) -> list[Atoms]:
    """Read labelled frames; each must have a finite energy and finite forces.

    Parameters
    ----------
    path
        A file, or an LMDB part of a dataset (all of it comes into memory: stream large ones by
        `iter_labelled`).

    Returns
    -------
    list of ase.Atoms
        With a calculator that holds ``energy`` (eV), ``forces`` (N, 3) (eV/A) and perhaps
        ``stress`` (eV/A^3) and ``energies`` (N,) (eV).

    Raises
    ------
    UserError
        Names the file, the frame and what is wrong with it.
    """
    frames = read_structures(path)
    check_labels(frames, str(path))
    return frames


def iter_labelled(path: Path | str) -> Iterator[Atoms]:
    """Yield labelled frames one by one, in the order of the file; see `read_labelled`."""
    for number, atoms in enumerate(iter_structures(path)):
        check_frame_labels(atoms, f"{path}: frame {number}")
        yield atoms


def read_structures(path: Path | str) -> list[Atoms]:
    """Read frames of any format ASE knows, or of an LMDB part, labelled or not."""
    return list(iter_structures(path))


def iter_structures(path: Path | str) -> Iterator[Atoms]:
    """Yield the frames of a file one by one, labelled or not; no more than one is in memory.

    Formats by suffix: ``.extxyz``, ``.xyz`` (also ``.gz``), ``.db`` (ASE), ``.lmdb``, ``.json``
    (a list of pymatgen structures with outputs), else whatever ASE makes of the file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of structures")
    count = 0
    for atoms in _reader(path)(path):
        count += 1
        yield atoms
    if count == 0:
        raise UserError(f"{path}: holds no frames")


def _reader(path: Path) -> Any:
    name = path.name.removesuffix(".gz")
    if name.endswith((".extxyz", ".xyz")):
        return _iter_xyz
    if name.endswith(".lmdb"):
        from tempermd.dataset.lmdb_files import iter_lmdb

        return iter_lmdb
    if name.endswith(".db"):
        from tempermd.dataset.ase_database import iter_database

        return iter_database
    if name.endswith(".json"):
        from tempermd.dataset.pymatgen_json import iter_json

        return iter_json
    return _iter_by_ase


def _iter_xyz(path: Path) -> Iterator[Atoms]:
    from ase.io import read

    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", errors="replace") as stream:
        for number, text in enumerate(_xyz_texts(path, stream)):
            with readable(f"{path}: frame {number}"):
                yield read(io.StringIO(text), format="extxyz")


def _xyz_texts(path: Path, stream: TextIO) -> Iterator[str]:
    """Yield the text of one frame at a time; a file cut short is refused."""
    number = 0
    line = stream.readline()
    while line:
        if not line.strip():
            line = stream.readline()
            continue
        n_atoms = _atom_count(line, f"{path}: frame {number}")
        rows = [line, *(stream.readline() for _ in range(n_atoms + 1))]
        if not rows[-1].strip():
            raise UserError(
                f"{path}: frame {number} is cut short: it promises {n_atoms} atoms, but the "
                "file ends before them; it was not written whole, so make it anew"
            )
        line = stream.readline()
        while line.startswith("VEC"):  # cell vectors, as some programs write them
            rows.append(line)
            line = stream.readline()
        yield "".join(rows)
        number += 1


def _atom_count(line: str, origin: str) -> int:
    try:
        n_atoms = int(line)
    except ValueError:
        raise UserError(
            f"{origin} cannot be read as a structure (expected the number of atoms, got "
            f"{line.strip()[:40]!r})"
        ) from None
    if n_atoms == 0:
        raise UserError(f"{origin} has no atoms")
    return n_atoms


class readable:  # noqa: N801  (reads as a verb: with readable(...))
    """Turn the ways in which reading structures fails into one sentence."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from ase.io.formats import UnknownFileTypeError

        faults = (UnknownFileTypeError, ValueError, KeyError, IndexError, AssertionError)
        if isinstance(error, (*faults, OSError, TypeError, AttributeError, SyntaxError)):
            detail = str(error) or type(error).__name__
            raise UserError(
                f"{self.origin}: cannot be read as a structure ({detail.splitlines()[0]})"
            ) from None


def _iter_by_ase(path: Path) -> Iterator[Atoms]:
    from ase.io import iread

    with readable(str(path)):
        frames = iread(path, ":")
    number = 0
    while True:
        with readable(f"{path}: frame {number}"):
            atoms = next(frames, None)
        if atoms is None:
            return
        yield atoms
        number += 1


def write_structures(path: Path | str, frames: Iterable[Atoms]) -> Path:
    """Write frames, labels included, as extxyz."""
    from ase.io import write

    path = Path(path)
    if path.suffix not in (".xyz", ".extxyz"):
        raise UserError(f"{path}: structures are written as .extxyz (or .xyz)")
    with atomic_write(path) as temporary, temporary.open("w") as stream:
        for atoms in frames:
            write(stream, atoms, format="extxyz")
    return path


def source_of(atoms: Atoms) -> str:
    """Return the name of the source that labelled a frame."""
    return str(atoms.info.get("source", UNKNOWN_SOURCE))


def check_labels(frames: Sequence[Atoms], origin: str) -> None:
    """Refuse frames without finite energies and forces; ``origin`` starts the message."""
    for number, atoms in enumerate(frames):
        check_frame_labels(atoms, f"{origin}: frame {number}")


def check_frame_labels(atoms: Atoms, origin: str) -> None:
    """Refuse a frame whose labels are missing, not finite or of the wrong length."""
    if len(atoms) == 0:
        raise UserError(f"{origin} has no atoms")
    results = labels_of(atoms)
    for name in ("energy", "forces"):
        if name not in results:
            raise UserError(
                f"{origin} has no {name}; label it (tempermd label) or, if the label has another "
                f"name in the file, rename it to '{name}'{other_names(atoms, name)}"
            )
    for name, shape in _shapes(len(atoms)).items():
        if name not in results:
            continue
        value = np.asarray(results[name])
        if value.shape not in shape:
            raise UserError(
                f"{origin}: {name} has shape {value.shape}, expected {shape[0]} for "
                f"{len(atoms)} atoms; labels and structure do not belong together"
            )
        if not np.isfinite(value).all():
            raise UserError(f"{origin}: {name} not finite (NaN or Inf)")


def _shapes(n_atoms: int) -> dict[str, list[tuple[int, ...]]]:
    return {
        "energy": [(), (1,)],
        "forces": [(n_atoms, 3)],
        "energies": [(n_atoms,)],
        "stress": [(6,), (3, 3)],
    }


def other_names(atoms: Atoms, label: str) -> str:
    """Return a hint: where in the frame the missing label may be, and the option to say so."""
    held = {
        "energy": [k for k, v in atoms.info.items() if np.ndim(v) == 0 and "energy" in k.lower()],
        "forces": [k for k in atoms.arrays if "force" in k.lower()],
    }[label]
    if not held:
        return ""
    return f" (perhaps --{label}-key {held[0]})"


def check_structure(atoms: Atoms, origin: str) -> None:
    """Refuse positions or cells that are not finite, a flat cell, and overlapping atoms."""
    from tempermd.labels.content import OVERLAP, fault_of

    fault = fault_of(atoms)
    if fault is not None:
        unit = ", or say --length-unit if positions are not in A" * (fault.kind == OVERLAP)
        raise UserError(f"{origin}: {fault.reason}; take the frame out or mend it{unit}")


def check_energy_sum(atoms: Atoms, origin: str) -> None:
    """Refuse energies of atoms that do not sum to the energy of the frame."""
    results = labels_of(atoms)
    if "energies" not in results:
        return
    total, parts = float(results["energy"]), float(np.sum(results["energies"]))
    if abs(total - parts) > ENERGY_SUM_TOLERANCE_EV * len(atoms):
        raise UserError(
            f"{origin}: the energies of its atoms sum to {parts:.6f} eV, its energy is "
            f"{total:.6f} eV; leave 'energies' out or mend them"
        )


def complete_cell(atoms: Atoms) -> np.ndarray:
    """Return the cell (3, 3) in A, with unit vectors in the place of missing ones."""
    from ase.geometry import complete_cell as complete

    return np.asarray(complete(atoms.cell.array))


def close_pairs(atoms: Atoms, cutoff_A: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices of atoms (P,), (P,) and their distances (P,) in A, below a cutoff.

    Each pair comes in both directions; periodic images count.
    """
    from matscipy.neighbours import neighbour_list

    return neighbour_list(
        "ijd",
        positions=atoms.positions,
        cell=complete_cell(atoms),
        pbc=atoms.pbc,
        cutoff=cutoff_A,
    )
