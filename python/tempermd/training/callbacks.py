"""What happens between the steps of a training: the rate, a stop by signal."""

from __future__ import annotations

import math
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from lightning.pytorch.callbacks import Callback

FORCE_RMSE = "val0_epoch/forces_rmse"


@dataclass(frozen=True)
class Schedule:
    """When the rate changes, when to validate and when to stop."""

    n_epochs: int
    n_steps: int
    val_every: int
    patience: int | None
    learning_rate: float
    warmup_steps: int
    decay: str
    final_rate_factor: float
    plateau_patience: int

    def validates(self, epoch: int) -> bool:
        """Tell whether an epoch (from 0) ends with a validation; the last one always does."""
        return (epoch + 1) % self.val_every == 0 or epoch + 1 >= self.n_epochs


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


class Interruptible(Callback):
    """Turns Ctrl-C and SIGTERM into a stop between two steps, never in the middle of one."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    # one stop may come twice: to a group of processes, and passed on by its first
    TWICE_S = 2.0
    AT_ONCE: ClassVar = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared  # with processes that must all end at the same step
        self.pressed = False
        self._first_s = 0.0
        self._previous: dict[int, Any] = {}

    def wanted(self, step: int) -> bool:
        """Tell whether to stop now, after so many steps."""
        return self.pressed

    def _press(self, number: int, _: Any) -> None:
        if not self.pressed:
            self.pressed, self._first_s = True, time.monotonic()
        elif time.monotonic() - self._first_s > self.TWICE_S and not self.shared:
            # who presses again does not want to wait; Lightning's own handler would
            signal.signal(number, self.AT_ONCE[number])
            signal.raise_signal(number)

    def _give_back(self) -> None:
        if self.shared and self.pressed:
            return  # a signal that comes twice must not end one process before the others
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}

    def on_fit_start(self, *_: Any) -> None:
        """Listen; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {one: signal.signal(one, self._press) for one in self.SIGNALS}

    def teardown(self, *_: Any, **__: Any) -> None:
        """Give the signals back to whoever had them."""
        self._give_back()

    def on_exception(self, *_: Any) -> None:
        """Give the signals back after a failure too."""
        self._give_back()
