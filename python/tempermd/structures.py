"""Structures: nanotubes, sampled tubes and amorphous carbon, each made from a spec and a seed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from pydantic import Field

from tempermd import lmp
from tempermd.engine import run_tasks
from tempermd.records import Spec, UserError, atomic_write, sha256_json

CARBON_BOND_A = 1.42
CARBON_MASS_G_PER_MOL = 12.011
VACUUM_A = 10.0


class TubeSpec(Spec):
    """One nanotube (n, m), sampled by MD with Tersoff at each temperature."""

    n: int = Field(ge=1)
    m: int = Field(ge=0)
    length_A: float = Field(gt=0, description="at least this long, in whole periods")
    periodic: bool = True
    vacancies: int = Field(default=0, ge=0)
    temperatures_K: list[float] = Field(min_length=1)
    trajectories: int = Field(default=1, ge=1, description="independent runs per temperature")
    frames: int = Field(default=4, ge=1, description="frames per run, 1 ps apart")


class AmorphousSpec(Spec):
    """Cells made by melt-quench-anneal with Tersoff; frames by time along the way."""

    atoms: int = Field(ge=8)
    densities_g_cm3: list[float] = Field(min_length=1)
    cells: int = Field(ge=1, description="independent cells per density")
    anneal_K: list[float] = Field(default=[300.0, 3000.0], min_length=1)
    frames: int = Field(default=5, ge=1, description="frames per cell")


class StructureSpec(Spec):
    """What `tempermd structures` makes: tubes and amorphous cells, from one seed."""

    seed: int = 1
    tubes: list[TubeSpec] = Field(default_factory=list)
    amorphous: list[AmorphousSpec] = Field(default_factory=list)


def nanotube(
    n: int,
    m: int,
    length_A: float,
    *,
    periodic: bool = True,
    vacancies: int = 0,
    seed: int = 0,
    bond_A: float = CARBON_BOND_A,
) -> Atoms:
    """Build a carbon nanotube along z.

    Parameters
    ----------
    n, m
        Chiral indices, n >= m >= 0.
    length_A
        The tube gets as many whole periods as reach this length (Angstrom).
    periodic
        Periodic along z; otherwise open at both ends with vacuum around.
    vacancies
        Number of atoms removed, drawn with ``seed``, no two of them bonded neighbours.
    bond_A
        C-C bond length (Angstrom).

    Returns
    -------
    ase.Atoms
        Positions (N, 3) in Angstrom, the tube centred in a box with vacuum across it.
    """
    from ase.build import nanotube as build_nanotube

    if not (n >= m >= 0 and n > 0):
        raise UserError(f"nanotube ({n},{m}): expected indices n >= m >= 0 with n > 0")
    unit = build_nanotube(n, m, length=1, bond=bond_A, symbol="C")
    # round-off puts some atoms of the first plane a period up, which would fray an open end
    z_A = unit.positions[:, 2]
    z_A -= np.floor((z_A + 1e-6) / unit.cell[2, 2]) * unit.cell[2, 2]
    periods = max(1, int(np.ceil(length_A / unit.cell[2, 2] - 1e-6)))
    tube = unit.repeat((1, 1, periods))
    period_A = tube.cell[2, 2]
    tube.center(vacuum=VACUUM_A, axis=(0, 1) if periodic else (0, 1, 2))
    if periodic:
        tube.cell[2] = (0.0, 0.0, period_A)
    tube.pbc = (False, False, periodic)
    if vacancies:
        tube = _with_vacancies(tube, vacancies, seed)
    tube.info["structure"] = f"tube_{n}_{m}" + (f"_v{vacancies}" if vacancies else "")
    return tube


def _with_vacancies(tube: Atoms, count: int, seed: int) -> Atoms:
    """Remove ``count`` atoms at random, never two that are bonded to each other."""
    order = np.random.default_rng(seed).permutation(len(tube))
    removed: list[int] = []
    for candidate in order:
        if len(removed) == count:
            break
        distances = tube.get_distances(candidate, removed, mic=True) if removed else np.array([9.9])
        if np.min(distances) > 1.2 * CARBON_BOND_A:
            removed.append(int(candidate))
    if len(removed) < count:
        raise UserError(f"a tube of {len(tube)} atoms has no room for {count} vacancies")
    del tube[removed]
    return tube


def random_cell(n_atoms: int, density_g_cm3: float, seed: int) -> Atoms:
    """Return a cubic periodic cell (Angstrom) of randomly placed carbon atoms."""
    grams = n_atoms * CARBON_MASS_G_PER_MOL / 6.02214076e23
    edge_A = (grams / density_g_cm3 * 1e24) ** (1 / 3)
    positions = np.random.default_rng(seed).uniform(0.0, edge_A, size=(n_atoms, 3))
    return Atoms(f"C{n_atoms}", positions=positions, cell=[edge_A] * 3, pbc=True)


def write_data(path: Path | str, atoms: Atoms) -> Path:
    """Write a structure as a LAMMPS data file (atom_style atomic, with masses)."""
    from ase.io import write

    path = Path(path)
    if path.suffix != ".data":
        raise UserError(f"{path}: LAMMPS data files are written as .data")
    with atomic_write(path) as temporary:
        write(temporary, atoms, format="lammps-data", atom_style="atomic", masses=True)
    return path


def make(spec: StructureSpec, workers: int | None = None, parts: Path | None = None) -> list[Atoms]:
    """Make all structures of a spec; one independent LAMMPS run per trajectory.

    Parameters
    ----------
    parts
        Folder that keeps each finished trajectory, so that a second call makes only the rest.

    Returns
    -------
    list of ase.Atoms
        In the order of the spec, independent of ``workers``; ``info`` holds ``kind``,
        ``structure``, ``trajectory`` (frames that must stay together in a split),
        ``temperature_K`` or ``density_g_cm3``.
    """
    runs = list(_tube_runs(spec)) + list(_amorphous_runs(spec))
    if not runs:
        raise UserError("the structure spec names no tubes and no amorphous cells")
    with tempfile.TemporaryDirectory(prefix="tempermd-") as scratch:
        folder = parts or Path(scratch)
        files = [folder / f"{sha256_json(run.model_dump(mode='json'))[:24]}.extxyz" for run in runs]
        tasks = [(run, file) for run, file in zip(runs, files, strict=True) if not file.exists()]
        for _ in run_tasks(_sample, tasks, workers=workers, title="structures"):
            pass
        return [atoms for file in files for atoms in _read(file)]


def _read(path: Path) -> list[Atoms]:
    """Read the frames of one finished trajectory."""
    from ase.io import read

    return read(path, ":")


class _Run(Spec):
    """One LAMMPS run that yields frames: a start, an input script, its variables."""

    script: Literal["sample.in", "melt_quench.in"]
    variables: dict[str, str]
    tube: TubeSpec | None = None
    amorphous: AmorphousSpec | None = None
    density_g_cm3: float = 0.0
    seed: int
    frames: int
    info: dict[str, str | float]


def _tube_runs(spec: StructureSpec) -> Iterator[_Run]:
    for number, tube in enumerate(spec.tubes):
        for temperature_K in tube.temperatures_K:
            for repeat in range(tube.trajectories):
                seed = _seed(spec.seed, "tube", number, temperature_K, repeat)
                name = f"tube_{tube.n}_{tube.m}" + (f"_v{tube.vacancies}" * bool(tube.vacancies))
                yield _Run(
                    script="sample.in",
                    variables={
                        "T": str(temperature_K),
                        "seed": str(seed),
                        "steps": str(2000 * tube.frames),
                        "boundary": "s s p" if tube.periodic else "s s s",
                    },
                    tube=tube,
                    seed=seed,
                    frames=tube.frames,
                    info={
                        "kind": "tube",
                        "structure": name,
                        "temperature_K": temperature_K,
                        "trajectory": f"{name}-{temperature_K:g}K-{repeat}-s{spec.seed}",
                    },
                )


def _amorphous_runs(spec: StructureSpec) -> Iterator[_Run]:
    for cells in spec.amorphous:
        for density in cells.densities_g_cm3:
            for repeat in range(cells.cells):
                seed = _seed(spec.seed, "amorphous", cells.atoms, density, repeat)
                anneal_K = cells.anneal_K[repeat % len(cells.anneal_K)]
                yield _Run(
                    script="melt_quench.in",
                    variables={
                        "anneal": str(anneal_K),
                        "seed": str(seed),
                        "every": str(9000 // cells.frames),
                    },
                    amorphous=cells,
                    density_g_cm3=density,
                    seed=seed,
                    frames=cells.frames,
                    info={
                        "kind": "amorphous",
                        "structure": f"amorphous_{density:g}",
                        "density_g_cm3": density,
                        "anneal_K": anneal_K,
                        "trajectory": f"amorphous-{cells.atoms}-{density:g}-{repeat}-s{spec.seed}",
                    },
                )


def _seed(*parts: object) -> int:
    """Return a seed that LAMMPS accepts, one for each run of a spec."""
    return 1 + int(sha256_json([str(part) for part in parts])[:6], 16)


def _start(run: _Run) -> Atoms:
    if run.tube is not None:
        tube = run.tube
        return nanotube(
            tube.n,
            tube.m,
            tube.length_A,
            periodic=tube.periodic,
            vacancies=tube.vacancies,
            seed=run.seed,
        )
    assert run.amorphous is not None
    return random_cell(run.amorphous.atoms, run.density_g_cm3, run.seed)


def _sample(task: tuple[_Run, Path]) -> None:
    """Run LAMMPS in a scratch folder and leave its last ``frames`` frames in a file."""
    from ase.io import read, write

    run, file = task
    start = _start(run)
    with tempfile.TemporaryDirectory(prefix="tempermd-") as scratch:
        write_data(Path(scratch) / "start.data", start)
        arguments = ["-in", str(lmp.inputs_folder() / run.script), "-log", "log.lammps"]
        arguments += ["-screen", "none", "-var", "data", "start.data", "-var", "dump", "frames"]
        for name, value in run.variables.items():
            arguments += ["-var", name, value]
        result = lmp.run_process(arguments, cwd=Path(scratch))
        if result.exit_code != 0:
            raise UserError(f"LAMMPS failed while sampling {run.info}: {result.stdout_tail}")
        frames = read(Path(scratch) / "frames", ":", format="lammps-dump-text")
    with atomic_write(file) as temporary:
        kept = [_dressed(frame, start, run.info) for frame in frames[-run.frames :]]
        write(temporary, kept, format="extxyz")


def _dressed(frame: Atoms, start: Atoms, info: dict[str, str | float]) -> Atoms:
    """Give a dump frame its element, the start's cell and boundaries, and its origin."""
    positions = frame.get_positions()
    if not np.isfinite(positions).all():
        raise UserError(f"sampling {info['trajectory']} gave non-finite positions")
    atoms = Atoms(f"C{len(frame)}", positions=positions, cell=start.cell, pbc=start.pbc)
    atoms.wrap()
    atoms.info.update(info)
    return atoms
