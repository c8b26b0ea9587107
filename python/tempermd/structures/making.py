"""Making: all structures of a spec, in parallel, resumed where an earlier call was stopped."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

from tempermd import lmp
from tempermd.engine import run_tasks
from tempermd.pair_styles import pair_commands
from tempermd.records import (
    Record,
    UserError,
    only_one,
    read_record,
    sha256_file,
    sha256_json,
    write_record,
)
from tempermd.structures import chains, sampling
from tempermd.structures.driver import elements_of, try_out
from tempermd.structures.faults import fault_of
from tempermd.structures.parts import has_part, join, write_part
from tempermd.structures.runs import key_of, runs_of
from tempermd.structures.specs import CrystalSpec, StructureSpec
from tempermd.structures.tasks import Block, Run


class Made(Record):
    """What was made: written beside the structures, and what a second call is compared with."""

    format_name: ClassVar[str] = "tempermd-structures"

    made_from: str
    sha256: str
    frames: int
    atoms: int
    dropped: dict[str, int]
    spec: StructureSpec
    versions: dict[str, str]


def make(spec: StructureSpec, output: Path | str, workers: int | None = None) -> Made:
    """Make all structures of a spec and write them as extxyz.

    Parameters
    ----------
    spec
        What to make; paths in it are relative to the working directory.
    output
        The extxyz to write. Finished parts wait in ``<output>.parts``, so that a second call
        makes only the rest; a call on a finished output of the same spec does nothing.

    Returns
    -------
    Made
        Also written as ``<output>.json``. The frames come in the order of the spec, whatever
        ``workers``; ``info`` holds ``kind``, ``structure``, ``trajectory`` (frames that must
        stay together in a split) and, where they have a meaning, ``temperature_K``, ``time_ps``,
        ``density_g_cm3``.
    """
    output = Path(output)
    if output.suffix not in (".xyz", ".extxyz"):
        raise UserError(f"{output}: structures are written as .extxyz (or .xyz)")
    runs = runs_of(spec)
    keys = [key_of(run) for run in runs]
    made_from = sha256_json([keys, spec.duplicate_tolerance_A])
    record_path = output.with_name(output.name + ".json")
    with only_one(output):
        done = _finished(record_path, output, made_from)
        if done is not None:
            return done
        folder = output.with_name(output.name + ".parts")
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(".partial-*"):
            stale.unlink()
        _make_parts(spec, runs, keys, folder, workers)
        joined = join(folder, keys, output, spec.duplicate_tolerance_A)
        _say(joined.frames, joined.atoms, joined.dropped)
        if not joined.frames:
            output.unlink()
            raise UserError(f"{output}: no frame is left; {_reasons(joined.dropped)}")
        made = Made(
            made_from=made_from,
            sha256=sha256_file(output),
            frames=joined.frames,
            atoms=joined.atoms,
            dropped=joined.dropped,
            spec=spec,
            versions=lmp.versions(),
        )
        write_record(record_path, made)
        shutil.rmtree(folder)
    return made


def _finished(record_path: Path, output: Path, made_from: str) -> Made | None:
    """Return the record of an output that is whole and of this spec."""
    if not (record_path.is_file() and output.is_file()):
        return None
    try:
        made = read_record(record_path, Made)
    except UserError:
        return None
    whole = made.made_from == made_from and made.sha256 == sha256_file(output)
    return made if whole else None


def _make_parts(
    spec: StructureSpec, runs: list[Run], keys: list[str], folder: Path, workers: int | None
) -> None:
    tasks = [
        (run, key, str(folder))
        for run, key in zip(runs, keys, strict=True)
        if not has_part(folder, key)
    ]
    if not tasks:
        return
    _check(spec, [run for run, *_ in tasks])
    for _ in run_tasks(_make_part, tasks, workers=workers, title="structures"):
        pass


def _check(spec: StructureSpec, runs: list[Run]) -> None:
    """Refuse what cannot be made, and a driver that does not run, before all the work."""
    driven = [(tuple(_elements(run)), run.potential is not None) for run in runs]
    for symbols in sorted({symbols for symbols, moved in driven if moved}):
        pair_commands(spec.driver, symbols)
        try_out(spec.driver, list(symbols))


def _elements(run: Run) -> list[str]:
    """Return the elements of a run; what cannot be built is refused here."""
    if isinstance(run, Block):
        return chains.elements_of_block(run)
    return elements_of(sampling.start_of(run))


def _make_part(task: tuple[Run, str, str]) -> None:
    """Make the frames of one run, judge them, and leave them as a part."""
    run, key, folder = task
    driven = not (isinstance(run, Block) and isinstance(run.entry, CrystalSpec))
    maker = chains.frames_of if isinstance(run, Block) else sampling.frames_of
    frames, dropped = [], Counter()
    for frame in maker(run):
        if isinstance(frame, str):
            dropped[f"given up by LAMMPS: {frame}"] += 1
            continue
        moved = driven and bool(frame.info.get("relax_steps", 1))
        fault = fault_of(frame, run.closest, driven=moved)
        if fault is None:
            frames.append(frame)
        else:
            dropped[f"{fault} ({frame.info['kind']})"] += 1
    write_part(Path(folder), key, frames, dropped)


def _say(frames: int, atoms: int, dropped: dict[str, int]) -> None:
    print(f"structures: {frames} frames, {atoms} atoms", file=sys.stderr)
    if dropped:
        print(f"structures: dropped {_reasons(dropped)}", file=sys.stderr)


def _reasons(dropped: dict[str, int]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in dropped.items()) or "none was made"
