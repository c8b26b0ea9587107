"""What happens between the steps of a training: rate, validation, saving, progress, Ctrl-C."""

from __future__ import annotations

import csv
import math
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback, Checkpoint

from tempermd.records import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

FORCE_RMSE = "val0_epoch/forces_rmse"
ENERGY_RMSE = "val0_epoch/per_atom_energy_rmse"
TRAIN_LOSS = "train_loss_epoch/weighted_sum"

# a stop costs at most this much work, or one epoch where that takes longer
SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Schedule:
    """When the rate changes, when to validate and when to stop."""

    n_epochs: int
    steps_per_epoch: int
    val_every: int
    patience: int | None
    learning_rate: float
    warmup_steps: int
    decay: str
    final_rate_factor: float
    plateau_patience: int

    @property
    def n_steps(self) -> int:
        """Number of steps if nothing stops the training early."""
        return self.n_epochs * self.steps_per_epoch

    def validates(self, epoch: int) -> bool:
        """Tell whether an epoch (from 0) ends with a validation; the last one always does."""
        return (epoch + 1) % self.val_every == 0 or epoch + 1 >= self.n_epochs


class StoppedByUserError(Exception):
    """The user pressed Ctrl-C; raised between two steps."""


class LearningRate(Callback):
    """Linear warm-up, then cosine, halving on a plateau, or constant."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.factor = 1.0
        self.best = math.inf
        self.since_best = 0

    def at_step(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        plan = self.schedule
        if step < plan.warmup_steps:
            return plan.learning_rate * (step + 1) / plan.warmup_steps
        if plan.decay != "cosine":
            return plan.learning_rate * self.factor
        done = (step - plan.warmup_steps) / max(1, plan.n_steps - plan.warmup_steps)
        half_wave = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return plan.learning_rate * (
            plan.final_rate_factor + (1 - plan.final_rate_factor) * half_wave
        )

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        """Set the rate of the coming step."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.at_step(trainer.global_step) * group.get("rate_factor", 1.0)

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        """Halve the rate when validation has not improved for a while."""
        plan = self.schedule
        if plan.decay != "plateau" or not plan.validates(trainer.current_epoch):
            return
        error = float(trainer.callback_metrics[FORCE_RMSE])
        self.since_best = 0 if error < self.best else self.since_best + 1
        self.best = min(self.best, error)
        if self.since_best >= plan.plateau_patience:
            self.factor, self.since_best = max(0.5 * self.factor, plan.final_rate_factor), 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the plateau search."""
        return {"factor": self.factor, "best": self.best, "since_best": self.since_best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the plateau search."""
        self.factor, self.best = state_dict["factor"], state_dict["best"]
        self.since_best = state_dict["since_best"]


