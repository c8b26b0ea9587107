"""The tables of a study as files: one CSV and one JSON each, the same bytes for the same rows."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempermd.findings.contrasts import contrasts, forgetting, negative_transfer
from tempermd.findings.costs import costs
from tempermd.findings.curves import (
    REFERENCE,
    error_sets,
    factors,
    joined,
    learning_curves,
    targets,
)
from tempermd.findings.rows import Arm, Quantity, Row, Study
from tempermd.findings.statistics import Estimate, Factor, Ratio
from tempermd.findings.survival import fates
from tempermd.records import atomic_write

DIGITS = 6
"""Significant digits of what is computed; the rows themselves are written in full."""
UNITS: dict[Quantity, str] = {"forces": "eV_per_A", "energy": "meV_per_atom"}


@dataclass(frozen=True)
class Sheet:
    """A table for a file: every row has the same keys, units stand in their names."""

    name: str
    title: str
    rows: list[dict[str, Any]]


def write_tables(study: Study, folder: Path | str, reference: str = REFERENCE) -> list[Path]:
    """Write every table as CSV and JSON and return the paths.

    Parameters
    ----------
    study
        The rows of a study.
    folder
        Made where it does not exist.
    reference
        The arm that others are held against.
    """
    folder = Path(folder)
    paths = []
    for sheet in sheets(study, reference):
        paths += [_write_csv(sheet, folder), _write_json(sheet, study, folder)]
    return paths


def sheets(study: Study, reference: str = REFERENCE) -> list[Sheet]:
    """Return every table that the study has rows for."""
    rows = _rows(study)
    study = joined(study)
    made = [
        Sheet("rows", "Every model", rows),
        Sheet("curves", "Errors over seeds", _curves(study)),
        Sheet(
            "factors", f"Data-efficiency factors against {reference}", _factors(study, reference)
        ),
        Sheet("contrasts", "Arms against each other, by seed", _contrasts(study, reference)),
        Sheet("negative_transfer", "Where transfer does harm", _negative(study, reference)),
        Sheet("forgetting", "Errors on further sets", _forgetting(study)),
        Sheet("survival", "What became of the runs", _survival(study, reference)),
        Sheet("survival_curves", "Kaplan-Meier curves", _survival_curves(study, reference)),
        Sheet("costs", "Costs", _costs(study)),
    ]
    return [sheet for sheet in made if sheet.rows]


def _rows(study: Study) -> list[dict[str, Any]]:
    names = error_sets(study.rows)
    return [
        {
            "target": row.target,
            "truth": study.notes.get(row.target, ""),
            **_arm(row.arm),
            "n_train": row.n_train,
            "seed": row.seed,
            "learning_rate": row.learning_rate,
            "learning_rates_tried": " ".join(f"{rate:g}" for rate in row.learning_rates_tried),
            "steps": row.steps,
            "best_step": row.best_step,
            "val_force_rmse_eV_per_A": row.val_force_rmse_eV_per_A,
            **_row_errors(row, names),
            "runs": sum(fate.failed or fate.survived for fate in row.fates),
            "survived": sum(fate.survived for fate in row.fates),
            **row.cost.model_dump(),
            "checkpoint_sha256": row.checkpoint_sha256,
        }
        for row in study.rows
    ]


def _row_errors(row: Row, names: Sequence[str]) -> dict[str, float | None]:
    """Return errors on every set after training and before it."""
    found: dict[str, float | None] = {}
    for name in names:
        for when, errors in (("", row.errors), ("_start", row.start_errors)):
            one = errors.get(name)
            for key in ("force_rmse_eV_per_A", "energy_rmse_meV_per_atom"):
                found[f"{name}{when}_{key}"] = None if one is None else getattr(one, key)
    return found


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "arm": arm.name,
        "strategy": arm.strategy,
        "base": arm.base,
        "n_pretrain": arm.n_pretrain,
    }


def _curves(study: Study) -> list[dict[str, Any]]:
    arms = {row.arm.name: row.arm for row in study.rows}
    return [
        {
            "target": point.target,
            "truth": study.notes.get(point.target, ""),
            **_arm(arms[point.arm]),
            "error_set": point.error_set,
            "n_train": point.n_train,
            "quantity": point.quantity,
            "unit": UNITS[point.quantity],
            **_estimate(point.estimate),
            "plain_mean": point.plain_mean,
            "plain_std": point.plain_std,
        }
        for point in learning_curves(study)
    ]


def _estimate(one: Estimate | None, name: str = "rmse") -> dict[str, Any]:
    empty = one is None
    return {
        name: None if empty else one.mean,
        f"{name}_low": None if empty else one.low,
        f"{name}_high": None if empty else one.high,
        f"{name}_seeds": 0 if empty else one.n_used,
        f"{name}_diverged_seeds": 0 if empty else one.n_diverged,
    }


def _factors(study: Study, reference: str) -> list[dict[str, Any]]:
    return [
        {
            "target": point.target,
            "truth": study.notes.get(point.target, ""),
            "arm": point.arm,
            "reference": point.reference,
            "n_train": point.n_train,
            "quantity": point.quantity,
            **_factor(point.factor),
        }
        for point in factors(study, reference)
    ]


def _factor(factor: Factor) -> dict[str, Any]:
    found = factor.model_dump()
    return {
        "factor": found.pop("factor"),
        "equivalent": {"no": "equal", "above": "at least", "below": "at most"}[
            found.pop("censored")
        ],
        **found,
    }


def _contrasts(study: Study, reference: str) -> list[dict[str, Any]]:
    return [
        {
            "target": one.target,
            "truth": study.notes.get(one.target, ""),
            "error_set": one.error_set,
            "n_train": one.n_train,
            "quantity": one.quantity,
            "arm": one.arm,
            "against": one.against,
            "verdict": one.ratio.verdict,
            **_ratio(one.ratio, UNITS[one.quantity]),
            "intervals_overlap": one.intervals_overlap,
            "factor_intervals_apart": one.factors_apart,
        }
        for one in contrasts(study, reference)
    ]


def _ratio(ratio: Ratio | None, unit: str) -> dict[str, Any]:
    names = ("ratio", "low", "high", "difference", "difference_low", "difference_high", "n_pairs")
    values = dict.fromkeys(names) if ratio is None else ratio.model_dump()
    return {
        "ratio": values["ratio"],
        "ratio_low": values["low"],
        "ratio_high": values["high"],
        **{name: values[name] for name in names[3:6]},
        "difference_unit": unit,
        "pairs": values["n_pairs"],
    }


def _negative(study: Study, reference: str) -> list[dict[str, Any]]:
    return [
        {
            "target": one.contrast.target,
            "truth": study.notes.get(one.contrast.target, ""),
            "arm": one.contrast.arm,
            "n_train": one.contrast.n_train,
            "quantity": one.contrast.quantity,
            "worse_than": one.contrast.against,
            "interval_clear": one.told_apart,
            **_ratio(one.contrast.ratio, UNITS[one.contrast.quantity]),
        }
        for one in negative_transfer(study, reference)
    ]


def _forgetting(study: Study) -> list[dict[str, Any]]:
    return [
        {
            "target": one.target,
            "truth": study.notes.get(one.target, ""),
            "arm": one.arm,
            "n_train": one.n_train,
            "quantity": one.quantity,
            "unit": UNITS[one.quantity],
            **_estimate(one.test_before, "test_before_rmse"),
            **_estimate(one.test, "test_rmse"),
            "error_set": one.error_set,
            **_estimate(one.before, "before_rmse"),
            **_estimate(one.after, "after_rmse"),
            "after_over_before": None if one.ratio is None else one.ratio.ratio,
            "after_over_before_low": None if one.ratio is None else one.ratio.low,
            "after_over_before_high": None if one.ratio is None else one.ratio.high,
        }
        for one in forgetting(study)
    ]


def _survival(study: Study, reference: str) -> list[dict[str, Any]]:
    return [
        {
            "target": one.target,
            "truth": study.notes.get(one.target, ""),
            "arm": one.arm,
            "n_train": one.n_train,
            "temperature_K": one.temperature_K,
            **_estimate(one.forces, "force_rmse_eV_per_A"),
            **_estimate(one.energy, "energy_rmse_meV_per_atom"),
            "runs": one.runs,
            "survived": one.survived,
            "set_aside": one.set_aside,
            "survived_share_low": one.k_low,
            "survived_share_high": one.k_high,
            "end_ps": one.end_ps,
            "survival_at_end": one.survival,
            "survival_low": one.low,
            "survival_high": one.high,
            "models": one.models,
            "models_without_failure": one.models_whole,
            "models_share_low": one.models_low,
            "models_share_high": one.models_high,
            "first_events": "; ".join(f"{kind}: {n}" for kind, n in one.first_events.items()),
            "log_rank_against": one.reference,
            "log_rank_p": one.p_against,
        }
        for one in fates(study, reference)
    ]


def _survival_curves(study: Study, reference: str) -> list[dict[str, Any]]:
    return [
        {
            "target": one.target,
            "arm": one.arm,
            "n_train": one.n_train,
            "temperature_K": one.temperature_K,
            "time_ps": time_ps,
            "survival": survival,
            "low": low,
            "high": high,
        }
        for one in fates(study, reference)
        for time_ps, survival, low, high in zip(
            one.curve.times_ps, one.curve.survival, one.curve.low, one.curve.high, strict=True
        )
    ]


def _costs(study: Study) -> list[dict[str, Any]]:
    return [
        {"arm": one.arm, "models": one.models, "core_h": one.core_h}
        | {name: getattr(one, name) for name in type(one).model_fields if name.endswith("_h")}
        for one in costs(study)
    ]


def titled(study: Study, title: str, target: str | None = None) -> str:
    """Return a title with what the truth of a target, or of each target, is."""
    names = targets(study) if target is None else [target]
    truths = [f"{name} ({study.notes[name]})" for name in names if study.notes.get(name)]
    if target is not None and not truths:
        truths = [target] if len(targets(study)) > 1 else []
    return f"{title}: {', '.join(truths)}" if truths else title


def _write_csv(sheet: Sheet, folder: Path) -> Path:
    path = folder / f"{sheet.name}.csv"
    with atomic_write(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(sheet.rows[0])
        full = sheet.name == "rows"
        writer.writerows([_cell(value, full) for value in row.values()] for row in sheet.rows)
    return path


def _write_json(sheet: Sheet, study: Study, folder: Path) -> Path:
    path = folder / f"{sheet.name}.json"
    full = sheet.name == "rows"
    rows = [{key: _plain(value, full) for key, value in row.items()} for row in sheet.rows]
    content = {"study": study.title, "title": titled(study, sheet.title), "rows": rows}
    with atomic_write(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        )
    return path


def _plain(value: Any, full: bool) -> Any:
    """Return a value for JSON, which has no NaN: those become words, as in records."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return {True: "NaN"}.get(math.isnan(value), "Infinity" if value > 0 else "-Infinity")
    return value if full else float(f"{value:.{DIGITS}g}")


def _cell(value: Any, full: bool) -> str:
    """Return a value for CSV: empty for none, yes and no for truth."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(_plain(value, full))
