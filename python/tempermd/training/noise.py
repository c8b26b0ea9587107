"""Notices of Lightning that say nothing about a training of ours, each with the reason why."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def lightning_noise_explained() -> Iterator[None]:
    """Hide the notices of Lightning that say nothing about this training."""
    reasons = {
        # reading a frame and its neighbor list costs far less than a step: no need of workers
        r".*does not have many workers.*": UserWarning,
        # a raised Lightning version's own use of a torch API (pytorch-lightning #21326)
        r".*isinstance\(treespec, LeafSpec\).*": FutureWarning,
        # metrics are synchronised by nequip; on one device there is nothing to synchronise
        r".*when logging on epoch level in distributed setting.*": UserWarning,
        # the number of batches is below the logging interval: nothing is logged by steps
        r".*The number of training batches.*is smaller than the logging interval.*": UserWarning,
        # the loader goes on at the step where it stopped, though it keeps no state of its own
        r".*your dataloader is not resumable.*": UserWarning,
        # a training has the processes that its spec names, whether Slurm is at hand or not
        r".*`srun` command is available.*": UserWarning,
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
