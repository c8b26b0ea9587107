"""One molecular dynamics run: a directory named by its case, numbered attempts, one result."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from tempermd import lmp
from tempermd.records import (
    Record,
    Spec,
    UserError,
    atomic_write,
    parse_spec,
    read_record,
    sha256_file,
    sha256_json,
    write_record,
)

DUMP = "trajectory.lammpstrj"
LOG = "log.lammps"
RESULT = "result.json"
QUENCH = "quench.json"
DATA = "start.data"
MODEL = "model.nequip.pth"

MODEL_FAILURES = re.compile(
    r"lost atoms|non-numeric|non-finite|not finite|out of range atoms|simulation unstable"
    r"|neighbor list overflow|too many neighbors|atoms missing",
    re.IGNORECASE,
)
"""LAMMPS errors that a healthy potential does not cause."""

KILLING_SIGNALS = (2, 9, 15, 24)
"""Sent from outside (Ctrl-C, kill, walltime, CPU limit); others come from LAMMPS itself."""


class Stage(Spec):
    """A part of a run in which the target temperature is constant or linear in time."""

    kind: Literal["ramp", "hold"]
    first_step: int
    last_step: int
    start_temperature_K: float
    stop_temperature_K: float


class Case(Spec):
    """Everything that decides how a run goes: potential, tube, protocol and seed.

    Steps count timesteps of the run, from 0. Names and paths of files are for the reader;
    the identity of a case comes from their contents.
    """

    potential: Literal["nequip", "lcbop"] = "nequip"
    model: str | None = None
    model_sha256: str | None = None
    model_name: str = ""
    structure: str
    structure_sha256: str
    structure_name: str = ""
    temperature_K: PositiveFloat
    start_temperature_K: PositiveFloat = 300.0
    ramp_steps: int = Field(ge=0)
    hold_steps: int = Field(ge=0)
    timestep_fs: PositiveFloat = 0.5
    damping_fs: PositiveFloat = 100.0
    seed: int = Field(ge=1, le=900_000_000)
    dump_every: PositiveInt = 100
    thermo_every: PositiveInt = 10
    quench_frames: int = Field(default=4, ge=0)

    @property
    def planned_steps(self) -> int:
        """Number of the last step of a complete run."""
        return self.ramp_steps + self.hold_steps

    @property
    def stages(self) -> list[Stage]:
        """The ramp and the hold, where they have any steps."""
        ramp = Stage(
            kind="ramp",
            first_step=0,
            last_step=self.ramp_steps,
            start_temperature_K=self.start_temperature_K,
            stop_temperature_K=self.temperature_K,
        )
        hold = Stage(
            kind="hold",
            first_step=self.ramp_steps,
            last_step=self.planned_steps,
            start_temperature_K=self.temperature_K,
            stop_temperature_K=self.temperature_K,
        )
        return [stage for stage in (ramp, hold) if stage.last_step > stage.first_step]

    @property
    def id(self) -> str:
        """First 16 hex digits of the sha256 of the state point, paths and names left out."""
        labels = {"model", "model_name", "structure", "structure_name"}
        return sha256_json(self.model_dump(mode="json", exclude=labels))[:16]


class RunResult(Record):
    """How an attempt at a case ended; ``reason`` is one sentence for a reader."""

    format_name: ClassVar[str] = "tempermd-run"

    outcome: Literal["finished", "model_failure", "infrastructure_failure"]
    reason: str
    exit_code: int
    signal: int | None
    last_step: int = Field(description="last step in the thermo output, -1 when there is none")
    planned_steps: int
    wall_s: float
    attempt: str
    versions: dict[str, str]


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


def run(case: Case, root: Path | str) -> RunResult:
    """Run a case unless its result is there already.

    An infrastructure failure is recorded in its attempt only, so the next call tries again
    in a new attempt. A finished run and a model failure are results, published once.

    Parameters
    ----------
    case : Case
    root : path
        Folder of run directories; this run's is ``root / case.id``.

    Returns
    -------
    RunResult
    """
    folder = Path(root) / case.id
    if (folder / RESULT).exists():
        return read_record(folder / RESULT, RunResult)
    _check_files(case)
    lmp.lmp_command()
    with atomic_write(folder / "case.json") as temporary:
        temporary.write_text(case.model_dump_json(indent=1) + "\n")
    attempt = _new_attempt(folder)
    result = _run_attempt(case, attempt)
    write_record(attempt / RESULT, result)
    if result.outcome == "infrastructure_failure":
        return result
    return _publish(attempt / RESULT, folder / RESULT)


def read_case(folder: Path | str) -> Case:
    """Read the case of a run directory."""
    import json

    path = Path(folder) / "case.json"
    if not path.is_file():
        raise UserError(f"{folder}: not a run directory (it has no case.json)")
    return parse_spec(json.loads(path.read_text()), Case, str(path))


def read_result(folder: Path | str) -> RunResult | None:
    """Read the published result of a run directory, or else that of its newest attempt."""
    folder = Path(folder)
    if (folder / RESULT).exists():
        return read_record(folder / RESULT, RunResult)
    attempts = sorted(folder.glob(f"attempt-*/{RESULT}"))
    return read_record(attempts[-1], RunResult) if attempts else None


def newest_attempt(folder: Path | str) -> Path | None:
    """Return the attempt of the published result, or else the newest one, or None."""
    folder = Path(folder)
    result = read_result(folder)
    if result is not None:
        return folder / result.attempt
    return max(folder.glob("attempt-*"), default=None)


def lammps_arguments(case: Case, data: str, model: str) -> list[str]:
    """Return the options that make ``lmp -in nanotube.in`` run this case.

    ``data`` and ``model`` are the names of the files as seen from where it will run.
    """
    variables = {
        **_potential_variables(case, data, model),
        "T0": f"{case.start_temperature_K:.10g}",
        "T": f"{case.temperature_K:.10g}",
        "ramp": str(case.ramp_steps),
        "steps": str(case.hold_steps),
        "dt": f"{case.timestep_fs * 1e-3:.10g}",
        "damp": f"{case.damping_fs * 1e-3:.10g}",
        "seed": str(case.seed),
        "every": str(case.dump_every),
        "thermo": str(case.thermo_every),
    }
    return _as_options(variables)


def data_elements(data: Path | str) -> list[str]:
    """Return the element of each atom type of a LAMMPS data file, by its Masses section."""
    from ase.data import atomic_masses, chemical_symbols

    lines = iter(Path(data).read_text(errors="replace").splitlines())
    masses: dict[int, float] = {}
    for line in lines:
        if line.split("#")[0].strip() == "Masses":
            break
    for line in lines:
        words = line.split("#")[0].split()
        if len(words) == 2 and words[0].isdigit():
            masses[int(words[0])] = float(words[1])
        elif words:
            break
    if not masses:
        raise UserError(f"{data}: expected a LAMMPS data file with a Masses section")
    nearest = [int(np.argmin(np.abs(atomic_masses - masses[key]))) for key in sorted(masses)]
    return [chemical_symbols[number] for number in nearest]


def count_atoms(data: Path | str) -> int:
    """Return the number of atoms in the head of a LAMMPS data file."""
    with Path(data).open(errors="replace") as stream:
        for line in stream:
            words = line.split()
            if len(words) == 2 and words[1] == "atoms" and words[0].isdigit():
                return int(words[0])
    raise UserError(f"{data}: expected a LAMMPS data file with a line like '128 atoms'")


def finite_frames(dump: Path | str) -> list[int]:
    """Return the steps of the whole frames of a dump that have no NaN or Inf."""
    return [step for step, whole, finite in _frames(Path(dump)) if whole and finite]


def _frames(dump: Path) -> Iterator[tuple[int, bool, bool]]:
    """Yield step, whether it is whole, and whether it is finite, for each frame of a dump."""
    if not dump.is_file():
        return
    with dump.open("rb") as stream:
        head = b""
        step, expected, seen, finite = -1, -1, 0, True
        for line in stream:
            if line.startswith(b"ITEM: TIMESTEP"):
                if step >= 0:
                    yield step, seen == expected, finite
                step, expected, seen, finite = -1, -1, 0, True
            if line.startswith(b"ITEM:"):
                head = line
            elif head.startswith(b"ITEM: TIMESTEP"):
                step = int(line)
            elif head.startswith(b"ITEM: NUMBER OF ATOMS"):
                expected = int(line)
            elif head.startswith(b"ITEM: ATOMS"):
                seen += line.endswith(b"\n")
                finite = finite and b"n" not in line.lower()  # nan, -nan, inf
        if step >= 0:
            yield step, seen == expected, finite


def _check_files(case: Case) -> None:
    """Refuse files that are gone or are no longer those of the plan."""
    pairs = [(case.structure, case.structure_sha256)]
    if case.potential == "nequip":
        if case.model is None or case.model_sha256 is None:
            raise UserError("a case with potential 'nequip' needs a model and its sha256")
        pairs.append((case.model, case.model_sha256))
    for path, expected in pairs:
        if sha256_file(path) != expected:
            raise UserError(f"{path}: changed since this run was planned; plan it anew")


def _new_attempt(folder: Path) -> Path:
    """Make the next attempt's folder; two processes never get the same one."""
    number = 1
    while True:
        attempt = folder / f"attempt-{number:03d}"
        try:
            attempt.mkdir()
            return attempt
        except FileExistsError:
            number += 1


