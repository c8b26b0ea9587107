"""Labelled structures for training, in memory or streamed from LMDB: one interface for both."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tempermd.dataset import LmdbFrames, fit_energies, read_labelled
from tempermd.dataset.frames import check_frame_labels
from tempermd.records import UserError
from tempermd.training.graphs import Graph, atom_types, build_graph, predict_energy

if TYPE_CHECKING:
    import torch
    from ase import Atoms

    from tempermd.training.graphs import Model

Item = TypeVar("Item")
SHOW_AFTER_S = 2.0


@dataclass(frozen=True)
class LabelledFrame:
    """One structure with its graph and labels: energy in eV, forces (N, 3) in eV/Å."""

    atoms: Atoms
    graph: Graph
    energy_eV: float
    forces_eV_A: np.ndarray


class Frames(ABC):
    """Labelled structures as torch's data loaders take them: ``frames[3]`` are nequip's tensors."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> dict[str, torch.Tensor]: ...

    @abstractmethod
    def labelled(self) -> Iterator[LabelledFrame]:
        """Yield each structure with its graph."""

    @abstractmethod
    def structures(self) -> Iterator[Atoms]:
        """Yield each structure with its labels."""

    @property
    @abstractmethod
    def streamed(self) -> bool:
        """Whether structures are read anew each time they are asked for."""

    @abstractmethod
    def structure(self, number: int) -> Atoms:
        """Return one structure with its labels."""

    @property
    @abstractmethod
    def n_atoms(self) -> np.ndarray:
        """Atoms of each structure, shape (F,)."""

    @property
    def n_per_epoch(self) -> int:
        """Number of frames in an epoch."""
        return len(self)

    def epoch_numbers(self, generator: torch.Generator) -> list[int]:
        """Return which frames make up the next epoch, before they are shuffled."""
        return list(range(len(self)))


class FramesInMemory(Frames):
    """Structures of a file of moderate size, their neighbor lists made once for all."""

    streamed = False

    def __init__(
        self, structures: Sequence[Atoms], type_names: Sequence[str], cutoff_A: float
    ) -> None:
        self._labelled = [to_labelled(atoms, type_names, cutoff_A) for atoms in structures]
        self._tensors: list[dict[str, torch.Tensor]] | None = None

    def __len__(self) -> int:
        return len(self._labelled)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        if self._tensors is None:
            self._tensors = [to_nequip(one) for one in self._labelled]
        return self._tensors[number]

    def structure(self, number: int) -> Atoms:
        return self._labelled[number].atoms

    @property
    def n_atoms(self) -> np.ndarray:
        return np.array([len(one.atoms) for one in self._labelled])

    def labelled(self) -> Iterator[LabelledFrame]:
        return iter(self._labelled)

    def structures(self) -> Iterator[Atoms]:
        return (one.atoms for one in self._labelled)


