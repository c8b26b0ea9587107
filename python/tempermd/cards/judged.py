"""Predictions beside labels, frame by frame: what cards and guards are computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.cards.records import TypeErrors
from tempermd.dataset import fit_energies, iter_labelled
from tempermd.labels.sources import compute
from tempermd.training import Errors
from tempermd.training.errors import predictor

if TYPE_CHECKING:
    from ase import Atoms

ANOTHER_ZERO_MEV = 1000.0
"""Energies per atom that are wrong by more, and alike, are those of another zero."""


@dataclass(frozen=True)
class Judged:
    """A model on F labelled frames.

    Attributes
    ----------
    counts
        Atoms of each element in each frame, shape (F, T).
    kinds, groups
        Configuration type and trajectory of each frame, length F.
    energies, true_energies
        Predicted and labelled, eV, shape (F,).
    forces, true_forces
        Of each frame, eV/Å, (N, 3) each.
    """

    counts: np.ndarray
    kinds: list[str]
    groups: list[str]
    energies: np.ndarray
    true_energies: np.ndarray
    forces: list[np.ndarray]
    true_forces: list[np.ndarray]

    @property
    def n_atoms(self) -> np.ndarray:
        """Return the number of atoms of each frame, (F,)."""
        return self.counts.sum(axis=1)

    @property
    def energy_errors(self) -> np.ndarray:
        """Return the errors of energies, meV/atom, (F,)."""
        return 1000 * (self.energies - self.true_energies) / self.n_atoms

    @property
    def force_errors(self) -> list[np.ndarray]:
        """Return the errors of each frame's forces, eV/Å, (N, 3) each."""
        return [a - b for a, b in zip(self.forces, self.true_forces, strict=True)]

    def over(self, chosen: np.ndarray) -> dict[str, float]:
        """Return RMSE and MAE over frames, by the names that `Errors` has."""
        errors = self.force_errors
        components = np.concatenate([errors[number].ravel() for number in chosen])
        per_atom = self.energy_errors[chosen]
        return {
            "force_rmse_eV_per_A": float(np.sqrt((components**2).mean())),
            "force_mae_eV_per_A": float(np.abs(components).mean()),
            "energy_rmse_meV_per_atom": float(np.sqrt((per_atom**2).mean())),
            "energy_mae_meV_per_atom": float(np.abs(per_atom).mean()),
        }

    def errors(self) -> Errors:
        """Return the errors over all frames."""
        every = np.arange(len(self.kinds))
        return Errors(n_frames=len(every), **self.over(every))

    def by_type(self) -> list[TypeErrors]:
        """Return the errors of each configuration type, the most frames first."""
        kinds = np.array(self.kinds)
        names, numbers = np.unique(kinds, return_counts=True)
        found = []
        for name in names[np.argsort(-numbers, kind="stable")]:
            chosen = np.flatnonzero(kinds == name)
            n_atoms = int(self.n_atoms[chosen].sum())
            found.append(
                TypeErrors(
                    kind=str(name), n_frames=len(chosen), n_atoms=n_atoms, **self.over(chosen)
                )
            )
        return found

    def shifted(self, energies_eV: np.ndarray) -> Judged:
        """Return the same with energies (T,) added for each atom of an element."""
        energies = self.energies + self.counts @ energies_eV
        return Judged(**(self.__dict__ | {"energies": energies}))

    def at_best_zero(self) -> Judged:
        """Return the same with the energy of each element that fits these labels best."""
        return self.shifted(self.best_zero())

    def best_zero(self) -> np.ndarray:
        """Return what these labels lie above the model for each atom of an element, eV, (T,)."""
        return fit_energies(self.counts, self.true_energies - self.energies)

    def has_another_zero(self) -> bool:
        """Tell whether labels count energies from elsewhere: eV apart, and little beside that."""
        left = self.at_best_zero().errors().energy_rmse_meV_per_atom
        whole = self.errors().energy_rmse_meV_per_atom
        return whole > ANOTHER_ZERO_MEV and whole > 10 * left


def judge(model: Any, frames: Iterable[Atoms] | Path | str, elements: list[str]) -> Judged:
    """Let a model predict labelled frames.

    Parameters
    ----------
    model
        A checkpoint's path, an eager nequip model, or an ASE calculator.
    elements
        The columns of ``counts``.
    """
    if isinstance(frames, str | Path):
        frames = iter_labelled(frames)
    predict = predictor(model)
    rows: dict[str, list[Any]] = {name: [] for name in Judged.__dataclass_fields__}
    for number, atoms in enumerate(frames):
        energy_eV, forces_eV_A = predict(atoms)
        symbols = list(atoms.symbols)
        rows["counts"].append([symbols.count(element) for element in elements])
        rows["kinds"].append(kind_of(atoms))
        rows["groups"].append(group_of(atoms, number))
        rows["energies"].append(energy_eV)
        rows["true_energies"].append(float(atoms.calc.results["energy"]))
        rows["forces"].append(forces_eV_A)
        rows["true_forces"].append(np.asarray(atoms.calc.results["forces"], dtype=float))
    arrays = {name: np.array(rows[name]) for name in ("counts", "energies", "true_energies")}
    return Judged(**(rows | arrays))


def judge_source(
    calculator: Any, frames: Iterable[Atoms] | Path | str, elements: list[str]
) -> Judged:
    """Let a label source's calculator predict labelled frames, at the zero that fits them best."""
    return judge(_Labelling(calculator), frames, elements).at_best_zero()


class _Labelling:
    """A label source as the calculator that `judge` asks: energies as labels have them."""

    def __init__(self, calculator: Any) -> None:
        self.calculator = calculator
        self._last: tuple[Any, Any] = (None, None)

    def get_property(self, name: str, atoms: Atoms) -> Any:
        """Return a label of a structure; the same object is labelled once."""
        if self._last[0] is not atoms:
            self._last = (atoms, compute(atoms, self.calculator).calc.results)
        return self._last[1][name]


def kind_of(atoms: Atoms) -> str:
    """Return a configuration type: ``kind``, ``structure`` or ``config_type`` of the info."""
    names = (atoms.info.get(key) for key in ("kind", "structure", "config_type"))
    return next((str(name) for name in names if name), "none")


def group_of(atoms: Atoms, number: int) -> str:
    """Return the trajectory that a frame is from; one without any is a group of its own."""
    name = atoms.info.get("trajectory")
    return f"frame {number}" if name is None else str(name)


def name_of(checkpoint: Path) -> str:
    """Return a model's name: that of its training's folder, or of its file."""
    return checkpoint.resolve().parent.name if checkpoint.name == "best.ckpt" else checkpoint.stem
