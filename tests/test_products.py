"""The componentwise tensor product against e3nn's, values and gradients."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(("l_max", "parity"), [(1, False), (1, True), (2, False)])
def test_equals_e3nn(l_max: int, parity: bool) -> None:
    """Oracle: e3nn's own product in double precision, with forces and weight gradients."""
    import torch
    from ase.build import bulk
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    from tempermd.training.graphs import build_graph
    from tempermd.training.products import ComponentwiseProduct, speed_up

    set_global_state()
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    atoms.rattle(0.1, seed=1)
    graph = build_graph(atoms, ["C"], 3.0)
    results = []
    for fast in (False, True):
        model = NequIPGNNModel(
            seed=1,
            model_dtype="float64",
            type_names=["C"],
            r_max=3.0,
            num_layers=2,
            l_max=l_max,
            parity=parity,
            num_features=3,
            radial_mlp_width=4,
            avg_num_neighbors=10.0,
            per_type_energy_scales={"C": 1.0},
            per_type_energy_shifts={"C": 0.0},
        )
        names = list(model.state_dict())
        if fast:
            speed_up(model)
            assert any(isinstance(one, ComponentwiseProduct) for one in model.modules())
            assert list(model.state_dict()) == names
        output = model(
            {
                "pos": torch.tensor(atoms.positions),
                "cell": torch.tensor(atoms.cell.array)[None],
                "edge_index": torch.tensor(graph.edge_index),
                "edge_cell_shift": torch.tensor(graph.edge_shifts),
                "atom_types": torch.tensor(graph.types),
            }
        )
        loss = output["forces"].square().sum() + output["total_energy"].sum()
        weights = [one for one in model.parameters() if one.requires_grad]
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        values = [output["atomic_energy"], output["forces"]]
        results.append(values + [one for one in gradients if one is not None])
    assert len(results[0]) > 8
    for slow_one, fast_one in zip(*results, strict=True):
        assert torch.allclose(slow_one, fast_one, rtol=1e-10, atol=1e-12)
