"""Which structures to label next: those that differ most, as a model sees their atoms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.dataset import read_structures, write_structures
from tempermd.records import UserError
from tempermd.training.graphs import build_graph
from tempermd.training.models import energy_only, load_checkpoint

if TYPE_CHECKING:
    import torch
    from ase import Atoms

METHODS = ("farthest", "random")
_LAYER = re.compile(r"layer(\d+)_convnet$")
_CHUNK = 20_000  # atoms whose distances are in memory at once


def select_farthest(
    checkpoint: Path | str, frames: Iterable[Atoms], n: int, seed: int = 0
) -> list[int]:
    """Choose structures by farthest-point search among their atoms' features.

    The first is random; each further one has the atom that is farthest from all atoms chosen
    so far (see `farthest_points`), in the features from which the model reads energies.

    Parameters
    ----------
    checkpoint
        Of a NequIP model, a pickle: opening it runs code that it contains.
    frames
        Structures, labelled or not.
    n
        How many to choose.
    seed
        Of the first.

    Returns
    -------
    list of int
        Their numbers in ``frames``, in the order of choice: the first k are what asking for k
        gives.
    """
    features = atom_features(checkpoint, frames)
    if n > len(features):
        raise UserError(f"{n} structures are to be selected, but there are {len(features)}")
    first = int(np.random.default_rng(seed).integers(len(features)))
    return farthest_points(features, n, first)


def select_random(n_frames: int, n: int, seed: int = 0) -> list[int]:
    """Choose ``n`` of ``n_frames`` numbers, in random order: what a selection must beat."""
    if n > n_frames:
        raise UserError(f"{n} structures are to be selected, but there are {n_frames}")
    return np.random.default_rng(seed).permutation(n_frames)[:n].tolist()


def select_file(
    pool: Path,
    output: Path,
    n: int,
    checkpoint: Path | None,
    method: str = "farthest",
    seed: int = 0,
) -> Path:
    """Write chosen structures of a file, labels included, in the order of choice.

    Parameters
    ----------
    checkpoint
        The model whose features decide; not needed where ``method`` is random.
    method
        ``farthest`` (`select_farthest`) or ``random``.

    Returns
    -------
    Path
        The extxyz; ``info["pool_frame"]`` is a frame's number in the pool.
    """
    if method not in METHODS:
        raise UserError(f"--method: expected {' or '.join(METHODS)}, got '{method}'")
    if method == "farthest" and checkpoint is None:
        raise UserError("--method farthest needs the model whose features decide (--from)")
    frames = read_structures(pool)
    if checkpoint is not None and method == "farthest":
        chosen = select_farthest(checkpoint, frames, n, seed)
    else:
        chosen = select_random(len(frames), n, seed)
    for number in chosen:
        frames[number].info["pool_frame"] = number
    return write_structures(output, (frames[number] for number in chosen))


def farthest_points(features: Sequence[np.ndarray], n: int, first: int) -> list[int]:
    """Choose groups of points greedily, each the farthest from those chosen before.

    The distance of a group from the chosen ones is the largest of its points' distances, and a
    point's is to the nearest of all chosen points: one unusual atom suffices for a structure to
    be chosen, which a mean over its atoms would hide. (Gonzalez, Theor. Comput. Sci. 38, 293,
    1985, for points.)

    Parameters
    ----------
    features
        One array (points, F) for each group.
    n
        How many groups to choose; the cost is n passes over all points.
    first
        The group to start from.

    Returns
    -------
    list of int
        In the order of choice. Of equally far groups the first is taken, and none twice.
    """
    from scipy.spatial.distance import cdist

    points = np.concatenate(features)  # (P, F)
    starts = np.cumsum([0, *(len(one) for one in features[:-1])])
    nearest = np.full(len(points), np.inf)
    chosen = [first]
    for _ in range(n - 1):
        for low in range(0, len(points), _CHUNK):
            part = slice(low, low + _CHUNK)
            found = cdist(points[part], features[chosen[-1]]).min(axis=1)
            nearest[part] = np.minimum(nearest[part], found)
        distances = np.maximum.reduceat(nearest, starts)  # (groups,)
        distances[chosen] = -1
        chosen.append(int(np.argmax(distances)))
    return chosen


def atom_features(checkpoint: Path | str, frames: Iterable[Atoms]) -> list[np.ndarray]:
    """Return the scalar features that a NequIP model's readout sees, one array (N, F) a frame."""
    import torch

    model = load_checkpoint(checkpoint)
    inner, cutoff_A = energy_only(model), float(model.metadata["r_max"])
    seen: list[np.ndarray] = []

    def keep(_module: Any, _inputs: Any, outputs: dict[str, torch.Tensor]) -> None:
        seen.append(outputs["node_features"].detach().double().cpu().numpy())

    handle = _last_layer(inner, str(checkpoint)).register_forward_hook(keep)
    try:
        for atoms in frames:
            graph = build_graph(atoms, model.type_names, cutoff_A)
            with torch.no_grad():
                inner(
                    {
                        "edge_index": torch.tensor(graph.edge_index),
                        "atom_types": torch.tensor(graph.types),
                        "edge_vectors": torch.tensor(graph.edge_vectors_A, dtype=torch.float64),
                    }
                )
    finally:
        handle.remove()
    return seen


def _last_layer(model: torch.nn.Module, origin: str) -> torch.nn.Module:
    layers = {}
    for name, module in model.named_modules():
        found = _LAYER.search(name)
        if found is not None:
            layers[int(found.group(1))] = module
    if not layers:
        raise UserError(f"{origin}: not a NequIP model, so its features are not known here")
    return layers[max(layers)]
