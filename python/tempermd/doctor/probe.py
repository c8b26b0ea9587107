"""What a job of the doctor's looks at on its node: ``python -m tempermd.doctor.probe FOLDER``."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from tempermd import lmp
from tempermd.doctor.finding import finding_of
from tempermd.engine import END_VARIABLE, available_cores
from tempermd.records import Record, UserError, atomic_write, read_record, write_record

FOUND, ASKED = "found.json", "asked.json"
LMP_S = 120.0
MODEL_INPUT = """\
units metal
atom_style atomic
lattice diamond 3.57
region box block 0 2 0 2 0 2
create_box 1 box
create_atoms 1 box
mass 1 12.011
pair_style nequip{device}
pair_coeff * * {model} C
velocity all create 300 1
fix 1 all nve
run 5
"""
RANKS_INPUT = """\
units lj
atom_style atomic
lattice fcc 0.8442
region box block 0 4 0 4 0 4
create_box 1 box
create_atoms 1 box
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1 1
fix 1 all nve
run 5
"""


class Asked(Record):
    """What the doctor tells its job."""

    format_name: ClassVar[str] = "tempermd-doctor-asked"

    tempermd_version: str
    token: str
    gpus: int
    walltime_s: int | None


class Found(Record):
    """What the job found."""

    format_name: ClassVar[str] = "tempermd-doctor-found"

    node: str
    unix_s: float
    findings: list[tuple[str, bool, str]]


def probe(folder: str) -> str:
    """Look at everything, leave it in the shared folder, and return the node's name."""
    place = Path(folder)
    asked = read_record(place / ASKED, Asked)
    checks: dict[str, Callable[[], str]] = {
        "node": _node,
        "tempermd": lambda: _version(asked.tempermd_version),
        "shared folder": lambda: _shared(place, asked.token),
        "time left": lambda: _time_left(asked.walltime_s),
        "LAMMPS": lambda: _model(place, asked.gpus),
        "ranks": lambda: _ranks(place),
    }
    if asked.gpus:
        checks["GPUs"] = lambda: _gpus(asked.gpus)
    findings = [finding_of(subject, check) for subject, check in checks.items()]
    lines = [(one.subject, one.good, one.detail) for one in findings]
    write_record(place / FOUND, Found(node=platform.node(), unix_s=time.time(), findings=lines))
    return platform.node()


def _node() -> str:
    return f"{platform.node()}: {available_cores()} cores, Python {platform.python_version()}"


def _version(wanted: str) -> str:
    from importlib import metadata

    here = metadata.version("tempermd")
    if here != wanted:
        raise UserError(f"the node imports version {here}, here it is {wanted}")
    return f"version {here} imports from {Path(lmp.__file__).parent}"


def _shared(folder: Path, token: str) -> str:
    """Write, rename, link and lock where the doctor sees it, and read what the doctor wrote."""
    if (folder / "token").read_text() != token:
        raise UserError(f"{folder}: the node reads something else than was written here")
    part, whole, link = (folder / name for name in ("part", "whole", "link"))
    part.write_text(token)
    part.replace(whole)
    os.link(whole, link)
    try:
        os.link(whole, link)
        raise UserError(f"{folder}: a second link to the same name was not refused")
    except FileExistsError:
        pass
    with (folder / "lock").open("w") as first, (folder / "lock").open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raise UserError(f"{folder}: file locks do nothing; mount it with flock")
        except BlockingIOError:
            pass
    with atomic_write(folder / "written") as temporary:
        temporary.write_text(token)
    return f"{folder}: write, rename, link and lock work"


def _time_left(walltime_s: int | None) -> str:
    if walltime_s is None:
        return "no end: no scheduler"
    end = os.environ.get(END_VARIABLE, "")
    if not end.isdigit():
        raise UserError(f"{END_VARIABLE} is not set; runs would not know when to stop")
    left_s = int(end) - time.time()
    if not 0 < left_s <= walltime_s + 60:
        raise UserError(f"{left_s:.0f} s of {walltime_s} s: the node's clock or Slurm is wrong")
    return f"{left_s:.0f} s of {walltime_s} s"


def _model(folder: Path, gpus: int) -> str:
    """Run a few steps with the shipped model."""
    model = lmp.potentials_folder() / "carbon_base.nequip.pth"
    device = " device cuda" if gpus else ""
    script = folder / "in.model"
    script.write_text(MODEL_INPUT.format(model=model, device=device))
    wall_s = _run(script, [])
    return f"5 steps with the plugin{' on a GPU' if gpus else ''} in {wall_s:.1f} s"


def _ranks(folder: Path) -> str:
    script = folder / "in.ranks"
    script.write_text(RANKS_INPUT)
    return f"two ranks by mpirun in {_run(script, lmp.mpirun_command(2)):.1f} s"


def _run(script: Path, prefix: list[str]) -> float:
    arguments = ["-in", script.name, "-log", "none"]
    done = lmp.run_process(arguments, script.parent, timeout_s=LMP_S, prefix=prefix)
    if done.timed_out:
        raise UserError(f"no end after {LMP_S:.0f} s")
    if done.exit_code != 0:
        lines = [line for line in done.stdout_tail.splitlines() if line.strip()]
        said = "; ".join(line.strip() for line in lines[-2:]) or "nothing printed"
        raise UserError(f"lmp ended with code {done.exit_code}, signal {done.signal}: {said}")
    return done.wall_s


def _gpus(wanted: int) -> str:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    count = listed.stdout.count("GPU ")
    if count < wanted:
        raise UserError(f"the profile says {wanted}, nvidia-smi shows {count}")
    return f"{count} by nvidia-smi"


if __name__ == "__main__":
    probe(sys.argv[1])  # behind it an array script gives --task and --of
