"""What scaling a base's lengths changes: python tests/bench/alchemy_scaling.py.

The shipped base becomes one for silicon; its forces on the demo's test tubes, all lengths scaled,
times the ratio of lengths are held against the base's own on the tubes as they are: once as
`tempermd transmute` writes it, once with the cutoff alone scaled (first layers of the radial
networks as they were).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
BASE = ROOT / "python" / "tempermd" / "potentials" / "carbon_base.ckpt"
TUBES = ROOT / "studies" / "tubes" / "test.extxyz"


def forces_of(model: Any, frames: list) -> np.ndarray:
    """Return a checkpoint's forces on all frames, eV/Å, (N, 3)."""
    from tempermd.training.graphs import build_graph, predict
    from tempermd.training.models import energy_only

    inner, cutoff_A = energy_only(model), float(model.metadata["r_max"])
    graphs = (build_graph(atoms, model.type_names, cutoff_A) for atoms in frames)
    return np.concatenate([predict(inner, graph).forces_eV_A for graph in graphs])


def scaled(frames: list, ratio: float) -> list:
    """Return the frames as silicon, all lengths times the ratio."""
    grown = [atoms.copy() for atoms in frames]
    for atoms in grown:
        atoms.set_cell(ratio * atoms.cell.array, scale_atoms=True)
        atoms.symbols = ["Si"] * len(atoms)
    return grown


def main() -> None:
    """Print the forces' size and both differences, rms."""
    import torch
    from ase.io import read

    from tempermd.training import alchemy_spec, load_checkpoint, transmute
    from tempermd.training.alchemy import default_length_ratio

    ratio, _ = default_length_ratio({"C": "Si"})
    frames = read(TUBES, ":")
    wanted = forces_of(load_checkpoint(BASE), frames)
    print(
        f"length ratio {ratio:.4f}; the base's forces: {np.sqrt((wanted**2).mean()):.3f} eV/Å rms"
    )
    with tempfile.TemporaryDirectory() as folder:
        child = transmute(BASE, alchemy_spec(["C=Si"]), Path(folder) / "si.ckpt")
        model = load_checkpoint(child)
    for name in ("as transmuted", "cutoff alone scaled"):
        off = ratio * forces_of(model, scaled(frames, ratio)) - wanted
        print(f"{name}: off by {np.sqrt((off**2).mean()):.2g} eV/Å rms")
        with torch.no_grad():
            for weight, value in model.named_parameters():
                if weight.endswith(".edge_mlp.mlp.0.weight"):
                    value /= ratio**2


if __name__ == "__main__":
    main()
