"""Replay: frames of the pre-training source among the new ones, on the new zero of energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.dataset import LmdbFrames, read_labelled, read_structures
from tempermd.training.data import (
    Frames,
    FramesInMemory,
    LabelledFrame,
    StreamedFrames,
    drawn,
    gather_statistics,
    subset,
    tracked,
)
from tempermd.training.graphs import build_graph, predict
from tempermd.training.models import (
    config_of_checkpoint,
    energy_only,
    energy_shifts,
    load_checkpoint,
    spec_of_config,
)

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from ase import Atoms

    from tempermd.training.finetuning import ReplaySpec
    from tempermd.training.graphs import Model
    from tempermd.training.models import ModelSpec
    from tempermd.training.specs import TrainSpec

WEIGHT, ENERGY_WEIGHT = "frame_weight", "frame_energy_weight"


class ReplayedFrames(Frames):
    """New frames, and replayed ones of which some are drawn anew for each epoch.

    Numbers up to the new frames' count are theirs; those behind are replayed frames.

    Parameters
    ----------
    shifts_eV
        What is added to a replayed frame's energy for each of its atoms, by type.
    weights
        Of the squared errors of a replayed frame's forces and of its energy.
    n_replay_per_epoch
        How many replayed frames an epoch has.
    """

    def __init__(
        self,
        new: Frames,
        replayed: Frames,
        shifts_eV: Mapping[str, float],
        weights: tuple[float, float],
        n_replay_per_epoch: int,
    ) -> None:
        self.new, self.replayed = new, replayed
        self.shifts_eV, self.weights = dict(shifts_eV), weights
        self.n_replay_per_epoch = n_replay_per_epoch
        self._shifts = np.array(list(shifts_eV.values()), dtype=float)  # (T,)

    @property
    def streamed(self) -> bool:
        return self.new.streamed or self.replayed.streamed

    @property
    def n_per_epoch(self) -> int:
        return len(self.new) + self.n_replay_per_epoch

    def structure(self, number: int) -> Atoms:
        """Return a new frame."""
        return self.new.structure(number)

    @property
    def n_atoms(self) -> np.ndarray:
        return np.concatenate([self.new.n_atoms, self.replayed.n_atoms])

    def epoch_numbers(self, generator: torch.Generator) -> list[int]:
        """Return all new frames, and so many replayed ones: each at most once until all were."""
        import torch

        numbers = list(range(len(self.new)))
        left = self.n_replay_per_epoch
        while left > 0:
            order = torch.randperm(len(self.replayed), generator=generator)[:left].tolist()
            numbers += [len(self.new) + one for one in order]
            left -= len(order)
        return numbers

    def __len__(self) -> int:
        return len(self.new) + len(self.replayed)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        is_new = number < len(self.new)
        tensors = dict(self.new[number] if is_new else self.replayed[number - len(self.new)])
        if not is_new:
            shift_eV = float(self._shifts[tensors["atom_types"].numpy()].sum())
            tensors["total_energy"] = tensors["total_energy"] + shift_eV
        if self.weights != (1.0, 1.0):
            for name, weight in zip((WEIGHT, ENERGY_WEIGHT), self.weights, strict=True):
                own = 1.0 if is_new else weight
                tensors[name] = tensors["total_energy"].new_full((1, 1), own)
        return tensors

    def labelled(self) -> Iterator[LabelledFrame]:
        """Yield the new frames only: all that is learnt of a set is learnt of them."""
        return self.new.labelled()

    def structures(self) -> Iterator[Atoms]:
        """Yield the new frames only."""
        return self.new.structures()


def with_replay(
    frames: Frames,
    parent: Path | None,
    spec: TrainSpec,
    shifts_eV: Mapping[str, float],
    *,
    progress: bool,
) -> Frames:
    """Return training frames, with replayed ones among them where the spec asks for that.

    Replayed energies are brought to the zero of the new model, whose reference energies are
    ``shifts_eV``: what the parent's rose by is added, and what the labels lie above the
    parent's own energies in the mean (a fit per type, as reference energies are fitted) is
    taken off, so that the two sets differ by their physics only. A parent that was itself
    fine-tuned on another source may thus be given the frames of its first one.
    """
    asked = spec.finetuning.replay
    if asked is None or parent is None:
        return frames
    kept = load_checkpoint(parent)
    before = energy_shifts(kept)
    model = energy_only(kept)
    kind = spec_of_config(config_of_checkpoint(parent), str(parent))
    names, seed = kind.type_names, spec.training.seed
    above = dict.fromkeys(names, 0.0)
    if asked.pseudo_labels:
        replayed = _pseudo_labelled(asked, model, kind, seed, progress=progress)
    else:
        replayed = _as_labelled(asked, names, kind.cutoff_A, seed)
        found = gather_statistics(replayed, names, model, progress=progress)
        above = found.energies_per_type(names)
    moved = {name: shifts_eV[name] - before[name] - above[name] for name in names}
    n_per_epoch = max(1, round(len(frames) * asked.fraction / (1 - asked.fraction)))
    return ReplayedFrames(frames, replayed, moved, asked.weights, n_per_epoch)


def _as_labelled(asked: ReplaySpec, type_names: list[str], cutoff_A: float, seed: int) -> Frames:
    """Draw labelled frames from the replay's file."""
    if asked.file.endswith(".lmdb"):
        file = LmdbFrames(asked.file, info=False)
        n_frames = min(asked.n_frames, len(file))
        numbers = drawn(len(file), n_frames, seed, asked.file)
        return StreamedFrames(file, type_names, cutoff_A, numbers)
    frames = read_labelled(asked.file)
    chosen = subset(frames, min(asked.n_frames, len(frames)), seed, asked.file)
    return FramesInMemory(chosen, type_names, cutoff_A)


def _pseudo_labelled(
    asked: ReplaySpec, model: Model, kind: ModelSpec, seed: int, *, progress: bool
) -> Frames:
    """Draw structures from the replay's file and let the parent label them."""
    from ase.calculators.singlepoint import SinglePointCalculator

    names, cutoff_A = kind.type_names, kind.cutoff_A
    structures = read_structures(asked.file)
    chosen = subset(structures, min(asked.n_frames, len(structures)), seed, asked.file)
    labelled = []
    for atoms in tracked(chosen, "labels of the parent", len(chosen), shown=progress):
        found = predict(model, build_graph(atoms, names, cutoff_A))
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, energy=found.energy_eV, forces=found.forces_eV_A)
        labelled.append(copy)
    return FramesInMemory(labelled, names, cutoff_A)


class _Weighted:
    """A field of a loss times the square root of its frame's weight: MSE times the weight."""

    def __init__(self, field: Any) -> None:
        self.field = field
        self.type = field.type

    def __str__(self) -> str:
        return str(self.field)

    def __call__(
        self, predicted: dict[str, torch.Tensor], target: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        of_atoms = self.type == "node"
        root = target[WEIGHT if of_atoms else ENERGY_WEIGHT].reshape(-1, 1).sqrt()  # (frames, 1)
        if of_atoms:
            root = root[target["batch"]]  # (N, 1)
        one, other = self.field(predicted, target)
        return one * root, other * root


def weigh_frames(module: Any) -> None:
    """Make a Lightning module's loss multiply squared errors by their frame's weight."""
    from nequip.data import register_fields

    register_fields(graph_fields=[WEIGHT, ENERGY_WEIGHT])
    for entry in module.loss.entries.values():
        entry.field = _Weighted(entry.field)
