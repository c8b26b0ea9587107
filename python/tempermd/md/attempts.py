"""Attempts at a run: what each goes on from, and the chain that leads to one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tempermd.md.case import DUMP, LOG, Case
from tempermd.md.frames import covered_step
from tempermd.md.lease import RESULT, attempt_name, attempt_numbers, read_lease
from tempermd.md.owner import Owner
from tempermd.md.restarts import is_whole, scheduled_restarts, stopped_restarts
from tempermd.records import Record, Spec, UserError, read_record, sha256_file

ATTEMPT = "attempt.json"
PART = "part"
"""Folder, in an attempt that goes on from another, of what LAMMPS itself writes."""


class Origin(Spec):
    """The restart file that an attempt goes on from."""

    attempt: str
    step: int
    file: str
    sha256: str


class AttemptFile(Record):
    """What an attempt goes on from, and who runs it."""

    format_name: ClassVar[str] = "tempermd-attempt"

    number: int
    origin: Origin | None
    owner: Owner


@dataclass(frozen=True)
class Link:
    """A part of a chain of attempts: the steps that count are those after ``after``.

    ``until`` is the step that the next attempt goes on from, None in the last one.
    """

    attempt: Path
    after: int | None
    until: int | None

    @property
    def output(self) -> Path:
        """Folder of what LAMMPS wrote in this attempt."""
        return output_folder(self.attempt, self.after is not None)


def output_folder(attempt: Path, goes_on: bool) -> Path:
    """Return where LAMMPS writes: its own part of a chain is kept apart from the whole."""
    return attempt / PART if goes_on else attempt


def origin_of(attempt: Path) -> Origin | None:
    """Return what an attempt goes on from, None for the start of the run."""
    if not (attempt / ATTEMPT).is_file():
        return None  # killed before it began, or made when attempts did not go on
    return read_record(attempt / ATTEMPT, AttemptFile).origin


def chain_to(attempt: Path) -> list[Link]:
    """Return the attempts whose parts make up the run as this attempt sees it, first to last."""
    links: list[Link] = []
    until: int | None = None
    while True:
        origin = origin_of(attempt)
        links.insert(0, Link(attempt, None if origin is None else origin.step, until))
        if origin is None:
            return links
        attempt, until = attempt.parent / origin.attempt, origin.step


def chain_restarts(attempt: Path) -> dict[int, Path]:
    """Return the restart files of the run as this attempt sees it, by step."""
    found: dict[int, Path] = {}
    for link in chain_to(attempt):
        until = float("inf") if link.until is None else link.until
        for restarts in (stopped_restarts(link.output), scheduled_restarts(link.output)):
            found |= {step: path for step, path in restarts.items() if step <= until}
    return found


def newest_restart_step(attempt: Path) -> int:
    """Return the step of the newest restart file that an attempt wrote, -1 without one."""
    output = output_folder(attempt, (attempt / PART).is_dir())
    return max([-1, *scheduled_restarts(output), *stopped_restarts(output)])


def choose_origin(case: Case, folder: Path, number: int) -> Origin | None:
    """Return the newest restart file that attempt ``number`` can go on from, or None.

    It must be whole, and the trajectory and the log of its attempt must be whole as far as its
    step. What LAMMPS could not read before is left out. A file that a time limit left counts
    only where its attempt has no scheduled one, since only from these goes a run on exactly.
    """
    refused = _refused(folder)
    candidates: list[tuple[int, int, Path]] = []
    for earlier in attempt_numbers(folder):
        if earlier < number:
            attempt = folder / attempt_name(earlier)
            output = output_folder(attempt, (attempt / PART).is_dir())
            restarts = scheduled_restarts(output) or stopped_restarts(output)
            candidates += [(step, earlier, path) for step, path in restarts.items()]
    covered: dict[int, int] = {}
    for step, earlier, path in sorted(candidates, reverse=True):
        relative = str(path.relative_to(folder))
        if relative in refused or step > case.planned_steps or not is_whole(path, step):
            continue
        if earlier not in covered:
            covered[earlier] = _covered(case, folder / attempt_name(earlier))
        if step <= covered[earlier]:
            name = attempt_name(earlier)
            return Origin(attempt=name, step=step, file=relative, sha256=sha256_file(path))
    return None


def _covered(case: Case, attempt: Path) -> int:
    """Return the last step until which an attempt's own frames and thermo lines are all there."""
    try:
        origin = origin_of(attempt)
    except UserError:
        return -1  # its record was cut: nobody knows what its part belongs to
    output = output_folder(attempt, origin is not None)
    return covered_step(
        output / DUMP,
        output / LOG,
        after=None if origin is None else origin.step,
        dump_every=case.dump_every,
        thermo_every=case.thermo_every,
    )


def _refused(folder: Path) -> set[str]:
    """Return the restart files that LAMMPS could not read in an earlier attempt."""
    files = set()
    for number in attempt_numbers(folder):
        attempt = folder / attempt_name(number)
        if failure_of(attempt) == "restart":
            origin = origin_of(attempt)
            files.add(origin.file if origin else "")
    return files


def failure_of(attempt: Path) -> str | None:
    """Return the class of an attempt's failure, without reading more than that; None: none."""
    try:
        return json.loads((attempt / RESULT).read_text()).get("failure")
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def total_wall_s(attempt: Path) -> float:
    """Return the seconds that the attempts of a chain before this one took, by their leases."""
    leases = (read_lease(link.attempt) for link in chain_to(attempt)[:-1])
    return sum(lease.elapsed_s for lease in leases if lease is not None)
