"""What a training shows while it runs: the progress line, and event files for TensorBoard."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from tempermd.training.callbacks import Schedule
    from tempermd.training.keeping import Keeper


class ProgressLine(Checkpoint):
    """One line on stderr: epoch, step, loss, validation errors, learning rate, time left.

    As a ``Checkpoint`` that comes after the keeper it runs when the epoch has been recorded.
    """

    def __init__(self, schedule: Schedule, keeper: Keeper) -> None:
        self.schedule, self.keeper = schedule, keeper
        self._progress: Any = None
        self._task: Any = None

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        """Open the line, at the step where a resumed training stands."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            BarColumn(bar_width=8),
            TextColumn("step {task.completed}/{task.total}, {task.fields[shown]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(file=sys.stderr),
            refresh_per_second=2,
        )
        self._task = self._progress.add_task(
            "training",
            total=self.schedule.n_steps,
            completed=trainer.global_step,
            shown=self.shown(trainer),
        )
        self._progress.start()

    def shown(self, trainer: Any) -> str:
        """Return what the line says besides the steps."""
        rows = self.keeper.rows
        text = f"epoch {min(trainer.current_epoch + 1, self.schedule.n_epochs)}"
        text += f"/{self.schedule.n_epochs}"
        if rows:
            text += f", loss {rows[-1]['train_loss']:.2g}"
        validated = [row for row in rows if "val_force_rmse_eV_per_A" in row]
        if validated:
            last = validated[-1]
            text += f", val {last['val_force_rmse_eV_per_A']:.3f} eV/Å"
            text += f" {last['val_energy_rmse_meV_per_atom']:.3g} meV"
        return text + f", rate {trainer.optimizers[0].param_groups[0]['lr']:.2g}"

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Advance by one step."""
        self._progress.update(self._task, completed=trainer.global_step, shown=self.shown(trainer))

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        """Show the latest errors."""
        self._progress.update(self._task, shown=self.shown(trainer))

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        """Close the line; say so if the training ended before its last step."""
        if self._progress is not None and trainer.global_step < self.schedule.n_steps:
            patience = f"no better validation in {self.schedule.patience}: stopped early"
            self._progress.update(self._task, shown=f"{self.shown(trainer)}, {patience}")
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Close the line after a failure too."""
        self._close()


class EventFiles(Checkpoint):
    """Event files for TensorBoard, in a folder of their own; steps done again replace the old."""

    def __init__(self, folder: Path, keeper: Keeper) -> None:
        self.folder, self.keeper = folder, keeper
        self._writer: Any = None

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        """Open a file."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=trainer.global_step + 1)

    def on_train_epoch_end(self, *_: Any) -> None:
        """Write the epoch's row."""
        row = self.keeper.rows[-1]
        for name, value in row.items():
            if name not in ("epoch", "step"):
                self._writer.add_scalar(name, value, int(row["step"]))

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def on_train_end(self, *_: Any) -> None:
        """Close the file."""
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Close the file after a failure too."""
        self._close()