def _publish(attempt_result: Path, published: Path) -> RunResult:
    """Publish an attempt's result; where another attempt was faster, its result stands."""
    try:
        os.link(attempt_result, published)
    except FileExistsError:
        pass  # first wins
    return read_record(published, RunResult)


def _run_attempt(case: Case, attempt: Path) -> RunResult:
    (attempt / DATA).symlink_to(Path(case.structure).resolve())
    if case.model is not None:
        (attempt / MODEL).symlink_to(Path(case.model).resolve())
    script = lmp.inputs_folder() / "nanotube.in"
    arguments = ["-in", str(script), "-log", LOG, *lammps_arguments(case, DATA, MODEL)]
    process = lmp.run_process(arguments, cwd=attempt, env=_environment())
    (attempt / "screen.txt").write_text(process.stdout_tail)
    progress = read_progress(attempt / LOG)
    outcome, reason = judge(case, process, progress, attempt / DUMP)
    wall_s = process.wall_s
    if outcome != "infrastructure_failure":
        wall_s += _quench(case, attempt, last_ones=outcome == "model_failure")
    return RunResult(
        outcome=outcome,
        reason=reason,
        exit_code=process.exit_code,
        signal=process.signal,
        last_step=progress.last_step,
        planned_steps=case.planned_steps,
        wall_s=wall_s,
        attempt=attempt.name,
        versions=lmp.versions(),
    )


