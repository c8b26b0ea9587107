"""A network in plain words and numbers, for engines that have no torch.

The text is a sequence of words: a name, then what belongs to it; arrays are preceded by their
length. ``deploy/network_description.cpp`` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.deploy.blocks import Activation, NotLayeredError, blocks_of, channel_of, matrices_of
from tempermd.deploy.couplings import placed_paths
from tempermd.deploy.layers import gate_pieces, own_dtype

if TYPE_CHECKING:
    import torch

    from tempermd.deploy.layers import LayeredNequip

DESCRIPTION_VERSION = "1"
LARGEST_L = 3


@dataclass
class Words:
    """Words of a description, numbers to as many digits as the model's type has."""

    digits: int
    parts: list[str] = field(default_factory=list)

    def add(self, *words: object) -> None:
        self.parts.append(" ".join(str(word) for word in words))

    def array(self, values: torch.Tensor | np.ndarray | Iterable[float]) -> None:
        """Add a length and as many numbers."""
        numbers = np.asarray(values, dtype=np.float64).reshape(-1)
        if not np.isfinite(numbers).all():
            raise NotLayeredError("weights that are not finite")
        text = " ".join(f"{number:.{self.digits}g}" for number in numbers)
        self.parts.append(f"{len(numbers)} {text}")

    def text(self) -> str:
        return "\n".join(self.parts) + "\n"


def describe_network(network: Any, layers: LayeredNequip, dtype: str, knots: int) -> str:
    """Describe nequip's sequence of modules, of which ``layers`` is the layered form.

    Raises ``NotLayeredError`` where the network has a part that the native engine does not know.
    """
    import torch

    words = Words(17 if dtype == "float64" else 9)
    words.add("tempermd-network", DESCRIPTION_VERSION)
    words.add("dtype", dtype)
    with torch.no_grad(), own_dtype(network):
        n_types = layers.first.size(0)
        words.add("types", n_types)
        _edges(words, network, n_types)
        words.add("knots", knots)
        words.add("first")
        words.array(layers.first)
        mixing = _attributes(network, n_types)
        convnets = [one for name, one in network.named_children() if name.endswith("_convnet")]
        words.add("layers", len(convnets))
        for one in convnets:
            _layer(words, one, mixing)
        _readout(words, network, n_types)
    words.add("end")
    return words.text()


def _attributes(network: Any, n_types: int) -> torch.Tensor:
    import torch

    types = torch.arange(n_types)
    return network.type_embed({"atom_types": types})["node_attrs"].detach()


def _edges(words: Words, network: Any, n_types: int) -> None:
    """Describe harmonics, cutoffs and the radial basis."""
    harmonics = network.spharm
    l_max = harmonics.irreps_edge_sh.lmax
    expected = [(1, (order, (-1) ** order)) for order in range(l_max + 1)]
    if [(mul, (ir.l, ir.p)) for mul, ir in harmonics.irreps_edge_sh] != expected:
        raise NotLayeredError("harmonics other than one of each l")
    if l_max > LARGEST_L:
        raise NotLayeredError(f"l_max {l_max}")
    sh = harmonics.sh
    if not sh.normalize or sh.normalization != "component":
        raise NotLayeredError("harmonics in another normalization")
    bessel = network.bessel_encode
    cutoffs = np.broadcast_to(1.0 / network.edge_norm._rmax_recip.numpy(), n_types**2)
    words.add("cutoffs")
    words.array(cutoffs)
    words.add("l_max", l_max)
    words.add("bessel")
    words.array(bessel.bessel_weights.detach())
    words.add("power", repr(float(bessel.cutoff.p)))
    words.add("factor", repr(float(network.factor.factor)))


