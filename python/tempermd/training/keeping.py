"""What a training leaves behind while it runs: metrics, its best and its latest checkpoint."""

from __future__ import annotations

import csv
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Checkpoint

from tempermd.records import atomic_write
from tempermd.training.callbacks import FORCE_RMSE
from tempermd.training.live import write_live_page

if TYPE_CHECKING:
    from pathlib import Path

    from tempermd.training.callbacks import Interruptible, Schedule

ENERGY_RMSE = "val0_epoch/per_atom_energy_rmse"
TRAIN_LOSS = "train_loss_epoch/weighted_sum"
LOSS_SUMS = "tempermd_loss_sums"

# a kill costs at most this much work
SAVE_EVERY_S = 60.0
# the page is drawn anew at most so often
DRAW_EVERY_S = 2.0


class StoppedByUserError(Exception):
    """The user pressed Ctrl-C, or the system asked to end; raised between two steps, all saved."""


class NotFiniteError(Exception):
    """The loss or the validation error is not finite any more; the message says where."""


class Keeper(Checkpoint):
    """Writes metrics.csv, training.html, best.ckpt and last.ckpt; stops early, or when asked to.

    As a ``Checkpoint`` it runs after the module has put the raw weights back and logged.
    """

    def __init__(self, folder: Path, schedule: Schedule, stop: Interruptible) -> None:
        self.folder, self.schedule, self.stop = folder, schedule, stop
        self.best = math.inf
        self.best_epoch = -1
        self.best_step = 0
        self.since_best = 0
        self.train_s = 0.0
        self.saved_s = 0.0
        self.core_s = 0.0
        self.rows: list[dict[str, float]] = []
        self._drawn_s = -math.inf
        self._clock = (time.monotonic(), time.process_time())

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        """Start the clock of this process's share; go no further than patience allows."""
        self._clock = (time.monotonic(), time.process_time())
        self._choose_validation(trainer)  # of an epoch that was stopped amid it
        self._lose_patience(trainer)

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        """Make Lightning validate where the schedule says so, the last epoch included."""
        self._choose_validation(trainer)

    def _choose_validation(self, trainer: Any) -> None:
        validates = self.schedule.validates(trainer.current_epoch)
        trainer.check_val_every_n_epoch = 1 if validates else trainer.current_epoch + 2

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop if asked to, save if it is time; an epoch's last step leaves that to it."""
        if not math.isfinite(float(outputs["loss"])):
            raise NotFiniteError(f"the loss of step {trainer.global_step} is not finite")
        self._count_time()
        if batch_idx + 1 >= trainer.num_training_batches:
            return
        stops, due = self._asked(trainer)
        if stops or due:
            self._save_last(trainer)
        if stops:
            raise StoppedByUserError

    def _asked(self, trainer: Any) -> tuple[bool, bool]:
        """Tell whether to stop and whether to save: the same answer in all processes."""
        asked = [
            self.stop.wanted(trainer.global_step),
            self.train_s - self.saved_s > SAVE_EVERY_S,
        ]
        if trainer.world_size > 1:
            flags = torch.tensor(asked, dtype=torch.int32, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)
            asked = flags.bool().tolist()
        return asked[0], asked[1]

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        """Record the epoch; save when it is the best or a validation is done."""
        self._count_time()
        epoch, metrics = trainer.current_epoch, trainer.callback_metrics
        validates = self.schedule.validates(epoch)
        row = {
            "epoch": epoch + 1,
            "step": trainer.global_step,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": float(metrics[TRAIN_LOSS]),
            "wall_s": round(self.train_s, 3),
        }
        if validates:
            row["val_force_rmse_eV_per_A"] = float(metrics[FORCE_RMSE])
            row["val_energy_rmse_meV_per_atom"] = 1000 * float(metrics[ENERGY_RMSE])
        self.rows.append(row)
        if validates:
            self._judge(trainer, row)
        stops, due = self._asked(trainer)
        if validates or due or stops:
            self._save_last(trainer)
        if stops and row["step"] < self.schedule.n_steps and not trainer.should_stop:
            raise StoppedByUserError

    def _count_time(self) -> None:
        now = (time.monotonic(), time.process_time())
        self.train_s += now[0] - self._clock[0]
        self.core_s += now[1] - self._clock[1]
        self._clock = now

    def _judge(self, trainer: Any, row: dict[str, float]) -> None:
        error = row["val_force_rmse_eV_per_A"]
        if not math.isfinite(error):
            raise NotFiniteError(f"the validation error after step {row['step']} is not finite")
        if error < self.best:
            self.best, self.best_epoch, self.best_step = error, row["epoch"], row["step"]
            self.since_best = 0
            self._save(trainer, "best.ckpt", weights_only=True)
        else:
            self.since_best += 1
        self._lose_patience(trainer)

    def _lose_patience(self, trainer: Any) -> None:
        if self.schedule.patience is not None and self.since_best >= self.schedule.patience:
            trainer.should_stop = True

    def _save_last(self, trainer: Any) -> None:
        self.saved_s = self.train_s
        if trainer.is_global_zero:
            self._write_metrics()
            if time.monotonic() - self._drawn_s > DRAW_EVERY_S or self._is_last_row():
                self._drawn_s = time.monotonic()
                write_live_page(self.folder / "training.html", self.rows, self.schedule.n_steps)
        self._save(trainer, "last.ckpt", weights_only=False)

    def _is_last_row(self) -> bool:
        return bool(self.rows) and self.rows[-1]["step"] >= self.schedule.n_steps

    def _save(self, trainer: Any, name: str, *, weights_only: bool) -> None:
        """Save by all processes together, as Lightning wants it; the first one writes."""
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.folder / name, weights_only=weights_only)
            return
        with atomic_write(self.folder / name) as temporary:
            trainer.save_checkpoint(temporary, weights_only=weights_only)

    def _write_metrics(self) -> None:
        names = ["epoch", "step", "learning_rate", "train_loss", "wall_s"]
        names += ["val_force_rmse_eV_per_A", "val_energy_rmse_meV_per_atom"]
        target = self.folder / "metrics.csv"
        with atomic_write(target) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, names, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
            stream.flush()

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep what the epoch's loss has summed up so far, over all processes."""
        sums = {}
        for name, metric in _metrics(module):
            states = {key: one.clone() for key, one in metric.metric_state.items()}
            if trainer.world_size > 1:
                for state in states.values():
                    torch.distributed.all_reduce(state)
            sums[name] = (states, metric.update_count)
        checkpoint[LOSS_SUMS] = sums

    def on_load_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        """Take the sums up again; one process has them all."""
        for name, metric in _metrics(module):
            if name in checkpoint.get(LOSS_SUMS, {}) and trainer.is_global_zero:
                states, metric._update_count = checkpoint[LOSS_SUMS][name]
                for key, state in states.items():
                    setattr(metric, key, state.to(metric.device))

    _STATE = (
        "best",
        "best_epoch",
        "best_step",
        "since_best",
        "train_s",
        "saved_s",
        "core_s",
        "rows",
    )

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs to judge as if nothing had happened."""
        return {name: getattr(self, name) for name in self._STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the checkpoint left."""
        for name in self._STATE:
            setattr(self, name, state_dict[name])


def _metrics(module: Any) -> list[tuple[str, Any]]:
    """Return the sums of a module's loss that torchmetrics keeps, by name."""
    from torchmetrics import Metric

    named = module.loss.named_modules()
    return [(name, one) for name, one in named if isinstance(one, Metric)]
