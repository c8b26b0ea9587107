"""NequIP with the nonlinearities that nequip 0.5 took by default, built by nequip 0.19."""

from __future__ import annotations

from typing import Any

from nequip.model import NequIPGNNModel
from nequip.model.utils import model_builder
from nequip.nn.interaction_block import InteractionBlock
from nequip.nn.mlp import ScalarMLPFunction


@model_builder
def softplus_model(**arguments: Any) -> Any:
    """Build ``NequIPGNNModel`` with shifted softplus in gates and radial networks.

    nequip 0.19 lets the gates' nonlinearities be chosen, but not the radial networks'.
    """
    model = NequIPGNNModel(
        convnet_nonlinearity_scalars={"e": "ssp", "o": "tanh"},
        convnet_nonlinearity_gates={"e": "ssp", "o": "abs"},
        **arguments,
    )
    for block in model.modules():
        if isinstance(block, InteractionBlock):
            n_in, *hidden, n_out = block.edge_mlp.dims
            block.edge_mlp = ScalarMLPFunction(
                input_dim=n_in,
                output_dim=n_out,
                hidden_layers_depth=len(hidden),
                hidden_layers_width=hidden[0] if hidden else None,
                nonlinearity="ssp",
            )
    return model
