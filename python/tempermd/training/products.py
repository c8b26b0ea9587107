"""The tensor product of a NequIP layer, ordered for the CPU: same weights, same numbers, faster.

e3nn multiplies blocks of shape (edges, channels, 2l+1), whose last axis of 1 or 3 defeats
vectorised loops, and slices them, so that backward passes fill whole tensors with zeros.
Here every component is a block of its own (edges, channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    Blocks = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Path:
    """One coupling of a feature block with a spherical harmonic.

    ``terms[k]`` lists (i, j, coefficient) of output component k.
    """

    feature: int
    harmonic: int
    weight: int
    dims: tuple[int, int, int]
    terms: tuple[tuple[tuple[int, int, float], ...], ...]

    def product(self, features: Blocks, harmonics: Blocks, weight: torch.Tensor) -> list:
        """Return the output components, each (E, channels); weights enter where it is cheapest."""
        d_feature, d_harmonic, d_out = self.dims
        if d_harmonic == 1:
            harmonics = [weight * harmonics[0]]
        elif d_feature <= d_out:
            features = [weight * one for one in features]
        outputs = []
        for terms in self.terms:
            sums: Any = 0
            for i, j, coefficient in terms:
                sums = sums + features[i] * (coefficient * harmonics[j])
            weighted = d_harmonic > 1 and d_feature > d_out
            outputs.append(weight * sums if weighted else sums)
        return outputs


class ComponentwiseProduct(torch.nn.Module):
    """Stands in for nequip's ``TensorProductScatter``, whose ``tp`` it keeps for its state."""

    def __init__(self, original: torch.nn.Module) -> None:
        super().__init__()
        self.tp = original.tp
        features, harmonics = original.feature_irreps_in, original.irreps_edge_attr
        self.feature_blocks = [(block.mul, block.ir.dim) for block in features]
        self.harmonic_dims = [block.dim for block in harmonics]
        self.weight_sizes = [features[one.i_in1].mul for one in self.tp.instructions]
        paths = {}
        for number, one in enumerate(self.tp.instructions):
            paths[one.i_out] = coupling_of(original, number)
        self.paths = [paths[i_out] for i_out in sorted(paths)]

    def forward(
        self,
        x: torch.Tensor,
        edge_attr: torch.Tensor,
        edge_weight: torch.Tensor,
        edge_dst: torch.Tensor,
        edge_src: torch.Tensor,
    ) -> torch.Tensor:
        """Return the sum of messages at each atom, shape (N, irreps_mid.dim)."""
        n_atoms = x.size(0)
        harmonics = [one.split(1, 1) for one in edge_attr.split(self.harmonic_dims, 1)]
        weights = edge_weight.split(self.weight_sizes, 1)  # (E, channels) each
        features = []
        sizes = [mul * dim for mul, dim in self.feature_blocks]
        for block, (mul, dim) in zip(x.split(sizes, 1), self.feature_blocks, strict=True):
            components = block.view(n_atoms, mul, dim).unbind(2)  # (N, channels) each
            features.append([torch.index_select(one, 0, edge_src) for one in components])
        sums = []
        for path in self.paths:
            outputs = path.product(
                features[path.feature], harmonics[path.harmonic], weights[path.weight]
            )
            messages = torch.cat(outputs, 1)  # (E, dim * channels)
            total = messages.new_zeros(n_atoms, messages.size(1)).index_add(0, edge_dst, messages)
            total = total.view(n_atoms, len(outputs), -1).transpose(1, 2)
            sums.append(total.reshape(n_atoms, -1))
        return torch.cat(sums, 1)


def coupling_of(product: Any, number: int) -> Path:
    """Return the ``number``-th coupling of nequip's ``TensorProductScatter``."""
    from e3nn import o3

    one = product.tp.instructions[number]
    irreps = product.feature_irreps_in[one.i_in1].ir, product.irreps_edge_attr[one.i_in2].ir
    irreps += (product.irreps_mid[one.i_out].ir,)
    coupling = o3.wigner_3j(*(ir.l for ir in irreps)) * one.path_weight
    terms = tuple(_nonzero(coupling[:, :, k]) for k in range(irreps[2].dim))
    return Path(one.i_in1, one.i_in2, number, tuple(ir.dim for ir in irreps), terms)


def _nonzero(coupling: torch.Tensor) -> tuple[tuple[int, int, float], ...]:
    """Return (i, j, value) of the entries of a matrix that are not zero."""
    entries = torch.nonzero(coupling.abs() > 1e-12).tolist()
    return tuple((i, j, float(coupling[i, j])) for i, j in entries)


def speed_up(model: torch.nn.Module) -> None:
    """Replace every tensor product inside a model; names in its state stay as they are."""
    from nequip.nn._tp_scatter_base import TensorProductScatter
    from nequip.nn.model_modifier_utils import replace_submodules

    replace_submodules(model, TensorProductScatter, ComponentwiseProduct)
