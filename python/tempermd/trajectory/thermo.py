"""Reads the thermo output of LAMMPS logs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from tempermd.records import UserError
from tempermd.trajectory.files import damage_as_sentence, open_lines
from tempermd.trajectory.units import UNIT_FACTORS

ENERGIES = {"PotEng", "KinEng", "TotEng", "Econserve", "Enthalpy"}
YAML_MARKS = str.maketrans("[],'", "    ")


@dataclass(frozen=True)
class ThermoRun:
    """The thermo block of one ``run`` or ``minimize``.

    Parameters
    ----------
    columns : dict of str to (m,) array
        By LAMMPS' names (Step, Temp, PotEng, Econserve ...); energies in eV, Time in ps.
    finished : bool
        Whether "Loop time" closed the block.
    minimised : bool
        True for ``minimize``: its steps are no time.
    timestep_fs : float or None
        As set before this block, where the log echoes it.
    thermostat : (start_K, stop_K, damping_ps) or None
        Of the fix nvt, npt, temp/csvr or langevin that was active.
    box : "fixed", "barostat" or "deformed"
        By the fixes npt, nph, press/berendsen, or deform.
    """

    columns: dict[str, np.ndarray]
    finished: bool
    minimised: bool
    timestep_fs: float | None
    thermostat: tuple[float, float, float] | None
    box: Literal["fixed", "barostat", "deformed"] = "fixed"


@dataclass(frozen=True)
class Thermo:
    """What a LAMMPS log tells of a run.

    Parameters
    ----------
    runs : tuple of ThermoRun
        In the order of the log.
    error : str or None
        The first ERROR line.
    warnings : tuple of str
        WARNING lines, also those inside a thermo block.
    truncated : bool
        True when the last block was never closed.
    units : str or None
        As the log echoes them.
    """

    runs: tuple[ThermoRun, ...]
    error: str | None
    warnings: tuple[str, ...]
    truncated: bool
    units: str | None = None

    def column(self, name: str) -> np.ndarray:
        """Return one column over all MD runs, NaN in runs without it; a step once, the last."""
        return self.table([name])[:, 1]

    def table(self, names: list[str]) -> np.ndarray:
        """Return (m, 1 + len(names)): Step and the named columns of all MD runs, by step."""
        blocks = [np.empty((0, 1 + len(names)))]
        for run in self.runs:
            if not run.minimised and "Step" in run.columns:
                steps = run.columns["Step"]
                absent = np.full(len(steps), np.nan)
                values = [run.columns.get(name, absent) for name in names]
                blocks.append(np.stack([steps, *values], axis=1))
        rows = np.concatenate(blocks)
        last = {step: row for row, step in enumerate(rows[:, 0])}
        return rows[[last[step] for step in sorted(last)]]

    def parts(self) -> list[Thermo]:
        """Return the log in parts, a new one wherever steps begin anew (``reset_timestep 0``).

        A run that goes on from a restart repeats later steps only, and begins no part.
        """
        found: list[list[ThermoRun]] = [[]]
        first_step: float | None = None
        for run in self.runs:
            steps = run.columns.get("Step", np.empty(0))
            if not run.minimised and len(steps) > 1:
                if first_step is not None and steps[0] <= first_step:
                    found.append([])
                    first_step = None
                first_step = steps[0] if first_step is None else first_step
            found[-1].append(run)
        return [replace(self, runs=tuple(runs)) for runs in found]


def read_thermo(log: Path | str) -> Thermo:
    """Read the thermo output of a LAMMPS log (``thermo_style`` one, custom or yaml).

    Warnings inside a block, several runs, NaN, an ERROR and a cut file are all read line
    by line, for any of them may stand in the log of a run that went wrong.

    Parameters
    ----------
    log : path
        A ``log.lammps`` or a saved screen output, plain, .gz or .zst.

    Returns
    -------
    Thermo
    """
    path = Path(log)
    if not path.is_file():
        raise UserError(f"{path}: no such log file")
    reader = _LogReader()
    try:
        with damage_as_sentence(path), open_lines(path) as stream:
            for line in stream:
                reader.take(line.decode("utf-8", errors="replace"))
    except EOFError:
        reader.cut = True
    if reader.units not in (None, *UNIT_FACTORS):
        raise UserError(f"{path}: expected units metal or real, the log is in {reader.units!r}")
    return reader.result()


class _LogReader:
    """Takes a log line by line and keeps what later lines need."""

    def __init__(self) -> None:
        self._runs: list[ThermoRun] = []
        self._names: list[str] | None = None
        self._rows: list[list[float]] = []
        self.units: str | None = None
        self._timestep: float | None = None
        self._thermostats: dict[str, tuple[float, float, float]] = {}
        self._boxes: dict[str, Literal["barostat", "deformed"]] = {}
        self._minimising = False
        self._error: str | None = None
        self._warnings: list[str] = []
        self.cut = False

    def take(self, line: str) -> None:
        words = line.removeprefix("  -").translate(YAML_MARKS).split()
        if not words:
            return
        if line.startswith("ERROR"):
            self._error = self._error or line.strip()
        elif line.startswith("WARNING"):
            self._warnings.append(line.strip())
        elif "Step" in words and (words[0] in ("Step", "keywords:")):
            self._close(finished=False)
            self._names = [word for word in words if word != "keywords:"]
        elif line.startswith("Loop time of"):
            self._close(finished=True)
        elif self._names is not None:
            self._take_row(words, line.endswith("\n"))
        else:
            self._take_command(words)

    def _take_row(self, words: list[str], whole: bool) -> None:
        if len(words) != len(self._names or ()) or not whole:
            return
        try:
            self._rows.append([float(word) for word in words])
        except ValueError:
            return  # text that a fix or variable printed inside the block

    def _take_command(self, words: list[str]) -> None:
        """Remember the settings that LAMMPS echoes before a run."""
        if words[0] == "units" and len(words) == 2:
            self.units = words[1]
        elif words[0] in ("minimize", "run"):
            self._minimising = words[0] == "minimize"
        elif words[0] == "unfix" and len(words) == 2:
            self._thermostats.pop(words[1], None)
            self._boxes.pop(words[1], None)
        elif words[0] == "timestep" and len(words) == 2:
            self._timestep = _as_float(words[1]) or self._timestep
        elif words[0] == "fix" and len(words) > 4:
            self._take_fix(words[1], words[3], words[4:])

    def _take_fix(self, name: str, style: str, arguments: list[str]) -> None:
        style = style.removesuffix("/omp")
        if style in ("npt", "nph", "press/berendsen", "press/langevin"):
            self._boxes[name] = "barostat"
        elif style == "deform":
            self._boxes[name] = "deformed"
        if style in ("nvt", "npt") and "temp" in arguments:
            arguments = arguments[arguments.index("temp") + 1 :]
        elif style not in ("temp/csvr", "temp/csld", "temp/berendsen", "langevin"):
            return
        numbers = [_as_float(word) for word in arguments[:3]]
        if len(numbers) == 3 and None not in numbers:
            start, stop, damping = (number for number in numbers if number is not None)
            self._thermostats[name] = (start, stop, damping * self._factors()[0])

    def _close(self, finished: bool) -> None:
        """End the open block, if one is open."""
        if self._names is None:
            return
        to_ps, _, to_ev = self._factors()
        columns = {}
        for position, name in enumerate(self._names):
            values = np.array([row[position] for row in self._rows], dtype=float)
            factor = to_ev if name in ENERGIES else to_ps if name in ("Time", "Dt") else 1.0
            columns[name] = values * factor
        timestep_fs = None if self._timestep is None else self._timestep * to_ps * 1000
        thermostat = next(iter(self._thermostats.values()), None)
        box = next(iter(self._boxes.values()), "fixed")
        run = ThermoRun(columns, finished, self._minimising, timestep_fs, thermostat, box)
        self._runs.append(run)
        self._names, self._rows, self._minimising = None, [], False

    def _factors(self) -> tuple[float, float, float]:
        """Return the factors to ps, Å/ps and eV; of unknown units the caller is told at the end."""
        return UNIT_FACTORS.get(self.units or "metal", UNIT_FACTORS["metal"])

    def result(self) -> Thermo:
        truncated = self.cut or (self._names is not None and self._error is None)
        self._close(finished=False)
        found = tuple(self._runs), self._error, tuple(self._warnings), truncated
        return Thermo(*found, units=self.units)


def _as_float(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
