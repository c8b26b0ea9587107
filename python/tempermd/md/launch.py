"""How one LAMMPS is started: ranks, threads, the cores and the GPUs it may use."""

from __future__ import annotations

import os
import sys

from pydantic import Field, PositiveInt

from tempermd import lmp
from tempermd.records import Spec

START = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: end with who started us
if os.getppid() != parent:
    sys.exit(1)
if sys.argv[2]:
    os.sched_setaffinity(0, {int(core) for core in sys.argv[2].split(",")})
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Becomes the command after the parent's id and the cores, pinned to these; children inherit it."""


class Launch(Spec):
    """How one LAMMPS is started."""

    ranks: PositiveInt = 1
    threads: PositiveInt = Field(default=1, description="of OpenMP, for each rank")
    gpus: int = Field(default=0, ge=0)
    cores: tuple[int, ...] | None = Field(default=None, description="cores this run may use")
    devices: tuple[str, ...] | None = Field(
        default=None, description="GPUs this run may use, as CUDA_VISIBLE_DEVICES names them"
    )

    def prefix(self) -> list[str]:
        """Return what stands before the command of ``lmp``."""
        if self.ranks == 1 and self.cores is None:
            return []
        cores = ",".join(map(str, self.cores or ()))
        start = [sys.executable, "-S", "-c", START, str(os.getpid()), cores]
        if self.ranks == 1:
            return start
        return [*start, *lmp.mpirun_command(self.ranks)]

    def environment(self) -> dict[str, str]:
        """Return the variables of the process; what the user has set for MPI stays."""
        variables = {"OMP_NUM_THREADS": str(self.threads)}
        if self.devices is not None:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices)
        if self.ranks > 1:
            # inside a batch job mpirun would ask the batch system to start its ranks
            variables["HYDRA_LAUNCHER"] = os.environ.get("HYDRA_LAUNCHER", "fork")
        return variables
