"""The loop of a training: batches in a fixed order, and Lightning's trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightning
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from nequip.data import AtomicDataDict

from tempermd.training.callbacks import Interruptible, LearningRate, Schedule
from tempermd.training.keeping import Keeper
from tempermd.training.noise import lightning_noise_explained
from tempermd.training.order import EpochBatches, Order, packed
from tempermd.training.watching import EventFiles, ProgressLine

if TYPE_CHECKING:
    from pathlib import Path

    from tempermd.training.data import Frames


class Batches(lightning.LightningDataModule):
    """Frames with neighbor lists: those of training in their order, those of validation as given.

    Under several processes each takes its part of every batch.
    """

    def __init__(self, order: Order, val: Frames) -> None:
        super().__init__()
        self.order, self.val = order, val

    @property
    def _share(self) -> tuple[int, int]:
        return self.trainer.global_rank, self.trainer.world_size

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        """Return what is left of the epoch that the training stands in."""
        sampler = EpochBatches(self.order, self.trainer.global_step, self._share)
        return _loader(self.order.frames, sampler)

    def val_dataloader(self) -> torch.utils.data.DataLoader:
        """Return the validation frames in their order; all of them where there are too few."""
        number, n_processes = self._share if len(self.val) >= self._share[1] else (0, 1)
        numbers = list(range(len(self.val)))[number::n_processes]
        spec = self.order.spec
        if spec.batch_atoms is None:
            size = spec.batch_size or 1
            batches = [numbers[first : first + size] for first in range(0, len(numbers), size)]
        else:
            batches = packed(numbers, self.val.n_atoms, spec.batch_atoms)
        return _loader(self.val, batches)

    def state_dict(self) -> dict[str, Any]:
        """Return what tells checkpoints that go on by steps: the order needs no state."""
        return {"order": "seed and epoch"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Need nothing: the order follows from the seed and the step."""


def _loader(frames: Frames, batches: Any) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(
        frames,
        batch_sampler=batches,
        # drawn from for worker seeds even without workers: not from torch's own generator
        generator=torch.Generator().manual_seed(0),
        collate_fn=AtomicDataDict.batched_from_list,
    )


@dataclass(frozen=True)
class Fit:
    """Where and how a training runs; these settings change no result beyond rounding."""

    folder: Path
    device: str = "cpu"
    n_devices: int = 1
    progress: bool = True


def fit(
    module: lightning.LightningModule, batches: Batches, schedule: Schedule, where: Fit
) -> Keeper:
    """Train until the schedule's end; continue from ``last.ckpt`` where there is one.

    Raises
    ------
    StoppedByUserError
        After Ctrl-C or SIGTERM; ``last.ckpt`` then holds the step just done.
    NotFiniteError
        The loss or the validation error is not finite; ``best.ckpt`` is what it was.
    """
    spec = batches.order.spec
    stop = Interruptible(shared=where.n_devices > 1)
    keeper = Keeper(where.folder, schedule, stop)
    callbacks = [LearningRate(schedule), stop, keeper]
    if where.progress:
        callbacks.append(ProgressLine(schedule, keeper))
    if spec.tensorboard and is_first_process():
        callbacks.append(EventFiles(where.folder / "tensorboard", keeper))
    last = where.folder / "last.ckpt"
    module.optimizer_config["fused"] = True  # one pass over all weights instead of dozens
    module.world_size = where.n_devices  # nequip's loss takes back what averaging divides by
    with lightning_noise_explained():
        trainer = lightning.Trainer(
            accelerator="gpu" if where.device == "cuda" else "cpu",
            devices=where.n_devices,
            strategy=_strategy(where.n_devices),
            # else a job of Slurm's would decide how many processes there are
            plugins=[LightningEnvironment()],
            use_distributed_sampler=False,
            max_epochs=schedule.n_epochs,
            reload_dataloaders_every_n_epochs=1,  # epochs differ in their number of steps
            callbacks=callbacks,
            gradient_clip_val=spec.gradient_clip,
            inference_mode=False,  # forces need gradients during validation
            num_sanity_val_steps=0,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=where.folder,
        )
        trainer.fit(
            module,
            datamodule=batches,
            ckpt_path=str(last) if last.is_file() else None,
            weights_only=False,
        )
    return keeper


def is_first_process() -> bool:
    """Tell whether this process is the one that writes."""
    import os

    return int(os.environ.get("RANK", "0")) == 0


def _strategy(n_devices: int) -> Any:
    """Return how processes share a step: nequip's own, which also takes compiled models."""
    if n_devices == 1:
        return "auto"
    from nequip.train import SimpleDDPStrategy

    return SimpleDDPStrategy()
