"""From a spec to the runs that make its structures: each with its seed, independent of others."""

from __future__ import annotations

from collections.abc import Iterator

from tempermd.pair_styles import parameter_file
from tempermd.records import UserError, sha256_file, sha256_json
from tempermd.structures.specs import (
    CrystalSpec,
    FullereneSpec,
    RandomSpec,
    RattleRelaxSpec,
    StructureSpec,
    TubeSpec,
)
from tempermd.structures.tasks import Block, Run, Trajectory

BLOCK = 50
"""Structures of the cheap kinds that are made and kept together."""

SAMPLE_STEPS_PER_FRAME = 2000
SAMPLE_EQUILIBRATION_STEPS = 4000
SAMPLE_TIMESTEP_FS = 0.5


def runs_of(spec: StructureSpec) -> list[Run]:
    """Return the runs of a spec in its order.

    Raises
    ------
    UserError
        If the spec names nothing to make.
    """
    runs = [*_sampled(spec), *_melts(spec), *_blocks(spec)]
    if not runs:
        kinds = "[[tubes]], [[fullerenes]], [[melt_quench]], [[random]], [[crystals]]"
        raise UserError(
            f"the structure spec names nothing to make; add {kinds} or [[rattle_relax]]"
        )
    return runs


def key_of(run: Run) -> str:
    """Name a run by all that decides what it makes, the contents of its files included."""
    files = []
    if run.potential is not None and run.potential.file is not None:
        files.append(sha256_file(parameter_file(run.potential.file)))
    entry = run.entry if isinstance(run, Block) else None
    if isinstance(entry, RattleRelaxSpec) and entry.file is not None:
        files.append(sha256_file(entry.file))
    return sha256_json([run.model_dump(mode="json"), files])[:24]


def seed_of(*parts: object) -> int:
    """Return a seed that LAMMPS accepts, one for each run of a spec."""
    return 1 + int(sha256_json([str(part) for part in parts])[:6], 16)


def _sampled(spec: StructureSpec) -> Iterator[Trajectory]:
    """Yield the runs of tubes and fullerenes."""
    for number, tube in enumerate(spec.tubes):
        name = f"tube_{tube.n}_{tube.m}" + _defects(tube)
        yield from _runs_at(spec, "tube", number, tube, name)
    for number, ball in enumerate(spec.fullerenes):
        name = f"C{ball.atoms}" + _defects(ball)
        yield from _runs_at(spec, "fullerene", number, ball, name)


def _defects(entry: TubeSpec | FullereneSpec) -> str:
    text = f"_v{entry.vacancies}" * bool(entry.vacancies)
    return text + f"_sw{entry.stone_wales}" * bool(entry.stone_wales)


def _runs_at(
    spec: StructureSpec, kind: str, number: int, entry: TubeSpec | FullereneSpec, name: str
) -> Iterator[Trajectory]:
    for temperature_K in entry.temperatures_K:
        for strain in entry.strains:
            for repeat in range(entry.trajectories):
                strained = [f"{strain:+g}"] if strain else []
                structure = "_".join([name, *strained])
                place = f"{temperature_K:g}K-{number}.{repeat}-s{spec.seed}"
                yield Trajectory(
                    start=entry,
                    seed=seed_of(spec.seed, kind, number, temperature_K, repeat, *strained),
                    potential=spec.driver,
                    temperature_K=temperature_K,
                    closest=spec.closest,
                    strain=strain,
                    info={
                        "kind": kind,
                        "structure": structure,
                        "trajectory": f"{structure}-{place}",
                    },
                )


def _melts(spec: StructureSpec) -> Iterator[Trajectory]:
    for number, melt in enumerate(spec.melt_quench):
        for density in melt.densities_g_cm3:
            for anneal_K in melt.anneal_K:
                for repeat in range(melt.cells):
                    name = f"melt_quench_{melt.formula}_{density:g}"
                    place = f"{melt.atoms}-{anneal_K:g}K-{number}.{repeat}-s{spec.seed}"
                    yield Trajectory(
                        start=melt,
                        seed=seed_of(spec.seed, "melt", number, density, anneal_K, repeat),
                        potential=spec.driver,
                        temperature_K=anneal_K,
                        closest=spec.closest,
                        density_g_cm3=density,
                        info={
                            "kind": "melt_quench",
                            "structure": name,
                            "density_g_cm3": density,
                            "anneal_K": anneal_K,
                            "trajectory": f"{name}-{place}",
                        },
                    )


def _blocks(spec: StructureSpec) -> Iterator[Block]:
    for entries in (spec.random, spec.crystals, spec.rattle_relax):
        for number, entry in enumerate(entries):
            items, frames = _size(entry)
            step = max(1, BLOCK // frames)
            relaxes = not isinstance(entry, CrystalSpec)
            if isinstance(entry, RandomSpec):
                relaxes = max(entry.relax_steps) > 0
            for first in range(0, items, step):
                yield Block(
                    entry=entry,
                    number=number,
                    first=first,
                    last=min(items, first + step),
                    seed=spec.seed,
                    closest=spec.closest,
                    potential=spec.driver if relaxes else None,
                )


def _size(entry: RandomSpec | CrystalSpec | RattleRelaxSpec) -> tuple[int, int]:
    """Return how many items an entry has, and how many frames one of them gives."""
    if isinstance(entry, RandomSpec):
        return len(entry.densities_g_cm3) * entry.cells, len(entry.relax_steps)
    if isinstance(entry, CrystalSpec):
        return len(entry.names) * len(entry.rattles_A) * entry.cells, 1
    from tempermd.structures.chains import starts_of

    return len(starts_of(entry)) * entry.chains, entry.rounds
