"""One molecular dynamics run: a directory named by its case, a chain of attempts, one result."""

from __future__ import annotations

import json
from pathlib import Path

from tempermd import lmp
from tempermd.md.attempts import chain_restarts
from tempermd.md.budget import Budget
from tempermd.md.case import DUMP, LOG, PROTOCOLS, Case, Stage, lammps_arguments
from tempermd.md.data_file import count_atoms, data_elements, outermost_atom
from tempermd.md.judge import Outcome, Progress, finite_frames, judge, read_progress
from tempermd.md.launch import Launch
from tempermd.md.lease import RESULT
from tempermd.md.quench import QUENCH, Quench, QuenchedFrame, read_quench
from tempermd.md.replay import replay_run
from tempermd.md.result import RunResult, RunState, newest_attempt, read_result, state_of
from tempermd.md.running import check_files, release, run
from tempermd.records import UserError, parse_spec

__all__ = [
    "DUMP",
    "LOG",
    "PROTOCOLS",
    "QUENCH",
    "RESULT",
    "Budget",
    "Case",
    "Launch",
    "Outcome",
    "Progress",
    "Quench",
    "QuenchedFrame",
    "RunResult",
    "RunState",
    "Stage",
    "count_atoms",
    "data_elements",
    "finite_frames",
    "judge",
    "lammps_arguments",
    "newest_attempt",
    "outermost_atom",
    "read_case",
    "read_progress",
    "read_quench",
    "read_result",
    "release",
    "replay",
    "run",
    "state_of",
]


def read_case(folder: Path | str) -> Case:
    """Read the case of a run directory."""
    path = Path(folder) / "case.json"
    if not path.is_file():
        raise UserError(f"{folder}: not a run directory (it has no case.json)")
    return parse_spec(json.loads(path.read_text()), Case, str(path))


def replay(folder: Path | str, step: int, output: Path | str, *, every: int = 1) -> Path:
    """Run some moments of a run again, with more frames; see `tempermd.md.replay.replay_run`.

    Parameters
    ----------
    folder : path
        A run directory.
    step : int
        What is to be seen.
    output : path
        New folder.
    every : int
        Steps between frames.

    Returns
    -------
    Path
        The trajectory.
    """
    case, attempt = read_case(folder), newest_attempt(folder)
    if attempt is None:
        raise UserError(f"{folder}: this run has not begun yet")
    check_files(case)
    lmp.lmp_command()
    return replay_run(case, chain_restarts(attempt), step, output, every=every)
