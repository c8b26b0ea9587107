"""Slurm by its own commands: submit, ask, cancel; never ``sacct``, never without a time limit."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tempermd.engine.array_script import write_array
from tempermd.records import UserError

__all__ = ["ENDED", "GONE", "cancel", "jobs", "named", "reason", "submit", "write_array"]

PATIENCE_S = 20.0
"""How long a command of Slurm may take; a controller under load answers late or never."""
GONE = "GONE"
"""State of a job that Slurm has forgotten: it ended, how is not known."""
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    GONE,
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
"""States in which a job will not run again by itself."""


def submit(script: Path) -> str:
    """Hand a script to ``sbatch`` and return the job's id; faults are Slurm's own sentence."""
    code, out, err = _run(["sbatch", "--parsable", str(script)])
    if code != 0:
        raise UserError(f"sbatch refused {script}: {_sentence(err)}")
    return out.strip().split(";")[0]


def jobs(ids: Iterable[str]) -> dict[str, str]:
    """Return the state of each job, in Slurm's words; an array stands for its tasks.

    Parameters
    ----------
    ids
        Of jobs ("7"), arrays ("7") or tasks of arrays ("7_3").

    Returns
    -------
    dict
        By id, for an array by the ids of its tasks; ``GONE`` for what Slurm has forgotten
        (after ``MinJobAge``, by default five minutes).

    Raises
    ------
    UserError
        When Slurm does not answer; then nothing is known, which is not the same as GONE.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return {}
    found = _from_squeue(wanted)
    missing = [number for number in wanted if number not in _owners(found)]
    for number in missing:
        found |= _from_scontrol(number) or {number: GONE}
    return found


def reason(number: str) -> str:
    """Return why a job waits, in Slurm's words; empty where Slurm gives none."""
    code, out, _ = _run(["squeue", "-h", "-o", "%r", "-j", number])
    lines = [line for line in out.split() if line != "None"]
    return lines[0] if code == 0 and lines else ""


def named(prefix: str) -> list[str]:
    """Return the ids of this user's jobs whose names begin so and that have not ended."""
    code, out, err = _run(["squeue", "-h", "--me", "-o", "%i %j"])
    if code != 0:
        raise UserError(f"squeue: {_sentence(err)}")
    pairs = (line.split(maxsplit=1) for line in out.splitlines())
    return [pair[0] for pair in pairs if len(pair) == 2 and pair[1].startswith(prefix)]


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs; those that have ended already are no fault."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return
    code, _, err = _run(["scancel", *wanted])
    if code != 0 and "Invalid job id" not in err:
        raise UserError(f"scancel: {_sentence(err)}")


def _from_squeue(wanted: list[str]) -> dict[str, str]:
    """Ask ``squeue``, which refuses a single id that it does not know."""
    command = ["squeue", "-h", "-r", "--states=all", "-o", "%i %T", "-j", ",".join(wanted)]
    code, out, err = _run(command)
    if code != 0 and "Invalid job id" not in err:
        raise UserError(f"squeue: {_sentence(err)}")
    pairs = (line.split() for line in out.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _from_scontrol(number: str) -> dict[str, str]:
    """Ask ``scontrol`` for one job or array; empty for what it does not know."""
    code, out, err = _run(["scontrol", "show", "job", "--oneliner", number])
    if code != 0 and "Invalid job id" not in err:
        raise UserError(f"scontrol: {_sentence(err)}")
    found = {}
    for line in out.splitlines():
        fields = dict(re.findall(r"(\w+)=(\S*)", line))
        task = fields.get("ArrayTaskId")
        name = f"{fields.get('ArrayJobId')}_{task}" if task else fields.get("JobId")
        if name and "JobState" in fields:
            found[name] = fields["JobState"]
    return found


def _owners(found: dict[str, str]) -> set[str]:
    """Return the ids under which a job may have been asked for: its own and its array's."""
    return set(found) | {number.split("_")[0] for number in found}


def _run(command: list[str]) -> tuple[int, str, str]:
    """Run one command of Slurm, away from the terminal's Ctrl-C, at most ``PATIENCE_S``."""
    if shutil.which(command[0]) is None:
        raise UserError(f"no '{command[0]}' here: run this where Slurm's commands are")
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{command[0]} gave no answer in {PATIENCE_S:.0f} s; Slurm is down or overloaded, "
            "try again later"
        ) from None
    return done.returncode, done.stdout, done.stderr


def _sentence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-2:]) or "it gave no reason"
