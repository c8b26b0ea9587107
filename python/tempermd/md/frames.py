"""Frames of LAMMPS dumps and thermo lines of its logs as text, streamed, and cut by their step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

ATOMS_HEAD = b"ITEM: ATOMS"
MOST_HEAD_LINES = 20


@dataclass(frozen=True)
class TextFrame:
    """One frame as it stands in the file; ``whole`` is False where the file was cut inside it."""

    step: int
    text: bytes
    whole: bool


def text_frames(dump: Path | str) -> Iterator[TextFrame]:
    """Yield the frames of a dump; the last one may not be whole.

    What is no frame ends it: a file that was cut and written on is worth nothing beyond.
    """
    if not Path(dump).is_file():
        return
    with Path(dump).open("rb") as stream:
        while True:
            frame = _read_frame(stream)
            if frame is None:
                return
            yield frame
            if not frame.whole:
                return


def _read_frame(stream: BinaryIO) -> TextFrame | None:
    head: list[bytes] = []
    step, count = -1, -1
    for line in islice(stream, MOST_HEAD_LINES):
        before = head[-1] if head else b""
        head.append(line)
        if before.startswith(b"ITEM: TIMESTEP"):
            step = _number(line)
        elif before.startswith(b"ITEM: NUMBER OF ATOMS"):
            count = _number(line)
        if line.startswith(ATOMS_HEAD):
            break
    if not head:
        return None
    if step < 0 or count < 0 or not head[-1].startswith(ATOMS_HEAD):
        return TextFrame(step, b"".join(head), whole=False)
    atoms = list(islice(stream, count))
    whole = len(atoms) == count and (not atoms or atoms[-1].endswith(b"\n"))
    whole = whole and not any(line.startswith(b"ITEM:") for line in atoms)
    return TextFrame(step, b"".join([*head, *atoms]), whole)


def _number(line: bytes) -> int:
    text = line.strip()
    return int(text) if text.isdigit() else -1


class ThermoLines:
    """Tells thermo lines of a log from other text: as many numbers as the head has names."""

    def __init__(self) -> None:
        self._names = 0

    def step_of(self, line: str) -> int | None:
        """Return the step of a whole thermo line, None for other lines; feed them in turn."""
        words = line.split()
        if words[:1] == ["Step"]:
            self._names = len(words)
        elif words[:1] == ["Loop"]:
            self._names = 0
        elif self._names and len(words) == self._names and line.endswith("\n"):
            return int(words[0]) if words[0].isdigit() else None
        return None


def covered_step(
    dump: Path, log: Path, *, after: int | None, dump_every: int, thermo_every: int
) -> int:
    """Return the last step until which no frame and no earlier thermo line is missing.

    LAMMPS writes frames, then restart files, then thermo lines; what goes on from a file prints
    the line of its step itself.

    Parameters
    ----------
    dump, log : path
        Of one attempt.
    after : int or None
        The step that it goes on from; None: from the start.
    dump_every, thermo_every : int
        Steps between frames and between thermo lines.
    """
    frames = (frame.step for frame in text_frames(dump) if frame.whole)
    by_frames = _last_without_gap(frames, after, dump_every)
    by_lines = _last_without_gap(_thermo_steps(log), after, thermo_every)
    return min(by_frames, by_lines + 1)


def _last_without_gap(steps: Iterator[int], after: int | None, every: int) -> int:
    """Return the last step before which no multiple of ``every`` is missing."""
    wanted = 0 if after is None else after // every * every + every
    for step in steps:
        if step > wanted:
            break
        if step == wanted:
            wanted += every
    return wanted - 1


def _thermo_steps(log: Path) -> Iterator[int]:
    if not log.is_file():
        return
    lines = ThermoLines()
    with log.open(errors="replace") as stream:
        for line in stream:
            step = lines.step_of(line)
            if step is not None:
                yield step
