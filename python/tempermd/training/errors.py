"""Errors of a model on labelled structures: the numbers in every table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tempermd.dataset import check_labels, read_labelled
from tempermd.records import Record
from tempermd.training.graphs import build_graph, predict
from tempermd.training.models import energy_only, load_checkpoint

if TYPE_CHECKING:
    from ase import Atoms


class Errors(Record):
    """A model's errors on labelled structures."""

    format_name: ClassVar[str] = "tempermd-errors"

    n_frames: int
    force_rmse_eV_per_A: float
    force_mae_eV_per_A: float
    energy_rmse_meV_per_atom: float
    energy_mae_meV_per_atom: float


def evaluate(model: Any, frames: Sequence[Atoms] | Path | str) -> Errors:
    """Return a model's errors on labelled structures.

    Parameters
    ----------
    model
        A checkpoint's path, an eager nequip model, or any ASE calculator.
    frames
        Structures with a calculator that holds energy and forces, or an extxyz file.
    """
    frames = read_labelled(frames) if isinstance(frames, str | Path) else list(frames)
    check_labels(frames, "structures to evaluate")
    results = [atoms.calc.results for atoms in frames]
    n_atoms = np.array([len(atoms) for atoms in frames])
    energies, forces = _predictions(model, frames)
    energy_errors = 1000 * (energies - [one["energy"] for one in results]) / n_atoms
    force_errors = np.concatenate(forces) - np.concatenate([one["forces"] for one in results])
    return Errors(
        n_frames=len(frames),
        force_rmse_eV_per_A=float(np.sqrt((force_errors**2).mean())),
        force_mae_eV_per_A=float(np.abs(force_errors).mean()),
        energy_rmse_meV_per_atom=float(np.sqrt((energy_errors**2).mean())),
        energy_mae_meV_per_atom=float(np.abs(energy_errors).mean()),
    )


def _predictions(model: Any, frames: Sequence[Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return energies (F,) in eV and forces, (N, 3) in eV/Å per frame."""
    if hasattr(model, "get_property"):
        copies = [atoms.copy() for atoms in frames]
        forces = [model.get_property("forces", atoms).copy() for atoms in copies]
        return np.array([model.get_property("energy", atoms) for atoms in copies]), forces
    if isinstance(model, str | Path):
        model = load_checkpoint(model)
    inner = energy_only(model)
    cutoff_A = float(model.metadata["r_max"])
    found = [predict(inner, build_graph(a, model.type_names, cutoff_A)) for a in frames]
    return np.array([one.energy_eV for one in found]), [one.forces_eV_A for one in found]
