"""Rows of a study, read from the finished stages of its store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempermd.findings.rows import Cost, Fate, Row
from tempermd.records import read_record, sha256_file
from tempermd.study.judging import Judged, realigned
from tempermd.study.plan import Plan, PlannedRow
from tempermd.study.stages import Stage, Store
from tempermd.training import Errors, Training

if TYPE_CHECKING:
    from tempermd.events import Analysis

MOST_EVENTS = 3


def collect_rows(plan: Plan, store: Store) -> list[Row]:
    """Return the rows whose stages are all finished, in the order of the plan."""
    return [_row(row, store) for row in plan.rows if _is_finished(row, store)]


def _is_finished(row: PlannedRow, store: Store) -> bool:
    if row.chosen is None or not row.judges:
        return False
    needed = [row.trainings[row.chosen], *row.judges.values(), *row.start_judges.values()]
    needed += row.analyses
    needed += [row.student] if row.student is not None else []
    needed += [one for one in (row.start_fit, row.source_judge) if one is not None]
    done = [store.done(stage) for stage in needed]
    return all(one is not None and "diverged" not in one.facts for one in done)


def _row(row: PlannedRow, store: Store) -> Row:
    folder = store.path(row.model).parent
    found = read_record(folder / "training.json", Training)
    errors = {name: _errors(name, stage, store) for name, stage in row.judges.items()}
    return Row(
        target=row.target,
        arm=row.arm,
        n_train=row.n_train,
        seed=row.seed,
        learning_rate=row.chosen,
        learning_rates_tried=row.rates,
        steps=found.n_steps,
        best_step=found.best_step,
        val_force_rmse_eV_per_A=found.val.force_rmse_eV_per_A,
        errors=errors,
        start_errors=_start_errors(row, store),
        **_source(row, store),
        cost=_cost(row, store),
        checkpoint_sha256=sha256_file(folder / "best.ckpt"),
        fates=[_fate(one) for stage in row.analyses for one in analyses_of(stage, store)],
    )


def _judged(stage: Stage, store: Store) -> Judged:
    return read_record(store.folder_of(stage) / "judged.json", Judged)


def _errors(name: str, stage: Stage, store: Store) -> Errors:
    """Return errors; on sets of another truth the zero of energy is fitted to the set."""
    judged = _judged(stage, store)
    return judged.errors if name == "test" else realigned(judged)


def _start_errors(row: PlannedRow, store: Store) -> dict[str, Errors]:
    """Return the parent's errors after its reference energies are refitted to the training set."""
    if row.start_fit is None:
        return {}
    fit = _judged(row.start_fit, store)
    indices = None
    if row.start_fit_is_pool:
        indices = store.done(row.draw).facts["indices"]
    found = {}
    for name, stage in row.start_judges.items():
        judged = _judged(stage, store)
        found[name] = realigned(judged, fit, indices) if name == "test" else realigned(judged)
    return found


def _source(row: PlannedRow, store: Store) -> dict[str, dict[str, Any]]:
    """Return the errors of the base's label source at the zero that favours it, or why not."""
    if row.source_judge is None:
        return {}
    facts = store.done(row.source_judge).facts
    if "not_compared" in facts:
        return {"sources_not_compared": {facts["source"]: facts["not_compared"]}}
    return {"source_errors": {facts["source"]: Errors.model_validate(facts["errors"])}}


def _cost(row: PlannedRow, store: Store) -> Cost:
    base = () if row.base is None else row.base.stages
    pretrainings = [one for one in base if one.kind == "training"]
    others = [stage for rate, stage in row.trainings.items() if rate != row.chosen]
    return Cost(
        training_core_s=_core_s([row.trainings[row.chosen]], store)
        + _core_s([row.student] if row.student is not None else [], store),
        tuning_core_s=_core_s(others, store),
        pretraining_core_s=_core_s(pretrainings, store),
        labels_core_s=_core_s((one for one in base if one.kind == "labels"), store),
        gpu_s=_gpu_s(row.trainings.values(), store),
        pretraining_gpu_s=_gpu_s(pretrainings, store),
    )


def _core_s(stages: Iterable[Stage], store: Store) -> float:
    done = {stage.key: store.done(stage) for stage in stages}
    return sum(one.core_s for one in done.values() if one is not None)


def _gpu_s(stages: Iterable[Stage], store: Store) -> float:
    """Return the GPU time of trainings; those of an older tempermd do not say and had none."""
    done = {stage.key: store.done(stage) for stage in stages}
    return sum(one.facts.get("gpu_s", 0.0) for one in done.values() if one is not None)


def analyses_of(stage: Stage, store: Store) -> list[Analysis]:
    """Return what was found in the runs of a stage of analysis."""
    from tempermd.events.products import Analysis

    folder = store.folder_of(stage) / "analyses"
    return [read_record(path, Analysis) for path in sorted(folder.glob("*.json"), key=_number)]


def _number(path: Path) -> int:
    return int(path.stem)


def _fate(analysis: Analysis) -> Fate:
    label, first_ps = analysis.label, analysis.first_severe_ps
    return Fate(
        case=label.run_id,
        structure=label.structure,
        temperature_K=label.temperature_K,
        md_seed=label.seed,
        outcome=analysis.outcome,
        failed=analysis.failed,
        survived=analysis.survived,
        time_ps=analysis.duration_ps if first_ps is None else first_ps,
        first_events=first_events(analysis) if analysis.failed else [],
    )


def first_events(analysis: Analysis) -> list[str]:
    """Say which kinds of fatal or severe events a run had first, and when each began, ps."""
    severe = [event for event in analysis.events if event.severity in ("fatal", "severe")]
    first: dict[str, float] = {}
    for event in sorted(severe, key=lambda event: (event.time_ps, event.kind)):
        first.setdefault(event.kind.replace("_", " "), event.time_ps)
    told = [f"{kind} {time_ps:.2f}" for kind, time_ps in first.items()][:MOST_EVENTS]
    return told or [analysis.reason]
