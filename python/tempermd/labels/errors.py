"""Errors of one source against the truth, gathered frame by frame in little memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from tempermd.labels.cache import Label
from tempermd.records import Spec


class KindErrors(Spec):
    """Errors over some frames; energies after the source's own zero is taken out."""

    frames: int
    force_rmse_eV_per_A: float
    force_mae_eV_per_A: float
    energy_rmse_meV_per_atom: float
    energy_mae_meV_per_atom: float


@dataclass
class Errors:
    """Sums over frames, and a sample of pairs for the plots.

    Parameters
    ----------
    points_per_frame
        How many force components of each frame are kept for the plots.
    """

    points_per_frame: int
    kinds: list[str] = field(default_factory=list)
    compositions: list[Counter[str]] = field(default_factory=list)
    true_energies: list[float] = field(default_factory=list)
    energy_errors: list[float] = field(default_factory=list)
    force_squares: list[float] = field(default_factory=list)
    force_sums: list[float] = field(default_factory=list)
    true_squares: list[float] = field(default_factory=list)
    seconds_per_atom: list[float] = field(default_factory=list)
    pairs: list[np.ndarray] = field(default_factory=list)

    def add(self, atoms: Atoms, truth: Label, label: Label) -> None:
        """Add one frame; energies are kept per atom (eV)."""
        error = label.forces - truth.forces
        self.kinds.append(str(atoms.info.get("kind", "")))
        self.compositions.append(Counter(atoms.symbols))
        self.true_energies.append(truth.energy / len(atoms))
        self.energy_errors.append((label.energy - truth.energy) / len(atoms))
        self.force_squares.append(float(np.sum(error**2)))
        self.force_sums.append(float(np.sum(np.abs(error))))
        self.true_squares.append(float(np.sum(truth.forces**2)))
        self.seconds_per_atom.append(label.seconds / len(atoms))
        random = np.random.default_rng(len(self.kinds))
        chosen = random.integers(0, error.size, self.points_per_frame)
        self.pairs.append(np.stack([truth.forces.flat[chosen], label.forces.flat[chosen]]))

    def shifted_energy_errors(self) -> np.ndarray:
        """Return energy errors (F,) (eV/atom) after the source's own zero of energy.

        One energy per element is taken out, by least squares over the compositions:
        dE_f / N_f - sum_s x_fs e_s. With one composition that is the mean.
        """
        symbols = sorted(set().union(*self.compositions))
        counts = np.array([[c[s] for s in symbols] for c in self.compositions], dtype=float)
        fractions = counts / counts.sum(axis=1, keepdims=True)
        errors = np.array(self.energy_errors)
        return errors - fractions @ np.linalg.lstsq(fractions, errors, rcond=None)[0]

    def over(self, chosen: np.ndarray) -> KindErrors:
        """Return the errors over the chosen frames (F,) of truth values."""
        energies = 1000 * self.shifted_energy_errors()[chosen]
        n_atoms = np.array([c.total() for c in self.compositions])[chosen]
        components = 3 * n_atoms.sum()
        squares = np.array(self.force_squares)[chosen].sum()
        sums = np.array(self.force_sums)[chosen].sum()
        return KindErrors(
            frames=int(chosen.sum()),
            force_rmse_eV_per_A=float(np.sqrt(squares / components)),
            force_mae_eV_per_A=float(sums / components),
            energy_rmse_meV_per_atom=float(np.sqrt(np.mean(energies**2))),
            energy_mae_meV_per_atom=float(np.mean(np.abs(energies))),
        )

    def by_kind(self) -> dict[str, KindErrors]:
        """Return the errors of each kind of structure."""
        kinds = np.array(self.kinds)
        return {kind: self.over(kinds == kind) for kind in sorted(set(self.kinds)) if kind}

    def true_force_rms(self) -> float:
        """Return the rms of the true forces, eV/A."""
        components = 3 * sum(c.total() for c in self.compositions)
        return float(np.sqrt(sum(self.true_squares) / components))
