"""The driver: any potential of LAMMPS, relaxing many small structures in one instance."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from tempermd import lmp
from tempermd.pair_styles import PotentialSpec, pair_commands
from tempermd.records import UserError

NEIGHBOUR_COMMANDS = ("neighbor 1.0 bin", "neigh_modify every 1 delay 0 check yes")
VACUUM_A = 15.0
FORCE_EV_PER_A = 0.01
"""A relaxation ends early when no force is larger."""

PHYSICAL_FAULTS = (
    "lost atoms",
    "non-numeric",
    "out of range atoms",
    "atoms missing",
    "neighbor list overflow",
    "not finite",
    "nan",
    "exploded",
)
"""What LAMMPS says of atoms that went wrong, in lower case; anything else is a wrong input."""


class LostError(Exception):
    """LAMMPS gave a structure up for what its atoms did."""


def elements_of(atoms: Atoms) -> list[str]:
    """Return the elements in the order of their atom types, as ``write_data`` numbers them."""
    return sorted(set(atoms.get_chemical_symbols()))


def include_text(potential: PotentialSpec, symbols: list[str]) -> str:
    """Return the text of an include file for the inputs that take ``driver``."""
    return "\n".join([*pair_commands(potential, symbols), *NEIGHBOUR_COMMANDS]) + "\n"


def physical_fault(message: str) -> bool:
    """Whether LAMMPS stopped for what atoms did, and not for what it was told."""
    lowered = message.lower()
    return any(fault in lowered for fault in PHYSICAL_FAULTS)


def error_line(text: str) -> str:
    """Return the line of LAMMPS's output that says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["LAMMPS said nothing"])[-1]


def try_out(potential: PotentialSpec, symbols: list[str]) -> None:
    """Compute one small structure in a process of its own; a driver that fails is named.

    Raises
    ------
    UserError
        With what LAMMPS says of the potential.
    """
    text = include_text(potential, symbols)
    spots = [f"create_atoms {i + 1} single {3 + 2.0 * i} 5 5" for i in range(len(symbols))]
    masses = [f"mass {i + 1} {_mass(one)}" for i, one in enumerate(symbols)]
    edge_A = 10 + 2.0 * len(symbols)
    script = [
        "units metal",
        "atom_modify map yes",
        f"region box block 0 {edge_A} 0 10 0 10",
        f"create_box {len(symbols)} box",
        *masses,
        *spots,
        f"create_atoms 1 single {edge_A - 2} 5 5",
        *text.splitlines(),
        "run 0",
    ]
    with tempfile.TemporaryDirectory(prefix="tempermd-") as folder:
        (Path(folder) / "trial.in").write_text("\n".join(script) + "\n")
        arguments = ["-in", "trial.in", "-log", "none"]
        result = lmp.run_process(arguments, cwd=Path(folder))
    if result.exit_code != 0:
        raise UserError(
            f"driver '{potential.name}' for {' '.join(symbols)} does not run in LAMMPS: "
            f"{error_line(result.stdout_tail)}"
        )


def relaxed(atoms: Atoms, potential: PotentialSpec, steps: list[int]) -> list[Atoms]:
    """Relax atoms in their cell; return a copy after each number of steps (ascending).

    Conjugate gradients; axes that are not periodic get vacuum for the time.

    Raises
    ------
    LostError
        If LAMMPS cannot go on with these atoms.
    """
    engine = _instance(potential.model_dump_json(), tuple(elements_of(atoms)))
    try:
        return engine.relax(atoms, steps)
    except Exception as error:
        # LAMMPS raises plain Exception; after a fault its state is not to be trusted
        _instance.cache_clear()
        if physical_fault(str(error)):
            raise LostError(error_line(str(error))) from None
        raise UserError(f"driver '{potential.name}': {error_line(str(error))}") from None


