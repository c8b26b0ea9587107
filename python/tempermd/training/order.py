"""Which structures each step of a training takes: known from the start, so that any step can be.

The order of an epoch follows from the seed and the epoch's number alone. A training that was
stopped goes on at its step by counting, with no state of a generator to carry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from tempermd.training.data import Frames
    from tempermd.training.specs import TrainingSpec


class Order:
    """The batches of all epochs of a training.

    Parameters
    ----------
    frames
        What an epoch is made of.
    spec
        Batches hold ``batch_size`` structures, or as many in a row as ``batch_atoms`` allows; the
        budget is ``max_epochs`` whole epochs, or exactly ``max_steps``.
    n_shares
        Every batch has at least so many structures (where the epoch has): one for each process.

    Attributes
    ----------
    n_epochs, n_steps
        Of the whole training; the last epoch is cut where ``max_steps`` ends in it.
    """

    def __init__(self, frames: Frames, spec: TrainingSpec, n_shares: int = 1) -> None:
        self.frames, self.spec, self.n_shares = frames, spec, n_shares
        self._sizes = frames.n_atoms if spec.batch_atoms else None
        self._ends: list[int] = []  # number of steps up to the end of each epoch
        if spec.max_epochs is not None:
            self.n_epochs = spec.max_epochs
            self.n_steps = self._end(self.n_epochs - 1)
        else:
            self.n_steps = spec.max_steps or 0
            self.n_epochs = self.locate(self.n_steps - 1)[0] + 1

    def locate(self, step: int) -> tuple[int, int]:
        """Return the epoch of a step and its place in it, all counted from 0."""
        epoch = step // max(1, self._end(0)) if self._sizes is None else 0
        while self._end(epoch) <= step:
            epoch += 1
        return epoch, step - self._start(epoch)

    def n_batches(self, epoch: int) -> int:
        """Return the number of steps of an epoch."""
        return min(self._end(epoch), self.n_steps) - self._start(epoch)

    def batches(self, epoch: int) -> list[list[int]]:
        """Return the numbers of the structures of each step of an epoch."""
        return self._whole(epoch)[: self.n_batches(epoch)]

    def _start(self, epoch: int) -> int:
        return self._end(epoch - 1) if epoch > 0 else 0

    def _end(self, epoch: int) -> int:
        if self._sizes is None:
            n_batches = math.ceil(self.frames.n_per_epoch / (self.spec.batch_size or 1))
            return (epoch + 1) * self._merged(n_batches, self.frames.n_per_epoch)
        while len(self._ends) <= epoch:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + len(self._whole(len(self._ends))))
        return self._ends[epoch]

    def _merged(self, n_batches: int, n_frames: int) -> int:
        """Return the number of batches once one too small to share is put to its neighbor."""
        rest = n_frames - (n_batches - 1) * (self.spec.batch_size or 1)
        return n_batches - 1 if rest < self.n_shares and n_batches > 1 else n_batches

    def _whole(self, epoch: int) -> list[list[int]]:
        words = np.random.SeedSequence([self.spec.seed, epoch]).generate_state(2, np.uint32)
        generator = torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
        numbers = self.frames.epoch_numbers(generator)
        order = [numbers[one] for one in torch.randperm(len(numbers), generator=generator)]
        if self._sizes is None:
            size = self.spec.batch_size or 1
            batches = [order[first : first + size] for first in range(0, len(order), size)]
        else:
            batches = packed(order, self._sizes, self.spec.batch_atoms or 1)
        return _shareable(batches, self.n_shares)


def packed(order: list[int], sizes: np.ndarray, batch_atoms: int) -> list[list[int]]:
    """Cut an order into batches of at most so many atoms; a larger structure is one by itself."""
    batches: list[list[int]] = []
    n_atoms = batch_atoms + 1
    for number in order:
        n_atoms += int(sizes[number])
        if n_atoms > batch_atoms:
            batches.append([])
            n_atoms = int(sizes[number])
        batches[-1].append(number)
    return batches


def _shareable(batches: list[list[int]], n_shares: int) -> list[list[int]]:
    """Put batches of fewer structures than there are processes to the batch before them."""
    merged: list[list[int]] = []
    for batch in batches:
        if merged and (len(batch) < n_shares or len(merged[-1]) < n_shares):
            merged[-1] = merged[-1] + batch
        else:
            merged.append(batch)
    return merged


class EpochBatches(torch.utils.data.Sampler):
    """What is left of an epoch, for torch's data loader; its length is that of the whole epoch.

    Lightning counts the batches that a stopped epoch had already taken.

    Parameters
    ----------
    step
        The step to begin with, counted from 0 over all epochs.
    share
        This process's number and the number of processes; each takes its part of every batch.
    """

    def __init__(self, order: Order, step: int, share: tuple[int, int] = (0, 1)) -> None:
        self.order, self.share = order, share
        self.epoch, self.place = order.locate(min(step, order.n_steps - 1))

    def __len__(self) -> int:
        return self.order.n_batches(self.epoch)

    def __iter__(self) -> Iterator[list[int]]:
        number, n_processes = self.share
        for batch in self.order.batches(self.epoch)[self.place :]:
            yield batch[number::n_processes]