class Keeper(Checkpoint):
    """Writes metrics.csv, best.ckpt and last.ckpt at the end of epochs, and stops early.

    As a ``Checkpoint`` it runs after the module has put the raw weights back and logged.
    """

    def __init__(self, folder: Path, schedule: Schedule) -> None:
        self.folder = folder
        self.schedule = schedule
        self.best = math.inf
        self.best_epoch = -1
        self.best_step = 0
        self.since_best = 0
        self.train_s = 0.0
        self.saved_s = 0.0
        self.core_s = 0.0
        self.rows: list[dict[str, float]] = []
        self._clock = (time.monotonic(), time.process_time())

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        """Start the clock of this process's share; go no further than patience allows."""
        self._clock = (time.monotonic(), time.process_time())
        self._lose_patience(trainer)

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        """Make Lightning validate where the schedule says so, the last epoch included."""
        validates = self.schedule.validates(trainer.current_epoch)
        trainer.check_val_every_n_epoch = 1 if validates else trainer.current_epoch + 2

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        """Record the epoch; save when it is the best or a validation is done."""
        self._count_time()
        epoch, metrics = trainer.current_epoch, trainer.callback_metrics
        row = {
            "epoch": epoch + 1,
            "step": trainer.global_step,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": float(metrics[TRAIN_LOSS]),
            "wall_s": round(self.train_s, 3),
        }
        if self.schedule.validates(epoch):
            row["val_force_rmse_eV_per_A"] = float(metrics[FORCE_RMSE])
            row["val_energy_rmse_meV_per_atom"] = 1000 * float(metrics[ENERGY_RMSE])
        self.rows.append(row)
        if self.schedule.validates(epoch):
            self._judge(trainer, row)
        if self.schedule.validates(epoch) or self.train_s - self.saved_s > SAVE_EVERY_S:
            self.saved_s = self.train_s
            self._write_metrics()
            with atomic_write(self.folder / "last.ckpt") as temporary:
                trainer.save_checkpoint(temporary)

    def _count_time(self) -> None:
        now = (time.monotonic(), time.process_time())
        self.train_s += now[0] - self._clock[0]
        self.core_s += now[1] - self._clock[1]
        self._clock = now

    def _judge(self, trainer: Any, row: dict[str, float]) -> None:
        error = row["val_force_rmse_eV_per_A"]
        if not math.isfinite(error):
            trainer.should_stop = True
        elif error < self.best:
            self.best, self.best_epoch, self.best_step = error, row["epoch"], row["step"]
            self.since_best = 0
            with atomic_write(self.folder / "best.ckpt") as temporary:
                trainer.save_checkpoint(temporary, weights_only=True)
        else:
            self.since_best += 1
        self._lose_patience(trainer)

    def _lose_patience(self, trainer: Any) -> None:
        if self.schedule.patience is not None and self.since_best >= self.schedule.patience:
            trainer.should_stop = True

    def _write_metrics(self) -> None:
        names = ["epoch", "step", "learning_rate", "train_loss", "wall_s"]
        names += ["val_force_rmse_eV_per_A", "val_energy_rmse_meV_per_atom"]
        target = self.folder / "metrics.csv"
        with atomic_write(target) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, names, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
            stream.flush()

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


class Interruptible(Callback):
    """Turns Ctrl-C into a stop between two steps, never in the middle of one."""

    def __init__(self) -> None:
        self.pressed = False
        self._previous: Any = None

    def _press(self, *_: Any) -> None:
        self.pressed = True
        signal.signal(signal.SIGINT, self._previous)  # a second Ctrl-C acts at once

    def on_fit_start(self, *_: Any) -> None:
        """Listen; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._press)

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop here if the user asked for it."""
        if self.pressed:
            raise StoppedByUserError

    def teardown(self, *_: Any, **__: Any) -> None:
        """Give Ctrl-C back to whoever had it."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def on_exception(self, trainer: Any, *_: Any) -> None:
        """Give Ctrl-C back after a failure too."""
        self.teardown()


class ProgressLine(Checkpoint):
    """One line on stderr: epoch, step, loss, validation error, time left.

    As a ``Checkpoint`` it runs after the module has logged the epoch's errors.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._progress: Any = None
        self._task: Any = None
        self._loss = ""

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        """Open the line, at the step where a resumed training stands."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("step {task.completed}/{task.total}"),
            TextColumn("{task.fields[errors]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(file=sys.stderr),
            refresh_per_second=2,
        )
        self._task = self._progress.add_task(
            "training", total=self.schedule.n_steps, completed=trainer.global_step, errors=""
        )
        self._progress.start()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Advance by one step."""
        self._progress.update(self._task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        """Show the latest errors."""
        metrics = trainer.callback_metrics
        shown = f"epoch {trainer.current_epoch + 1}/{self.schedule.n_epochs}"
        if TRAIN_LOSS in metrics:
            shown += f", loss {float(metrics[TRAIN_LOSS]):.3g}"
        if FORCE_RMSE in metrics:
            shown += f", val force RMSE {float(metrics[FORCE_RMSE]):.3f} eV/Å"
        self._progress.update(self._task, errors=shown)

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_train_end(self, *_: Any) -> None:
        """Close the line."""
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Close the line after a failure too."""
        self._close()
