"""Limits measured anew: what a trusted potential does on a user's own structures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tempermd.campaign.judging import analyse_all
from tempermd.campaign.running import run_cases
from tempermd.campaign.spec import RobustnessSpec
from tempermd.events import Analysis
from tempermd.events.limits import DEFAULT_FILE, ORDERED, read_thresholds, value_of
from tempermd.records import Record, UserError, atomic_write, write_record

LIMITS = "thresholds.toml"
RECORD = "calibration.json"
TABLE = "calibration.md"

RULES: dict[str, tuple[str, float, float]] = {
    "close_contact.warn_A": ("shortest_A", 0.95, 0.1),
    "close_contact.severe_A": ("shortest_A", 0.87, 0.1),
    "force_spike.warn_eV_per_A": ("force_eV_per_A", 1.25, 1.0),
    "force_spike.severe_eV_per_A": ("force_eV_per_A", 2.5, 2.0),
    "shape.ellipticity": ("ellipticity", 1.1, 1.2),
    "shape.radius_share": ("radius_share", 1.5, 0.05),
    "overcoordinated.share": ("fourfold_share", 2.0, 0.01),
    "dangling.warn_share": ("fewer_bonds_share", 2.0, 0.01),
    "hot_atom.kT": ("kT", 1.25, 25.0),
    "energy_drift.warn_eV_per_atom_ps": ("drift_eV_per_atom_ps", 2.0, 5e-4),
    "temperature.sigmas": ("sigmas", 1.25, 6.0),
}
"""Limit -> what it is measured by, the factor on the worst value seen, and the least it may be.

The last three rest on statistics or on the integrator, not on the structure: they are only ever
widened beyond what is shipped. Each kT makes an atom 2.7 times rarer, so a quarter more of 25 kT
is 500 times rarer; drifts and sigmas are measured where they made an event.
"""
FROM_EVENTS = {
    ("energy_drift", "eV/atom/ps"): "drift_eV_per_atom_ps",
    ("temperature", "σ"): "sigmas",
}
"""What frames do not show: kind and unit of an event -> the name of its value without a sign."""
SHARES = ("overcoordinated.share", "dangling.warn_share", "dangling.severe_share")
"""Limits on a share of the atoms."""
COLUMNS = {
    "shortest_A": "shortest pair, Å",
    "longest_bond_A": "longest bond, Å",
    "fewer_bonds_share": "atoms short of a bond, at once",
    "fourfold_share": "atoms with four, at once",
    "ellipticity": "ellipticity",
    "radius_share": "change of radius",
    "kT": "hottest atom, kT",
    "force_eV_per_A": "largest force, eV/Å",
    "drift_eV_per_atom_ps": "drift, eV/atom/ps",
    "sigmas": "temperature off by, σ",
}


class CalibrationRecord(Record):
    """The worst values seen in each condition, and the limits that follow."""

    format_name: ClassVar[str] = "tempermd-calibration"

    n_runs: int
    total_ps: float
    worst: dict[str, dict[str, float]]
    limits: dict[str, float]
    notes: list[str]


def calibrate(spec: RobustnessSpec, output: Path, workers: int | None = None) -> Path:
    """Run what is trusted, measure how far it goes, and write limits beyond that.

    Parameters
    ----------
    spec : RobustnessSpec
        Of one potential only: a model that is trusted, or the control.
    output : Path
        Gets runs, ``thresholds.toml`` (all limits with their reasons, those of `RULES` measured),
        ``calibration.json`` and ``calibration.md``.

    Returns
    -------
    Path
        The limits, for ``--thresholds``.
    """
    if len(spec.models) + spec.control != 1:
        raise UserError("calibrate takes one trusted potential: a model, or LCBOP if none is named")
    run_cases(spec, output, workers)
    analyses = analyse_all(output / "runs", workers=workers)
    broken = [one for one in analyses if one.outcome != "finished"]
    if broken:
        first = broken[0]
        raise UserError(
            f"{len(broken)} of {len(analyses)} runs did not finish, so this potential cannot be "
            f"trusted here: {first.label.structure}, {first.label.condition}: {first.reason}"
        )
    worst = worst_by_condition(analyses)
    limits = limits_beyond(worst)
    record = CalibrationRecord(
        n_runs=len(analyses),
        total_ps=sum(one.duration_ps for one in analyses),
        worst=worst,
        limits=limits,
        notes=_notes(worst, limits, analyses),
    )
    write_record(output / RECORD, record)
    with atomic_write(output / TABLE) as temporary:
        temporary.write_text(calibration_table(record), encoding="utf-8")
    with atomic_write(output / LIMITS) as temporary:
        temporary.write_text(with_limits(DEFAULT_FILE.read_text(encoding="utf-8"), limits))
        read_thresholds(temporary)
    return output / LIMITS


def worst_by_condition(analyses: Sequence[Analysis]) -> dict[str, dict[str, float]]:
    """Return the worst values of all runs, by what was done at which temperature."""
    found: dict[str, dict[str, float]] = {}
    for run in sorted(analyses, key=lambda run: (run.label.protocol, run.label.temperature_K or 0)):
        worst = found.setdefault(run.label.condition, {})
        for name, value in _measured(run):
            choose = min if name == "shortest_A" else max
            worst[name] = choose(worst.get(name, value), value)
    return found


def _measured(run: Analysis) -> list[tuple[str, float]]:
    """Return how far a run went: the extremes of its frames, and the sizes of what its log told."""
    told = [
        (FROM_EVENTS[event.kind, event.unit], abs(event.value))
        for event in run.events
        if (event.kind, event.unit) in FROM_EVENTS and event.value is not None
    ]
    return [*run.extremes.items(), *told]


def limits_beyond(worst: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return limits that leave a margin beyond all that was seen, warnings before severe ones."""
    limits = {}
    for limit, (name, factor, least) in RULES.items():
        seen = [values[name] for values in worst.values() if name in values]
        if not seen:
            continue
        value = factor * (min(seen) if name == "shortest_A" else max(seen))
        limits[limit] = _rounded(max(value, least))
    return _in_order(limits)


