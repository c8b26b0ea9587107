"""Short runs of the control, and what ends, compares and outlives them."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tempermd import lmp, md
from tempermd.records import sha256_file

TUBE = lmp.potentials_folder() / "tube_8_8.data"


def lcbop_case(**changes: object) -> md.Case:
    """Return a short run of the control on the shipped tube."""
    values: dict[str, object] = {
        "potential": "lcbop",
        "structure": str(TUBE),
        "structure_sha256": sha256_file(TUBE),
        "temperature_K": 1000.0,
        "ramp_steps": 100,
        "hold_steps": 100,
        "seed": 1,
        "quench_frames": 2,
    }
    return md.Case(**(values | changes))


def lammps_below(folder: Path) -> list[int]:
    """Return the ids of processes whose working directory is below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            where = (entry / "cwd").readlink()
        except OSError:
            continue  # not ours, or gone
        if where.is_relative_to(folder) and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


@contextmanager
def killing(folder: Path, number: int, when: Callable[[], bool]) -> Iterator[None]:
    """Send a signal to what runs below ``folder`` as soon as ``when()`` is true."""

    def wait_and_kill() -> None:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            if when():
                for process in lammps_below(folder):
                    os.kill(process, number)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def wait_for(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def frames_of(dump: Path) -> dict[int, tuple[float, str]]:
    """Return time (ps) and all other text of every frame of a dump, by step."""
    found = {}
    for block in re.split(r"(?=ITEM: TIME\n)", dump.read_text())[1:]:
        time_ps, rest = block.split("\n", 2)[1:]
        found[int(rest.split("\n", 2)[1])] = float(time_ps), rest
    return found


def thermo_of(log: Path) -> list[str]:
    """Return every thermo line of a log as it stands there, in the order of the log."""
    names, found = 0, []
    for line in log.read_text().splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            names = len(words)
        elif words[:1] == ["Loop"]:
            names = 0
        elif names and len(words) == names and words[0].isdigit():
            found.append(line)
    return found


def assert_same_run(folder: Path, whole: Path) -> None:
    """Assert that the products of a run directory are those of the unbroken run, bit for bit.

    Times of frames are sums of timesteps, which LAMMPS begins anew in a new process.
    """
    attempt, unbroken = md.newest_attempt(folder), md.newest_attempt(whole)
    assert thermo_of(attempt / md.LOG) == thermo_of(unbroken / md.LOG)
    found, expected = frames_of(attempt / md.DUMP), frames_of(unbroken / md.DUMP)
    assert list(found) == list(expected)
    for step, (time_ps, text) in expected.items():
        assert found[step][1] == text, f"frame of step {step}"
        np.testing.assert_allclose(found[step][0], time_ps, rtol=1e-12)


def newest_log(folder: Path) -> Path:
    """Return the log that LAMMPS writes in the newest attempt of a run."""
    attempt = max(folder.glob("attempt-*"), default=folder)
    part = attempt / "part" / md.LOG
    return part if part.parent.is_dir() else attempt / md.LOG


def reaches(folder: Path, step: int) -> Callable[[], bool]:
    """Return a question: has the newest attempt come to this step?"""
    return lambda: md.read_progress(newest_log(folder)).last_step >= step
