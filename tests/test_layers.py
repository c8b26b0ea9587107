"""Networks laid out by layers against nequip's own, of many shapes, in torch and in LAMMPS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pair_style_cases import forces_of, stress_of, triclinic

TYPES = {"C": ("C",), "CH": ("C", "H"), "many": ("C", "H", "O", "N", "Si", "P")}

# what differs from the small model below, one shape of network each
SHAPES = {
    "one layer": {"num_layers": 1},
    "parity": {"parity": True, "num_layers": 4},
    "l_max 2 with parity": {"l_max": 2, "parity": True},
    "l_max 3": {"l_max": 3, "num_features": 3},
    "channels of each irrep": {"l_max": 2, "num_features": [5, 3, 2]},
    # more than a tile of channels, and not a multiple of it
    "many channels": {"num_features": 70, "num_layers": 2},
    "deep networks": {"radial_mlp_depth": 2, "readout_mlp_hidden_layers_depth": 1},
    "more types than attributes": {"types": "many", "type_embed_num_features": 3},
    "neighbors by type": {"types": "CH", "avg_num_neighbors": {"C": 10.0, "H": 7.0}},
    "cutoffs by type": {"types": "CH", "per_edge_type_cutoff": {"C": {"H": 3.0}, "H": 2.5}},
    "two types, parity": {"types": "CH", "parity": True},
}


def eager(types: str = "C", **shape):
    """Build an untrained eager model in double precision."""
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    names = TYPES[types]
    small = {
        "seed": 1,
        "model_dtype": "float64",
        "r_max": 4.0,
        "num_layers": 3,
        "l_max": 1,
        "parity": False,
        "num_features": 4,
        "radial_mlp_depth": 1,
        "radial_mlp_width": 8,
        "avg_num_neighbors": 20.0,
        "per_type_energy_scales": dict.fromkeys(names, 30.0),
        "per_type_energy_shifts": {name: -7.0 - i for i, name in enumerate(names)},
    }
    return NequIPGNNModel(type_names=list(names), **(small | shape)).eval()


@pytest.mark.parametrize("name", SHAPES)
def test_same_energies_and_forces_as_nequip(name: str):
    from nequip.model.modify_utils import modify

    from tempermd.deploy.check import check_structures
    from tempermd.deploy.layers import layered
    from tempermd.training.graphs import build_graph, predict

    names = list(TYPES[SHAPES[name].get("types", "C")])
    model = eager(**SHAPES[name])
    ours = layered(model, names)
    reference = modify(model, [{"modifier": "disable_ForceStressOutput"}])
    for atoms in check_structures(names):
        graph = build_graph(atoms, names, 4.0)
        one, other = predict(reference, graph), predict(ours, graph)
        assert np.abs(one.forces_eV_A).max() > 0.01, "forces too small to show anything"
        assert other.atomic_energies_eV == pytest.approx(one.atomic_energies_eV, abs=1e-11)
        assert other.forces_eV_A == pytest.approx(one.forces_eV_A, abs=1e-11)


# those that differ in the loops over edges
IN_LAMMPS = ["one layer", "l_max 2 with parity", "many channels", "cutoffs by type"]


@pytest.mark.parametrize("name", [*IN_LAMMPS, "more types than attributes"])
def test_same_forces_in_lammps_as_in_torch(name: str, start, tmp_path: Path):
    """The oracle is the file's own forward in plain torch; that equals nequip (see above)."""
    from tempermd.deploy import calculator, deploy_model, model_info

    atoms = triclinic().repeat((2, 2, 1))
    if "types" not in SHAPES[name]:
        atoms.symbols[:] = "C"
    path = tmp_path / "model.nequip.pth"
    deploy_model(eager(**SHAPES[name]), path)
    assert model_info(path)["tempermd_layered"] == "1"
    atoms.calc = calculator(path)
    instance = start(atoms, path)
    instance.command("run 0")
    assert instance.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-10)
    assert stress_of(instance) == pytest.approx(atoms.get_stress(), abs=1e-9)


def test_a_network_with_other_parts_is_deployed_as_it_is(start, tmp_path: Path):
    """ZBL inside the model is no layer; LAMMPS still gives nequip's forces."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    from tempermd.deploy import deploy_model, model_info

    zbl = {
        "_target_": "nequip.nn.pair_potential.ZBL",
        "units": "metal",
        "chemical_species": ["C", "H"],
    }
    atoms = triclinic()
    path = tmp_path / "model.nequip.pth"
    deploy_model(eager(types="CH", pair_potential=zbl), path)
    assert model_info(path)["tempermd_layered"] == "0"
    instance = start(atoms, path)
    instance.command("run 0")
    model = eager(types="CH", pair_potential=zbl)
    transforms = basic_transforms(model.metadata, 4.0, ["C", "H"], {"C": "C", "H": "H"})
    atoms.calc = NequIPCalculator(model=model, device="cpu", transforms=transforms)
    reference = atoms.get_forces()
    atoms.calc = NequIPCalculator(model=eager(types="CH"), device="cpu", transforms=transforms)
    assert np.abs(reference - atoms.get_forces()).max() > 0.1, "no repulsion to be seen"
    assert forces_of(instance) == pytest.approx(reference, abs=1e-9)