def _in_order(limits: dict[str, float]) -> dict[str, float]:
    """Move the partners of limits that went beyond them along, by the ratio of the shipped ones."""
    shipped = read_thresholds()
    found = dict(limits)
    for larger, smaller in ORDERED:
        values = {name: value_of(shipped, name) for name in (larger, smaller)}
        ratio = values[larger] / values[smaller]
        values |= {name: limits[name] for name in values if name in limits}
        if values[larger] >= values[smaller]:
            continue
        if smaller in limits:
            found[larger] = _rounded(values[smaller] * ratio)
        else:
            found[smaller] = _rounded(values[larger] / ratio)
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def with_limits(text: str, limits: dict[str, float]) -> str:
    """Return a thresholds file with other values; comments stay."""
    section, lines = "", []
    for line in text.splitlines():
        head = re.fullmatch(r"\[(\w+)\]", line.strip())
        section = head[1] if head else section
        key = line.split("=")[0].strip()
        value = limits.get(f"{section}.{key}")
        lines.append(line if value is None else f"{key} = {value:g}  # measured")
    return "\n".join(lines) + "\n"


def _notes(
    worst: dict[str, dict[str, float]], limits: dict[str, float], analyses: Sequence[Analysis]
) -> list[str]:
    bond = analyses[0].thresholds.bond
    longest = max((values.get("longest_bond_A", 0.0) for values in worst.values()), default=0.0)
    notes = []
    if longest > bond.broken_A - 0.03:
        notes.append(
            f"bonds reach {longest:.2f} Å and count as broken at {bond.broken_A:g} Å: set "
            "bond.broken_A by hand, between the first and the second shell"
        )
    notes += [
        f"{name} = {limits[name]:g}: more than all atoms, so it never fires"
        for name in SHARES
        if limits.get(name, 0.0) >= 1
    ]
    counts: dict[str, int] = {}
    for run in analyses:
        for kind, count in run.event_counts.items():
            counts[kind] = counts.get(kind, 0) + count
    if counts:
        text = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        notes.append(f"by the limits as shipped these runs have events: {text}")
    return notes


def calibration_table(record: CalibrationRecord) -> str:
    """Return what was measured as Markdown."""
    names = [name for name in COLUMNS if any(name in values for values in record.worst.values())]
    lines = ["| | " + " | ".join(COLUMNS[name] for name in names) + " |"]
    lines.append("| --- |" + " --- |" * len(names))
    for condition, values in record.worst.items():
        cells = [f"{values[name]:.4g}" if name in values else "–" for name in names]
        lines.append(f"| {condition} | " + " | ".join(cells) + " |")
    lines += ["", f"Worst values of {record.n_runs} runs, {record.total_ps:.0f} ps."]
    lines += [f"- {note}" for note in record.notes]
    return "\n".join(lines) + "\n"
