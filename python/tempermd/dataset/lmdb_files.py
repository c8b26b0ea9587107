"""LMDB parts of large datasets: written without ever mapping what the disk lacks, read safely.

The entries are those of nequip's ``NequIPLMDBDataset``, so its own loaders read them, too. They
are pickles: nequip opens them without looking, so give nequip only files of your own making.
`LmdbFrames` looks first and refuses whatever is not plain data.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from tempermd.dataset import safe_pickle
from tempermd.dataset.plain import labels_of, plain
from tempermd.records import UserError

if TYPE_CHECKING:
    from ase import Atoms

METADATA = b"__metadata__"
FRAMES_PER_COMMIT = 1000
FIRST_MAP_BYTES = 1 << 24


def index_path(path: Path | str) -> Path:
    """Return the name of the index beside an LMDB part: ``train.index.jsonl.gz``."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".lmdb") + ".index.jsonl.gz")


def to_entry(atoms: Atoms, *, stress: bool, energies: bool) -> dict[str, np.ndarray]:
    """Return a labelled frame as nequip's dictionary of arrays.

    Energies in eV, forces in eV/A, stress in eV/A^3 as a (1, 3, 3) tensor; ``stress`` and
    ``energies`` say whether these labels go in (all entries of a file must have the same keys).
    """
    from ase.stress import voigt_6_to_full_3x3_stress

    results = labels_of(atoms)
    entry = {
        "pos": np.array(atoms.positions),
        "cell": np.array(atoms.cell.array).reshape(1, 3, 3),
        "pbc": np.array(atoms.pbc).reshape(1, 3),
        "atomic_numbers": np.array(atoms.numbers, dtype=np.int64),
        "total_energy": np.array(results["energy"], dtype=float).reshape(1, 1),
        "forces": np.array(results["forces"], dtype=float),
    }
    if stress:
        value = np.asarray(results["stress"], dtype=float)
        full = value if value.shape == (3, 3) else voigt_6_to_full_3x3_stress(value)
        entry["stress"] = np.array(full).reshape(1, 3, 3)
    if energies:
        entry["atomic_energy"] = np.array(results["energies"], dtype=float).reshape(-1, 1)
    return entry


def from_entry(entry: dict[str, Any], info: dict[str, Any], origin: str) -> Atoms:
    """Return the frame of an entry, with its labels in a calculator."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    try:
        values = {key: np.asarray(value) for key, value in entry.items()}
        pbc = values.get("pbc", np.zeros(3, dtype=bool)).reshape(3).astype(bool)
        cell = values.get("cell", np.zeros((3, 3))).reshape(3, 3)
        atoms = Atoms(values["atomic_numbers"].ravel(), values["pos"], cell=cell, pbc=pbc)
        results: dict[str, Any] = {}
        if "total_energy" in values:
            results["energy"] = float(values["total_energy"].ravel()[0])
        if "forces" in values:
            results["forces"] = values["forces"]
        if "stress" in values:
            results["stress"] = full_3x3_to_voigt_6_stress(values["stress"].reshape(3, 3))
        if "atomic_energy" in values:
            results["energies"] = values["atomic_energy"].ravel()
    except (KeyError, ValueError, AttributeError, IndexError, TypeError) as error:
        raise UserError(f"{origin}: no entry of nequip's kind ({error!r})") from None
    atoms.info.update(info)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


class _TensorPickler(pickle.Pickler):
    """Pickles tensors as ``torch.from_numpy(array)``: ten times faster than torch's own way."""

    def reducer_override(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.numpy(),)
        return "from_numpy" if value is torch.from_numpy else NotImplemented


class LmdbWriter:
    """Write frames to an LMDB part and its index; use as a context.

    nequip's own writer maps the whole file for writing, so that a full disk kills the process
    by a signal. This one writes through ordinary calls, so that a full disk is an error, and
    lets the map grow with the data, so that the file has the size of what is in it.
    """

    def __init__(self, path: Path | str, *, stress: bool, energies: bool) -> None:
        import lmdb

        self.path = Path(path)
        self.keys = {"stress": stress, "energies": energies}
        self.n_atoms: list[int] = []
        self._waiting: list[tuple[bytes, bytes]] = []
        self._map_bytes = FIRST_MAP_BYTES
        self._environment = lmdb.open(
            str(self.path),
            map_size=self._map_bytes,
            subdir=False,
            lock=False,
            meminit=False,
            sync=False,
        )
        index = index_path(self.path)
        self._index = gzip.open(index, "wt", compresslevel=4)  # noqa: SIM115  (closed on exit)

    def __enter__(self) -> LmdbWriter:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._environment.close()
            self._index.close()

    def add(self, atoms: Atoms) -> None:
        """Append one labelled frame."""
        import torch

        arrays = to_entry(atoms, **self.keys)
        entry = {key: torch.from_numpy(value) for key, value in arrays.items()}
        buffer = io.BytesIO()
        _TensorPickler(buffer, protocol=5).dump(entry)
        self._waiting.append((str(len(self.n_atoms)).encode(), buffer.getvalue()))
        self.n_atoms.append(len(atoms))
        self._index.write(json.dumps(plain(atoms.info)) + "\n")
        if len(self._waiting) >= FRAMES_PER_COMMIT:
            self._commit()

    def _finish(self) -> None:
        metadata = {
            "num_atoms_per_entry": np.array(self.n_atoms),
            "num_frames": len(self.n_atoms),
        }
        self._waiting.append((METADATA, pickle.dumps(metadata, protocol=5)))
        self._commit()
        self._environment.sync(True)

    def _commit(self) -> None:
        """Write what waits in one transaction, and enlarge the map until it fits."""
        import lmdb

        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in self._waiting:
                        transaction.put(key, value)
                break
            except lmdb.MapFullError:
                self._map_bytes *= 2
                self._environment.set_mapsize(self._map_bytes)
            except lmdb.Error as error:
                raise OSError(f"writing {self.path.name}: {error}") from None
        self._waiting.clear()


