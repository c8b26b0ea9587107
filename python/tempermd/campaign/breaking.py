"""At which strain a model's pulled tubes came apart, and at which temperature its heated ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median_high

from tempermd.events.protocol import Protocol
from tempermd.md import Case
from tempermd.physics import PhysicsCheck, PhysicsRecord
from tempermd.physics.bands import BANDS, COLLAPSE_K, check_of
from tempermd.report.fates import Judged

Run = tuple[Case, Judged]


def with_breaks(records: Sequence[PhysicsRecord], runs: Iterable[Run]) -> list[PhysicsRecord]:
    """Add to the checks of each model what its runs tell of tubes that were severed.

    ``fracture_strain_at_300_K`` is the median over the runs pulled at that temperature;
    ``collapse`` the median target temperature in runs that were heated beyond `COLLAPSE_K`. A tube
    that was not severed counts with the most that it bore, where that is enough to tell.
    """
    by_model: dict[str, list[Run]] = defaultdict(list)
    for case, judged in runs:
        by_model[judged.label.model].append((case, judged))
    added = {model: [*_fractures(own), *_collapses(own)] for model, own in by_model.items()}
    return [
        one.model_copy(update={"checks": [*one.checks, *added.get(one.potential, [])]})
        if not one.fault
        else one
        for one in records
    ]


def _fractures(runs: Sequence[Run]) -> list[PhysicsCheck]:
    """Return a check for each temperature at which tubes were pulled far enough."""
    pulled = defaultdict(list)
    for case, judged in runs:
        if case.protocol == "pull" and case.strain_per_ps > 0:
            pulled[case.temperature_K].append((case, judged))
    checks = []
    for temperature_K, here in sorted(pulled.items()):
        strains = _borne(here, _strain, BANDS["fracture_strain"].high)
        if strains:
            value, unit = median_high(strains), "of its length"
            checks.append(check_of("fracture_strain", value, unit, temperature_K=temperature_K))
    return checks


def _collapses(runs: Sequence[Run]) -> list[PhysicsCheck]:
    heated = [run for run in runs if run[0].protocol == "heat" and run[0].start_K < COLLAPSE_K]
    reached_K = _borne([run for run in heated if run[0].temperature_K >= COLLAPSE_K], _target_K)
    return [check_of("collapse", median_high(reached_K), "K")] if reached_K else []


def _borne(
    runs: Sequence[Run], measure: Callable[[Case, int], float], telling: float = 0.0
) -> list[float]:
    """Return where each run was severed, or its end, if it came there and that tells anything."""
    found = []
    for case, judged in runs:
        severed = [event.step for event in judged.events if event.kind == "severed"]
        if severed:
            found.append(measure(case, min(severed)))
        elif judged.survived and measure(case, case.planned_steps) >= telling:
            found.append(measure(case, case.planned_steps))
    return found


def _strain(case: Case, step: int) -> float:
    pulled_ps = max(step - case.ramp_steps, 0) * case.timestep_fs / 1000
    return case.strain_per_ps * pulled_ps


def _target_K(case: Case, step: int) -> float:
    return Protocol(case.stages).target_K(step) or case.start_K
