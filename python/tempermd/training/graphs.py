"""Structures as the models see them: atom types, neighbor lists, edge vectors, energies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tempermd.records import UserError

if TYPE_CHECKING:
    import torch
    from ase import Atoms

    Model = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Graph:
    """A structure's atom types and its edges, each pair in both directions.

    Attributes
    ----------
    types
        Index of each atom's type, 0-based, shape (N,).
    edge_index
        Row 0 the centre, row 1 the neighbor, shape (2, E).
    edge_shifts
        Cell shift of the neighbor in cell vectors, shape (E, 3).
    edge_vectors_A
        From the centre to the neighbor, Å, shape (E, 3).
    """

    types: np.ndarray
    edge_index: np.ndarray
    edge_shifts: np.ndarray
    edge_vectors_A: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What a model says of one structure: eV, eV/Å (N, 3), eV/Å³ (3, 3), eV (N,)."""

    energy_eV: float
    forces_eV_A: np.ndarray
    virial_eV: np.ndarray
    atomic_energies_eV: np.ndarray


def build_graph(atoms: Atoms, type_names: Sequence[str], cutoff_A: float) -> Graph:
    """Find all neighbors within ``cutoff_A``, periodic images included.

    An element that is not among ``type_names`` is refused.
    """
    from ase.geometry import complete_cell
    from matscipy.neighbours import neighbour_list

    types = atom_types(atoms, type_names)
    cell = complete_cell(atoms.cell.array)
    centre, neighbor, shifts = neighbour_list(
        "ijS", positions=atoms.positions, cell=cell, pbc=atoms.pbc, cutoff=float(cutoff_A)
    )
    vectors = atoms.positions[neighbor] - atoms.positions[centre] + shifts @ cell
    edge_index = np.stack([centre, neighbor]).astype(np.int64)
    return Graph(types, edge_index, shifts.astype(float), vectors)


def atom_types(atoms: Atoms, type_names: Sequence[str]) -> np.ndarray:
    """Return each atom's index in ``type_names``, shape (N,)."""
    index = {name: number for number, name in enumerate(type_names)}
    unknown = sorted(set(atoms.symbols) - set(index))
    if unknown:
        raise UserError(
            f"the structure {atoms.get_chemical_formula()} holds {', '.join(unknown)}, but the "
            f"model knows {', '.join(type_names)} only; train with these type_names"
        )
    return np.array([index[symbol] for symbol in atoms.symbols], dtype=np.int64)


def predict(model: Model, graph: Graph, device: str = "cpu") -> Prediction:
    """Evaluate an energy-only model and differentiate by the edge vectors.

    With :math:`g_e = \\partial E/\\partial r_e`, force :math:`F_i = \\sum_{e \\ni i} g_e` over
    edges that leave atom i, minus those that enter it, and virial
    :math:`-\\sum_e r_e \\otimes g_e`.
    """
    import torch

    vectors = torch.tensor(graph.edge_vectors_A, dtype=torch.float64, device=device)
    vectors.requires_grad_(True)
    edge_index = torch.tensor(graph.edge_index, device=device)
    inputs = {
        "edge_index": edge_index,
        "atom_types": torch.tensor(graph.types, device=device),
        "edge_vectors": vectors,
    }
    atomic_energy = model(inputs)["atomic_energy"]  # (N, 1)
    (gradient,) = torch.autograd.grad([atomic_energy.sum()], [vectors])
    forces = torch.zeros(len(graph.types), 3, dtype=torch.float64, device=device)
    forces.index_add_(0, edge_index[0], gradient)
    forces.index_add_(0, edge_index[1], -gradient)
    virial = -(vectors.detach().T @ gradient)
    return Prediction(
        energy_eV=float(atomic_energy.detach().sum()),
        forces_eV_A=forces.cpu().numpy(),
        virial_eV=0.5 * (virial + virial.T).cpu().numpy(),
        atomic_energies_eV=atomic_energy.detach().reshape(-1).cpu().numpy(),
    )


def predict_energy(model: Model, graph: Graph) -> float:
    """Return the total energy of an energy-only model, eV: what `predict` gives, without forces."""
    import torch

    inputs = {
        "edge_index": torch.tensor(graph.edge_index),
        "atom_types": torch.tensor(graph.types),
        "edge_vectors": torch.tensor(graph.edge_vectors_A, dtype=torch.float64),
    }
    with torch.no_grad():
        return float(model(inputs)["atomic_energy"].sum())
