"""A NequIP model laid out for inference, layer by layer: same weights, same energies.

What depends on the atom type alone (the weights of the self-connection) is computed at export.
The methods of a layer let a driver walk through the layers with a loop over edges of its own,
storing nothing as large as the edges; ``forward`` does the same in plain torch.
"""

# annotations stay types here: TorchScript reads them
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import e3nn.nn
import torch
from torch import Tensor

from tempermd.deploy.blocks import (
    Activation,
    Block,
    Mix,
    NotLayeredError,
    Piece,
    blocks_of,
    component_order,
    matrices_of,
)
from tempermd.deploy.couplings import EdgeProduct, placed_paths

EDGE_MODULES = ("spharm", "edge_norm", "bessel_encode", "factor")
NODE_MODULES = ("type_embed", "per_atom_energy_readout", "per_type_energy_scale_shift")


class EdgeEmbedding(torch.nn.Module):
    """Spherical harmonics and radial basis of the edges, by nequip's own modules."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.spharm, self.edge_norm = network.spharm, network.edge_norm
        self.bessel_encode, self.factor = network.bessel_encode, network.factor
        self.edge_type_field: str = network.edge_norm.edge_type_field

    def forward(self, edge_vectors: Tensor, edge_types: Tensor) -> tuple[Tensor, Tensor]:
        """Return harmonics (E, harmonics) and basis (E, radial), from (E, 3) and (2, E)."""
        data = {"edge_vectors": edge_vectors, self.edge_type_field: edge_types}
        data = self.factor(self.bessel_encode(self.edge_norm(self.spharm(data))))
        return data["edge_attrs"], data["edge_embedding"]


class Gate(torch.nn.Module):
    """e3nn's gate in the order by component: scalars activated, the rest scaled by gates."""

    gated: list[tuple[int, int]]  # dimension and channels; TorchScript needs the type

    def __init__(self, gate: Any) -> None:
        super().__init__()
        self.n_gates = sum(mul for mul, _ in gate.irreps_gates)
        self.gated = [(ir.dim, mul) for mul, ir in gate.irreps_gated]
        scalars = zip(gate.act_scalars.acts, gate.irreps_scalars, strict=True)
        self.act_scalars = torch.nn.ModuleList([Activation(act, mul) for act, (mul, _) in scalars])
        gates = [Activation(one, self.n_gates) for one in gate.act_gates.acts if self.n_gates]
        if len({(one.name, one.factor) for one in gates}) > 1:
            raise NotLayeredError("gates with different nonlinearities")
        self.act_gates = torch.nn.ModuleList(gates[:1])

    def forward(self, x: Tensor) -> Tensor:
        """(N, scalars | gates | gated) -> (N, scalars | gated)."""
        outputs = []
        offset = 0
        for act in self.act_scalars:
            outputs.append(act(x.narrow(1, offset, act.mul)))
            offset += act.mul
        gates = x.narrow(1, offset, self.n_gates)
        for act in self.act_gates:
            gates = act(gates)
        offset += self.n_gates
        first = 0
        for dim, mul in self.gated:
            block = x.narrow(1, offset, dim * mul).reshape(-1, dim, mul)
            scaled = block * gates.narrow(1, first, mul).unsqueeze(1)
            outputs.append(scaled.view(-1, dim * mul))
            offset += dim * mul
            first += mul
        return torch.cat(outputs, 1)


def gate_pieces(gate: Any, maps: list[dict[Any, Tensor]], irreps: Any) -> list[Piece]:
    """Cut linear maps onto the gate's input into the pieces that ``Gate`` reads in turn.

    ``irreps`` is the gate's input as the maps order it; scalars and gates may share an irrep.
    """
    index = torch.arange(irreps.dim, dtype=torch.float64).to(torch.get_default_dtype())
    parts = [part.squeeze(0).round().long().tolist() for part in gate.sc(index.unsqueeze(0))]
    order = component_order(irreps)
    channel = {}
    for block in blocks_of(irreps):
        channel |= {order[block.offset + u]: u for u in range(block.mul)}
    pieces = []
    kinds = (gate.irreps_scalars, gate.irreps_gates, gate.irreps_gated)
    for part, kind in zip(parts, kinds, strict=True):
        for (mul, ir), where in zip(kind, kind.slices(), strict=True):
            columns = [channel[one] for one in part[where][:: ir.dim]]
            matrices = tuple(one[ir][:, columns] for one in maps if ir in one)
            pieces.append(Piece(ir, mul, matrices))
    return pieces


