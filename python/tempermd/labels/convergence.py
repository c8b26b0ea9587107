"""The convergence gate: a label that changes with a larger cell or finer settings is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import Field

from tempermd.engine import EngineOptions, Meter, stream_tasks
from tempermd.labels.cache import LabelCache
from tempermd.labels.content import Fault, content_of, fault_of
from tempermd.labels.frames import Frames
from tempermd.labels.sources import calculator_of, compute
from tempermd.labels.specs import Source, SourceSpec
from tempermd.records import Spec, UserError, sha256_json

GATE_LIMIT_EV_PER_A = 0.05
"""Largest force change (rms) that a label may show at the gate."""


class GateSpec(Spec):
    """What the gate asks of a source.

    Sources that sample the Gamma point only are always asked for the doubled cell; any other
    (a DFT code with few k-points) is with ``double_cell``. ``finer`` holds settings (k-points,
    basis cutoff) that replace the source's own: the forces must not change by them either.
    """

    limit_eV_per_A: float = Field(GATE_LIMIT_EV_PER_A, gt=0)
    double_cell: bool = False
    finer: dict[str, Any] = Field(default_factory=dict)

    def for_source(self, source: Source) -> GateSpec:
        """Return the gate with what the source itself asks for."""
        return self.model_copy(update={"double_cell": self.double_cell or source.gamma_only})

    @property
    def closed(self) -> bool:
        """Whether anything is asked at all."""
        return self.double_cell or bool(self.finer)


@dataclass(frozen=True)
class Gate:
    """The measured gate: tells for each frame how far its group's labels are from converged."""

    spec: GateSpec
    cache: LabelCache

    def verdict(self, atoms: Atoms) -> tuple[float | None, Fault | None]:
        """Return the figure (eV/A) of a frame's group, and why its labels are refused, if so."""
        if not self.spec.closed or fault_of(atoms):
            return None, None
        figure = self.cache.figure(cell_key(atoms, self.spec))
        if isinstance(figure, Fault):
            return None, figure
        if figure is None or figure <= self.spec.limit_eV_per_A:
            return figure, None
        reason = (
            f"forces of its group change by {figure:.3f} eV/A rms (limit "
            f"{self.spec.limit_eV_per_A}) in a larger cell or with finer settings"
        )
        return figure, Fault("convergence gate", reason)

    def passes(self, atoms: Atoms) -> bool:
        """Whether a frame may be labelled."""
        return self.verdict(atoms)[1] is None


@dataclass(frozen=True)
class _Task:
    cell: str
    atoms: Atoms
    source: SourceSpec
    gate: GateSpec


def measure(
    frames: Frames, spec: SourceSpec, gate: GateSpec, cache: LabelCache, engine: EngineOptions
) -> Gate:
    """Measure one frame per group of cells, unless the cache has its figure.

    The Gamma point of a doubled cell samples the zone boundary of the single one too, so the
    change (rms over atoms and components, eV/A) tells how far the single one is from converged.
    """
    meter = Meter("convergence gate", None, "groups")
    if gate.closed:
        tasks = _tasks(frames, spec, gate, cache)
        with meter.shown():
            for cell, figure in stream_tasks(_run, tasks, on_death=_died, **engine):
                cache.store_figure(cell, figure)
                meter.advance({"groups": 1})
    return Gate(gate, cache)


def _tasks(frames: Frames, spec: SourceSpec, gate: GateSpec, cache: LabelCache) -> Iterator[_Task]:
    seen = set()
    for frame in frames:
        cell = cell_key(frame, gate)
        if cell not in seen and cache.figure(cell) is None and not fault_of(frame):
            seen.add(cell)
            yield _Task(cell, content_of(frame), spec, gate)


def _run(task: _Task) -> tuple[str, float | Fault]:
    """Measure one group in a worker."""
    calculator = calculator_of(task.source)
    try:
        figure = force_change(task.atoms, calculator) if task.gate.double_cell else 0.0
        if task.gate.finer:
            figure = max(figure, settings_change(task.atoms, task.source, task.gate.finer))
    except UserError as error:
        return task.cell, Fault("convergence gate", f"no figure: {error}")
    return task.cell, figure


def _died(task: _Task) -> tuple[str, Fault]:
    return task.cell, Fault("convergence gate", "no figure: the process died measuring it")


def force_change(atoms: Atoms, calculator: Any) -> float:
    """Return the rms force change (eV/A) when every periodic axis is doubled."""
    if not atoms.pbc.any():
        return 0.0
    repeats = tuple(2 if periodic else 1 for periodic in atoms.pbc)
    single = compute(atoms, calculator).get_forces()
    doubled = compute(atoms.repeat(repeats), calculator).get_forces()[: len(atoms)]
    return _rms(doubled - single)


def settings_change(atoms: Atoms, spec: SourceSpec, finer: dict[str, Any]) -> float:
    """Return the rms force change (eV/A) when ``finer`` replaces some of a source's settings."""
    other = spec.model_copy(update={"settings": spec.settings | finer})
    forces = [compute(atoms, calculator_of(one)).get_forces() for one in (spec, other)]
    return _rms(forces[1] - forces[0])


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def cell_key(atoms: Atoms, gate: GateSpec) -> str:
    """Name a convergence group: same structure, composition, cell, and the same question."""
    content = [
        str(atoms.info.get("structure", "")),
        sorted(atoms.numbers.tolist()),
        np.round(atoms.cell.lengths()[atoms.pbc], 1).tolist(),
        gate.double_cell,
        gate.finer,
    ]
    return sha256_json(content)
