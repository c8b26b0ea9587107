"""What in a training's data or start is probably a mistake: one sentence each, with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.dataset.duplicates import content_key
from tempermd.dataset.energies import fit_energies
from tempermd.training.graphs import atom_types, build_graph, predict
from tempermd.training.models import energy_only

if TYPE_CHECKING:
    from ase import Atoms

    from tempermd.training.data import Frames
    from tempermd.training.start import Data, Start

# of a set that is streamed, or of a parent's predictions, no more are looked at
N_SAMPLED = 200
N_PREDICTED = 20
ABSURD_FORCE_eV_A = 1000.0
# labels of a parent's own kind lie within this of it, once reference energies are refitted
USUAL_ENERGY_eV = 0.05


@dataclass(frozen=True)
class Labels:
    """A set's labels, and what tells copies of a structure.

    Attributes
    ----------
    counts
        Atoms of each type in each frame, shape (F, T).
    energies_eV, largest_eV_A
        One label and the largest force component of each frame, shapes (F,).
    """

    keys: list[bytes | None]
    counts: np.ndarray
    energies_eV: np.ndarray
    largest_eV_A: np.ndarray

    @property
    def n_atoms(self) -> np.ndarray:
        """Atoms of each frame, shape (F,)."""
        return self.counts.sum(1)


def labels_of(frames: Frames, type_names: Sequence[str]) -> Labels:
    """Gather the labels of a set; of a streamed one those of some frames."""
    keys, counts, energies, largest = [], [], [], []
    for atoms in sampled(frames, N_SAMPLED if frames.streamed else len(frames)):
        keys.append(content_key(atoms))
        counts.append(np.bincount(atom_types(atoms, type_names), minlength=len(type_names)))
        energies.append(float(atoms.calc.results["energy"]))
        largest.append(float(np.abs(atoms.calc.results["forces"]).max(initial=0.0)))
    return Labels(keys, np.stack(counts), np.array(energies), np.array(largest))


def sampled(frames: Frames, n_frames: int) -> Iterator[Atoms]:
    """Yield so many structures, evenly spread over the set; all where it has no more."""
    if len(frames) <= n_frames:
        yield from frames.structures()
        return
    for number in np.linspace(0, len(frames) - 1, n_frames).astype(int):
        yield frames.structure(int(number))


def concerns(data: Data, start: Start, module: Any) -> list[str]:
    """Return what to tell the user before the first step; usually nothing.

    Parameters
    ----------
    module
        The Lightning module about to be trained, its reference energies set.
    """
    names = start.model.type_names
    train, val = labels_of(data.train, names), labels_of(data.val, names)
    found = [*about_labels(train, names), *about_copies(train, val)]
    if start.parent is not None:
        (model,) = module.model.values()
        found += about_parent(data.train, energy_only(model), names, start.model.cutoff_A)
        model.train()
    return found


def about_labels(train: Labels, type_names: Sequence[str]) -> Iterator[str]:
    """Yield what is strange about forces, energies and types."""
    missing = [name for name, n in zip(type_names, train.counts.sum(0), strict=True) if n == 0]
    if missing:
        yield (
            f"no training structure holds {', '.join(missing)}: its weights learn nothing; leave "
            "it out of type_names, or add structures with it"
        )
    still = int((train.largest_eV_A == 0).sum())
    if still:
        yield (
            f"{still} of {len(train.keys)} training structures have no force on any atom: ideal "
            "crystals teach little, and labels without forces much that is wrong; take them out "
            "if the forces were just not computed"
        )
    worst = int(np.argmax(train.largest_eV_A))
    if train.largest_eV_A[worst] > ABSURD_FORCE_eV_A:
        yield (
            f"a training force is {train.largest_eV_A[worst]:.0f} eV/A (frame {worst}): it will "
            "rule the loss; take out structures whose atoms overlap, or check the units"
        )
    if _look_per_atom(train):
        yield (
            "the training energies look like energies per atom (they do not grow with the number "
            "of atoms); training needs the energy of the whole structure, in eV"
        )


def _look_per_atom(train: Labels) -> bool:
    """Tell whether energies scatter less about one value than about a multiple of the sizes."""
    sizes = train.n_atoms
    if sizes.max() < 1.5 * sizes.min() or len(sizes) < 3:
        return False
    by_size = train.energies_eV - train.counts @ fit_energies(train.counts, train.energies_eV)
    return bool(np.std(train.energies_eV) < 0.2 * np.std(by_size))


def about_copies(train: Labels, val: Labels) -> Iterator[str]:
    """Yield what is the same structure twice."""
    known = {key for key in train.keys if key is not None}
    shared = sum(key in known for key in val.keys)
    if shared:
        yield (
            f"{shared} of {len(val.keys)} validation structures are in the training set too: the "
            "best epoch is chosen by memory; split the data anew (tempermd dataset)"
        )
    repeated = sum(key is not None for key in train.keys) - len(known)
    if repeated:
        yield (
            f"{repeated} of {len(train.keys)} training structures are copies of others: they "
            "count twice in the loss; take them out unless that is meant"
        )


def about_parent(
    frames: Frames, model: Any, type_names: Sequence[str], cutoff_A: float
) -> Iterator[str]:
    """Yield where the parent, on its new zero of energy, explains nothing of the labels."""
    energies, forces, counts, missed, wrong = [], [], [], [], []
    for atoms in sampled(frames, N_PREDICTED):
        found = predict(model, build_graph(atoms, type_names, cutoff_A))
        labels, n_atoms = atoms.calc.results, len(atoms)
        counts.append(np.bincount(atom_types(atoms, type_names), minlength=len(type_names)))
        energies.append(labels["energy"])
        missed.append((labels["energy"] - found.energy_eV) / n_atoms)
        forces.append(np.square(labels["forces"]).mean())
        wrong.append(np.square(labels["forces"] - found.forces_eV_A).mean())
    atoms_by_type, labels_eV = np.stack(counts), np.array(energies)
    left = labels_eV - atoms_by_type @ fit_energies(atoms_by_type, labels_eV)
    scatter_eV = float(np.std(left / atoms_by_type.sum(1)))
    missed_eV = float(np.sqrt(np.square(missed).mean()))
    if missed_eV > max(2 * scatter_eV, USUAL_ENERGY_eV):
        yield (
            f"the parent's energies miss the new labels by {missed_eV:.2g} eV/atom, more than the "
            "labels themselves scatter: check that they are total energies in eV, all with one "
            "setting, and whether reference_energies = 'keep' is meant"
        )
    ratio = float(np.sqrt(np.mean(wrong) / max(np.mean(forces), 1e-30)))
    if ratio > 1:
        yield (
            f"the parent's force error on the new labels is {ratio:.1f} times the forces' own "
            "size: it explains nothing of them; check units (eV/A) and signs, or train from "
            "scratch"
        )
