"""Tells a finished run, a failed model and a failed machine apart."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tempermd.md.frames import ATOMS_HEAD, text_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tempermd import lmp
    from tempermd.md.case import Case

Outcome = Literal["finished", "model_failure", "infrastructure_failure"]

MODEL_FAILURES = re.compile(
    r"lost atoms|non-numeric|non-finite|not finite|out of range atoms|simulation unstable"
    r"|nequip guard:|neighbor list overflow|too many neighbors|atoms missing",
    re.IGNORECASE,
)
"""LAMMPS errors that a healthy potential does not cause."""
LOOP = re.compile(r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms")


@dataclass
class Progress:
    """How far a log got: its last thermo step, the widest gap, faults, the last lines."""

    last_step: int = -1
    gap: tuple[int, int] | None = None
    nonfinite: str | None = None
    error: str | None = None
    tail: list[str] = field(default_factory=list)


def read_progress(log: Path | str) -> Progress:
    """Read how far a LAMMPS run got from its log.

    A line is thermo output when it follows a head that begins with ``Step`` and holds as
    many numbers as the head has names.
    """
    progress = Progress()
    if not Path(log).is_file():
        return progress
    names: list[str] = []
    tail: deque[str] = deque(maxlen=5)
    with Path(log).open(errors="replace") as stream:
        for line in stream:
            words = line.split()
            if words[:1] == ["Step"]:
                names = words
            elif words[:1] == ["Loop"]:
                names = []
            elif names and len(words) == len(names) and words[0].isdigit():
                _take_thermo(progress, names, words, line)
            elif line.startswith("ERROR"):
                progress.error = line.split(" (src/")[0].split(" (/")[0].strip()
            if words:
                tail.append(line.strip())
    progress.tail = list(tail)
    return progress


def _take_thermo(progress: Progress, names: list[str], words: list[str], line: str) -> None:
    step, before = int(words[0]), progress.last_step
    widest = progress.gap[1] - progress.gap[0] if progress.gap else 0
    if before >= 0 and step - before > widest:
        progress.gap = before, step
    progress.last_step = step
    if "n" not in line.lower():
        return  # neither nan nor inf
    for name, word in zip(names, words, strict=True):
        try:
            finite = math.isfinite(float(word))
        except ValueError:
            return  # not a thermo line after all
        if not finite and progress.nonfinite is None:
            progress.nonfinite = f"{name} became {word} at step {words[0]}"


def judge(
    case: Case,
    process: lmp.ProcessResult,
    progress: Progress,
    dump: Path,
    *,
    first_frame: int = 0,
) -> tuple[Outcome, str]:
    """Tell a finished run, a failed model and a failed machine apart, with the reason.

    LAMMPS's exit code proves nothing alone: a run full of NaN ends with 0. ``first_frame`` is the
    step of the first frame in the dump of an attempt that goes on from another.
    """
    last_lines = " | ".join(progress.tail[-3:]) or process.stdout_tail.strip()[-300:]
    where = f"after step {progress.last_step} of {case.planned_steps}"
    if progress.nonfinite:
        return "model_failure", progress.nonfinite
    error = progress.error or error_in(process.stdout_tail)
    if error and MODEL_FAILURES.search(error):
        return "model_failure", f"{error} {where}"
    if process.exit_code != 0:
        ending = f"signal {process.signal}" if process.signal else f"code {process.exit_code}"
        cause = error or f"LAMMPS ended with {ending}"
        return "infrastructure_failure", f"{cause} {where}: {last_lines}"
    if progress.last_step != case.planned_steps:
        return "infrastructure_failure", f"LAMMPS stopped {where}: {last_lines}"
    if progress.gap and progress.gap[1] - progress.gap[0] > case.thermo_every:
        first, last = progress.gap
        return "infrastructure_failure", (
            f"thermo lines between step {first} and {last} are missing (disk full?)"
        )
    return _judge_frames(case, dump, first_frame)


def _judge_frames(case: Case, dump: Path, first_frame: int) -> tuple[Outcome, str]:
    """Judge a run that reached its end by what is in its trajectory."""
    frames = list(_frames(dump))
    broken = [step for step, whole, finite in frames if whole and not finite]
    if broken:
        return "model_failure", f"the trajectory is not finite from step {broken[0]} on"
    steps = [step for step, _, _ in frames]
    expected = case.planned_steps // case.dump_every * case.dump_every
    if not frames or frames[-1][:2] != (expected, True):
        return "infrastructure_failure", (
            f"{dump}: the last frame, of step {expected}, is missing or cut (disk full?)"
        )
    missing = sorted(set(range(first_frame, expected, case.dump_every)) - set(steps))
    if missing:
        return "infrastructure_failure", f"{dump}: the frame of step {missing[0]} is missing"
    return "finished", f"all {case.planned_steps} steps done"


def rate_atom_steps_per_s(log: Path | str) -> float | None:
    """Return the rate of all runs of a log that ended, without what it took to set them up."""
    work = seconds = 0.0
    if Path(log).is_file():
        with Path(log).open(errors="replace") as stream:
            for line in stream:
                told = LOOP.match(line)
                if told:
                    seconds += float(told[1])
                    work += float(told[2]) * float(told[3])
    return work / seconds if seconds > 0 and work > 0 else None


def error_in(text: str) -> str | None:
    """Return the last line with an error in what LAMMPS printed."""
    errors = [line for line in text.splitlines() if "ERROR" in line]
    return errors[-1].split(" (src/")[0].strip() if errors else None


def finite_frames(dump: Path | str) -> list[int]:
    """Return the steps of the whole frames of a dump that have no NaN or Inf."""
    return [step for step, whole, finite in _frames(Path(dump)) if whole and finite]


def _frames(dump: Path) -> Iterator[tuple[int, bool, bool]]:
    """Yield step, whether it is whole, and whether it is finite, for each frame of a dump."""
    for frame in text_frames(dump):
        if frame.step >= 0:
            atoms = frame.text[frame.text.find(ATOMS_HEAD) :].partition(b"\n")[2]
            yield frame.step, frame.whole, not (b"n" in atoms or b"N" in atoms)  # nan, -nan, inf
