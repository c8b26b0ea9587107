"""Radial weights by cubic splines: how many knots a model needs, and how far off it then is."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from tempermd.deploy.blocks import NotLayeredError
from tempermd.deploy.check import ORDINARY_FORCE_EV_A, check_structures
from tempermd.training.graphs import build_graph, predict

if TYPE_CHECKING:
    import torch
    from ase import Atoms

    from tempermd.deploy.layers import LayeredNequip

# eV/Å at forces of ordinary size: how far splines may be from the network in any structure
BOUNDS_EV_A = {"float32": 1e-4, "float64": 1e-6}

# on the structures looked at they must be that much closer, since others may be worse
MARGIN = 5.0

KNOTS = [128 * 2**power for power in range(9)]

# forces follow from slopes, whose error falls with the third power of the distance of knots
ORDER = 3

# of the check structures, compressed and stretched, so that distances of all sizes occur
SCALES = ((0.75, 1.0), (0.9, 1.15))


def choose_knots(
    layers: LayeredNequip, type_names: list[str], cutoff_A: float, dtype: str
) -> tuple[int, float, float]:
    """Return a sufficient number of knots, the difference seen and the bound (eV/Å).

    Splines are those of ``deploy/radial_weights.cpp``: cubic Hermite in distance over cutoff,
    through values and slopes of the radial network. Raises ``NotLayeredError`` where none of
    the tried numbers suffices.
    """
    # the splines' own error, without that of rounding
    layers = _in_double(layers)
    graphs = [build_graph(atoms, type_names, cutoff_A) for atoms in _structures(type_names)]
    exact = [predict(layers, graph).forces_eV_A for graph in graphs]
    largest = max(float(np.abs(one).max()) for one in exact)
    bound = BOUNDS_EV_A[dtype] * max(1.0, largest / ORDINARY_FORCE_EV_A)
    number = 1
    while number < len(KNOTS):
        knots = KNOTS[number]
        splined = splined_model(layers, knots)
        found = max(
            float(np.abs(predict(splined, graph).forces_eV_A - forces).max())
            for graph, forces in zip(graphs, exact, strict=True)
        )
        if found <= bound / MARGIN:
            return knots, found, bound
        halvings = math.log2(found * MARGIN / bound) / ORDER if np.isfinite(found) else 1.0
        number += max(1, math.floor(halvings))
    raise NotLayeredError(f"splines of {KNOTS[-1]} knots are off by {found:.2g} eV/Å")


def _in_double(layers: LayeredNequip) -> LayeredNequip:
    import torch

    copy = deepcopy(layers).double()
    copy.edges.spharm._output_dtype = copy.edges.bessel_encode._output_dtype = torch.float64
    return copy


def _structures(type_names: list[str]) -> list[Atoms]:
    scaled = []
    for atoms, scales in zip(check_structures(type_names), SCALES, strict=True):
        for scale in scales:
            one = atoms.copy()
            one.set_cell(atoms.cell * scale, scale_atoms=True)
            scaled.append(one)
    return scaled


def splined_model(layers: LayeredNequip, knots: int) -> torch.nn.Module:
    """Return a model like ``layers``, whose radial weights come from splines with these knots."""
    import torch

    class SplinedModel(torch.nn.Module):
        """Edge vectors and types in, energies of atoms out."""

        def __init__(self) -> None:
            super().__init__()
            x = torch.linspace(0.0, 1.0, knots + 1, dtype=torch.float64).unsqueeze(1)
            self.tables = []
            for layer in layers.layers:
                values, slopes = torch.autograd.functional.jvp(
                    lambda at, layer=layer: layer.radial(_basis(layers, at)), x, torch.ones_like(x)
                )
                self.tables.append((values.detach(), (slopes / knots).detach()))

        def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            edge_index, types = data["edge_index"], data["atom_types"].view(-1)
            edge_types = types.index_select(0, edge_index.reshape(-1)).view(2, -1)
            harmonics, _ = layers.embed(data["edge_vectors"], edge_types)
            x = _scaled_distances(layers, data["edge_vectors"], edge_types)
            features, mixing = layers.start(types)
            for layer, table in zip(layers.layers, self.tables, strict=True):
                weights = _hermite(table, x, knots)
                sources = layer.sources(features, types).index_select(0, edge_index[1])
                messages = layer.product(sources, harmonics, weights)
                sums = messages.new_zeros(len(types), layer.n_messages)
                sums = sums.index_add(0, edge_index[0], messages)
                features = layer.update(features, sums, mixing)
            return {"atomic_energy": layers.energies(features, types)}

    return SplinedModel()


def _scaled_distances(
    layers: LayeredNequip, vectors: torch.Tensor, edge_types: torch.Tensor
) -> torch.Tensor:
    norm = layers.edges.edge_norm
    data = {"edge_vectors": vectors, layers.edges.edge_type_field: edge_types}
    return norm(data)[norm.norm_length_field]  # (E, 1)


def _basis(layers: LayeredNequip, x: torch.Tensor) -> torch.Tensor:
    encode, factor = layers.edges.bessel_encode, layers.edges.factor
    return factor(encode({layers.edges.edge_norm.norm_length_field: x}))["edge_embedding"]


def _hermite(table: tuple[torch.Tensor, torch.Tensor], x: torch.Tensor, knots: int) -> torch.Tensor:
    values, slopes = table
    knot = (x * knots).detach().floor().long().clamp(0, knots - 1).squeeze(1)
    t = x * knots - knot.unsqueeze(1)
    return (x < 1.0) * (
        (1 + 2 * t) * (1 - t) ** 2 * values[knot]
        + t * (1 - t) ** 2 * slopes[knot]
        + t**2 * (3 - 2 * t) * values[knot + 1]
        + t**2 * (t - 1) * slopes[knot + 1]
    )
