"""The Slurm array script that is written for a user to read, change and submit."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tempermd.engine.job_lines import END_VARIABLE, end_lines, environment_lines
from tempermd.engine.profile import EngineProfile, Resources
from tempermd.records import UserError, atomic_write

MORE_TO_DO = 75
"""Exit code of a command that was stopped by the end of its time and wants to go on."""
MAX_RESTARTS = 100
"""So often an array task goes back into the queue by itself at most."""


def write_array(
    path: Path,
    profile: EngineProfile,
    command: Sequence[str],
    n_tasks: int,
    resources: Resources,
    *,
    log_folder: Path,
    name: str = "tempermd",
) -> Path:
    """Write a script for ``sbatch`` in which each array task does its share of some work.

    Array task i of N runs ``command --task i --of N`` in the folder in which this is called. When
    the command ends with exit code 75, its task is requeued and later runs the same again.

    Parameters
    ----------
    command
        Absolute paths, since a job has another PATH.
    n_tasks
        Array tasks, not more than the site's ``MaxArraySize``.
    resources
        Of one array task.
    log_folder
        Is made; gets a file per array task, to which a requeued one appends.

    Returns
    -------
    Path
        The script.
    """
    if profile.kind != "slurm_array":
        raise UserError(f"an array script wants a profile of kind slurm_array, not {profile.kind}")
    if n_tasks < 1:
        raise UserError("an array script wants at least one task")
    log_folder = log_folder.resolve()
    log_folder.mkdir(parents=True, exist_ok=True)
    lines = ["#!/bin/bash", *_about(path, n_tasks)]
    lines += _directives(profile, n_tasks, resources, log_folder, name)
    lines += ["", "# the environment"]
    lines += environment_lines(profile, resources.threads)
    lines += ["", f"# {END_VARIABLE}: when this job ends, by the clock of this node"]
    lines += end_lines(profile, "slurm")
    lines += ["", *_body(command, n_tasks)]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    path.chmod(path.stat().st_mode | 0o100)
    return path


def _about(path: Path, n_tasks: int) -> list[str]:
    return [
        f"# Written by tempermd: {n_tasks} array tasks, each does its share of the work.",
        "# Read it, change it if the site wants more, and submit it (again, too: what is",
        f"# finished is not done twice):  sbatch {path.name}",
    ]


def _directives(
    profile: EngineProfile, n_tasks: int, resources: Resources, log_folder: Path, name: str
) -> list[str]:
    """Return the #SBATCH lines, each with its reason above it."""
    limit = f"%{profile.max_running}" if profile.max_running else ""
    memory = resources.memory_GB
    directives = [
        ("its name in squeue", f"--job-name={name}"),
        (
            "array tasks by number" + (", and how many at a time" if limit else ""),
            f"--array=0-{n_tasks - 1}{limit}",
        ),
        ("where", f"--partition={profile.partition}" if profile.partition else None),
        ("who pays", f"--account={profile.account}" if profile.account else None),
        ("one node, one task, so many cores", "--nodes=1"),
        (None, "--ntasks=1"),
        (None, f"--cpus-per-task={resources.cores}"),
        ("GPUs", f"--gpus-per-node={resources.gpus}" if resources.gpus else None),
        ("memory (MB)", None if memory is None else f"--mem={round(1000 * memory)}"),
        ("longest time", f"--time={profile.walltime}"),
        ("a lost node puts its task back into the queue, and its log goes on", "--requeue"),
        (None, "--open-mode=append"),
        ("a warning before the end; runs look at the clock, too", _signal(profile)),
        ("where it runs, and what it prints", f'--chdir="{Path.cwd()}"'),
        (None, f'--output="{log_folder}/%A_%a.log"'),
    ]
    lines = []
    for about, directive in directives:
        if directive is not None:
            lines += [f"# {about}"] if about else []
            lines.append(f"#SBATCH {directive}")
    return lines + list(profile.options)


def _signal(profile: EngineProfile) -> str:
    """Return the option by which Slurm warns the script: half a minute ahead, less if short."""
    return f"--signal=B:TERM@{max(1, min(30, profile.walltime_s // 20))}"


def _body(command: Sequence[str], n_tasks: int) -> list[str]:
    """Return the lines that run the command, pass signals on, and requeue on exit code 75."""
    words = shlex.join(command)
    return [
        "# the work; a signal to this script is passed on, and its end is waited for",
        f'{words} --task "$SLURM_ARRAY_TASK_ID" --of {n_tasks} &',
        "work=$!",
        "trap 'kill -TERM $work 2>/dev/null' TERM INT",
        'while kill -0 "$work" 2>/dev/null; do wait "$work"; code=$?; done',
        "",
        f"# {MORE_TO_DO} says: stopped by the end of its time, there is more to do",
        "restarts=${SLURM_RESTART_COUNT:-0}",
        f'if [ "$code" -eq {MORE_TO_DO} ] && [ "$restarts" -lt {MAX_RESTARTS} ]; then',
        '  timeout 20 scontrol requeue "$SLURM_JOB_ID" && sleep 60',
        "fi",
        'exit "$code"',
    ]
