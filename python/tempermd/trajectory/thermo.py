"""Reads the thermo output of LAMMPS logs."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from tempermd.records import UserError
from tempermd.trajectory.files import damage_as_sentence, open_lines
from tempermd.trajectory.fixes import NOT_ECHOED, Fixes, as_float
from tempermd.trajectory.units import UNIT_FACTORS

ENERGIES = {"PotEng", "KinEng", "TotEng", "Econserve", "Enthalpy"}
YAML_MARKS = str.maketrans("[],'", "    ")
YAML_NAME = re.compile(r"'([^']+)'")
BANNER = "LAMMPS ("
BEFORE_HEADER = "Per MPI rank memory allocation"


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
        Of the fix nvt, npt, temp/csvr or langevin that was active; None also where its target
        is a variable.
    box : "fixed", "barostat" or "deformed"
        By the fixes npt, nph, press/berendsen, or deform.
    unaccounted : str
        Why Econserve may change in a sound run at a fixed box; empty where it may not.
    anew : bool
        Whether fixes, velocities or atoms were changed since the run before: Econserve begins anew.
    """

    columns: dict[str, np.ndarray]
    finished: bool
    minimised: bool
    timestep_fs: float | None
    thermostat: tuple[float, float, float] | None
    box: Literal["fixed", "barostat", "deformed"] = "fixed"
    unaccounted: str = NOT_ECHOED
    anew: bool = True


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
        As the log tells them.
    undated : bool
        Whether there was thermo output without a Step column, which is in no run.
    """

    runs: tuple[ThermoRun, ...]
    error: str | None
    warnings: tuple[str, ...]
    truncated: bool
    units: str | None = None
    undated: bool = False

    def n_runs(self, column: str = "Step") -> int:
        """Return how many MD runs have lines with this column."""
        dynamics = (run.columns for run in self.runs if not run.minimised)
        return sum(len(columns.get(column, ())) > 0 for columns in dynamics)

    def column(self, name: str) -> np.ndarray:
        """Return one column over all MD runs, NaN in runs without it; a step once, the last."""
        return self.table([name])[:, 1]

    def table(self, names: list[str]) -> np.ndarray:
        """Return (m, 1 + len(names)): Step and the named columns of all MD runs, by step."""
        blocks = [np.empty((0, 1 + len(names)))]
        for run in self.runs:
            if not run.minimised:
                steps = run.columns["Step"]
                absent = np.full(len(steps), np.nan)
                values = [run.columns.get(name, absent) for name in names]
                blocks.append(np.stack([steps, *values], axis=1))
        rows = np.concatenate(blocks)
        if np.all(np.diff(rows[:, 0]) > 0):
            return rows
        latest_first = rows[::-1]
        return latest_first[np.unique(latest_first[:, 0], return_index=True)[1]]

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
        self._rows = array("d")  # of lists of floats, a long log would need ten times as much
        self._header_is_next = False
        self.units: str | None = None
        self._timestep: float | None = None
        self._fixes = Fixes()
        self._minimising = False
        self._undated = False
        self._error: str | None = None
        self._warnings: list[str] = []
        self.cut = False

    def take(self, line: str) -> None:
        words = line.split()
        if not words:
            return
        if line.startswith("ERROR"):
            self._error = self._error or line.strip()
        elif line.startswith("WARNING"):
            self._warnings.append(line.strip())
        elif names := self._header(line, words):
            self._close(finished=False)
            self._names, self._header_is_next = names, False
        elif line.startswith(BEFORE_HEADER):
            self._close(finished=False)
            self._header_is_next = True
        elif line.startswith(BANNER):
            self._close(finished=False)
            self._fixes = Fixes()
        elif line.startswith("Loop time of"):
            self._close(finished=True)
        elif self._names is not None:
            self._take_row(line)
        else:
            self._header_is_next = False
            self._take_command(line.partition("#")[0].split())

    def _header(self, line: str, words: list[str]) -> list[str]:
        """Return the names of the columns if this line gives them."""
        if words[0] == "keywords:":
            return YAML_NAME.findall(line)
        expected = words[0] == "Step" or (self._header_is_next and words[0][0].isalpha())
        return words if expected and all(as_float(word) is None for word in words) else []

    def _take_row(self, line: str) -> None:
        words = line.removeprefix("  -").translate(YAML_MARKS).split()
        if len(words) != len(self._names or ()) or not line.endswith("\n"):
            return
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            return  # text that a fix or variable printed inside the block
        self._rows.extend(numbers)

    def _take_command(self, words: list[str]) -> None:
        """Remember the settings that LAMMPS tells before a run: echoed, or on the screen only."""
        if not words:
            return
        self._fixes.take(words)
        if words[0] == "units" and len(words) == 2:
            self.units = words[1]
        elif words[:3] == ["Unit", "style", ":"]:
            self.units = words[-1]
        elif words[0] in ("minimize", "run"):
            self._minimising = words[0] == "minimize"
        elif words[:2] == ["Setting", "up"]:
            self._minimising = "minimization" in words
        elif (words[0] == "timestep" and len(words) == 2) or words[:3] == ["Time", "step", ":"]:
            self._timestep = as_float(words[-1]) or self._timestep

    def _close(self, finished: bool) -> None:
        """End the open block, if one is open."""
        if self._names is None:
            return
        if "Step" in self._names:
            self._runs.append(self._run(self._names, finished))
        else:
            self._undated = True
        self._names, self._rows, self._minimising = None, array("d"), False

    def _run(self, names: list[str], finished: bool) -> ThermoRun:
        """Return the open block; its columns share one table."""
        to_ps, _, to_ev = self._factors()
        table = np.asarray(self._rows).reshape(-1, len(names))
        columns = dict(zip(names, table.T, strict=True))
        for name, values in columns.items():
            values *= to_ev if name in ENERGIES else to_ps if name in ("Time", "Dt") else 1.0
        target, anew = self._fixes.target(), self._fixes.changed
        self._fixes.changed = False
        return ThermoRun(
            columns=columns,
            finished=finished,
            minimised=self._minimising,
            timestep_fs=None if self._timestep is None else self._timestep * to_ps * 1000,
            thermostat=target and (target.start_K, target.stop_K, target.damping * to_ps),
            box=self._fixes.box(),
            unaccounted=self._fixes.unaccounted(),
            anew=anew or not self._runs or self._runs[-1].minimised,
        )

    def _factors(self) -> tuple[float, float, float]:
        """Return the factors to ps, Å/ps and eV; of unknown units the caller is told at the end."""
        return UNIT_FACTORS.get(self.units or "metal", UNIT_FACTORS["metal"])

    def result(self) -> Thermo:
        truncated = self.cut or (self._names is not None and self._error is None)
        self._close(finished=False)
        found = tuple(self._runs), self._error, tuple(self._warnings), truncated
        return Thermo(*found, units=self.units, undated=self._undated)
