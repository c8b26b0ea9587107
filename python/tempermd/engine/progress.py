"""Progress on stderr: how many tasks are done, how fast, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def progress_bar(*, rates: bool = False) -> Any:
    """Return rich's progress on stderr; with a column for each task's field ``rate``."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(20 if rates else 40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        *([TextColumn("{task.fields[rate]}")] if rates else []),
        console=Console(stderr=True),
    )


class Meter:
    """Counts what a stream of tasks has done and shows it, with rates, as a progress bar.

    Parameters
    ----------
    title
        Stands before the bar.
    total
        How many ``unit`` there are to do; None where that is not known.
    unit
        What the bar counts.
    """

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done: dict[str, int] = {}
        self._progress: Any = None
        self._bar: Any = None
        self._start_s = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar as long as this lasts."""
        self._start_s = time.monotonic()
        with progress_bar(rates=True) as self._progress:
            self._bar = self._progress.add_task(self.title, total=self.total, rate="")
            yield
        self._progress = None

    def advance(self, counts: Mapping[str, int]) -> None:
        """Count what was done now: unit -> number; a rate is shown for each unit."""
        for unit, number in counts.items():
            self.done[unit] = self.done.get(unit, 0) + number
        if self._progress is not None:
            advance = counts.get(self.unit, 0)
            self._progress.update(self._bar, advance=advance, rate=self._rates())

    def skip(self, number: int) -> None:
        """Take what is done already out of the total, so that it does not count as speed."""
        if self.total is not None:
            self.total -= number
            if self._progress is not None:
                self._progress.update(self._bar, total=self.total)

    def _rates(self) -> str:
        elapsed_s = max(time.monotonic() - self._start_s, 1e-9)
        return ", ".join(
            f"{number / elapsed_s:,.4g} {unit}/s" for unit, number in self.done.items()
        )