class StreamedFrames(Frames):
    """Structures of an LMDB part, read and given a neighbor list whenever they are asked for.

    Parameters
    ----------
    numbers
        Which frames of the file, in order; all of them for None.
    """

    streamed = True

    def __init__(
        self,
        file: LmdbFrames,
        type_names: Sequence[str],
        cutoff_A: float,
        numbers: np.ndarray | None = None,
    ) -> None:
        self.file, self.type_names, self.cutoff_A = file, list(type_names), cutoff_A
        self.numbers = np.arange(len(file)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def n_atoms(self) -> np.ndarray:
        sizes = self.file.n_atoms
        if sizes is None:  # files of nequip's own do not say
            return np.array([len(atoms) for atoms in self.structures()])
        return sizes[self.numbers]

    def structure(self, number: int) -> Atoms:
        atoms = self.file[int(self.numbers[number])]
        check_frame_labels(atoms, f"{self.file.path}: frame {self.numbers[number]}")
        return atoms

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return to_nequip(to_labelled(self.structure(number), self.type_names, self.cutoff_A))

    def labelled(self) -> Iterator[LabelledFrame]:
        for atoms in self.structures():
            yield to_labelled(atoms, self.type_names, self.cutoff_A)

    def structures(self) -> Iterator[Atoms]:
        return (self.structure(number) for number in range(len(self)))


def read_frames(
    path: str,
    type_names: Sequence[str],
    cutoff_A: float,
    n_frames: int | None = None,
    subset_seed: int = 0,
) -> Frames:
    """Open labelled frames: an LMDB part is streamed, any other file comes into memory.

    With ``n_frames``, so many are drawn without replacement, in the file's order.
    """
    if path.endswith(".lmdb"):
        file = LmdbFrames(path, info=False)
        if len(file) == 0:
            raise UserError(f"{path}: holds no frames")
        chosen = drawn(len(file), n_frames, subset_seed, path)
        return StreamedFrames(file, type_names, cutoff_A, chosen)
    frames = subset(read_labelled(path), n_frames, subset_seed, path)
    return FramesInMemory(frames, type_names, cutoff_A)


def to_labelled(atoms: Atoms, type_names: Sequence[str], cutoff_A: float) -> LabelledFrame:
    """Add a neighbor list to a labelled structure."""
    return LabelledFrame(
        atoms,
        build_graph(atoms, type_names, cutoff_A),
        float(atoms.calc.results["energy"]),
        np.asarray(atoms.calc.results["forces"], dtype=float),
    )


def subset(frames: list[Atoms], n_frames: int | None, seed: int, origin: str) -> list[Atoms]:
    """Draw ``n_frames`` without replacement, in the file's order; all of them for None."""
    chosen = drawn(len(frames), n_frames, seed, origin)
    return frames if chosen is None else [frames[i] for i in chosen]


def drawn(n_available: int, n_frames: int | None, seed: int, origin: str) -> np.ndarray | None:
    """Draw ``n_frames`` numbers below ``n_available``, ascending; None for all."""
    if n_frames is None:
        return None
    if n_frames > n_available:
        raise UserError(f"{origin}: n_train = {n_frames}, but the file has {n_available} frames")
    return np.sort(np.random.default_rng(seed).choice(n_available, size=n_frames, replace=False))


@dataclass(frozen=True)
class Statistics:
    """What a training takes from its training set, gathered in one pass.

    Attributes
    ----------
    counts
        Atoms of each type in each frame, shape (F, T).
    energies_eV
        One label per frame, shape (F,); less the parent's prediction where there is a parent.
    """

    n_edges: int
    force_rms_eV_A: float
    counts: np.ndarray
    energies_eV: np.ndarray

    @property
    def avg_num_neighbors(self) -> float:
        """The mean number of neighbors of an atom over all frames."""
        if self.n_edges == 0:
            raise UserError("no training structure has two atoms within the cutoff; raise cutoff_A")
        return self.n_edges / int(self.counts.sum())

    def energies_per_type(self, type_names: Sequence[str]) -> dict[str, float]:
        """Fit one energy per type to the energies: see `dataset.fit_energies`."""
        fitted = fit_energies(self.counts, self.energies_eV).tolist()
        return dict(zip(type_names, fitted, strict=True))


def gather_statistics(
    frames: Frames,
    type_names: Sequence[str],
    parent: Model | None = None,
    *,
    progress: bool = False,
) -> Statistics:
    """Pass over a training set once; ``parent`` is an energy-only model to subtract."""
    n_edges, square, n_components = 0, 0.0, 0
    counts, energies = [], []
    for frame in tracked(frames.labelled(), "statistics", len(frames), shown=progress):
        n_edges += frame.graph.edge_index.shape[1]
        square += float((frame.forces_eV_A**2).sum())
        n_components += frame.forces_eV_A.size
        counts.append(np.bincount(frame.graph.types, minlength=len(type_names)))
        offset_eV = 0.0 if parent is None else predict_energy(parent, frame.graph)
        energies.append(frame.energy_eV - offset_eV)
    force_rms_eV_A = float(np.sqrt(square / n_components))
    return Statistics(n_edges, force_rms_eV_A, np.stack(counts), np.array(energies))


def check_streamed(frames: Frames, type_names: Sequence[str], name: str, *, progress: bool) -> None:
    """Read a streamed part once: a fault shall show before the training, not amid it."""
    if frames.streamed:
        for atoms in tracked(frames.structures(), f"checking {name}", len(frames), shown=progress):
            atom_types(atoms, type_names)


def tracked(items: Iterable[Item], title: str, total: int, *, shown: bool) -> Iterator[Item]:
    """Pass items on, with a progress bar on stderr once they have taken over two seconds."""
    from tempermd.engine.progress import progress_bar

    bar: Any = None
    start_s = time.monotonic()
    try:
        for number, item in enumerate(items):
            if shown and bar is None and time.monotonic() - start_s > SHOW_AFTER_S:
                bar = progress_bar()
                bar.start()
                task = bar.add_task(title, total=total)
            if bar is not None:
                bar.update(task, completed=number)
            yield item
    finally:
        if bar is not None:
            bar.stop()


def to_nequip(frame: LabelledFrame) -> dict[str, torch.Tensor]:
    """Return a frame as nequip's dictionary of tensors, neighbor list and labels included."""
    import torch
    from ase.geometry import complete_cell

    # the edge shifts refer to the completed cell; its volume matters only for the stress
    cell = complete_cell(frame.atoms.cell.array)
    return {
        "pos": torch.tensor(frame.atoms.positions),
        "cell": torch.tensor(np.asarray(cell)).reshape(1, 3, 3),
        "edge_index": torch.tensor(frame.graph.edge_index),
        "edge_cell_shift": torch.tensor(frame.graph.edge_shifts),
        "atom_types": torch.tensor(frame.graph.types),
        "total_energy": torch.tensor([[frame.energy_eV]], dtype=torch.float64),
        "forces": torch.tensor(frame.forces_eV_A),
    }
