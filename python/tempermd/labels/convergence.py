"""The convergence gate: a Gamma-point label of too short a cell is a wrong label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tempermd.engine import run_tasks
from tempermd.labels.sources import Source, SourceSpec, calculator_of, compute
from tempermd.records import atomic_write, sha256_json

GATE_LIMIT_EV_PER_A = 0.05
"""Largest force change (rms) on doubling the periodic axes that a label may show."""


def measure(
    frames: list[Atoms], spec: SourceSpec, source: Source, parts: Path, workers: int | None
) -> None:
    """Measure one frame per group: how forces change when the periodic axes double.

    The Gamma point of a doubled cell samples the zone boundary of the single one too, so the
    change (rms over atoms and components, eV/A) tells how far the single one is from converged.
    """
    tasks = {}
    for frame in frames:
        key = cell_key(frame, source)
        path = _figure_file(parts, key)
        if not path.exists():
            tasks.setdefault(key, (frame, spec, str(path)))
    for _ in run_tasks(_gate_one, list(tasks.values()), workers=workers, title="convergence gate"):
        pass


def _figure_file(parts: Path, key: str) -> Path:
    return parts / f"gate-{key}.json"


def read_figure(parts: Path, key: str) -> float:
    """Return the measured figure of a convergence group, eV/A."""
    return float(json.loads(_figure_file(parts, key).read_text()))


def _gate_one(task: tuple[Atoms, SourceSpec, str]) -> None:
    atoms, spec, path = task
    figure = 0.0 if not atoms.pbc.any() else force_change(atoms, calculator_of(spec))
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(figure))


def force_change(atoms: Atoms, calculator: Any) -> float:
    """Return the rms force change (eV/A) when every periodic axis is doubled."""
    repeats = tuple(2 if periodic else 1 for periodic in atoms.pbc)
    single = compute(atoms, calculator).get_forces()
    doubled = compute(atoms.repeat(repeats), calculator).get_forces()[: len(atoms)]
    return float(np.sqrt(np.mean((doubled - single) ** 2)))


def cell_key(atoms: Atoms, source: Source) -> str:
    """Name a convergence group: same structure, composition, cell and source settings."""
    content = [
        str(atoms.info.get("structure", "")),
        sorted(atoms.numbers.tolist()),
        np.round(atoms.cell.lengths()[atoms.pbc], 1).tolist(),
        source.model_dump(mode="json"),
    ]
    return sha256_json(content)[:24]
