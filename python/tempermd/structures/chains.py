"""Blocks of cheap structures: random cells, rattled crystals, rattle-relax chains."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from ase import Atoms

from tempermd.records import UserError
from tempermd.structures.cells import check_room, density_g_cm3, spread_cell, symbols_of
from tempermd.structures.crystals import crystal
from tempermd.structures.defects import rattled, strained, with_vacancies
from tempermd.structures.driver import LostError, elements_of, relaxed
from tempermd.structures.faults import fault_of
from tempermd.structures.specs import CrystalSpec, RandomSpec, RattleRelaxSpec
from tempermd.structures.tasks import Block


def frames_of(block: Block) -> Iterator[Atoms | str]:
    """Yield the frames of a block, or what became of one that was lost.

    Each item is drawn from a generator of its own, so that it does not depend on the block.
    """
    makers = {
        RandomSpec: _random_frames,
        CrystalSpec: _crystal_frames,
        RattleRelaxSpec: _chain_frames,
    }
    for item in range(block.first, block.last):
        kind = type(block.entry).__name__
        text = f"{block.seed}/{kind}/{block.number}/{item}"
        rng = np.random.default_rng(list(text.encode()))
        try:
            yield from makers[type(block.entry)](block, item, rng)
        except LostError as fault:
            yield str(fault)


def elements_of_block(block: Block) -> list[str]:
    """Return the elements of all structures of a block; what cannot be built is refused."""
    entry = block.entry
    if isinstance(entry, RattleRelaxSpec):
        starts = starts_of(entry)
        members = starts[block.first // entry.chains : -(-block.last // entry.chains)]
        return sorted({symbol for atoms in members for symbol in elements_of(atoms)})
    if isinstance(entry, RandomSpec):
        symbols = symbols_of(entry.formula, entry.atoms)
        check_room(symbols, max(entry.densities_g_cm3), entry.min_distance_A)
        return sorted(set(symbols))
    built = [crystal(name, entry.formula, entry.atoms, entry.a_A) for name in entry.names]
    return elements_of(built[0])


def _random_frames(block: Block, item: int, rng: np.random.Generator) -> Iterator[Atoms]:
    entry = block.entry
    density = entry.densities_g_cm3[item // entry.cells]
    cubic = entry.shape == "cubic"
    symbols = symbols_of(entry.formula, entry.atoms)
    start = spread_cell(symbols, density, entry.min_distance_A, cubic=cubic, rng=rng)
    structure = f"random_{entry.formula}_{density:g}"
    start.info.update(
        kind="random",
        structure=structure,
        density_g_cm3=density,
        trajectory=f"{structure}-{block.number}.{item}-s{block.seed}",
    )
    steps = sorted(set(entry.relax_steps))
    frames = relaxed(start, block.potential, steps) if block.potential else [start]
    for count, frame in zip(steps, frames, strict=True):
        frame.info["relax_steps"] = count
        yield frame


def _crystal_frames(block: Block, item: int, rng: np.random.Generator) -> Iterator[Atoms]:
    entry = block.entry
    name = entry.names[item // (entry.cells * len(entry.rattles_A))]
    rattle_A = entry.rattles_A[item // entry.cells % len(entry.rattles_A)]
    atoms = crystal(name, entry.formula, entry.atoms, entry.a_A)
    if entry.vacancies:
        atoms = with_vacancies(atoms, entry.vacancies, rng)
        atoms.info["structure"] += f"_v{entry.vacancies}"
    factor = rng.uniform(*entry.volumes) ** (1 / atoms.pbc.sum())
    atoms.set_cell(atoms.cell.array * np.where(atoms.pbc, factor, 1.0)[:, None], scale_atoms=True)
    atoms = rattled(strained(atoms, entry.strain, rng), rattle_A, rng)
    structure = atoms.info["structure"]
    atoms.info |= {
        "kind": "crystal",
        "trajectory": f"{structure}-{block.number}.{item}-s{block.seed}",
        "rattle_A": rattle_A,
    } | _density(atoms)
    yield atoms


def _chain_frames(block: Block, item: int, rng: np.random.Generator) -> Iterator[Atoms]:
    entry = block.entry
    starts = starts_of(entry)
    atoms = starts[item // entry.chains].copy()
    structure = str(atoms.info.get("structure", f"start_{item // entry.chains}"))
    atoms.info = {
        "kind": "rattle_relax",
        "structure": structure,
        "trajectory": f"rattle_relax-{structure}-{block.number}.{item}-s{block.seed}",
    }
    for turn in range(entry.rounds):
        shaken = rattled(strained(atoms, entry.strain, rng), entry.rattle_A, rng)
        frame = relaxed(shaken, block.potential, [entry.relax_steps])[0]
        frame.info |= {"round": turn + 1} | _density(frame)
        if fault_of(frame, block.closest, driven=True) is None:
            atoms = frame.copy()
        yield frame


def _density(atoms: Atoms) -> dict[str, float]:
    return {"density_g_cm3": round(density_g_cm3(atoms), 6)} if atoms.pbc.all() else {}


def starts_of(entry: RattleRelaxSpec) -> list[Atoms]:
    """Return the structures that an entry's chains start from; not to be changed."""
    return _starts(entry.model_dump_json())


@lru_cache(maxsize=4)
def _starts(entry_json: str) -> list[Atoms]:
    entry = RattleRelaxSpec.model_validate_json(entry_json)
    if entry.file is None:
        return [crystal(name, entry.formula, entry.atoms) for name in entry.crystals]
    frames = _read(Path(entry.file))
    if entry.max_starts is not None and entry.max_starts < len(frames):
        places = np.linspace(0, len(frames) - 1, entry.max_starts).round().astype(int)
        frames = [frames[place] for place in places]
    return frames


def _read(path: Path) -> list[Atoms]:
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError

    if not path.is_file():
        raise UserError(f"{path}: no such file of structures")
    faults = (UnknownFileTypeError, ValueError, KeyError, IndexError, AssertionError, OSError)
    try:
        frames = read(path, ":")
    except faults as error:
        detail = str(error) or type(error).__name__
        raise UserError(f"{path}: cannot be read as structures ({detail})") from None
    if not frames:
        raise UserError(f"{path}: holds no frames")
    for frame in frames:
        frame.calc = None
        kept = {"numbers", "positions"}
        for name in set(frame.arrays) - kept:
            del frame.arrays[name]
    return frames
