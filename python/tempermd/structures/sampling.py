"""Trajectories: a start, one MD run of LAMMPS in a process of its own, and its frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms

from tempermd import lmp
from tempermd.records import UserError
from tempermd.structures.cells import push_off_A, random_cell, symbols_of, write_data
from tempermd.structures.defects import stretched, with_stone_wales, with_vacancies
from tempermd.structures.driver import elements_of, error_line, include_text, physical_fault
from tempermd.structures.runs import (
    SAMPLE_EQUILIBRATION_STEPS,
    SAMPLE_STEPS_PER_FRAME,
    SAMPLE_TIMESTEP_FS,
)
from tempermd.structures.specs import FullereneSpec, MeltQuenchSpec, TubeSpec
from tempermd.structures.tasks import Trajectory
from tempermd.structures.tubes import fullerene, nanotube


def frames_of(run: Trajectory) -> Iterator[Atoms | str]:
    """Yield the frames of a trajectory, and at last why it ended early if it did."""
    start = start_of(run)
    with tempfile.TemporaryDirectory(prefix="tempermd-") as scratch:
        folder = Path(scratch)
        write_data(folder / "start.data", start)
        (folder / "driver.inc").write_text(include_text(run.potential, elements_of(start)))
        script, variables = _script(run, start)
        arguments = ["-in", str(lmp.inputs_folder() / script), "-log", "none"]
        fixed = {"data": "start.data", "dump": "frames", "driver": "driver.inc"}
        for name, value in (fixed | variables).items():
            arguments += ["-var", name, value]
        result = lmp.run_process(arguments, cwd=folder)
        dump = folder / "frames"
        frames = list(_read_dump(dump, len(start))) if dump.is_file() else []
    for step, positions in frames[-run.start.frames :]:
        yield _dressed(positions, start, run.info | _moment(run, step))
    if result.exit_code != 0:
        message = error_line(result.stdout_tail)
        if not physical_fault(message):
            raise UserError(f"LAMMPS failed while sampling {run.info['trajectory']}: {message}")
        yield message


def start_of(run: Trajectory) -> Atoms:
    """Build the structure that a trajectory starts from."""
    start = run.start
    if isinstance(start, MeltQuenchSpec):
        return random_cell(start.atoms, run.density_g_cm3, run.seed, start.formula)
    if isinstance(start, TubeSpec):
        atoms = nanotube(start.n, start.m, start.length_A, periodic=start.periodic)
    else:
        atoms = fullerene(start.atoms)
    touched: set[int] = set()
    if start.stone_wales:
        rng = np.random.default_rng([run.seed, start.stone_wales])
        atoms, touched = with_stone_wales(atoms, start.stone_wales, rng)
    if start.vacancies:
        atoms = with_vacancies(atoms, start.vacancies, run.seed, touched)
    return stretched(atoms, run.strain) if run.strain else atoms


def _script(run: Trajectory, start: Atoms) -> tuple[str, dict[str, str]]:
    """Return the input script of a run and its variables."""
    entry = run.start
    if isinstance(entry, TubeSpec | FullereneSpec):
        return "sample.in", {
            "T": str(run.temperature_K),
            "seed": str(run.seed),
            "equil": str(SAMPLE_EQUILIBRATION_STEPS),
            "steps": str(SAMPLE_STEPS_PER_FRAME * entry.frames),
            "every": str(SAMPLE_STEPS_PER_FRAME),
            "boundary": " ".join("p" if periodic else "s" for periodic in start.pbc),
        }
    return "melt_quench.in", {
        "melt": str(entry.melt_K),
        "quench": str(entry.quench_K),
        "anneal": str(run.temperature_K),
        "seed": str(run.seed),
        "n_first": str(entry.first_step),
        "n_melt": str(entry.steps(entry.melt_ps) - entry.first_step),
        "n_quench": str(entry.steps(entry.quench_ps)),
        "n_anneal": str(entry.steps(entry.anneal_ps)),
        "every": str(entry.every_steps),
        "dt": str(entry.timestep_fs / 1000),
        "push": str(push_off_A(symbols_of(entry.formula, entry.atoms))),
    }


def _moment(run: Trajectory, step: int) -> dict[str, float]:
    """Return time and target temperature of a frame of a dump.

    The dump of a melt counts its steps from where the first frame's interval begins.
    """
    entry = run.start
    if isinstance(entry, TubeSpec | FullereneSpec):
        time_ps = step * SAMPLE_TIMESTEP_FS / 1000
        return {"temperature_K": run.temperature_K, "time_ps": round(time_ps, 6)}
    hot = entry.steps(entry.melt_ps) - entry.first_step
    quench = entry.steps(entry.quench_ps)
    if step <= hot:
        target_K = entry.melt_K
    elif step <= hot + quench:
        target_K = entry.melt_K + (entry.quench_K - entry.melt_K) * (step - hot) / quench
    else:
        target_K = run.temperature_K
    time_ps = (entry.first_step + step) * entry.timestep_fs / 1000
    return {"temperature_K": round(target_K, 3), "time_ps": round(time_ps, 6)}


def _read_dump(path: Path, n_atoms: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield step and positions (N, 3) of each whole frame of a dump sorted by id."""
    for block in path.read_text().split("ITEM: TIMESTEP\n")[1:]:
        head, _, body = block.partition("ITEM: ATOMS")
        rows = body.split("\n")[1 : n_atoms + 1]
        if len(rows) == n_atoms and all(len(row.split()) == 5 for row in rows):
            values = np.array([row.split()[2:] for row in rows], dtype=float)
            yield int(head.split("\n", 1)[0]), values


def _dressed(positions: np.ndarray, start: Atoms, info: dict[str, str | float]) -> Atoms:
    """Give positions the elements, cell and boundaries of the start, and their origin."""
    # LAMMPS numbers atoms as the data file does, which is the order of the start
    atoms = Atoms(start.numbers, positions=positions, cell=start.cell, pbc=start.pbc)
    if np.isfinite(positions).all():
        atoms.wrap()
    atoms.info.update(info)
    return atoms
