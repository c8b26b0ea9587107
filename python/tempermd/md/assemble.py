"""Assembles the trajectory and the log of a chain of attempts, as one unbroken run wrote them.

Each attempt's part is cut at the step that the next one goes on from, so what an attempt wrote
after that, or an orphan still writes, changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tempermd.md.attempts import Link
from tempermd.md.case import DUMP, LOG
from tempermd.md.frames import ThermoLines, text_frames
from tempermd.records import atomic_write

UNITS_HEAD = b"ITEM: UNITS\n"


def assemble(links: Sequence[Link], target: Path, turn_step: int) -> dict[str, str]:
    """Write the whole trajectory and log of a chain into ``target``.

    Parameters
    ----------
    links : sequence of Link
        From the first attempt to the last.
    target : path
        Folder of the last attempt.
    turn_step : int
        Step at which the second part of the run begins, with fixes of its own.

    Returns
    -------
    dict
        sha256 of both files by name.
    """
    return {
        DUMP: _write(target / DUMP, _frames(links)),
        LOG: _write(target / LOG, _log_lines(links, turn_step)),
    }


def _write(path: Path, pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        for piece in pieces:
            stream.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def _frames(links: Sequence[Link]) -> Iterator[bytes]:
    for link in links:
        for frame in text_frames(link.output / DUMP):
            if link.until is not None and (not frame.whole or frame.step > link.until):
                break
            if link.after is None or frame.step > link.after:
                yield frame.text if link.after is None else _without_units(frame.text)


def _without_units(text: bytes) -> bytes:
    """Leave out the units, which LAMMPS writes before the first frame of a file only."""
    if not text.startswith(UNITS_HEAD):
        return text
    return text.split(b"\n", 2)[2]


def _log_lines(links: Sequence[Link], turn_step: int) -> Iterator[bytes]:
    last: tuple[int, str] | None = None
    for link in links:
        joint = _Joint(link.after, last, turn_step)
        for line in _until(link):
            for kept in joint.take(line):
                yield kept.encode("utf-8", "surrogateescape")
        yield from (line.encode("utf-8", "surrogateescape") for line in joint.rest())
        last = joint.last


def _until(link: Link) -> Iterator[str]:
    """Yield the lines of a part; those after the last thermo line that counts only at the end."""
    lines, waiting = ThermoLines(), []
    with (link.output / LOG).open(encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            step = lines.step_of(line)
            waiting.append(line)
            if link.until is None:
                yield from waiting
                waiting.clear()
            elif step is not None:
                if step > link.until:
                    return
                yield from waiting
                waiting.clear()


class _Joint:
    """Takes the lines of a part and lets through what the parts before have not said.

    LAMMPS begins a part with the echo of its input and the thermo line of the step that it goes
    on from. The unbroken run has that line once and no echo, except where its second part begins.
    """

    def __init__(self, after: int | None, last: tuple[int, str] | None, turn_step: int) -> None:
        self.last = last
        self._after = after
        self._turn_step = turn_step
        self._before = last
        self._lines = ThermoLines()
        self._head: list[str] | None = None if after is None else []

    def take(self, line: str) -> list[str]:
        step = self._lines.step_of(line)
        if step is not None:
            self.last = (step, line)
        if self._head is None:
            return [line]
        self._head.append(line)
        if step is None:
            return []
        head, self._head = self._head, None
        return self._shortened(head, step, line)

    def rest(self) -> list[str]:
        """Return what was held back by a part without any thermo line."""
        return self._head or []

    def _shortened(self, head: list[str], step: int, line: str) -> list[str]:
        if self._before == (step, line):
            return []
        said = self._before is not None and self._before[0] == step
        return head if said or step == self._turn_step else [line]