def _environment() -> dict[str, str]:
    """One thread for each LAMMPS, unless the user asks otherwise: runs share the cores."""
    return {"OMP_NUM_THREADS": "1", **os.environ}


def _potential_variables(case: Case, data: str, model: str) -> dict[str, str]:
    variables = {
        "potential": case.potential,
        "data": data,
        "elements": " ".join(data_elements(case.structure)),
    }
    return variables | ({"model": model} if case.potential == "nequip" else {})


def _as_options(variables: dict[str, str]) -> list[str]:
    return [word for name, value in variables.items() for word in ("-var", name, value)]


@dataclass
class Progress:
    """How far a log got: its last thermo step, the first non-finite number, the last lines."""

    last_step: int = -1
    nonfinite: str | None = None
    error: str | None = None
    tail: list[str] = field(default_factory=list)


def read_progress(log: Path | str) -> Progress:
    """Read how far a LAMMPS run got from its log.

    A line is thermo output when it follows a head that begins with ``Step`` and holds as
    many numbers as the head has names.
    """
    progress = Progress()
    if not Path(log).is_file():
        return progress
    names: list[str] = []
    with Path(log).open(errors="replace") as stream:
        for line in stream:
            words = line.split()
            if words[:1] == ["Step"]:
                names = words
            elif words[:1] == ["Loop"]:
                names = []
            elif names and len(words) == len(names) and words[0].isdigit():
                _take_thermo(progress, names, words)
            elif line.startswith("ERROR"):
                progress.error = line.split(" (src/")[0].split(" (/")[0].strip()
            if words:
                progress.tail = [*progress.tail[-4:], line.strip()]
    return progress


