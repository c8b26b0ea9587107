"""Labelled structures for training: graphs, statistics, reference energies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tempermd.dataset import fit_energies
from tempermd.records import UserError
from tempermd.training.graphs import Graph, atom_types, build_graph

if TYPE_CHECKING:
    import torch
    from ase import Atoms


@dataclass(frozen=True)
class LabelledFrame:
    """One structure with its graph and labels: energy in eV, forces (N, 3) in eV/Å."""

    atoms: Atoms
    graph: Graph
    energy_eV: float
    forces_eV_A: np.ndarray


def to_labelled(
    frames: Sequence[Atoms], type_names: Sequence[str], cutoff_A: float
) -> list[LabelledFrame]:
    """Add a neighbor list to each labelled structure, once for the whole training."""
    return [
        LabelledFrame(
            atoms,
            build_graph(atoms, type_names, cutoff_A),
            float(atoms.calc.results["energy"]),
            np.asarray(atoms.calc.results["forces"], dtype=float),
        )
        for atoms in frames
    ]


def subset(frames: list[Atoms], n_frames: int | None, seed: int, origin: str) -> list[Atoms]:
    """Draw ``n_frames`` without replacement, in the file's order; all of them for None."""
    if n_frames is None:
        return frames
    if n_frames > len(frames):
        raise UserError(f"{origin}: n_train = {n_frames}, but the file has {len(frames)} frames")
    chosen = np.random.default_rng(seed).choice(len(frames), size=n_frames, replace=False)
    return [frames[i] for i in sorted(chosen)]


def average_neighbors(frames: Sequence[LabelledFrame]) -> float:
    """Return the mean number of neighbors of an atom over all frames."""
    n_edges = sum(frame.graph.edge_index.shape[1] for frame in frames)
    n_atoms = sum(len(frame.atoms) for frame in frames)
    if n_edges == 0:
        raise UserError("no training structure has two atoms within the cutoff; raise cutoff_A")
    return n_edges / n_atoms


def force_rms(frames: Sequence[LabelledFrame]) -> float:
    """Return the root mean square force component over all frames, eV/Å."""
    square = sum(float((frame.forces_eV_A**2).sum()) for frame in frames)
    count = sum(frame.forces_eV_A.size for frame in frames)
    return float(np.sqrt(square / count))


def reference_energies(
    frames: Sequence[Atoms], energies_eV: np.ndarray, type_names: Sequence[str]
) -> dict[str, float]:
    """Fit one energy per type to one total energy (eV) per frame: see `dataset.fit_energies`."""
    counts = np.stack(
        [np.bincount(atom_types(atoms, type_names), minlength=len(type_names)) for atoms in frames]
    )  # (F, T)
    return dict(zip(type_names, fit_energies(counts, energies_eV).tolist(), strict=True))


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
