"""The tensor product of a layer: which numbers are multiplied, and where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from tempermd.deploy.blocks import channel_of
from tempermd.training.products import Path, coupling_of


@dataclass(frozen=True)
class PlacedPath:
    """A coupling and where its numbers lie in sources, harmonics, weights and messages."""

    path: Path
    mul: int
    sources: tuple[int, ...]  # offset of each component
    harmonics: tuple[int, ...]
    messages: tuple[int, ...]
    weight: int

    def terms(self) -> Iterator[tuple[tuple[int, int, int, int, int], float]]:
        """Yield (source, harmonic, message, weight, channels) and the coefficient of each term."""
        for k, terms in enumerate(self.path.terms):
            for i, j, coefficient in terms:
                where = self.sources[i], self.harmonics[j], self.messages[k]
                yield (*where, self.weight, self.mul), coefficient


def placed_paths(product: Any) -> list[PlacedPath]:
    """Place the couplings of nequip's ``TensorProductScatter`` in vectors ordered by component."""
    paths, weight = [], 0
    for number, one in enumerate(product.tp.instructions):
        source, first = channel_of(product.feature_irreps_in, one.i_in1)
        message, place = channel_of(product.irreps_mid, one.i_out)
        harmonics = product.irreps_edge_attr.slices()[one.i_in2]
        mul = product.feature_irreps_in[one.i_in1].mul
        paths.append(
            PlacedPath(
                path=coupling_of(product, number),
                mul=mul,
                sources=tuple(source.offset + k * source.mul + first for k in range(source.dim)),
                harmonics=tuple(range(harmonics.start, harmonics.stop)),
                messages=tuple(
                    message.offset + k * message.mul + place for k in range(message.dim)
                ),
                weight=weight,
            )
        )
        weight += mul
    return paths


class EdgeProduct(torch.nn.Module):
    """Messages of edges in plain torch; made of constants only, so that it can be traced."""

    def __init__(self, paths: list[PlacedPath]) -> None:
        super().__init__()
        self.paths = paths

    # without annotations: tracing would write names that TorchScript does not know
    def forward(self, sources, harmonics, weights):
        """(E, sources), (E, harmonics), (E, weights) -> (E, messages)."""
        outputs = {}
        for one in self.paths:
            x = [sources.narrow(1, offset, one.mul) for offset in one.sources]
            y = [harmonics.narrow(1, offset, 1) for offset in one.harmonics]
            weight = weights.narrow(1, one.weight, one.mul)
            # Path reads its blocks by number: here there is one of each
            only = replace(one.path, feature=0, harmonic=0, weight=0)
            outputs |= dict(zip(one.messages, only.product(x, y, weight), strict=True))
        return torch.cat([outputs[offset] for offset in sorted(outputs)], 1)
