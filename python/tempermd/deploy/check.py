"""Whether a deployed model gives the numbers of the model that it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.records import UserError
from tempermd.training.graphs import Graph, Prediction, build_graph, predict

if TYPE_CHECKING:
    import torch
    from ase import Atoms

    from tempermd.training.graphs import Model

# eV/Å at forces of ordinary size: what rounding leaves, with a margin of about ten
TOLERANCES_EV_A = {"float32": 5e-5, "float64": 1e-8}

# forces above this (eV/Å) widen the tolerance in proportion, since rounding is relative
ORDINARY_FORCE_EV_A = 10.0

# the profiling executor settles after the third call with other edge counts
WARM_UP_CALLS = 3


def check_structures(type_names: list[str]) -> list[Atoms]:
    """Return the structures on which a deployed model is compared with its origin.

    The first, eight rattled atoms of diamond, becomes the file's test configuration. The
    second is a slab, periodic in two directions, with other numbers of atoms and edges.
    Elements take turns, on carbon's lattice whatever they are: only agreement is asked.
    """
    from ase.build import bulk

    cell = bulk("C", "diamond", a=3.57, cubic=True)
    slab = cell.repeat((2, 1, 1))
    slab.pbc = (True, True, False)
    slab.center(vacuum=5.0, axis=2)
    for seed, atoms in enumerate((cell, slab)):
        atoms.rattle(0.08, seed=seed + 1)
        atoms.symbols[:] = [type_names[i % len(type_names)] for i in range(len(atoms))]
    return [cell, slab]


def eager_reference(
    model: torch.nn.Module, atoms: Atoms, type_names: list[str], cutoff_A: float, device: str
) -> Prediction:
    """Evaluate a model by nequip's own route: positions in, forces and virial out."""
    import torch

    graph = build_graph(atoms, type_names, cutoff_A)
    inputs = {
        "pos": torch.tensor(atoms.positions),
        "cell": torch.tensor(atoms.cell.array).reshape(1, 3, 3),
        "edge_index": torch.tensor(graph.edge_index),
        "edge_cell_shift": torch.tensor(graph.edge_shifts),
        "atom_types": torch.tensor(graph.types),
    }
    output = model({key: value.to(device) for key, value in inputs.items()})
    arrays = {
        key: output[key].detach().cpu().numpy()
        for key in ("total_energy", "forces", "virial", "atomic_energy")
    }
    return Prediction(
        energy_eV=float(arrays["total_energy"].item()),
        forces_eV_A=arrays["forces"],
        virial_eV=arrays["virial"][0],
        atomic_energies_eV=arrays["atomic_energy"].reshape(-1),
    )


def force_tolerance_eV_A(model_dtype: str, references: list[Prediction]) -> float:
    largest = max(float(np.abs(one.forces_eV_A).max()) for one in references)
    if not np.isfinite(largest):
        raise UserError("the checkpoint's model gives forces that are not finite; train it anew")
    return TOLERANCES_EV_A[model_dtype] * max(1.0, largest / ORDINARY_FORCE_EV_A)


def differences(
    model: Model,
    info: dict[str, Any],
    structures: list[Atoms],
    references: list[Prediction],
    device: str,
) -> tuple[float, float, float]:
    """Return a deployed model's largest differences (eV/atom, eV/Å, eV/Å³)."""
    graphs = [build_graph(atoms, info["type_names"], info["cutoff_A"]) for atoms in structures]
    for _ in range(WARM_UP_CALLS):
        for graph in graphs:
            predict(model, graph, device)
    found_differences = []
    for atoms, graph, reference in zip(structures, graphs, references, strict=True):
        found = predict(model, graph, device)
        found_differences.append(
            (
                abs(found.energy_eV - reference.energy_eV) / len(atoms),
                np.abs(found.forces_eV_A - reference.forces_eV_A).max(),
                np.abs(found.virial_eV - reference.virial_eV).max() / atoms.get_volume(),
            )
        )
    energy, force, stress = np.max(found_differences, axis=0)  # unlike max(), it lets NaN through
    return float(energy), float(force), float(stress)


def format_configuration(graph: Graph, reference: Prediction, tolerance_eV_A: float) -> str:
    """Return a configuration and its forces as text that the pair style replays at load."""
    lines = [f"{len(graph.types)} {graph.edge_index.shape[1]} {tolerance_eV_A:.17g}"]
    lines.append(" ".join(str(int(one)) for one in graph.types))
    for (centre, neighbor), vector in zip(graph.edge_index.T, graph.edge_vectors_A, strict=True):
        lines.append(f"{centre} {neighbor} " + " ".join(f"{x:.17g}" for x in vector))
    lines.append(f"{reference.energy_eV:.17g}")
    lines += [" ".join(f"{x:.17g}" for x in force) for force in reference.forces_eV_A]
    return "\n".join(lines) + "\n"


def parse_configuration(text: str) -> tuple[Graph, float, np.ndarray, float]:
    """Return graph, energy (eV), forces (N, 3) (eV/Å) and tolerance (eV/Å) of such text."""
    words = text.split()
    n_atoms, n_edges, tolerance = int(words[0]), int(words[1]), float(words[2])
    types = np.array(words[3 : 3 + n_atoms], dtype=np.int64)
    start = 3 + n_atoms
    edges = np.array(words[start : start + 5 * n_edges], dtype=float).reshape(n_edges, 5)
    rest = np.array(words[start + 5 * n_edges :], dtype=float)
    graph = Graph(types, edges[:, :2].T.astype(np.int64), np.zeros((n_edges, 3)), edges[:, 2:])
    return graph, float(rest[0]), rest[1:].reshape(n_atoms, 3), tolerance
