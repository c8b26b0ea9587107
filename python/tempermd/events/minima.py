"""Holes in a model's energy surface: frames that relax to below the pristine structure."""

from __future__ import annotations

from tempermd.events.limits import MinimumLimits
from tempermd.events.products import Event
from tempermd.md import Quench


class SpuriousMinimum:
    """A quenched frame far below the relaxed pristine structure of the same model."""

    def __init__(self, limits: MinimumLimits, timestep_fs: float) -> None:
        self._limits = limits
        self._timestep_ps = timestep_fs / 1000
        self._events: list[Event] = []

    def update(self, quench: Quench) -> None:
        """Look at all quenched frames of a run; the first below the limit is reported."""
        depths = [
            (frame.step, (frame.energy_eV - quench.pristine_energy_eV) / quench.n_atoms)
            for frame in sorted(quench.frames, key=lambda frame: frame.step)
        ]
        holes = [(step, depth) for step, depth in depths if depth < -self._limits.depth_eV_per_atom]
        if not holes:
            return
        first_step = holes[0][0]
        deepest_step, deepest = min(holes, key=lambda hole: hole[1])
        self._events.append(
            Event(
                kind="spurious_minimum",
                severity="severe",
                step=first_step,
                time_ps=first_step * self._timestep_ps,
                atom_ids=[],
                value=deepest,
                limit=-self._limits.depth_eV_per_atom,
                unit="eV/atom",
                message=(
                    f"{len(holes)} of {len(depths)} quenched frames lie below the relaxed pristine "
                    f"structure, at worst by {-deepest:.2f} eV/atom"
                ),
                shown_step=deepest_step,
            )
        )

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events