def _take_thermo(progress: Progress, names: list[str], words: list[str]) -> None:
    progress.last_step = int(words[0])
    for name, word in zip(names, words, strict=True):
        try:
            finite = math.isfinite(float(word))
        except ValueError:
            return  # not a thermo line after all
        if not finite and progress.nonfinite is None:
            progress.nonfinite = f"{name} became {word} at step {words[0]}"


def judge(
    case: Case, process: lmp.ProcessResult, progress: Progress, dump: Path
) -> tuple[Literal["finished", "model_failure", "infrastructure_failure"], str]:
    """Tell a finished run, a failed model and a failed machine apart, with the reason.

    LAMMPS's exit code proves nothing alone: a run full of NaN ends with 0.
    """
    last_lines = " | ".join(progress.tail[-3:]) or process.stdout_tail.strip()[-300:]
    where = f"after step {progress.last_step} of {case.planned_steps}"
    if progress.nonfinite:
        return "model_failure", progress.nonfinite
    error = progress.error or _error_in(process.stdout_tail)
    if error and MODEL_FAILURES.search(error):
        return "model_failure", f"{error} {where}"
    if process.signal is not None:
        return "infrastructure_failure", f"ended by signal {process.signal} {where}: {last_lines}"
    if process.exit_code != 0:
        cause = error or f"LAMMPS ended with exit code {process.exit_code}"
        return "infrastructure_failure", f"{cause} {where}: {last_lines}"
    if progress.last_step != case.planned_steps:
        return "infrastructure_failure", f"LAMMPS stopped {where}: {last_lines}"
    return _judge_frames(case, dump)


def _judge_frames(
    case: Case, dump: Path
) -> tuple[Literal["finished", "model_failure", "infrastructure_failure"], str]:
    """Judge a run that reached its end by what is in its trajectory."""
    frames = list(_frames(dump))
    broken = [step for step, whole, finite in frames if whole and not finite]
    if broken:
        return "model_failure", f"the trajectory is not finite from step {broken[0]} on"
    expected = case.planned_steps // case.dump_every * case.dump_every
    if not frames or frames[-1][:2] != (expected, True):
        return "infrastructure_failure", (
            f"{dump}: the last frame, of step {expected}, is missing or cut (disk full?)"
        )
    return "finished", f"all {case.planned_steps} steps done"


def _error_in(text: str) -> str | None:
    errors = [line for line in text.splitlines() if "ERROR" in line]
    return errors[-1].split(" (src/")[0].strip() if errors else None


def _quench(case: Case, attempt: Path, *, last_ones: bool) -> float:
    """Minimise the start and some frames into ``quench.json``; return the seconds it took.

    What a failed model makes of its last frames may not have a minimum at all: then there
    are fewer energies, or no file.
    """
    frames = finite_frames(attempt / DUMP)[1:]
    if case.quench_frames == 0 or not frames:
        return 0.0
    count = min(case.quench_frames, len(frames))
    spread = np.linspace(0, len(frames), count + 1)[1:].astype(int) - 1
    chosen = frames[-count:] if last_ones else [frames[index] for index in spread]
    script = lmp.inputs_folder() / "quench.in"
    variables = _potential_variables(case, DATA, MODEL) | {"dump": DUMP}
    arguments = ["-in", str(script), "-log", "quench.log", *_as_options(variables)]
    arguments += ["-var", "frames", *map(str, chosen)]
    process = lmp.run_process(arguments, cwd=attempt, env=_environment())
    quench = read_quench(attempt / "quench.log", count_atoms(case.structure))
    if quench is not None:
        write_record(attempt / QUENCH, quench)
    return process.wall_s


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
