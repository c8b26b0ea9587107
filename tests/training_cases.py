"""Tiny labelled data and specs for the tests of training and deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def morse_frames(n_frames: int, seed: int, shift_eV: float = -7.0) -> list:
    """Return rattled diamond cells of 8 atoms with a Morse potential's labels."""
    from ase.build import bulk
    from ase.calculators.morse import MorsePotential
    from ase.calculators.singlepoint import SinglePointCalculator

    random = np.random.default_rng(seed)
    frames = []
    for number in range(n_frames):
        atoms = bulk("C", "diamond", a=3.57 * random.uniform(0.98, 1.06), cubic=True)
        atoms.rattle(0.08, seed=1000 * seed + number)
        atoms.calc = MorsePotential(epsilon=3.0, r0=1.54, rho0=4.0, rcut1=2.0, rcut2=2.5)
        labels = {
            "energy": atoms.get_potential_energy() + shift_eV * len(atoms),
            "forces": atoms.get_forces(),
        }
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    return frames


def shifted(frames: list, shift_eV: float) -> list:
    """Return copies whose energies are higher by ``shift_eV`` per atom."""
    from ase.calculators.singlepoint import SinglePointCalculator

    copies = []
    for atoms in frames:
        copy = atoms.copy()
        energy = atoms.calc.results["energy"] + shift_eV * len(atoms)
        copy.calc = SinglePointCalculator(
            copy, energy=energy, forces=atoms.calc.results["forces"].copy()
        )
        copies.append(copy)
    return copies


def write_case(
    folder: Path, frames: tuple[list, list, list] | None = None, **training: Any
) -> Path:
    """Write train, val and test files and a spec beside them; return the spec's path."""
    import ase.io
    import tomli_w

    if frames is None:
        frames = morse_frames(12, 1), morse_frames(3, 2), morse_frames(3, 3)
    folder.mkdir(parents=True, exist_ok=True)
    for name, some in zip(("train", "val", "test"), frames, strict=True):
        ase.io.write(folder / f"{name}.xyz", some, format="extxyz")
    spec = {
        "model": {
            "type_names": ["C"],
            "cutoff_A": 2.6,
            "num_layers": 2,
            "num_features": 4,
            "radial_mlp_width": 8,
        },
        "data": {"train": "train.xyz", "val": "val.xyz", "test": "test.xyz"},
        "training": {"max_epochs": 4, "learning_rate": 0.01, "warmup_steps": 3, "val_every": 1}
        | training,
    }
    if "max_steps" in training:
        del spec["training"]["max_epochs"]
    path = folder / "spec.toml"
    path.write_text(tomli_w.dumps(spec))
    return path


def residuals_eV_per_atom(model, frames: list) -> np.ndarray:
    """Return labels minus a model's energies, shape (frames,)."""
    from tempermd.training.graphs import build_graph, predict
    from tempermd.training.models import energy_only

    inner = energy_only(model)
    found = [predict(inner, build_graph(a, ["C"], 2.6)).energy_eV for a in frames]
    labels = [a.calc.results["energy"] for a in frames]
    return (np.array(labels) - found) / np.array([len(a) for a in frames])
