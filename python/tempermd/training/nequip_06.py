"""The tensors of a nequip 0.5 or 0.6 model, turned into those of today's.

Both compute the same function, up to normalisations and to where it is written down:

==================  ===================================  =====================================
part                nequip 0.6                           nequip 0.19
==================  ===================================  =====================================
radial basis        2/r_c sin(w r/r_c) / r, w near n pi  2 pi/r_c^2 sinc(b r/r_c) b, b = w/pi
radial network      c f(x W0 / sqrt(n)) W1 / sqrt(m),    f(x W0 / sqrt(n)) W1 sqrt(2 / m)
                    c such that <(c f(z))^2> = 1
type embedding      row t of W / sqrt(T), T types        row t
self-connection     bilinear in features, one-hot type   bilinear in features, embedding
last layer          all irreps, the output reads 0e      0e alone
output              two linear maps                      their product
==================  ===================================  =====================================

Linear maps, tensor products and gates are e3nn's in both, in the same order for l = 1. The
nonlinearity f is the shifted softplus up to 0.5 and silu from 0.6 on, unless asked otherwise.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tempermd.records import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from e3nn.o3 import Irreps

    State = dict[str, torch.Tensor]
    Block = tuple[str, torch.Tensor]

_EMBEDDING = "chemical_embedding.linear.weight"
_MASK = "chemical_embedding.linear.output_mask"
_BESSELS = "radial_basis.basis.bessel_weights"
_RADIAL = "layer0_convnet.conv.fc.layer"
# constants of e3nn, and what the builder's arguments hold
_NO_WEIGHTS = re.compile(r".*(output_mask|_w3j_\d_\d_\d)|scale_by|shift_by|per_species_rescale\..*")


@dataclass(frozen=True)
class OldShape:
    """Hyperparameters of an old model, as the shapes of its tensors tell them."""

    num_layers: int
    num_features: int
    num_types: int
    num_bessels: int
    radial_mlp_depth: int
    radial_mlp_width: int


@dataclass(frozen=True)
class OldLayer:
    """One interaction block: its features, what its tensor product gives, its gate's input.

    ``products`` lists multiplicity and irrep of each path in the order of the radial weights.
    """

    features: Irreps
    products: Irreps
    inner: Irreps

    @property
    def middle(self) -> Irreps:
        """The tensor product's output, sorted and with equal irreps joined."""
        return self.products.sort().irreps.simplify()


class Tensors:
    """A state dictionary that gives each tensor once, in double precision, of a known size."""

    def __init__(self, state: State, origin: str) -> None:
        self.state = dict(state)
        self.origin = origin

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """Return a tensor in a shape; refuse a missing one and one of another size."""
        if name not in self.state:
            raise UserError(f"{self.origin}: tensor '{name}' is missing; the file is incomplete")
        value = self.state.pop(name)
        if value.numel() != math.prod(shape):
            raise UserError(
                f"{self.origin}: tensor '{name}' has {value.numel()} numbers, but l_max 1 with "
                f"parity and these sizes needs {math.prod(shape)}; models of another l_max, "
                "without parity or with features of several widths cannot be imported"
            )
        return value.double().reshape(shape)

    def refuse_rest(self) -> None:
        """Refuse weights that nothing has taken: they would be lost in silence."""
        for name, value in self.state.items():
            if value.numel() and not _NO_WEIGHTS.fullmatch(name):
                raise UserError(
                    f"{self.origin}: tensor '{name}' belongs to no part of a plain NequIP energy "
                    "model; it cannot be imported"
                )


def old_shape(state: State, origin: str) -> OldShape:
    """Read the hyperparameters off the shapes of the tensors."""
    for name in (_EMBEDDING, _MASK, _BESSELS, f"{_RADIAL}1.weight"):
        if name not in state:
            raise UserError(
                f"{origin}: has no tensor '{name}'; expected the names of a NequIP model of "
                "nequip 0.5 or 0.6 (a checkpoint of 0.7 and later needs no import)"
            )
    layers = {name.split(".")[0] for name in state if re.match(r"layer\d+_convnet\.", name)}
    n_features = state[_MASK].numel()
    return OldShape(
        num_layers=len(layers),
        num_features=n_features,
        num_types=state[_EMBEDDING].numel() // n_features,
        num_bessels=state[_BESSELS].numel(),
        radial_mlp_depth=sum(name.startswith(_RADIAL) for name in state) - 1,
        radial_mlp_width=state[f"{_RADIAL}0.weight"].shape[-1],
    )


def old_layers(shape: OldShape) -> Iterator[OldLayer]:
    """Yield the layers of a model with l up to 1 and parity."""
    from e3nn.o3 import Irrep, Irreps

    n = shape.num_features
    features = Irreps([(n, "0e")])
    scalars, vectors = (Irrep("0e"), Irrep("0o")), (Irrep("1e"), Irrep("1o"))
    for _ in range(shape.num_layers):
        paths = [
            (mul, ir) for mul, one in features for sh in Irreps("0e + 1o") for ir in one * sh.ir
        ]
        reached = {ir for _, ir in paths}
        kept = [(n, ir) for ir in scalars if ir in reached]
        gated = [(n, ir) for ir in vectors if ir in reached]
        gates = [(n, "0e") for _ in gated]
        inner = Irreps(kept + gates + gated).sort().irreps.simplify()  # as e3nn's gate sorts
        products = Irreps([(mul, ir) for mul, ir in paths if ir in inner])
        yield OldLayer(features, products, inner)
        features = Irreps(kept + gated).simplify()