class Layer(torch.nn.Module):
    """One interaction block with its nonlinearity, in steps that a driver can call.

    ``terms`` (T, 5) and ``coefficients`` (T,) tell such a driver the tensor product:
    message[m + c] += coefficient * weight[w + c] * source[s + c] * harmonic[h] for c < channels.
    """

    def __init__(self, layer: Any, mixing: Tensor) -> None:
        super().__init__()
        conv, gate = layer.conv, layer.equivariant_nonlin
        if not isinstance(gate, e3nn.nn.Gate):
            raise NotLayeredError("a nonlinearity that is no gate")
        features, middle = conv.tp_scatter.feature_irreps_in, conv.tp_scatter.irreps_mid
        self.resnet = bool(layer.resnet)
        self.radial_network = conv.edge_mlp
        maps = [matrices_of(conv.linear_1(_eye(features)), features, features)]
        self.linear_1 = Mix(features, [_piece(block, maps) for block in blocks_of(features)])
        inner = conv.linear_2.irreps_out
        maps = [matrices_of(conv.linear_2(_eye(middle)), middle.simplify(), inner)]
        self.linear_2 = Mix(middle, gate_pieces(gate, maps, inner))
        self.has_connection = conv.sc is not None
        maps = []
        if conv.sc is not None:
            for row in mixing:
                attributes = row.expand(features.dim, -1)
                maps.append(matrices_of(conv.sc(_eye(features), attributes), features, inner))
        self.connection = Mix(features, gate_pieces(gate, maps, inner))
        self.gate = Gate(gate)
        self.register_buffer("norm", conv.avg_num_neighbors_norm.norm_const.clone())
        paths = placed_paths(conv.tp_scatter)
        self.product = torch.fx.symbolic_trace(EdgeProduct(paths))
        self.n_messages = middle.dim
        terms = [term for path in paths for term in path.terms()]
        lengths = [
            features.dim,
            conv.tp_scatter.irreps_edge_attr.dim,
            paths[-1].weight + paths[-1].mul,
            middle.dim,
        ]
        self.register_buffer("row_lengths", torch.tensor(lengths))
        self.register_buffer("terms", torch.tensor([where for where, _ in terms]))
        coefficients = [value for _, value in terms]
        self.register_buffer("coefficients", torch.tensor(coefficients, dtype=torch.float64))

    @torch.jit.export
    def sources(self, features: Tensor, atom_types: Tensor) -> Tensor:
        """(N, features) -> (N, sources): what an atom sends to its neighbors."""
        norm = self.norm if self.norm.size(0) == 1 else self.norm.index_select(0, atom_types)
        return norm * self.linear_1(features, features)

    @torch.jit.export
    def radial(self, basis: Tensor) -> Tensor:
        """(E, radial basis) -> (E, weights)."""
        return self.radial_network(basis)

    @torch.jit.export
    def update(self, features: Tensor, sums: Tensor, mixing: Tensor) -> Tensor:
        """(n, features), (n, messages) summed over edges, (n, V) -> (n, new features)."""
        inner = self.linear_2(sums, mixing)
        if self.has_connection:
            inner = inner + self.connection(features, mixing)
        new = self.gate(inner)
        return new + features if self.resnet else new

    def forward(
        self,
        features: Tensor,
        atom_types: Tensor,
        mixing: Tensor,
        edge_index: Tensor,
        harmonics: Tensor,
        basis: Tensor,
    ) -> Tensor:
        """Return the new features of all atoms, shape (N, new features)."""
        sources = self.sources(features, atom_types).index_select(0, edge_index[1])
        messages = self.product(sources, harmonics, self.radial(basis))
        sums = messages.new_zeros(features.size(0), self.n_messages)
        return self.update(features, sums.index_add(0, edge_index[0], messages), mixing)


