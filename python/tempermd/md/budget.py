"""How much time is left until the batch system ends this job."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from tempermd.records import UserError

MARGIN_S = 20.0
LEAST_S = 10.0
END_VARIABLES = ("SLURM_JOB_END_TIME", "TEMPERMD_JOB_END_UNIX_S")
"""Slurm sets its own from 23.02 on; job scripts for older ones and other systems set ours."""


@dataclass(frozen=True)
class Budget:
    """The end of the job, and how long before it a run must begin to stop.

    The wall clock is read once; from then on the monotonic clock counts.

    Parameters
    ----------
    end_unix_s : float or None
        When the job ends; None: never.
    margin_s : float
        For the last restart file, the end of LAMMPS and the record of the attempt.
    """

    end_unix_s: float | None = None
    margin_s: float = MARGIN_S
    _begin: tuple[float, float] = field(
        default_factory=lambda: (time.time(), time.monotonic()), init=False, repr=False
    )

    @classmethod
    def from_environment(cls, margin_s: float = MARGIN_S) -> Budget:
        """Read the end of the job from Slurm's variable, or else from ours."""
        for name in END_VARIABLES:
            text = os.environ.get(name, "")
            if text:
                return cls(_unix_s(name, text), margin_s)
        return cls(None, margin_s)

    def remaining_s(self) -> float:
        """Return the seconds until the job ends, infinite without an end."""
        if self.end_unix_s is None:
            return float("inf")
        begin_unix_s, begin_s = self._begin
        return self.end_unix_s - begin_unix_s - (time.monotonic() - begin_s)

    def __reduce__(self) -> tuple[type[Budget], tuple[float | None, float]]:
        # another process may live on another machine, whose monotonic clock says something else
        return type(self), (self.end_unix_s, self.margin_s)


def _unix_s(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{name}: expected seconds since 1970, got {text!r}") from None
