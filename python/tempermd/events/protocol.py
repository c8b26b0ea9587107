"""What a run was meant to do at each step: its target temperature, its box, whether to break."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tempermd.md import Stage


class Protocol:
    """The stages of a run by step.

    The target temperature and not the measured one: a model that fails heats itself, and would
    excuse itself by that.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages

    def stage(self, step: int) -> Stage | None:
        """Return the stage of a step, the later one where two meet; None where none is known."""
        for stage in reversed(self._stages):
            if stage.first_step <= step <= stage.last_step:
                return stage
        return None

    def target_K(self, step: int) -> float | None:
        """Return the target temperature at a step; None where no thermostat is known of."""
        stage = self.stage(step)
        if stage is None or not stage.has_target:
            return None
        length = max(stage.last_step - stage.first_step, 1)
        rise = stage.stop_temperature_K - stage.start_temperature_K
        return stage.start_temperature_K + rise * (step - stage.first_step) / length

    def breaks(self, step: int) -> bool:
        """Whether the structure is meant to take damage at a step, as when it is pulled apart."""
        stage = self.stage(step)
        return stage is not None and stage.breaks

    def has_barostat(self, step: int) -> bool:
        """Whether the box follows the pressure at a step."""
        stage = self.stage(step)
        return stage is not None and stage.box == "barostat"


def follow(value: float, before: float, after: float, elapsed: float) -> float:
    """Return what follows a target with a lag, by dL/ds = T(s) - L for a T(s) linear in time.

    Parameters
    ----------
    value : float
        What it was ``elapsed`` ago.
    before, after : float
        The target then and now.
    elapsed : float
        Time in units of the lag.
    """
    if elapsed <= 0:
        return value
    slope = (after - before) / elapsed
    return after - slope + (value - before + slope) * math.exp(-elapsed)