def _layer(words: Words, layer: Any, attributes: torch.Tensor) -> None:
    import torch

    conv, gate = layer.conv, layer.equivariant_nonlin
    irreps = conv.tp_scatter.feature_irreps_in
    blocks = blocks_of(irreps)
    if len(blocks) != len(irreps):
        raise NotLayeredError("an irrep in two blocks")
    words.add("layer", int(bool(layer.resnet)))
    words.add("sources", len(blocks), *(f"{one.ir.l} {one.mul}" for one in blocks))
    _paths(words, conv, blocks)
    words.add("radial")
    _network_of_matrices(words, conv.edge_mlp)
    middle, inner = conv.tp_scatter.irreps_mid, conv.linear_2.irreps_out
    sums = matrices_of(
        conv.linear_2(torch.eye(middle.dim)), middle.simplify(), inner
    )  # by irrep, (channels of all its paths, channels)
    connections = []
    if conv.sc is not None:
        for row in attributes:
            rows = row.expand(irreps.dim, -1)
            connections.append(matrices_of(conv.sc(torch.eye(irreps.dim), rows), irreps, inner))
    pieces = _gate(words, gate, [sums], inner)
    own = matrices_of(conv.linear_1(torch.eye(irreps.dim)), irreps, irreps)
    norm = conv.avg_num_neighbors_norm.norm_const.reshape(-1)
    words.add("senders")
    _maps(words, ((k, k, [own[one.ir] * scale for scale in norm]) for k, one in enumerate(blocks)))
    words.add("sums")
    _maps(words, _rows_of_paths(conv, pieces))
    words.add("connection")
    self_pieces = _cut(gate, connections, inner) if connections else []
    _maps(words, _by_block(blocks, self_pieces))


def _paths(words: Words, conv: Any, blocks: list) -> None:
    product = conv.tp_scatter
    placed = placed_paths(product)
    words.add("paths", len(placed))
    for one, instruction in zip(placed, product.tp.instructions, strict=True):
        ir = product.feature_irreps_in[instruction.i_in1].ir
        source = next(k for k, block in enumerate(blocks) if block.ir == ir)
        l_out = product.irreps_mid[instruction.i_out].ir.l
        l_edge = product.irreps_edge_attr[instruction.i_in2].ir.l
        if max(ir.l, l_out) > LARGEST_L:
            raise NotLayeredError(f"features of l {max(ir.l, l_out)}")
        words.add(source, l_edge, l_out)
        words.array(_coefficients(ir.l, l_edge, l_out, one.path.terms))


def couples(orders: tuple[int, int, int], components: tuple[int, int, int]) -> bool:
    """Return whether components of three l (counted from 0) couple; as in native_kernels.h."""
    m = [component - order for order, component in zip(orders, components, strict=True)]
    a, b, c = (abs(one) for one in m)
    odd = sum(one < 0 for one in m) % 2
    return c in (a + b, abs(a - b)) and odd == sum(orders) % 2


def _coefficients(l1: int, l2: int, l3: int, terms: Any) -> list[float]:
    """Return the coupling coefficients in the order in which the native loops meet them."""
    found = {(i, j, k): value for k, row in enumerate(terms) for i, j, value in row}
    order = [
        (i, j, k)
        for i in range(2 * l1 + 1)
        for k in range(2 * l3 + 1)
        for j in range(2 * l2 + 1)
        if couples((l1, l2, l3), (i, j, k))
    ]
    if not set(found) <= set(order):
        raise NotLayeredError("a coupling that breaks the selection rules")
    return [found.get(one, 0.0) for one in order]


def _network_of_matrices(words: Words, function: Any) -> None:
    """Describe an MLP without biases: matrices (inputs, outputs), SiLU between them."""
    import torch
    from nequip.nn.mlp import DeepLinearMLP, ScalarLinearLayer

    if isinstance(function.mlp, DeepLinearMLP):
        product = torch.linalg.multi_dot(list(function.mlp.weights)) * function.mlp.alpha
        matrices = [product]
    else:
        matrices = []
        for one in function.mlp:
            if isinstance(one, ScalarLinearLayer):
                if one.bias is not None:
                    raise NotLayeredError("a network with biases")
                matrices.append(one.weight * one.alpha)
            elif not isinstance(one, torch.nn.SiLU):
                raise NotLayeredError(f"a network with {type(one).__name__}")
    words.add(len(matrices))
    for one in matrices:
        words.add(*one.shape)
        words.array(one)


