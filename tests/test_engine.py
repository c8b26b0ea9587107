"""Streams of tasks: taken as needed, a dead worker costs only the task that killed it."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempermd import engine
from tempermd.records import UserError


def square(number: int) -> int:
    """Square a number; 13 kills its worker and 17 is refused."""
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 17:
        raise UserError("seventeen is refused")
    return number * number


def test_stream_takes_items_as_workers_need_them() -> None:
    taken, done, most = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal taken, most
        for number in range(2, 12):
            taken += 1
            most = max(most, taken - done)
            yield number

    found = []
    for value in engine.stream_tasks(square, items(), on_death=abs, workers=1):
        done += 1
        found.append(value)
    assert sorted(found) == [number * number for number in range(2, 12)]
    assert most <= 2


def test_only_the_task_that_kills_its_worker_is_lost() -> None:
    found = engine.stream_tasks(square, iter([2, 13, 3, 4, 5, 6]), on_death=lambda n: -n, workers=2)
    assert sorted(found) == [-13, 4, 9, 16, 25, 36]


def test_a_refusal_ends_the_stream() -> None:
    with pytest.raises(UserError, match=r"^seventeen is refused$"):
        list(engine.stream_tasks(square, iter([2, 17, 3]), on_death=abs, workers=1))


def touch_and_wait(folder: str) -> None:
    """Leave a file and take some time."""
    Path(folder, f"{time.monotonic_ns()}").touch()
    time.sleep(0.2)


def test_closing_a_stream_stops_it(tmp_path: Path) -> None:
    tasks = engine.stream_tasks(touch_and_wait, iter([str(tmp_path)] * 50), on_death=str, workers=1)
    next(tasks)
    tasks.close()
    assert 1 <= len(list(tmp_path.iterdir())) <= 3


def test_meter_counts_what_is_done_and_takes_out_what_was() -> None:
    meter = engine.Meter("labels", 10, "labels")
    with meter.shown():
        meter.skip(4)
        meter.advance({"labels": 2, "atoms": 400})
        meter.advance({"labels": 4, "atoms": 100})
    assert meter.total == 6
    assert meter.done == {"labels": 6, "atoms": 500}