def new_weights(state: State, shape: OldShape, nonlinearity: str, origin: str) -> State:
    """Return today's tensors in double precision, named as in nequip's energy model."""
    import torch

    _check_coupling(state, origin)
    tensors = Tensors(state, origin)
    n_types, n_features = shape.num_types, shape.num_features
    embedding = tensors.take(_EMBEDDING, n_types, n_features) / math.sqrt(n_types)  # (T, F)
    if int(torch.linalg.matrix_rank(embedding)) < n_types:
        raise UserError(f"{origin}: its atom types' embeddings are not independent")
    weights = {
        "type_embed.embed_module.weight": embedding,
        "bessel_encode.bessel_weights": tensors.take(_BESSELS, shape.num_bessels) / math.pi,
    }
    for number, layer in enumerate(old_layers(shape)):
        weights |= _layer_weights(tensors, number, layer, shape, embedding)
    factor = _second_moment_factor(nonlinearity) / math.sqrt(2)
    for name in weights:
        if "edge_mlp" in name and not name.endswith("mlp.0.weight"):
            weights[name] = factor * weights[name]
    hidden = tensors.take(
        "conv_to_output_hidden.linear.weight", n_features, max(1, n_features // 2)
    )
    half = tensors.take("output_hidden_to_scalar.linear.weight", hidden.shape[1])
    readout = hidden @ half / math.sqrt(hidden.shape[1])  # (F,)
    tensors.refuse_rest()
    return weights | {"per_atom_energy_readout.mlp_module.mlp.0.weight": readout.unsqueeze(1)}


def _check_coupling(state: State, origin: str) -> None:
    """Refuse weights made with another basis of the irreps than today's e3nn."""
    import torch
    from e3nn.o3 import wigner_3j

    for name, value in state.items():
        if name.endswith("_w3j_1_1_1") and not torch.allclose(
            value.double(), wigner_3j(1, 1, 1, dtype=torch.float64), atol=1e-6
        ):
            raise UserError(f"{origin}: '{name}' is not today's e3nn's; weights cannot be carried")


def _layer_weights(
    tensors: Tensors, number: int, layer: OldLayer, shape: OldShape, embedding: torch.Tensor
) -> State:
    """Return the tensors of one interaction block; of the last one only what leads to 0e."""
    import torch

    prefix = f"layer{number}_convnet.conv."
    last = number == shape.num_layers - 1
    linear_1 = _blocks(tensors, prefix + "linear_1.weight", layer.features, layer.features)
    linear_2 = _blocks(tensors, prefix + "linear_2.weight", layer.middle, layer.inner)
    connection = _blocks(
        tensors, prefix + "sc.weight", layer.features, layer.inner, shape.num_types
    )
    if last:
        linear_2 = _to_scalars(linear_2, shape.num_features)
        connection = _to_scalars(connection, shape.num_features)
    # a bilinear form of the one-hot type (T) becomes one of its embedding (F)
    dual = torch.linalg.pinv(embedding).T  # (T, F)
    factor = math.sqrt(shape.num_features / shape.num_types)
    mixed = [factor * torch.einsum("utw,tv->uvw", one, dual) for _, one in connection]
    weights = {
        "linear_1.weight": _flat([one for _, one in linear_1]),
        "linear_2.weight": _flat([one for _, one in linear_2]),
        "sc.weight": _flat(mixed),
    }
    for depth, matrix in enumerate(_radial_matrices(tensors, prefix, layer, shape)):
        if last and depth == shape.radial_mlp_depth:
            matrix = torch.cat(_scalar_columns(matrix, layer), 1)
        weights[f"edge_mlp.mlp.{2 * depth}.weight"] = matrix
    return {prefix + name: value for name, value in weights.items()}


def _blocks(
    tensors: Tensors, name: str, inputs: Irreps, outputs: Irreps, *between: int
) -> list[Block]:
    """Cut the weights of a linear map into blocks (irrep, (U, ..., W)), in order."""
    places = [
        (str(ir_in), (n_in, *between, n_out))
        for n_in, ir_in in inputs
        for n_out, ir_out in outputs
        if ir_in == ir_out
    ]
    sizes = [math.prod(one) for _, one in places]
    parts = tensors.take(name, sum(sizes)).split(sizes)
    return [(ir, part.reshape(one)) for (ir, one), part in zip(places, parts, strict=True)]


def _to_scalars(blocks: list[Block], n: int) -> list[Block]:
    """Keep what gives the even scalars: ``n`` channels, before the gates of the same irrep."""
    return [(ir, block[..., :n]) for ir, block in blocks if ir == "0e"]


def _flat(blocks: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat([block.reshape(-1) for block in blocks])


def _radial_matrices(
    tensors: Tensors, prefix: str, layer: OldLayer, shape: OldShape
) -> list[torch.Tensor]:
    """Return the radial network's matrices, (n_in, n_out) each."""
    widths = [shape.num_bessels] + shape.radial_mlp_depth * [shape.radial_mlp_width]
    widths.append(sum(mul for mul, _ in layer.products))
    return [
        tensors.take(f"{prefix}fc.layer{depth}.weight", n_in, n_out)
        for depth, (n_in, n_out) in enumerate(pairwise(widths))
    ]


def _second_moment_factor(nonlinearity: str) -> float:
    """Return e3nn's factor that makes the second moment of a nonlinearity 1."""
    import torch
    from e3nn.math import normalize2mom
    from nequip.nn.nonlinearities import shifted_softplus

    functions = {"silu": torch.nn.functional.silu, "ssp": shifted_softplus}
    return normalize2mom(functions[nonlinearity]).cst


def _scalar_columns(matrix: torch.Tensor, layer: OldLayer) -> list[torch.Tensor]:
    """Return the columns (H, channels) of the paths that end in even scalars."""
    columns = matrix.split([mul for mul, _ in layer.products], 1)
    return [one for one, (_, ir) in zip(columns, layer.products, strict=True) if str(ir) == "0e"]
