"""Which average number of neighbors fits published weights, judged by a NEP of the same element.

python tests/bench/published_neighbors.py WEIGHTS.pth NEP.txt [silu] [28 30 32 ...]

Prints, for rattled carbon crystals and tubes, the slope of the imported model's forces against
those of the NEP, the difference (eV/Å rms), and the energy of the first cell (eV/atom). With
``silu`` the weights are read with that nonlinearity, the default of nequip 0.6, not of 0.5.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def structures() -> list[Any]:
    """Return rattled diamond, stretched diamond, graphene and a tube, four times each."""
    from ase.build import bulk, graphene, nanotube

    frames = []
    for seed in range(4):
        for atoms in (
            bulk("C", cubic=True),
            graphene(size=(3, 3, 1), vacuum=6),
            nanotube(6, 0, length=2, vacuum=6),
            bulk("C", cubic=True, a=3.8),
        ):
            atoms.pbc = True
            atoms.rattle(0.1, seed=seed)
            frames.append(atoms)
    return frames


def main() -> None:
    """Print one line for each number of neighbors."""
    from calorine.calculators import CPUNEP

    from tempermd.training.graphs import build_graph, predict
    from tempermd.training.models import energy_only
    from tempermd.training.published import ImportSpec, imported_module, read_state

    weights, nep, *numbers = sys.argv[1:]
    nonlinearity = numbers.pop(0) if numbers[:1] == ["silu"] else "ssp"
    frames = structures()
    calculator = CPUNEP(nep)
    wanted = np.concatenate([calculator.get_forces(atoms).ravel() for atoms in frames])
    state = read_state(weights)
    for number in map(float, numbers or ["24", "26", "28", "30", "32", "34", "36", "40"]):
        known = {"avg_num_neighbors": number, "nonlinearity": nonlinearity}
        spec = ImportSpec(type_names=["C"], **known)
        (model,) = imported_module(state, spec, weights).model.values()
        inner = energy_only(model)
        found = [predict(inner, build_graph(atoms, ["C"], spec.cutoff_A)) for atoms in frames]
        forces = np.concatenate([one.forces_eV_A.ravel() for one in found])
        slope = (forces @ wanted) / (wanted @ wanted)
        rms = np.sqrt(((forces - wanted) ** 2).mean())
        energy = found[0].energy_eV / len(frames[0])
        print(f"{number:g}: slope {slope:.3f}, difference {rms:.3f} eV/Å, {energy:.3f} eV/atom")
    print(f"rms force of the NEP: {np.sqrt((wanted**2).mean()):.3f} eV/Å")


if __name__ == "__main__":
    main()
