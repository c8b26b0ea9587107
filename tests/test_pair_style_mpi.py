"""pair_style nequip on several MPI ranks: against nequip's calculator, and ranks with each other.

Each number of ranks is one ``mpirun`` for all systems: starting is what costs time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from tempermd import lmp as lmp_room
from test_pair_style import elements_of, nequip_calculator, triclinic, tube

TOLERANCE_EV_A = 1e-8
STEPS, FRAME_EVERY = 20, 5
TIMEOUT_S = 300
# strong in its last layers: a ghost shell one layer short must show
MODEL = {
    "layers": 3,
    "features": 2,
    "cutoff_A": 3.0,
    "cutoff_power": 12,
    "n_neighbors": 1.0,
    "energy_scale_eV": 5.0,
}
# asymmetric on purpose: an edge from C to H may exist without the one from H to C
TWO_ELEMENT_MODEL = MODEL | {"type_names": ("C", "H"), "edge_cutoffs_A": ((3.0, 2.3), (2.7, 2.5))}


def random_cell(symbols: str, sides_A: tuple[float, float, float], distance_A: float) -> Atoms:
    """Place atoms one after the other at random, none nearer than ``distance_A``."""
    rng = np.random.default_rng(8)
    atoms = Atoms(cell=sides_A, pbc=True)
    for symbol in Atoms(symbols).symbols:
        while True:
            trial = atoms + Atoms(symbol, positions=[rng.random(3) * sides_A])
            if len(atoms) == 0 or trial.get_distances(-1, range(len(atoms)), mic=True).min() > (
                distance_A
            ):
                break
        atoms = trial
    return atoms


def amorphous() -> Atoms:
    """Return carbon in a cell so long that no rank's ghost shell holds all of it."""
    return random_cell("C56", (40.0, 4.0, 4.0), 1.4)


def two_elements() -> Atoms:
    """Return a long random cell of carbon and hydrogen."""
    return random_cell("(C5H4)5", (30.0, 4.2, 4.2), 1.3)


def skewed_crystal() -> Atoms:
    """Return a triclinic crystal of 32 carbon atoms."""
    atoms = triclinic() * (2, 2, 1)
    atoms.symbols[:] = "C"
    return atoms


def lopsided() -> Atoms:
    """Return 36 atoms in the lower half of a long box: the upper one is empty."""
    atoms = random_cell("C36", (8.0, 7.0, 7.0), 1.4)
    atoms.cell[0, 0] = 24.0
    atoms.positions[:, 0] += 2.0
    return atoms


SYSTEMS = {
    "tube": tube,
    "amorphous": amorphous,
    "triclinic": skewed_crystal,
    "two_elements": two_elements,
    "lopsided": lopsided,
}
NEWTON = {"tube": "on", "amorphous": "off", "triclinic": "on", "two_elements": "off"}
GRIDS = {
    "1 1 1": list(SYSTEMS),
    "2 1 1": list(SYSTEMS),
    "1 2 2": [name for name in SYSTEMS if name != "lopsided"],  # cut lengthwise, none is empty
    "4 1 1": list(SYSTEMS),
}
# how ranks see what lies beyond them: layers exchanged (native engine, the default), or ghosts of
# every layer evaluated again, by either engine
WAYS = {"exchange": "", "extended": "ghosts extended", "torch": "engine torch"}
CASES = [(system, grid, "exchange") for grid, systems in GRIDS.items() for system in systems]
CASES += [(system, "2 1 1", "extended") for system in SYSTEMS]
CASES += [(system, "2 1 1", "torch") for system in SYSTEMS]
# phases of a run: lists built at each step, lists that a skin of 2 Å must keep right
PHASES = ("rebuilt", "kept")

NVE_INPUT = """
units metal
newton {newton}
processors {grid}
log {name}-rebuilt.log
read_data {system}.data
mass * 12.0
pair_style nequip {way}
pair_coeff * * {model}
velocity all create 2500 11
timestep 0.001
fix 1 all nve
compute energy all pe/atom
compute stress all stress/atom NULL virial
compute virial all pressure NULL virial
thermo_style custom step pe c_virial[*]
thermo_modify format float %.15g
thermo {every}
neighbor 0.5 bin
neigh_modify every 1 delay 0 check no
dump 1 all custom {every} {name}-rebuilt.dump id xu yu zu fx fy fz c_energy c_stress[*]
dump_modify 1 sort id format float %.17g
run {steps}
undump 1
log {name}-kept.log
neighbor 2.0 bin
neigh_modify every 1 delay 0 check yes
dump 1 all custom {every} {name}-kept.dump id xu yu zu fx fy fz c_energy c_stress[*]
dump_modify 1 sort id format float %.17g
run {steps}
clear
"""


@dataclass(frozen=True)
class Run:
    """What LAMMPS wrote: frames (T, N, 13) of the dump, thermo (T, 8), and the log."""

    frames: np.ndarray
    thermo: np.ndarray
    log: str

    @property
    def positions(self) -> np.ndarray:
        return self.frames[:, :, :3]

    @property
    def forces(self) -> np.ndarray:
        return self.frames[:, :, 3:6]


def read_frames(path: Path) -> list[np.ndarray]:
    """Return the columns after the ID of each frame of a dump, in the order of IDs."""
    blocks = path.read_text().split("ITEM: ATOMS")[1:]
    frames = []
    for block in blocks:
        lines = block.split("ITEM: TIMESTEP")[0].splitlines()[1:]
        frames.append(np.array([line.split()[1:] for line in lines], dtype=float))
    return frames


