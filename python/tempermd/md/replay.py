"""Runs some moments of a finished run again, with a frame for every step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tempermd import lmp
from tempermd.md.case import DATA, DUMP, LOG, MODEL, PROTOCOLS, Case, environment, lammps_arguments
from tempermd.records import UserError, new_folder

BEFORE_PS = 0.25
AFTER_PS = 0.1


def replay_run(
    case: Case, restarts: Mapping[int, Path], step: int, output: Path | str, *, every: int = 1
) -> Path:
    """Run a case again from its last restart before a step until shortly after it.

    On one rank and the same machine LAMMPS goes on from a restart as it went on before, bit for
    bit; elsewhere up to rounding: in a chaotic system two runs part after a picosecond or so.

    Parameters
    ----------
    case : Case
    restarts : mapping of int to Path
        The restart files of the run that is played again, by step.
    step : int
        What is to be seen: from a quarter of a picosecond before it on.
    output : path
        New folder.
    every : int
        Steps between frames.

    Returns
    -------
    Path
        The trajectory.
    """
    if not 0 <= step <= case.planned_steps:
        raise UserError(f"step {step}: this run has steps 0 to {case.planned_steps}")
    steps_per_ps = 1000.0 / case.timestep_fs
    restart = last_restart(restarts, step - round(BEFORE_PS * steps_per_ps))
    last = min(step + round(AFTER_PS * steps_per_ps), case.planned_steps)
    folder = new_folder(output)
    changes = {"every": str(every), "thermo": str(every), "last": str(max(last, 1)), "guard": "0"}
    if restart is not None:
        (folder / "from.restart").symlink_to(restart.resolve())
        changes |= {"resume": "1", "from": "from.restart"}
    (folder / DATA).symlink_to(Path(case.structure).resolve())
    if case.model is not None:
        (folder / MODEL).symlink_to(Path(case.model).resolve())
    script = lmp.inputs_folder() / PROTOCOLS[case.protocol].script
    arguments = ["-in", str(script), "-log", LOG, *lammps_arguments(case, DATA, MODEL, changes)]
    process = lmp.run_process(arguments, cwd=folder, env=environment())
    if not (folder / DUMP).is_file():
        raise UserError(f"{folder}: LAMMPS wrote no frame: {process.stdout_tail.strip()[-300:]}")
    return folder / DUMP


def last_restart(restarts: Mapping[int, Path], step: int) -> Path | None:
    """Return the last restart file of a run not after a step, or None: from the start then."""
    return restarts[last] if (last := max((s for s in restarts if s <= step), default=0)) else None