def _cut(gate: Any, maps: list[dict], inner: Any) -> list:
    """Cut linear maps into what the gate reads: scalars, a piece of gates for each gated, gated."""
    from tempermd.deploy.blocks import Piece

    pieces = gate_pieces(gate, maps, inner)
    n_scalars, n_gates = len(gate.irreps_scalars), len(gate.irreps_gates)
    gates = pieces[n_scalars : n_scalars + n_gates]
    if n_gates > 1:
        raise NotLayeredError("gates of two parities")
    cut = pieces[:n_scalars]
    first = 0
    for mul, _ in gate.irreps_gated:
        matrices = tuple(one[:, first : first + mul] for one in gates[0].matrices)
        cut.append(Piece(gates[0].ir, mul, matrices))
        first += mul
    return cut + pieces[n_scalars + n_gates :]


def _gate(words: Words, gate: Any, maps: list[dict], inner: Any) -> list:
    """Describe the gate; return its input's pieces, with the matrices of ``maps``."""
    scalars = zip(gate.act_scalars.acts, gate.irreps_scalars, strict=True)
    words.add("scalars", len(gate.irreps_scalars))
    for act, (mul, ir) in scalars:
        if ir.l > 0:
            raise NotLayeredError("scalars that are none")
        _activation(words, act, mul)
    words.add("gated", len(gate.irreps_gated))
    acts = [one for one in gate.act_gates.acts if len(gate.irreps_gates)]
    for mul, ir in gate.irreps_gated:
        words.add(ir.l)
        _activation(words, acts[0], mul)
    return _cut(gate, maps, inner)


def _activation(words: Words, act: Any, mul: int) -> None:
    known = Activation(act, mul)
    words.add(mul, known.name, repr(known.factor))


Map = tuple[int, int, list]


def _rows_of_paths(conv: Any, pieces: list) -> Iterator[Map]:
    """Yield, for each path and piece of its irrep, the rows of linear_2 that belong to it."""
    product = conv.tp_scatter
    for number, one in enumerate(product.tp.instructions):
        ir = product.irreps_mid[one.i_out].ir
        mul = product.feature_irreps_in[one.i_in1].mul
        _, first = channel_of(product.irreps_mid, one.i_out)
        for place, piece in enumerate(pieces):
            if piece.ir == ir and piece.matrices:
                yield number, place, [piece.matrices[0][first : first + mul]]


def _by_block(blocks: list, pieces: list) -> Iterator[Map]:
    for number, block in enumerate(blocks):
        for place, piece in enumerate(pieces):
            if piece.ir == block.ir and piece.matrices:
                yield number, place, list(piece.matrices)


def _maps(words: Words, maps: Iterable[Map]) -> None:
    """Describe linear maps: from, to, number of matrices (one or one for each type), matrices."""
    found = list(maps)
    words.add(len(found))
    for source, target, matrices in found:
        words.add(source, target, len(matrices), *matrices[0].shape)
        for matrix in matrices:
            words.array(matrix)


def _readout(words: Words, network: Any, n_types: int) -> None:
    scale_shift = network.per_type_energy_scale_shift
    words.add("readout")
    _network_of_matrices(words, network.per_atom_energy_readout.mlp_module)
    wanted = (
        ("scales", scale_shift.has_scales, scale_shift.scales, 1.0),
        ("shifts", scale_shift.has_shifts, scale_shift.shifts, 0.0),
    )
    exact = Words(17)
    for name, given, values, default in wanted:
        numbers = values.detach().reshape(-1).numpy() if given else np.array([default])
        exact.add(name)
        exact.array(np.broadcast_to(numbers, n_types))
    words.parts += exact.parts