def read_run(folder: Path, name: str) -> Run:
    log = (folder / f"{name}.log").read_text()
    table = log.split("Per MPI rank memory")[-1].split("Loop time")[0].splitlines()[2:]
    thermo = np.array([line.split() for line in table], dtype=float)
    return Run(np.array(read_frames(folder / f"{name}.dump")), thermo, log)


def mpirun_lmp(folder: Path, script: str, n_ranks: int, *arguments: str) -> str:
    """Run an input script on some ranks and return what LAMMPS said; it must end well."""
    (folder / "in.lmp").write_text(script)
    result = lmp_room.run_process(
        ["-in", "in.lmp", *arguments],
        folder,
        env={"OMP_NUM_THREADS": "1"},
        timeout_s=TIMEOUT_S,
        prefix=lmp_room.mpirun_command(n_ranks),
    )
    assert result.exit_code == 0, result.stdout_tail
    return result.stdout_tail


def write_data(folder: Path, name: str, atoms: Atoms) -> None:
    skewed = not np.allclose(np.tril(atoms.cell.array, -1), 0.0)
    write(
        folder / f"{name}.data",
        atoms,
        format="lammps-data",
        specorder=list(elements_of(atoms)),
        masses=True,
        force_skew=skewed,
    )


def model_of(atoms: Atoms) -> dict:
    return MODEL if len(elements_of(atoms)) == 1 else TWO_ELEMENT_MODEL


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, make_model) -> Callable[..., Run]:
    """Return ``runs(system, grid, way, phase)``; the first call for some ranks runs all of them."""
    folder = tmp_path_factory.mktemp("ranks")
    done: set[int] = set()

    def script_of(system: str, grid: str, way: str) -> str:
        atoms = SYSTEMS[system]()
        write_data(folder, system, atoms)
        return NVE_INPUT.format(
            name=name_of(system, grid, way),
            way=WAYS[way],
            newton=NEWTON.get(system, "on"),
            grid=grid,
            system=system,
            model=f"{make_model(**model_of(atoms))} {' '.join(elements_of(atoms))}",
            every=FRAME_EVERY,
            steps=STEPS,
        )

    def get(system: str, grid: str, way: str, phase: str) -> Run:
        n_ranks = ranks_of(grid)
        if n_ranks not in done:
            scripts = [script_of(*case) for case in CASES if ranks_of(case[1]) == n_ranks]
            done.add(n_ranks)
            mpirun_lmp(folder, "".join(scripts), n_ranks)
        return read_run(folder, f"{name_of(system, grid, way)}-{phase}")

    return get


def ranks_of(grid: str) -> int:
    return int(np.prod([int(n) for n in grid.split()]))


def name_of(system: str, grid: str, way: str) -> str:
    return f"{system}-{grid.replace(' ', 'x')}-{way}"


def check_log(run: Run, grid: str, way: str, phase: str) -> None:
    """Hold that the run was what it claims to be: its grid, its ghosts, and its neighbor lists."""
    assert ("exchange between layers" in run.log) == (way == "exchange" and ranks_of(grid) > 1)
    assert ("NequIP ghost shell" in run.log) == (way != "exchange") or phase != PHASES[0]
    if phase == PHASES[0]:
        assert f"{' by '.join(grid.split())} MPI processor grid" in run.log
    builds = int(re.search(r"Neighbor list builds = (\d+)", run.log)[1])
    assert builds == {"rebuilt": STEPS, "kept": 0}[phase]
    assert len(run.frames) == STEPS // FRAME_EVERY + 1
    assert np.ptp(run.positions, axis=0).max() > 0.3, "atoms hardly moved"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_two_ranks_agree_with_nequips_calculator(system: str, way: str, phase: str, runs):
    run = runs(system, "2 1 1", way, phase)
    check_log(run, "2 1 1", way, phase)
    atoms = SYSTEMS[system]()
    others = {key: value for key, value in model_of(atoms).items() if key != "type_names"}
    atoms.calc = nequip_calculator("float64", elements_of(atoms), **others)
    for frame, thermo in zip(run.frames, run.thermo, strict=True):
        atoms.positions = frame[:, :3]
        forces = atoms.get_forces()
        assert np.abs(forces).max() > 0.05, "forces too small to show anything"
        assert np.abs(frame[:, 3:6] - forces).max() < TOLERANCE_EV_A
        assert frame[:, 6] == pytest.approx(atoms.get_potential_energies(), abs=1e-8)
        assert thermo[1] == pytest.approx(atoms.get_potential_energy(), abs=1e-7)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("system", "grid", "way"), [case for case in CASES if case[1] != "1 1 1"])
def test_ranks_agree_with_one_rank(system: str, grid: str, way: str, phase: str, runs):
    one, many = runs(system, "1 1 1", "exchange", phase), runs(system, grid, way, phase)
    check_log(one, "1 1 1", "exchange", phase)
    check_log(many, grid, way, phase)
    if system == "lopsided":
        assert re.search(r"Nlocal: .* 0 min", many.log), "no empty rank"
    assert np.abs(many.positions - one.positions).max() < 1e-10
    assert np.abs(many.forces - one.forces).max() < TOLERANCE_EV_A
    # pe/atom, stress/atom (bar Å³) and the pressure (bar)
    assert many.frames[:, :, 6] == pytest.approx(one.frames[:, :, 6], abs=1e-8)
    assert many.frames[:, :, 7:] == pytest.approx(one.frames[:, :, 7:], rel=1e-7, abs=1e-3)
    assert many.thermo == pytest.approx(one.thermo, rel=1e-8, abs=1e-4)
