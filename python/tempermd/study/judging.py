"""Judging: a model's errors on a set, with what is needed to shift its reference energies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tempermd.records import Record, write_record
from tempermd.training import Errors


class Judged(Record):
    """A model's errors on a set; residuals are label minus model, eV per frame.

    ``counts`` has the atoms of each type (``type_names``) in each frame.
    """

    format_name: ClassVar[str] = "tempermd-judged"

    errors: Errors
    type_names: list[str]
    counts: list[list[int]]
    residuals_eV: list[float]


class _Recorder:
    """A model as a calculator that keeps each energy it was asked for."""

    def __init__(self, model: Any) -> None:
        from tempermd.training.models import energy_only

        self.names, self.cutoff_A = list(model.type_names), float(model.metadata["r_max"])
        self.inner = energy_only(model)
        self.energies_eV: list[float] = []

    def get_property(self, name: str, atoms: Any) -> Any:
        """Return forces (N, 3) of a structure, or the energy that came with the last ones."""
        from tempermd.training.graphs import build_graph, predict

        if name == "energy":
            return self.energies_eV[-1]
        found = predict(self.inner, build_graph(atoms, self.names, self.cutoff_A))
        self.energies_eV.append(found.energy_eV)
        return found.forces_eV_A


def judge(checkpoint: Path, frames: Path, output: Path) -> dict[str, Any]:
    """Write a model's errors on labelled frames as a `Judged`."""
    from tempermd import dataset, training
    from tempermd.training.graphs import atom_types

    recorder = _Recorder(training.load_checkpoint(checkpoint))
    labelled = dataset.read_labelled(frames)
    errors = training.evaluate(recorder, labelled)
    n_types = len(recorder.names)
    counts = [
        np.bincount(atom_types(atoms, recorder.names), minlength=n_types).tolist()
        for atoms in labelled
    ]
    labels_eV = np.array([atoms.calc.results["energy"] for atoms in labelled])
    residuals = labels_eV - np.array(recorder.energies_eV)
    judged = Judged(
        errors=errors,
        type_names=recorder.names,
        counts=counts,
        residuals_eV=residuals.tolist(),
    )
    write_record(output, judged)
    return {}


def realigned(
    judged: Judged, on: Judged | None = None, indices: Sequence[int] | None = None
) -> Errors:
    """Return errors after the model's reference energies are refitted.

    Forces do not change. The energy of each type is shifted by the least-squares fit of the
    residuals of ``on`` (the same model on other frames; the set itself if None), of the frames
    ``indices`` there, as fine-tuning does on its training set.
    """
    from tempermd.dataset import fit_energies

    fit = on or judged
    rows = list(range(len(fit.residuals_eV))) if indices is None else list(indices)
    counts, residuals = np.array(fit.counts), np.array(fit.residuals_eV)
    shifts_eV = fit_energies(counts[rows], residuals[rows])  # (T,)
    own = np.array(judged.counts)  # (F, T)
    left_eV = np.array(judged.residuals_eV) - own @ shifts_eV
    per_atom = 1000 * left_eV / own.sum(axis=1)
    change = {
        "energy_rmse_meV_per_atom": float(np.sqrt((per_atom**2).mean())),
        "energy_mae_meV_per_atom": float(np.abs(per_atom).mean()),
    }
    return judged.errors.model_copy(update=change)
