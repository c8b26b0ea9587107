"""Label sources with known answers and known faults, opened as ``ase:made_sources:NAME``.

What they were asked is written to the file that ``MADE_SOURCES_LOG`` names, one line each.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes


def asked() -> list[str]:
    """Return the first coordinate of each structure that was computed, in order."""
    path = Path(os.environ["MADE_SOURCES_LOG"])
    return path.read_text().split() if path.exists() else []


def name_of(atoms: Atoms) -> str:
    """Return what the log says of a structure."""
    return f"{atoms.positions[0, 0]:.8f}"


class Spring(Calculator):
    """Atoms tied to the origin: E = sum k r^2 / 2 + shift, F = -k r.

    A first atom of He, Ne, Ar or Kr makes it fail in a way of its own, unless the file that
    ``MADE_SOURCES_MENDED`` names is there.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "energies"]

    def __init__(self, k: float = 1.0, shifts: dict[str, float] | None = None, wait_s: float = 0):
        super().__init__()
        self.k, self.shifts, self.wait_s = k, shifts or {}, wait_s

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        time.sleep(self.wait_s)
        if "MADE_SOURCES_LOG" in os.environ and len(atoms) > 1:  # not the isolated atoms
            with Path(os.environ["MADE_SOURCES_LOG"]).open("a") as log:
                log.write(name_of(atoms) + "\n")
        if not Path(os.environ.get("MADE_SOURCES_MENDED", "/nowhere")).exists():
            fail_as(atoms.symbols[0])
        shifts = np.array([self.shifts.get(symbol, 0.0) for symbol in atoms.symbols])
        energies = self.k * np.sum(atoms.positions**2, axis=1) / 2 + shifts
        forces = -self.k * atoms.positions
        if atoms.symbols[0] == "Ar" and "MADE_SOURCES_MENDED" not in os.environ:
            forces = forces * np.nan
        self.results = {"energy": energies.sum(), "energies": energies, "forces": forces}


def fail_as(symbol: str) -> None:
    """Fail in the way of an element."""
    if symbol == "He":
        raise RuntimeError('SCF not converged\nafter "99" cycles')
    if symbol == "Ne":
        os.kill(os.getpid(), signal.SIGKILL)
    if symbol == "Kr":
        raise ZeroDivisionError("division by zero")


class DiesOnce(Spring):
    """A spring whose process is killed from outside, once, in the middle of its work."""

    def calculate(self, atoms: Atoms | None = None, *rest: Any) -> None:
        super().calculate(atoms, *rest)
        mark = Path(os.environ["MADE_SOURCES_LOG"] + ".died")
        if len(asked()) > 10 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Unconverged(Spring):
    """A spring that gives no label as quantum chemistry gives none: by ASE's own error."""

    def __init__(self, good_calls: tuple[int, ...] = ()):
        super().__init__()
        self.good_calls, self.calls = good_calls, 0

    def calculate(self, atoms: Atoms | None = None, *rest: Any) -> None:
        self.calls += 1
        if self.calls - 1 not in self.good_calls:
            raise CalculationFailed("SCF not converged in 250 cycles")
        super().calculate(atoms, *rest)


class FewKPoints(Calculator):
    """Forces that depend on the cell and on k-points: F_x = 1 / (L_x k) for each atom."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, k_points: int = 1):
        super().__init__()
        self.k_points = k_points

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(atoms), 3))
        forces[:, 0] = 1 / (atoms.cell.lengths()[0] * self.k_points)
        self.results = {"energy": 0.0, "forces": forces}
