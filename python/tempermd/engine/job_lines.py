"""Shell lines that every job of ours begins with, whichever scheduler runs it."""

from __future__ import annotations

import os
import shlex

from tempermd.engine.profile import EngineProfile

END_VARIABLE = "TEMPERMD_JOB_END_UNIX_S"
"""Environment variable of a job's tasks: when the job will be ended (s since 1970)."""

_LEFT_OF_SLURM = r"""left=$(timeout 10 squeue -h -j "$SLURM_JOB_ID" -o %L 2>/dev/null | awk '
  /^[0-9:-]+$/ {  # days-hours:minutes:seconds, as much of it as is not zero
    n = split($0, part, /[-:]/); split("1 60 3600 86400", unit, " ")
    for (i = 0; i < n; i++) s += part[n - i] * unit[i + 1]
    print s; exit }')"""


def end_lines(profile: EngineProfile, scheduler: str) -> list[str]:
    """Return the lines that export when the job ends, by the clock of its own node.

    Slurm is asked how many seconds are left, not when the job ends: its controller's clock may
    differ from the node's. Elsewhere the walltime counts from now.
    """
    if scheduler == "local":
        return []
    ask = [_LEFT_OF_SLURM] if scheduler == "slurm" else ["left="]
    return [*ask, f"export {END_VARIABLE}=$(( $(date +%s) + ${{left:-{profile.walltime_s}}} ))"]


def environment_lines(profile: EngineProfile, threads: int) -> list[str]:
    """Return the lines of the site's setup and of what our programs want in their environment."""
    lines = list(profile.setup)
    if os.environ.get("PYTHONPATH"):
        lines.append(f"export PYTHONPATH={shlex.quote(os.environ['PYTHONPATH'])}")
    lines.append(f"export OMP_NUM_THREADS={threads}")
    if profile.nodes == 1:
        # within a job MPICH starts ranks by srun, whose steps wait for each other
        lines.append("export HYDRA_LAUNCHER=fork")
    return lines
