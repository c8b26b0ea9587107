"""Errors of a model on labelled structures: the numbers in every table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tempermd.dataset import iter_labelled
from tempermd.dataset.frames import check_frame_labels
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


def evaluate(model: Any, frames: Iterable[Atoms] | Path | str) -> Errors:
    """Return a model's errors on labelled structures, one of which is in memory at a time.

    Parameters
    ----------
    model
        A checkpoint's path, an eager nequip model, or any ASE calculator.
    frames
        Structures with a calculator that holds energy and forces, or a file (extxyz, LMDB).
    """
    predict_one = predictor(model)
    energy_errors, force_errors = [], []
    for atoms in _checked(frames):
        energy_eV, forces_eV_A = predict_one(atoms)
        labels = atoms.calc.results
        energy_errors.append(1000 * (energy_eV - labels["energy"]) / len(atoms))
        force_errors.append(forces_eV_A - labels["forces"])
    per_atom, components = np.array(energy_errors, dtype=float), np.concatenate(force_errors)
    return Errors(
        n_frames=len(energy_errors),
        force_rmse_eV_per_A=float(np.sqrt((components**2).mean())),
        force_mae_eV_per_A=float(np.abs(components).mean()),
        energy_rmse_meV_per_atom=float(np.sqrt((per_atom**2).mean())),
        energy_mae_meV_per_atom=float(np.abs(per_atom).mean()),
    )


def _checked(frames: Iterable[Atoms] | Path | str) -> Iterator[Atoms]:
    if isinstance(frames, str | Path):
        yield from iter_labelled(frames)
        return
    for number, atoms in enumerate(frames):
        check_frame_labels(atoms, f"structures to evaluate: frame {number}")
        yield atoms


def predictor(model: Any) -> Callable[[Atoms], tuple[float, np.ndarray]]:
    """Return a function from a structure to its energy (eV) and forces (N, 3) (eV/Å)."""
    if hasattr(model, "get_property"):

        def by_calculator(atoms: Atoms) -> tuple[float, np.ndarray]:
            copy = atoms.copy()
            forces = model.get_property("forces", copy).copy()
            return model.get_property("energy", copy), forces

        return by_calculator
    if isinstance(model, str | Path):
        model = load_checkpoint(model)
    inner, cutoff_A = energy_only(model), float(model.metadata["r_max"])

    def by_model(atoms: Atoms) -> tuple[float, np.ndarray]:
        found = predict(inner, build_graph(atoms, model.type_names, cutoff_A))
        return found.energy_eV, found.forces_eV_A

    return by_model
