"""Minimised energies of a run's start and of some of its frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from tempermd import lmp
from tempermd.md.case import DATA, DUMP, MODEL, Case, as_options, environment, potential_variables
from tempermd.md.data_file import count_atoms
from tempermd.md.judge import finite_frames
from tempermd.records import Record, Spec, write_record

QUENCH = "quench.json"


class QuenchedFrame(Spec):
    """Potential energy of a frame after minimisation."""

    step: int
    energy_eV: float


class Quench(Record):
    """Minimised energies of the start and of frames, by the potential of the run."""

    format_name: ClassVar[str] = "tempermd-quench"

    n_atoms: int
    pristine_energy_eV: float
    frames: list[QuenchedFrame]


def quench_run(
    case: Case,
    attempt: Path,
    *,
    last_ones: bool,
    start: Callable[[list[str]], lmp.ProcessResult] | None = None,
) -> lmp.ProcessResult | None:
    """Minimise the start and some frames into ``quench.json``; None when there are no frames.

    What a failed model makes of its last frames may not have a minimum at all: then there
    are fewer energies, or no file. ``start`` runs LAMMPS with arguments in the attempt's folder.
    """
    frames = finite_frames(attempt / DUMP)[1:]
    if case.quench_frames == 0 or not frames:
        return None
    count = min(case.quench_frames, len(frames))
    spread = np.linspace(0, len(frames), count + 1)[1:].astype(int) - 1
    chosen = frames[-count:] if last_ones else [frames[index] for index in spread]
    script = lmp.inputs_folder() / "quench.in"
    variables = potential_variables(case, DATA, MODEL) | {"dump": DUMP}
    arguments = ["-in", str(script), "-log", "quench.log", *as_options(variables)]
    arguments += ["-var", "frames", *map(str, chosen)]
    if start is None:
        process = lmp.run_process(arguments, cwd=attempt, env=environment())
    else:
        process = start(arguments)
    quench = read_quench(attempt / "quench.log", count_atoms(case.structure))
    if quench is not None:
        write_record(attempt / QUENCH, quench)
    return process


def read_quench(log: Path | str, n_atoms: int) -> Quench | None:
    """Read the energies that ``quench.in`` printed; None without the pristine one."""
    text = Path(log).read_text(errors="replace") if Path(log).is_file() else ""
    energies: dict[str, float] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4 and words[0] == "quench" and math.isfinite(float(words[2])):
            energies[words[1]] = float(words[2])
    if "pristine" not in energies:
        return None
    pristine_eV = energies.pop("pristine")
    frames = [QuenchedFrame(step=int(step), energy_eV=eV) for step, eV in energies.items()]
    return Quench(n_atoms=n_atoms, pristine_energy_eV=pristine_eV, frames=frames)
