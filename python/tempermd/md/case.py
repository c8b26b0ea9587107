"""A case (what decides how a run goes), its stages, and the LAMMPS variables that say it."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tempermd.md.data_file import data_elements
from tempermd.records import Spec, sha256_json

DUMP = "trajectory.lammpstrj"
LOG = "log.lammps"
DATA = "start.data"
MODEL = "model.nequip.pth"
"""Names inside an attempt; short ones, so that LAMMPS never meets a path with a space."""


class Stage(Spec):
    """A part of a run in which the target temperature is constant or linear in time.

    ``breaks`` says that the structure is meant to take damage: that is no fault of a model then.
    """

    kind: Literal["ramp", "hold"]
    first_step: int
    last_step: int
    start_temperature_K: float
    stop_temperature_K: float
    box: Literal["fixed", "barostat", "deformed"] = "fixed"
    breaks: bool = False


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


def lammps_arguments(case: Case, data: str, model: str) -> list[str]:
    """Return the options that make ``lmp -in nanotube.in`` run this case.

    ``data`` and ``model`` are the names of the files as seen from where it will run.
    """
    variables = {
        **potential_variables(case, data, model),
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
    return as_options(variables)


def potential_variables(case: Case, data: str, model: str) -> dict[str, str]:
    """Return the variables that every input script reads."""
    variables = {
        "potential": case.potential,
        "data": data,
        "elements": " ".join(data_elements(case.structure)),
    }
    return variables | ({"model": model} if case.potential == "nequip" else {})


def as_options(variables: dict[str, str]) -> list[str]:
    """Return variables as options of ``lmp``."""
    return [word for name, value in variables.items() for word in ("-var", name, value)]


def environment() -> dict[str, str]:
    """One thread for each LAMMPS, unless the user asks otherwise: runs share the cores."""
    return {"OMP_NUM_THREADS": "1", **os.environ}
