"""What `tempermd structures` can be asked for: one spec type for each kind of structure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tempermd.pair_styles import PotentialSpec
from tempermd.records import Spec
from tempermd.structures.fingerprints import TOLERANCE_A

Densities = Annotated[list[PositiveFloat], Field(min_length=1)]
Temperatures = Annotated[list[PositiveFloat], Field(min_length=1)]
Amplitudes = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]
RelaxSteps = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class MeltQuenchSpec(Spec):
    """Cells by MD: random start, liquid, linear quench, anneal; frames by time on the way.

    Frames are taken in the last third of the melt, in the quench and in the anneal, evenly.
    """

    formula: str = "C"
    atoms: int = Field(ge=8)
    densities_g_cm3: Densities
    anneal_K: Temperatures = Field([300.0, 3000.0])
    cells: int = Field(1, ge=1, description="cells per density and annealing temperature")
    frames: int = Field(10, ge=1, description="frames per cell")
    melt_K: PositiveFloat = 6000.0
    quench_K: PositiveFloat = 300.0
    melt_ps: PositiveFloat = 1.5
    quench_ps: PositiveFloat = 2.0
    anneal_ps: PositiveFloat = 2.0
    timestep_fs: PositiveFloat = 0.5

    @model_validator(mode="after")
    def _has_a_step_for_each_frame(self) -> MeltQuenchSpec:
        if self.every_steps < 1:
            raise ValueError(f"the run is too short for {self.frames} frames")
        return self

    def steps(self, time_ps: float) -> int:
        """Return a time as a number of steps."""
        return max(1, round(1000 * time_ps / self.timestep_fs))

    @property
    def first_step(self) -> int:
        """The step before the first frame's interval: two thirds of the melt."""
        return 2 * self.steps(self.melt_ps) // 3

    @property
    def every_steps(self) -> int:
        """Steps between frames."""
        total = sum(self.steps(part) for part in (self.melt_ps, self.quench_ps, self.anneal_ps))
        return (total - self.first_step) // self.frames


class RandomSpec(Spec):
    """Random search cells: atoms anywhere but no nearer than allowed, in a cell of any shape."""

    formula: str = "C"
    atoms: int = Field(ge=1)
    densities_g_cm3: Densities
    cells: int = Field(10, ge=1, description="cells per density")
    min_distance_A: PositiveFloat = 1.2
    shape: Literal["random", "cubic"] = "random"
    relax_steps: RelaxSteps = Field(
        [0], description="a frame after each of these numbers of steps of one relaxation"
    )


class CrystalSpec(Spec):
    """Crystals, strained and rattled at random."""

    names: list[str] = Field(min_length=1)
    formula: str = "C"
    atoms: int = Field(32, ge=1, description="at least as many atoms, in whole cells")
    a_A: PositiveFloat | None = Field(None, description="lattice constant, instead of the known")
    rattles_A: Amplitudes = Field([0.05])
    strain: float = Field(0.03, ge=0, le=0.3, description="largest component, drawn evenly")
    volumes: tuple[PositiveFloat, PositiveFloat] = Field(
        (1.0, 1.0), description="range of the volume, as a factor of the crystal's"
    )
    vacancies: int = Field(0, ge=0)
    cells: int = Field(5, ge=1, description="cells per crystal and amplitude")


class _SampledSpec(Spec):
    """What tubes and fullerenes share: their defects and how MD samples them."""

    vacancies: int = Field(0, ge=0)
    stone_wales: int = Field(0, ge=0, description="bonds turned by 90 degrees")
    strains: list[Annotated[float, Field(gt=-0.5, lt=0.5)]] = Field([0.0], min_length=1)
    temperatures_K: Temperatures
    trajectories: int = Field(1, ge=1, description="independent runs per temperature and strain")
    frames: int = Field(4, ge=1, description="frames per run, 1 ps apart")


class TubeSpec(_SampledSpec):
    """One nanotube (n, m), sampled by MD at each temperature and axial strain."""

    n: int = Field(ge=1)
    m: int = Field(ge=0)
    length_A: PositiveFloat = Field(description="at least this long, in whole periods")
    periodic: bool = True


class FullereneSpec(_SampledSpec):
    """One icosahedral fullerene, sampled by MD at each temperature and strain along z."""

    atoms: int = Field(description="60, or another icosahedral one: 20 n^2 or 60 n^2")


class RattleRelaxSpec(Spec):
    """Chains that start from given structures: rattle, relax a few steps, keep, repeat."""

    file: str | None = Field(None, description="structures, relative to the spec file")
    crystals: list[str] = Field([], description="or crystals, by name")
    formula: str = Field("C", description="of the crystals")
    atoms: int = Field(32, ge=1, description="of the crystals, at least")
    max_starts: PositiveInt | None = Field(None, description="frames of the file, spread evenly")
    chains: int = Field(1, ge=1, description="chains per start")
    rounds: int = Field(5, ge=1, description="frames per chain")
    rattle_A: float = Field(0.3, gt=0, le=1)
    strain: float = Field(0.03, ge=0, le=0.3, description="of periodic axes, in each round")
    relax_steps: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _has_one_start(self) -> RattleRelaxSpec:
        if (self.file is None) == (not self.crystals):
            raise ValueError("give exactly one of file and crystals")
        return self


class StructureSpec(Spec):
    """What `tempermd structures` makes, in this order and from one seed."""

    seed: int = 1
    driver: PotentialSpec = Field(PotentialSpec(), description="drives MD and relaxations")
    closest: float = Field(
        0.6, ge=0, lt=1, description="nearer than so many sums of covalent radii is an overlap"
    )
    duplicate_tolerance_A: float = Field(
        TOLERANCE_A,
        ge=0,
        description="rms difference of fingerprints of near-duplicates; 0 keeps all",
    )
    tubes: list[TubeSpec] = Field([])
    fullerenes: list[FullereneSpec] = Field([])
    melt_quench: list[MeltQuenchSpec] = Field([])
    random: list[RandomSpec] = Field([])
    crystals: list[CrystalSpec] = Field([])
    rattle_relax: list[RattleRelaxSpec] = Field([])

    def relative_to(self, folder: Path) -> StructureSpec:
        """Return the spec with its files taken from ``folder``, where they are there."""

        def placed(name: str | None) -> str | None:
            return str(folder / name) if name and (folder / name).is_file() else name

        changed = [one.model_copy(update={"file": placed(one.file)}) for one in self.rattle_relax]
        driver = self.driver.model_copy(update={"file": placed(self.driver.file)})
        return self.model_copy(update={"rattle_relax": changed, "driver": driver})