class LayeredNequip(torch.nn.Module):
    """The whole network: edge vectors and types in, energies of atoms out."""

    def __init__(self, network: Any, type_names: list[str]) -> None:
        super().__init__()
        names = [name for name, _ in network.named_children()]
        layers = [name for name in names if name.endswith("_convnet")]
        known = {*EDGE_MODULES, *NODE_MODULES, *layers, "total_energy_sum"}
        if set(names) != known:
            raise NotLayeredError(f"unknown or missing parts: {sorted(set(names) ^ known)}")
        if network.type_embed.do_categorical_graph_field_embed:
            raise NotLayeredError("embedded graph fields")
        self.edges = EdgeEmbedding(network)
        embedded = network.type_embed({"atom_types": torch.arange(len(type_names))})
        attributes = embedded["node_attrs"].detach()  # (types, attributes)
        # the self-connection is linear in the attributes: mix over types, or over attributes
        by_type = len(type_names) <= attributes.size(1)
        mixing = attributes if by_type else torch.eye(attributes.size(1))
        self.register_buffer("first", embedded["node_features"].detach().clone())
        self.register_buffer("mixing", torch.eye(len(type_names)) if by_type else attributes)
        found = [getattr(network, name) for name in layers]
        for one, following in pairwise(found):
            if following.conv.tp_scatter.feature_irreps_in != one.equivariant_nonlin.irreps_out:
                raise NotLayeredError("a layer whose output is reordered")
        self.layers = torch.nn.ModuleList([Layer(one, mixing) for one in found])
        self.readout = network.per_atom_energy_readout.mlp_module
        self.scale_shift = network.per_type_energy_scale_shift

    @torch.jit.export
    def embed(self, edge_vectors: Tensor, edge_types: Tensor) -> tuple[Tensor, Tensor]:
        """(E, 3), (2, E) -> harmonics (E, harmonics), radial basis (E, radial)."""
        return self.edges(edge_vectors, edge_types)

    @torch.jit.export
    def start(self, atom_types: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) -> first features (N, features), mixing numbers (N, V)."""
        first = self.first.index_select(0, atom_types)
        return first, self.mixing.index_select(0, atom_types)

    @torch.jit.export
    def energies(self, features: Tensor, atom_types: Tensor) -> Tensor:
        """(n, last features), (n,) -> (n, 1) eV, float64."""
        data = {"atomic_energy": self.readout(features), "atom_types": atom_types}
        return self.scale_shift(data)["atomic_energy"]

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """``edge_index`` (2, E), ``edge_vectors`` (E, 3), ``atom_types`` (N,) in, energies out."""
        edge_index, types = data["edge_index"], data["atom_types"].view(-1)
        edge_types = types.index_select(0, edge_index.reshape(-1)).view(2, -1)
        harmonics, basis = self.embed(data["edge_vectors"], edge_types)
        features, mixing = self.start(types)
        for layer in self.layers:
            features = layer(features, types, mixing, edge_index, harmonics, basis)
        energies = self.energies(features, types)
        return {
            "atomic_energy": energies,
            "total_energy": energies.sum(0, keepdim=True),
            "node_features": features,
        }


def _eye(irreps: Any) -> Tensor:
    return torch.eye(irreps.dim)


def _piece(block: Block, maps: list[dict[Any, Tensor]]) -> Piece:
    return Piece(block.ir, block.mul, tuple(one[block.ir] for one in maps if block.ir in one))


def network_of(model: Any) -> Any:
    """Return the sequence of modules inside an eager nequip model."""
    from nequip.nn import SequentialGraphNetwork

    networks = [one for one in model.modules() if isinstance(one, SequentialGraphNetwork)]
    if len(networks) != 1:
        raise NotLayeredError("no single sequence of modules")
    return networks[0]


def layered(model: Any, type_names: list[str]) -> LayeredNequip:
    """Return the layered form of an eager nequip model, or raise ``NotLayeredError``."""
    with torch.no_grad(), own_dtype(model):
        result = LayeredNequip(network_of(model), type_names)
    return result.eval()


@contextmanager
def own_dtype(model: Any) -> Iterator[None]:
    """Make new tensors of the type of a model's parameters."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(next(iter(model.parameters())).dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