@lru_cache(maxsize=2)
def _instance(potential_json: str, symbols: tuple[str, ...]) -> _Relaxer:
    return _Relaxer(PotentialSpec.model_validate_json(potential_json), list(symbols))


class _Relaxer:
    """One LAMMPS with its potential loaded, into which structures are put in turn."""

    def __init__(self, potential: PotentialSpec, symbols: list[str]) -> None:
        self.types = {symbol: number + 1 for number, symbol in enumerate(symbols)}
        self.lammps: Any = lmp.lammps_instance()
        masses = [f"mass {number} {_mass(symbol)}" for symbol, number in self.types.items()]
        commands = [
            "units metal",
            "atom_style atomic",
            "atom_modify map yes sort 0 0",
            "boundary p p p",
            "region box prism 0 20 0 20 0 20 0 0 0",
            f"create_box {len(symbols)} box",
            "box tilt large",
            *masses,
            *include_text(potential, symbols).splitlines(),
            "thermo_modify lost error",
            "min_style cg",
        ]
        self.lammps.commands_list(commands)

    def __del__(self) -> None:
        self.lammps.close()

    def relax(self, atoms: Atoms, steps: list[int]) -> list[Atoms]:
        cell, turn = _lower_triangular(_boxed(atoms))
        corner = _corner(atoms)
        self._put(cell, (atoms.positions - corner) @ turn, atoms.get_chemical_symbols())
        frames, done = [], 0
        for target in steps:
            if target > done:
                self.lammps.command(
                    f"minimize 0 {FORCE_EV_PER_A} {target - done} {4 * (target - done) + 10}"
                )
                done = target
            frame = atoms.copy()
            if done:
                frame.positions = self._positions(len(atoms)) @ turn.T + corner
                frame.wrap()
            frames.append(frame)
        return frames

    def _put(self, cell: np.ndarray, positions: np.ndarray, symbols: list[str]) -> None:
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell.tolist()
        engine = self.lammps
        engine.command("delete_atoms group all")
        engine.command("change_box all xy final 0 xz final 0 yz final 0")
        engine.command(f"change_box all x final 0 {lx!r} y final 0 {ly!r} z final 0 {lz!r}")
        engine.command(f"change_box all xy final {xy!r} xz final {xz!r} yz final {yz!r}")
        types = [self.types[symbol] for symbol in symbols]
        fractions = np.linalg.solve(cell.T, positions.T).T % 1.0
        inside = np.where(fractions < 1.0, fractions, 0.0) @ cell
        count = len(positions)
        made = engine.create_atoms(count, list(range(1, count + 1)), types, inside.ravel().tolist())
        if made != count:
            raise LostError("atoms missing: LAMMPS did not take every atom into its cell")
        engine.command("velocity all set 0 0 0")

    def _positions(self, count: int) -> np.ndarray:
        flat = self.lammps.gather_atoms("x", 1, 3)
        return np.array(flat, dtype=float).reshape(count, 3)


def _mass(symbol: str) -> float:
    return float(atomic_masses[atomic_numbers[symbol]])


def _boxed(atoms: Atoms) -> np.ndarray:
    """Return cell vectors (3, 3) with vacuum along the axes that are not periodic."""
    boxed = atoms.copy()
    free = [axis for axis in range(3) if not atoms.pbc[axis]]
    if free:
        boxed.center(vacuum=VACUUM_A, axis=free)
    return boxed.cell.array


def _corner(atoms: Atoms) -> np.ndarray:
    """Return what to take from positions (3,) so that they lie inside the vacuum's box."""
    boxed = atoms.copy()
    free = [axis for axis in range(3) if not atoms.pbc[axis]]
    if not free:
        return np.zeros(3)
    boxed.center(vacuum=VACUUM_A, axis=free)
    return atoms.positions[0] - boxed.positions[0]


def _lower_triangular(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell as LAMMPS wants it, and the rotation (3, 3) that takes positions there."""
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    lower = (r * signs[:, None]).T
    return lower, q * signs