_ENVIRONMENTS: WeakValueDictionary[tuple[int, int, int], Any] = WeakValueDictionary()
"""Open files by process, device and inode: LMDB lets a process open a file only once."""


def _environment(path: Path) -> Any:
    """Open a file for reading, or share it with who has it open; a fork opens it for itself."""
    import lmdb

    status = path.stat()
    key = (os.getpid(), status.st_dev, status.st_ino)
    for stale in [one for one in _ENVIRONMENTS if one[0] != key[0]]:
        _ENVIRONMENTS.pop(stale).close()
    if key not in _ENVIRONMENTS:
        try:
            opened = lmdb.open(str(path), readonly=True, lock=False, readahead=False, subdir=False)
        except lmdb.Error as error:
            raise UserError(f"{path}: cannot be opened as LMDB ({error})") from None
        _ENVIRONMENTS[key] = opened
        return opened
    return _ENVIRONMENTS[key]


class LmdbFrames:
    """Labelled frames of an LMDB part by number: ``len(frames)``, ``frames[3]``, iteration.

    Only what is asked for is read. Pickled objects other than plain data are refused. Instances
    can be pickled to other processes; each opens the file for itself.

    Parameters
    ----------
    path
        A file of nequip's dataset class, made by this package or by nequip.
    info
        Whether frames carry their info from the index beside the file (if there is one).
    """

    def __init__(self, path: Path | str, *, info: bool = True) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such LMDB file")
        self._environment: Any = None
        self._opened_by: int | None = None
        self._lines = _index_lines(self.path) if info else []
        metadata = self._metadata()
        self._length = int(metadata.get("num_frames", self._entries()))
        n_atoms = metadata.get("num_atoms_per_entry")
        self.n_atoms = None if n_atoms is None else np.asarray(n_atoms)
        """Atoms of each frame, shape (F,); None where the file does not say."""
        if self._lines and len(self._lines) != self._length:
            raise UserError(
                f"{index_path(self.path)}: has {len(self._lines)} lines, but {self.path.name} has "
                f"{self._length} frames; they do not belong together"
            )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> Atoms:
        if not -self._length <= number < self._length:
            raise IndexError(f"frame {number} of {self._length}")
        number = int(number) % self._length
        origin = f"{self.path}: frame {number}"
        info = json.loads(self._lines[number]) if self._lines else {}
        return from_entry(self.entry(number), info, origin)

    def __iter__(self) -> Iterator[Atoms]:
        return (self[number] for number in range(self._length))

    def entry(self, number: int) -> dict[str, Any]:
        """Return nequip's dictionary of tensors of one frame, read safely."""
        origin = f"{self.path}: frame {number}"
        data = self._get(str(number).encode())
        if data is None:
            raise UserError(f"{origin} is missing from the file")
        entry = safe_pickle.load(data, origin)
        if not isinstance(entry, dict):
            raise UserError(f"{origin}: no entry of nequip's kind ({type(entry).__name__})")
        return entry

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_environment": None}

    def close(self) -> None:
        """Let go of the file, so that another reader of this process may open it."""
        self._environment = None

    def _opened(self) -> Any:
        if self._environment is None or self._opened_by != os.getpid():
            self._environment = _environment(self.path)
            self._opened_by = os.getpid()
        return self._environment

    def _get(self, key: bytes) -> bytes | None:
        with self._opened().begin() as transaction:
            return transaction.get(key)

    def _entries(self) -> int:
        return int(self._opened().stat()["entries"])

    def _metadata(self) -> dict[str, Any]:
        data = self._get(METADATA)
        found = {} if data is None else safe_pickle.load(data, f"{self.path}: metadata")
        return found if isinstance(found, dict) else {}


def _index_lines(path: Path) -> list[bytes]:
    index = index_path(path)
    if not index.is_file():
        return []
    try:
        with gzip.open(index, "rb") as stream:
            return stream.read().splitlines()
    except (OSError, EOFError) as error:
        raise UserError(f"{index}: cannot be read ({error})") from None


def iter_lmdb(path: Path) -> Iterator[Atoms]:
    """Yield the frames of an LMDB part one by one."""
    return iter(LmdbFrames(path))
