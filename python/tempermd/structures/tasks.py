"""The two kinds of run that make structures: a trajectory of MD, or a block of cheap ones."""

from __future__ import annotations

from typing import Literal

from tempermd.pair_styles import PotentialSpec
from tempermd.records import Spec
from tempermd.structures.specs import (
    CrystalSpec,
    FullereneSpec,
    MeltQuenchSpec,
    RandomSpec,
    RattleRelaxSpec,
    TubeSpec,
)


class Trajectory(Spec):
    """One MD run that yields frames."""

    task: Literal["trajectory"] = "trajectory"
    start: TubeSpec | FullereneSpec | MeltQuenchSpec
    seed: int
    potential: PotentialSpec
    temperature_K: float
    closest: float
    strain: float = 0.0
    density_g_cm3: float | None = None
    info: dict[str, str | float]


class Block(Spec):
    """Some cheap structures: numbers ``first`` to ``last`` (excluded) of an entry's items."""

    task: Literal["block"] = "block"
    entry: RandomSpec | CrystalSpec | RattleRelaxSpec
    number: int
    first: int
    last: int
    seed: int
    closest: float
    potential: PotentialSpec | None = None


Run = Trajectory | Block
