"""The loop of a training: batches in a fixed order, Lightning's trainer, its noise."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lightning
import torch
from nequip.data import AtomicDataDict

from tempermd.training.callbacks import (
    Interruptible,
    Keeper,
    LearningRate,
    ProgressLine,
    Schedule,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lightning.pytorch.callbacks import Callback

    from tempermd.training.data import Frames


class EpochOrder(torch.utils.data.Sampler):
    """The frames of each epoch, shuffled by a generator that checkpoints carry."""

    def __init__(self, frames: Frames, generator: torch.Generator) -> None:
        self.frames, self.generator = frames, generator

    def __len__(self) -> int:
        return self.frames.n_per_epoch

    def __iter__(self) -> Iterator[int]:
        numbers = self.frames.epoch_numbers(self.generator)
        for place in torch.randperm(len(numbers), generator=self.generator).tolist():
            yield numbers[place]


class Batches(lightning.LightningDataModule):
    """Frames with neighbor lists, shuffled by a generator that checkpoints carry."""

    def __init__(self, train: Frames, val: Frames, batch_size: int, seed: int) -> None:
        super().__init__()
        self.frames = {"train": train, "val": val}
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        """Return shuffled batches."""
        return torch.utils.data.DataLoader(
            self.frames["train"],
            batch_size=self.batch_size,
            sampler=EpochOrder(self.frames["train"], self.generator),
            generator=self.generator,
            collate_fn=AtomicDataDict.batched_from_list,
        )

    def val_dataloader(self) -> torch.utils.data.DataLoader:
        """Return the validation frames in their order."""
        return torch.utils.data.DataLoader(
            self.frames["val"],
            batch_size=self.batch_size,
            # drawn from for worker seeds even without workers: not from torch's own generator
            generator=torch.Generator().manual_seed(0),
            collate_fn=AtomicDataDict.batched_from_list,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs to draw the same batches."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the generator where the checkpoint left it."""
        self.generator.set_state(state_dict["generator"])


def fit(
    module: lightning.LightningModule,
    batches: Batches,
    schedule: Schedule,
    folder: Path,
    *,
    gradient_clip: float | None,
    device: str,
    progress: bool,
) -> Keeper:
    """Train until the schedule's end; continue from ``last.ckpt`` where there is one.

    Raises
    ------
    StoppedByUserError
        After Ctrl-C; ``last.ckpt`` then holds the last validated epoch.
    """
    keeper = Keeper(folder, schedule)
    callbacks: list[Callback] = [LearningRate(schedule), Interruptible(), keeper]
    if progress:
        callbacks.append(ProgressLine(schedule))
    last = folder / "last.ckpt"
    module.optimizer_config["fused"] = True  # one pass over all weights instead of dozens
    with lightning_noise_explained():
        trainer = lightning.Trainer(
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=1,
            max_epochs=schedule.n_epochs,
            callbacks=callbacks,
            gradient_clip_val=gradient_clip,
            inference_mode=False,  # forces need gradients during validation
            num_sanity_val_steps=0,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(
            module,
            datamodule=batches,
            ckpt_path=str(last) if last.is_file() else None,
            weights_only=False,
        )
    return keeper


@contextmanager
def lightning_noise_explained() -> Iterator[None]:
    """Hide the notices of Lightning that say nothing about this training."""
    import logging

    reasons = {
        # reading a frame and its neighbor list costs far less than a step: no need of workers
        r".*does not have many workers.*": UserWarning,
        # a raised Lightning version's own use of a torch API (pytorch-lightning #21326)
        r".*isinstance\(treespec, LeafSpec\).*": FutureWarning,
        # metrics are synchronised by nequip; on one device there is nothing to synchronise
        r".*when logging on epoch level in distributed setting.*": UserWarning,
        # the number of batches is below the logging interval: nothing is logged by steps
        r".*The number of training batches.*is smaller than the logging interval.*": UserWarning,
        # the batch size is only used to weight averages, which nequip computes itself
        r".*Trying to infer the `batch_size`.*": UserWarning,
    }
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message, category in reasons.items():
            warnings.filterwarnings("ignore", message=message, category=category)
        for logger in loggers:
            # hardware found, tips, "max_epochs reached": INFO; real trouble is WARNING
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
