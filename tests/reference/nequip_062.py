"""Record what nequip 0.6.2 says of seeded weights, and of the published ones if they are given.

Run in an environment of its own, never the project's:
    python -m venv old && old/bin/pip install torch==2.13.0 nequip==0.6.2
    old/bin/python tests/reference/nequip_062.py [PUBLISHED.pth]
"""

from __future__ import annotations

import json
import platform
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from published_cases import FOLDER, RECORD, seeded_arrays

# what nequip 0.5 took by default, and with it the paper
SOFTPLUS = {
    "nonlinearity_scalars": {"e": "ssp", "o": "tanh"},
    "nonlinearity_gates": {"e": "ssp", "o": "abs"},
}
PAPER = SOFTPLUS | {
    "type_names": ["C"],
    "r_max": 4.0,
    "num_layers": 4,
    "l_max": 1,
    "parity": True,
    "num_features": 32,
    "num_basis": 8,
    "PolynomialCutoff_p": 6,
    "invariant_layers": 1,
    "invariant_neurons": 8,
    "avg_num_neighbors": 32.0,
    "global_rescale_scale": None,
}
OTHER = PAPER | {
    "nonlinearity_scalars": {"e": "silu", "o": "tanh"},
    "nonlinearity_gates": {"e": "silu", "o": "tanh"},
    "type_names": ["Si", "C"],
    "r_max": 4.5,
    "num_layers": 2,
    "num_features": 4,
    "num_basis": 6,
    "PolynomialCutoff_p": 5,
    "invariant_layers": 2,
    "invariant_neurons": 5,
    "avg_num_neighbors": 13.5,
    "global_rescale_scale": 2.0,
}


def old_model(hyperparameters: dict[str, Any]) -> Any:
    """Build the model of nequip 0.6.2 in double precision."""
    import torch
    from nequip.model import model_from_config
    from nequip.utils import Config

    torch.set_default_dtype(torch.float64)
    builders = ["SimpleIrrepsConfig", "EnergyModel", "PerSpeciesRescale"]
    builders += ["ForceOutput", "RescaleEnergyEtc"]
    settings = {
        "model_builders": builders,
        "num_types": len(hyperparameters["type_names"]),
        "BesselBasis_trainable": True,
        "per_species_rescale_shifts": 0.0,
        "per_species_rescale_scales": 1.0,
        "global_rescale_shift": None,
        "default_dtype": "float64",
        "model_dtype": "float64",
    }
    return model_from_config(Config.from_dict(settings | hyperparameters)).eval()


def structures(symbols: list[str]) -> Iterator[Any]:
    """Yield 20 structures: crystals, tubes, a cage, flakes, amorphous cells, atoms apart."""
    from ase import Atoms
    from ase.build import bulk, graphene, molecule, nanotube

    random = np.random.default_rng(62)
    crystals = [bulk("C", cubic=True, a=a) for a in (3.3, 3.57, 3.9)]
    crystals += [bulk("C") * (2, 2, 2), graphene(size=(3, 3, 1), vacuum=5.0)]
    tubes = [nanotube(n, m, length=1, vacuum=4.0) for n, m in ((4, 0), (3, 3), (5, 0), (4, 2))]
    cages = [molecule("C60"), graphene(size=(2, 2, 1), vacuum=3.0)]
    cages[1].pbc = False
    apart = [Atoms("C2", [[0, 0, 0], [0, 0, d]]) for d in (1.1, 1.3, 2.4)]
    apart.append(apart[1] + Atoms("C", [[0, 0, 9]]))  # 0.6.2 takes no lone atom
    amorphous = [_amorphous(n, length, random) for n, length in ((16, 5.5), (20, 5.5), (24, 6.0))]
    amorphous += [_amorphous(12, 6.5, random), _amorphous(3, 2.9, random)]
    for number, atoms in enumerate(crystals + tubes + cages + amorphous + apart):
        if len(atoms) > 3:
            atoms.rattle(0.1, seed=number)
        atoms.calc, atoms.info = None, {"number": number}
        atoms.symbols = [symbols[i] for i in random.integers(len(symbols), size=len(atoms))]
        for name in set(atoms.arrays) - {"numbers", "positions"}:
            del atoms.arrays[name]
        yield atoms


def _amorphous(n_atoms: int, length_A: float, random: np.random.Generator) -> Any:
    """Throw atoms into a skewed cell, none closer than 1.35 Å to another."""
    from ase import Atoms

    cell = length_A * (np.eye(3) + 0.15 * random.uniform(-1, 1, (3, 3)))
    atoms = Atoms(cell=cell, pbc=True)
    while len(atoms) < n_atoms:
        atoms += Atoms("C", positions=[random.uniform(size=3) @ cell])
        distances = atoms.get_all_distances(mic=True)[-1, :-1]
        if len(distances) and distances.min() < 1.35:
            del atoms[-1]
    return atoms


def labelled(model: Any, hyperparameters: dict[str, Any], frames: list) -> list:
    """Return the frames with the old model's energies (eV) and forces (eV/Å)."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from nequip.data import AtomicData
    from nequip.data.transforms import TypeMapper

    types = {symbol: i for i, symbol in enumerate(hyperparameters["type_names"])}
    mapper = TypeMapper(chemical_symbol_to_type=types)
    for atoms in frames:
        data = mapper(AtomicData.from_ase(atoms, r_max=hyperparameters["r_max"]))
        found = model(AtomicData.to_AtomicDataDict(data))
        energy, forces = found["total_energy"].item(), found["forces"].detach().numpy()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return frames


def record(name: str, hyperparameters: dict[str, Any], seed: int, state: Any = None) -> dict:
    """Write a case's extxyz file and return what describes the case."""
    import torch
    from ase.io import read, write

    model = old_model(hyperparameters)
    names = [key.removeprefix("model.") for key in model.state_dict()]
    shapes = {n: list(v.shape) for n, v in zip(names, model.state_dict().values(), strict=True)}
    if state is None:
        arrays = seeded_arrays(shapes, seed)
        state = {key: torch.tensor(value) for key, value in arrays.items()}
    model.load_state_dict({f"model.{key}": value for key, value in state.items()}, strict=True)
    path = FOLDER / f"nequip_062_{name}.extxyz"
    write(path, list(structures(hyperparameters["type_names"])))
    frames = read(path, ":")  # rounded as the file rounds
    write(path, labelled(model, hyperparameters, frames))
    return {"hyperparameters": hyperparameters, "seed": seed, "shapes": shapes}


def main() -> None:
    """Record the seeded cases, and the published weights where a file is named."""
    import torch

    warnings.simplefilter("ignore")
    versions = {one: version(one) for one in ("nequip", "e3nn", "torch", "numpy", "ase")}
    cases = {"paper": record("paper", PAPER, 62), "two_types": record("two_types", OTHER, 63)}
    if len(sys.argv) > 1:
        state = torch.load(sys.argv[1], weights_only=True, map_location="cpu")
        record("published", PAPER, 0, state)
    text = json.dumps({"versions": versions, "python": platform.python_version(), "cases": cases})
    RECORD.write_text(text + "\n")


if __name__ == "__main__":
    main()
