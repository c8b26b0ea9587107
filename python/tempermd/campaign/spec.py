"""What a campaign is asked for: models, structures, protocols, temperatures and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from tempermd.records import Spec

CONTROL = "LCBOP"
"""Name of the control in reports; no model may have it."""
MODEL_SUFFIX = ".nequip.pth"
DATA_SUFFIXES = (".data", ".lmp", ".lammps-data")


class BuiltStructure(Spec):
    """A structure that is built for the campaign: a tube, perhaps with another around it.

    Defects are drawn by the seed. An amorphous cell is quenched from the melt with Tersoff.
    """

    tube: tuple[int, int] | None = Field(None, description="chiral indices n, m")
    outer: tuple[int, int] | None = Field(None, description="of a second wall around it")
    length_A: PositiveFloat = 15.0
    vacancies: int = Field(0, ge=0)
    stone_wales: int = Field(0, ge=0)
    amorphous_g_cm3: PositiveFloat | None = None
    atoms: int = Field(200, ge=8, description="of an amorphous cell")
    seed: int = 1

    @model_validator(mode="after")
    def _one_kind(self) -> BuiltStructure:
        if (self.tube is None) == (self.amorphous_g_cm3 is None):
            raise ValueError("name either tube = [n, m] or amorphous_g_cm3")
        if self.tube is None and (self.outer or self.vacancies or self.stone_wales):
            raise ValueError("outer, vacancies and stone_wales belong to a tube")
        return self


class ProtocolSpec(Spec):
    """What is done to a structure at each temperature.

    ``heat``: a ramp from the start temperature, then a hold. ``quench``: the other way round, from
    the temperature down. ``pull`` strains along z at ``strain_per_ps`` up to ``largest_strain``
    (negative rates compress), ``npt`` holds at no axial stress, ``knock_on`` gives one atom
    ``knock_eV`` outward; all three after ``ramp_ps`` at (npt: a ramp to) the temperature.
    """

    kind: Literal["heat", "quench", "pull", "npt", "knock_on"] = "heat"
    temperatures_K: list[PositiveFloat] | None = Field(None, description="instead of the spec's")
    structures: list[str] | None = Field(None, description="names; all if not given")
    ramp_ps: float | None = Field(None, ge=0)
    hold_ps: float | None = Field(None, ge=0)
    timestep_fs: PositiveFloat | None = None
    strain_per_ps: float = 0.02
    largest_strain: PositiveFloat = 0.3
    knock_eV: PositiveFloat = 10.0

    @model_validator(mode="after")
    def _pulls_somewhere(self) -> ProtocolSpec:
        if self.kind == "pull" and self.strain_per_ps == 0:
            raise ValueError("strain_per_ps = 0 pulls nothing")
        if self.kind == "pull" and self.hold_ps is not None:
            raise ValueError("a pull lasts for largest_strain / strain_per_ps: leave out hold_ps")
        return self


class RobustnessSpec(Spec):
    """Which models are run on which structures, how, how hot, how long and how often."""

    models: dict[str, str] = Field(
        default={}, description="name -> deployed model, or a list of files"
    )
    structures: dict[str, str | BuiltStructure] = Field(
        default={},
        description="name -> LAMMPS data file, what ASE reads, or what to build; the shipped tube",
    )
    protocols: dict[str, ProtocolSpec] = Field(
        default={}, description="name -> what is done; heating if none"
    )
    temperatures_K: list[PositiveFloat] = Field(default=[3000.0], min_length=1)
    seeds: list[PositiveInt] = Field(default=[1, 2], min_length=1)
    start_temperature_K: PositiveFloat = 300.0
    ramp_ps: float = Field(default=2.0, ge=0)
    hold_ps: float = Field(default=4.0, ge=0)
    timestep_fs: PositiveFloat = 0.5
    damping_fs: PositiveFloat = 100.0
    dump_every_fs: PositiveFloat = 50.0
    thermo_every_fs: PositiveFloat = 5.0
    quench_frames: int = Field(default=4, ge=0)
    guard_every: int = Field(
        default=0, ge=0, description="steps between looks of the pair style's guard; 0: none"
    )
    control: bool = Field(default=False, description="also run LCBOP on the same structures")
    physics: bool = Field(
        default=False, description="also relax, strain, vibrate and pull a tube with each model"
    )
    physics_truth: str | None = Field(
        default=None, description="a label source (xtb) for frames of each model's own runs"
    )
    physics_structure: BuiltStructure = Field(
        default=BuiltStructure(tube=(5, 5), length_A=7.0), description="that tube"
    )

    @field_validator("models", "structures", mode="before")
    @classmethod
    def _name_files(cls, value: Any) -> Any:
        """Give each file of a list the name that it has without its suffixes."""
        if not isinstance(value, (list, tuple)):
            return value
        names = [file_stem(path) for path in value]
        if len(set(names)) < len(names):
            raise ValueError("two files have the same name; give names: NAME = 'path'")
        return {name: str(path) for name, path in zip(names, value, strict=True)}

    @field_validator("models")
    @classmethod
    def _keep_control_apart(cls, value: dict[str, str]) -> dict[str, str]:
        if CONTROL in value:
            raise ValueError(f"'{CONTROL}' is the name of the control; rename the model")
        return value

    @field_validator("temperatures_K", "seeds")
    @classmethod
    def _refuse_repeats(cls, value: list[Any]) -> list[Any]:
        if len(set(value)) < len(value):
            raise ValueError("the same value twice would be the same run; name each once")
        return value

    @model_validator(mode="after")
    def _know_structures(self) -> RobustnessSpec:
        for name, protocol in self.protocols.items():
            unknown = set(protocol.structures or ()) - set(self.structures)
            if unknown:
                raise ValueError(f"protocol {name}: no structure {', '.join(sorted(unknown))}")
        return self


def file_stem(path: str | Path) -> str:
    """Return a file's name without the suffixes of models and data files."""
    name = Path(path).name
    for suffix in (MODEL_SUFFIX, *DATA_SUFFIXES):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return Path(path).stem
