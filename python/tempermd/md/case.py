"""A case (what decides how a run goes), its stages, and the LAMMPS variables that say it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import Field, PositiveFloat, PositiveInt

from tempermd.md.data_file import data_elements
from tempermd.records import Spec, sha256_json

DUMP = "trajectory.lammpstrj"
LOG = "log.lammps"
DATA = "start.data"
MODEL = "model.nequip.pth"
"""Names inside an attempt; short ones, so that LAMMPS never meets a path with a space."""


Box = Literal["fixed", "barostat", "deformed"]


class Stage(Spec):
    """A part of a run in which the target temperature is constant or linear in time.

    A free one has no thermostat: its energy is conserved, its temperature is its own. Of an unknown
    one neither is known. ``breaks`` says that the structure is meant to take damage: that is no
    fault of a model then. ``unaccounted`` says why the conserved energy of LAMMPS may change in a
    sound run; empty where it may not.
    """

    kind: Literal["ramp", "hold", "free", "unknown"]
    first_step: int
    last_step: int
    start_temperature_K: float
    stop_temperature_K: float
    box: Box = "fixed"
    breaks: bool = False
    unaccounted: str = ""

    @property
    def has_target(self) -> bool:
        """Whether a thermostat holds it to a temperature that is known."""
        return self.kind in ("ramp", "hold")


class Protocol(NamedTuple):
    """An input script, and what its second part does to the structure."""

    script: str
    box: Box = "fixed"
    breaks: bool = False
    from_target: bool = False
    """Whether the first part is at the target temperature already."""


PROTOCOLS = {
    "heat": Protocol("nanotube.in"),
    "pull": Protocol("pull.in", box="deformed", breaks=True, from_target=True),
    "npt": Protocol("npt.in", box="barostat"),
    "knock_on": Protocol("knock_on.in", breaks=True, from_target=True),
}


class Case(Spec):
    """Everything that decides how a run goes: potential, tube, protocol and seed.

    Steps count timesteps of the run, from 0. A run has two parts: ``ramp_steps`` to the target
    temperature (or at it, where the protocol says so), then ``hold_steps`` in which the protocol
    happens. Names and paths of files are for the reader; the identity of a case comes from their
    contents.
    """

    protocol: Literal["heat", "pull", "npt", "knock_on"] = "heat"
    strain_per_ps: float = Field(default=0.0, description="of a pull; negative: compression")
    knock_eV: float = Field(default=0.0, ge=0, description="kinetic energy given to an atom")
    knock_atom: PositiveInt = 1
    knock_along: tuple[float, float, float] = (1.0, 0.0, 0.0)
    guard_every: int = Field(default=0, ge=0, description="steps between looks; 0: no guard")
    guard_shortest_A: PositiveFloat = Field(default=1.0, description="distance it stops at")
    guard_force_eV_per_A: PositiveFloat = Field(default=100.0, description="force it stops at")

    potential: Literal["nequip", "lcbop"] = "nequip"
    model: str | None = None
    model_sha256: str | None = None
    model_name: str = ""
    structure: str
    structure_sha256: str
    structure_name: str = ""
    protocol_name: str = ""
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
    def restart_every(self) -> int:
        """Steps between restart files: fifty of them at most, and none closer than 1000."""
        return max(1000, math.ceil(self.planned_steps / 50))

    @property
    def start_K(self) -> float:
        """Temperature in the beginning."""
        at_once = PROTOCOLS[self.protocol].from_target
        return self.temperature_K if at_once else self.start_temperature_K

    @property
    def stages(self) -> list[Stage]:
        """Both parts, where they have any steps."""
        protocol = PROTOCOLS[self.protocol]
        ramp = Stage(
            kind="ramp" if self.start_K != self.temperature_K else "hold",
            first_step=0,
            last_step=self.ramp_steps,
            start_temperature_K=self.start_K,
            stop_temperature_K=self.temperature_K,
        )
        hold = Stage(
            kind="free" if self.protocol == "knock_on" else "hold",
            first_step=self.ramp_steps,
            last_step=self.planned_steps,
            start_temperature_K=self.temperature_K,
            stop_temperature_K=self.temperature_K,
            box=protocol.box,
            breaks=protocol.breaks,
        )
        return [stage for stage in (ramp, hold) if stage.last_step > stage.first_step]

    @property
    def id(self) -> str:
        """First 16 hex digits of the sha256 of the state point, paths and names left out.

        Limits of the guard came later than the first runs: they count where a guard has others
        than the defaults, so that those runs are found again.
        """
        left_out = {"model", "model_name", "structure", "structure_name", "protocol_name"}
        for name in ("guard_shortest_A", "guard_force_eV_per_A"):
            if not self.guard_every or getattr(self, name) == Case.model_fields[name].default:
                left_out.add(name)
        return sha256_json(self.model_dump(mode="json", exclude=left_out))[:16]


def lammps_arguments(
    case: Case, data: str, model: str, changes: Mapping[str, str] | None = None
) -> list[str]:
    """Return the options that make the protocol's input script run this case.

    ``data`` and ``model`` are the names of the files as seen from where it will run; ``changes``
    are variables of the script with other values than the case's.
    """
    variables = {
        **potential_variables(case, data, model),
        "T0": f"{case.start_K:.10g}",
        "T": f"{case.temperature_K:.10g}",
        "ramp": str(case.ramp_steps),
        "steps": str(case.hold_steps),
        "dt": f"{case.timestep_fs * 1e-3:.10g}",
        "damp": f"{case.damping_fs * 1e-3:.10g}",
        "seed": str(case.seed),
        "every": str(case.dump_every),
        "thermo": str(case.thermo_every),
        "restart_every": str(case.restart_every),
        "guard": str(case.guard_every),
    }
    if case.guard_every:
        variables["shortest"] = f"{case.guard_shortest_A:.10g}"
        variables["force"] = f"{case.guard_force_eV_per_A:.10g}"
    if case.protocol == "pull":
        variables["rate"] = f"{case.strain_per_ps:.10g}"
    if case.protocol == "knock_on":
        variables |= {"energy": f"{case.knock_eV:.10g}", "atom": str(case.knock_atom)}
        variables |= {
            f"u{axis}": f"{u:.10g}" for axis, u in zip("xyz", case.knock_along, strict=True)
        }
    return as_options(variables | dict(changes or {}))


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
