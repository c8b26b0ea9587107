"""Radial weights by cubic splines: how many knots a model needs, and how far off it then is."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING, Any

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

KNOTS = [256 * 2**power for power in range(8)]

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
    number = 0
    while True:
        splined = splined_model(layers, KNOTS[number])
        found = max(
            float(np.abs(predict(splined, graph).forces_eV_A - forces).max())
            for graph, forces in zip(graphs, exact, strict=True)
        )
        if found <= bound / MARGIN:
            return KNOTS[number], found, bound
        if number == len(KNOTS) - 1 or not np.isfinite(found):
            raise NotLayeredError(f"splines of {KNOTS[number]} knots are off by {found:.2g} eV/Å")
        halvings = math.floor(math.log2(found * MARGIN / bound) / ORDER)
        number = min(number + max(1, halvings), len(KNOTS) - 1)


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


def splined_model(layers: LayeredNequip, knots: int) -> LayeredNequip:
    """Return a copy of a model in double precision with splines for its radial networks.

    Its edges hand on the distance over the cutoff (E, 1) in place of the radial basis.
    """
    import torch

    splined = deepcopy(layers)
    splined.edges = _distances(layers.edges)
    x = torch.linspace(0.0, 1.0, knots + 1, dtype=torch.float64).unsqueeze(1)
    for layer in splined.layers:
        network = layer.radial_network
        values, slopes = torch.autograd.functional.jvp(
            lambda at, network=network: network(_basis(layers.edges, at)), x, torch.ones_like(x)
        )
        layer.radial_network = _spline(values.detach(), (slopes / knots).detach())
    return splined


def _basis(edges: Any, x: torch.Tensor) -> torch.Tensor:
    encoded = edges.bessel_encode({edges.edge_norm.norm_length_field: x})
    return edges.factor(encoded)["edge_embedding"]


def _distances(edges: Any) -> torch.nn.Module:
    import torch

    class Distances(torch.nn.Module):
        """Harmonics and distances over the cutoff, from edge vectors and types."""

        def forward(
            self, vectors: torch.Tensor, types: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            data = {"edge_vectors": vectors, edges.edge_type_field: types}
            data = edges.edge_norm(edges.spharm(data))
            return data["edge_attrs"], data[edges.edge_norm.norm_length_field]

    return Distances()


def _spline(values: torch.Tensor, slopes: torch.Tensor) -> torch.nn.Module:
    """Return the spline through values and slopes (knots + 1, weights) on even knots in [0, 1]."""
    import torch

    class Spline(torch.nn.Module):
        """Weights (E, weights) of distances over the cutoff (E, 1); zero from the cutoff on."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            position = x * (len(values) - 1)
            knot = position.detach().floor().long().clamp(0, len(values) - 2).squeeze(1)
            t = position - knot.unsqueeze(1)
            return (x < 1.0) * (
                (1 + 2 * t) * (1 - t) ** 2 * values[knot]
                + t * (1 - t) ** 2 * slopes[knot]
                + t**2 * (3 - 2 * t) * values[knot + 1]
                + t**2 * (t - 1) * slopes[knot + 1]
            )

    return Spline()
