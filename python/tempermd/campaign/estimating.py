"""What a campaign would run, and what it would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from tempermd import md
from tempermd.campaign.folder import Campaign
from tempermd.campaign.rates import Rate, machine, model_key, rates_of
from tempermd.campaign.table import ENDED, Line
from tempermd.md import Case

HOUR_S = 3600.0


@dataclass(frozen=True)
class PlanLine:
    """Runs of one model, structure and protocol: how many, how long, and what is left of them."""

    model: str
    structure: str
    protocol: str
    temperatures_K: tuple[float, ...]
    seeds: int
    runs: int
    left: int
    atoms: int
    steps: int
    steps_left: int
    left_s: float | None


@dataclass(frozen=True)
class Estimate:
    """The lines of a plan, and the time that is left when so many runs go on at once."""

    lines: list[PlanLine]
    rates: dict[str, Rate]
    slots: int
    cores: int
    names: dict[str, str]

    @property
    def left_s(self) -> float | None:
        """Seconds of runs that are left; None where a rate is not known."""
        times = [line.left_s for line in self.lines]
        return None if any(one is None for one in times) else sum(map(float, times))

    @property
    def core_hours(self) -> float | None:
        """Core-hours that are left."""
        return None if self.left_s is None else self.left_s * self.cores / HOUR_S

    @property
    def wall_s(self) -> float | None:
        """Wall time that is left, were all slots always busy."""
        if self.left_s is None:
            return None
        runs = sum(line.left for line in self.lines)
        return self.left_s / max(1, min(self.slots, runs))


def estimate(
    campaign: Campaign, lines: Sequence[Line], slots: int, *, probe: bool = True
) -> Estimate:
    """Count the runs of a campaign and estimate what those that are left will cost."""
    rows = {line.id: line.row for line in lines if line.row is not None}
    rates = rates_of(campaign, rows, probe=probe)
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        case = line.case
        groups.setdefault((case.model_name, case.structure_name, case.protocol_name), []).append(
            line
        )
    names = {model_key(line.case): line.case.model_name for line in lines}
    return Estimate(
        lines=[_plan_line(key, group, rates) for key, group in groups.items()],
        rates=rates,
        slots=slots,
        cores=campaign.spec.resources.cores,
        names=names,
    )


def run_seconds(case: Case, rate: Rate) -> float:
    """Return about how long a run takes from its start to its end."""
    return rate.seconds(_atoms(case.structure, case.structure_sha256), case.planned_steps)


@cache
def _atoms(structure: str, sha256: str) -> int:
    """Count a structure's atoms once; by its hash, since files change."""
    return md.count_atoms(structure)


def _plan_line(
    key: tuple[str, str, str], group: Sequence[Line], rates: Mapping[str, Rate]
) -> PlanLine:
    first = group[0].case
    atoms = _atoms(first.structure, first.structure_sha256)
    left = [line.case for line in group if line.state not in (*ENDED, "skipped")]
    rate = rates.get(model_key(first))
    return PlanLine(
        *key,
        temperatures_K=tuple(dict.fromkeys(line.case.temperature_K for line in group)),
        seeds=len({line.case.seed for line in group}),
        runs=len(group),
        left=len(left),
        atoms=atoms,
        steps=sum(line.case.planned_steps for line in group),
        steps_left=sum(case.planned_steps for case in left),
        left_s=_seconds(left, rate),
    )


def _seconds(left: Sequence[Case], rate: Rate | None) -> float | None:
    if not left:
        return 0.0
    return None if rate is None else sum(run_seconds(case, rate) for case in left)


def plan_text(found: Estimate) -> str:
    """Return the plan as a table for a terminal, with what it costs and how that is known."""
    head = ["model", "structure", "protocol", "T, K", "seeds", "runs", "left", "atoms"]
    head += ["steps/run", "core-hours left"]
    body = [_cells(line, found.cores) for line in found.lines]
    runs, left = sum(line.runs for line in found.lines), sum(line.left for line in found.lines)
    text = aligned([head, *body])
    steps = sum(line.steps for line in found.lines)
    in_all = f"{steps:,}".replace(",", " ")
    text += f"\n{runs} runs, {left} of them left; {in_all} steps in all"
    return "\n".join([text, *_known_from(found), _left(found)])


def _cells(line: PlanLine, cores: int) -> list[str]:
    hours = "?" if line.left_s is None else f"{line.left_s * cores / HOUR_S:.3g}"
    kelvin = [f"{one:g}" for one in line.temperatures_K]
    shown = " ".join(kelvin) if len(kelvin) <= 4 else f"{kelvin[0]}..{kelvin[-1]} ({len(kelvin)})"
    numbers = [line.seeds, line.runs, line.left, line.atoms, round(line.steps / line.runs)]
    return [line.model, line.structure, line.protocol or "heat", shown, *map(str, numbers), hours]


def _known_from(found: Estimate) -> list[str]:
    """Say for every model how fast it runs, and from what this is known."""
    lines = []
    for key, name in found.names.items():
        rate = found.rates.get(key)
        if rate is None:
            lines.append(f"{name}: no rate: no run of it has ended, nor has a probe")
        elif rate.source == "runs":
            of = f"median of {rate.n_runs} finished run{'s' * (rate.n_runs > 1)}"
            lines.append(f"{name}: {rate.atom_steps_per_s:.3g} atom-steps/s ({of})")
        else:
            start = f"{rate.start_s:.2g} s to start"
            of = f"a probe on {machine()}"
            lines.append(f"{name}: {rate.atom_steps_per_s:.3g} atom-steps/s, {start} ({of})")
    return lines


def _left(found: Estimate) -> str:
    if found.wall_s is None or found.core_hours is None:
        return "what is left cannot be estimated: a rate is missing"
    slots, cores = found.slots, found.cores
    at_once = f"{slots} run{'s' * (slots > 1)} of {cores} core{'s' * (cores > 1)} at a time"
    return f"left: {found.core_hours:.3g} core-hours, {duration(found.wall_s)} with {at_once}"


def duration(seconds: float) -> str:
    """Return a time in words, with one unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return (
        f"{seconds / HOUR_S:.1f} h" if seconds < 48 * HOUR_S else f"{seconds / HOUR_S / 24:.1f} d"
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return cells in columns: numbers to the right, words to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = [
        all(row[column][:1].isdigit() or row[column] in ("?", "–") for row in rows[1:])
        for column in range(len(rows[0]))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )
