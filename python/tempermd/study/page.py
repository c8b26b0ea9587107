"""A study for readers: its page, its short text for the terminal, and its files of tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tempermd import pages
from tempermd.pages import Figure, Section, Table, number_text
from tempermd.study import figures
from tempermd.study.contrasts import (
    START,
    Negative,
    against_reference,
    contrasts,
    forgetting,
    negative_transfer,
)
from tempermd.study.costs import costs
from tempermd.study.curves import (
    QUANTITIES,
    REFERENCE,
    TEST,
    CurvePoint,
    arms,
    diverged,
    errors_by_size,
    factors,
    learning_curves,
    rows_of,
    targets,
)
from tempermd.study.figures import Palette
from tempermd.study.rows import Study
from tempermd.study.statistics import Estimate, Factor, Ratio
from tempermd.study.survival import FateOfArm, fates
from tempermd.study.tables import titled, write_tables

__all__ = ["markdown", "sections", "write_page", "write_tables"]

MOST_PAIRS = 60
"""Pairs of arms that the page lists; the file has all."""
FORCES, ENERGY = "forces, eV/Å", "energy, meV/atom"
MEANS = (
    "Geometric means over seeds with the 95 % interval of the mean (Student's t of logarithms). "
    "Every seed draws its training structures anew; the test set is the same for all."
)


def write_page(study: Study, path: Path | str, reference: str = REFERENCE) -> Path:
    """Write a study's page, which needs no network.

    Parameters
    ----------
    study
        The rows of a study.
    path
        Where to write; ends in .html.
    reference
        The arm that others are held against.
    """
    facts = {"spec sha256": study.spec_sha256, **study.versions}
    return pages.write_page(path, study.title, sections(study, reference), facts)


def sections(study: Study, reference: str = REFERENCE) -> list[Section]:
    """Return the sections of a study's page, for this page or as part of another."""
    palette = Palette(arms(study.rows), reference)
    points = learning_curves(study)
    made = [_findings(study, reference)]
    made += [_target(study, target, points, palette, reference) for target in targets(study)]
    made += [
        _fates(study, palette, reference),
        _forgetting(study, palette),
        _negative(study, reference),
        _costs(study),
    ]
    return [one for one in made if one.text or one.tables or one.figures]


def markdown(study: Study, reference: str = REFERENCE) -> str:
    """Return the errors of all arms, and what stands out, as Markdown for a terminal."""
    parts = [study.title]
    for target in targets(study):
        table = _errors_table(study, target, reference)
        parts.append(f"{table.title}\n\n{_as_markdown(table)}")
    runs = fates(study, reference)
    if runs:
        table = _fates_table(study, runs, reference)
        parts.append(f"{table.title}\n\n{_as_markdown(table)}")
    return "\n\n".join([*parts, *_remarks(study, reference)])


def _as_markdown(table: Table) -> str:
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _remarks(study: Study, reference: str) -> list[str]:
    """Say what a reader must not miss: trainings that diverged, transfer that does harm."""
    lost = [
        f"{row.target} {row.arm.name} n={row.n_train} seed {row.seed}" for row in diverged(study)
    ]
    found = [f"Diverged and in no mean: {', '.join(lost)}."] if lost else []
    negative = negative_transfer(study, reference)
    if any(row.arm.base is not None for row in study.rows):
        found.append(_negative_text(negative, reference))
    return found


def _negative_text(negative: list[Negative], reference: str) -> str:
    """Count where transfer does harm, in one or two sentences."""
    if not negative:
        return f"No arm with a base is worse than {reference}, nor than at its own start."
    clear = [one for one in negative if one.told_apart == "yes"]
    text = (
        f"Negative transfer: {len(negative)} means are worse than {reference} or than their start"
    )
    places = [
        f"{one.contrast.arm} at n={one.contrast.n_train} in {one.contrast.quantity} "
        f"(× {number_text(one.contrast.ratio.ratio)} of {one.contrast.against})"
        for one in clear
    ]
    if not places:
        return f"{text}, none with an interval clear of equality."
    more = f" and {len(places) - 6} more" if len(places) > 6 else ""
    return f"{text}, {len(clear)} with an interval clear of it: {'; '.join(places[:6])}{more}."


def _findings(study: Study, reference: str) -> Section:
    seeds = sorted({row.seed for row in study.rows})
    text = (
        f"{len(study.rows)} models: {_listed(arms(study.rows))}; {len(seeds)} "
        f"{'seed' if len(seeds) == 1 else 'seeds'}. {MEANS if len(seeds) > 1 else ''}"
    )
    return Section(title="What was found", text="\n\n".join([text, *_remarks(study, reference)]))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _target(
    study: Study, target: str, points: list[CurvePoint], palette: Palette, reference: str
) -> Section:
    own = [point for point in points if point.target == target]
    found = [point for point in factors(study, reference) if point.target == target]
    tables = [_errors_table(study, target, reference)]
    tables += _factor_table(study, target, reference) + _pairs_table(study, target, reference)
    drawn: list[Figure | None] = [figures.learning_curve(own, q, palette) for q in QUANTITIES]
    drawn += [figures.factor_figure(found, quantity, palette) for quantity in QUANTITIES]
    kinds = {row.arm.name: row.arm for row in study.rows}
    for quantity in QUANTITIES:
        drawn += figures.surface(own, kinds, quantity)
    return Section(
        title=titled(study, "Errors", target),
        tables=tables,
        figures=[figure for figure in drawn if figure is not None],
    )


def _errors_table(study: Study, target: str, reference: str) -> Table:
    """Return test errors of every arm at each n, and their ratio to the reference's."""
    ratios = against_reference(study, target, reference)
    head = ["arm", "n", "seeds", FORCES, ENERGY]
    head += [f"forces ÷ {reference}", f"energy ÷ {reference}"] if ratios else []
    rows = []
    for arm in arms(rows_of(study, target)):
        own = rows_of(study, target, arm)
        found = {
            (point.n_train, point.quantity): point.estimate
            for point in learning_curves(study.model_copy(update={"rows": own}))
            if point.error_set == TEST
        }
        for n in errors_by_size(own, "forces"):
            cells = [arm, str(n), _seeds(found[n, "forces"])]
            cells += [estimate_text(found[n, quantity]) for quantity in QUANTITIES]
            if ratios:
                cells += [ratio_text(ratios.get((arm, n, quantity))) for quantity in QUANTITIES]
            rows.append(cells)
    note = f"better, worse: the interval of the ratio by seed is clear of 1. {_chance(ratios)}"
    return Table(
        title=titled(study, "Errors on the test set", target),
        head=head,
        rows=rows,
        note=note if ratios and _has_intervals(ratios.values()) else "",
    )


def _chance(ratios: dict) -> str:
    return f"Of {len(ratios)} comparisons at 95 % about one in twenty is clear by chance."


def _has_intervals(ratios: Iterable[Ratio]) -> bool:
    return any(one.low is not None for one in ratios)


def _seeds(one: Estimate) -> str:
    return str(one.n_used) + (f" ({one.n_diverged} diverged)" if one.n_diverged else "")


def _factor_table(study: Study, target: str, reference: str) -> list[Table]:
    found = {
        (point.arm, point.n_train, point.quantity): point.factor
        for point in factors(study, reference)
        if point.target == target
    }
    if not found:
        return []
    keys = dict.fromkeys((arm, n) for arm, n, _ in found)
    rows = [
        [arm, str(n), *(factor_text(found.get((arm, n, quantity))) for quantity in QUANTITIES)]
        for arm, n in keys
    ]
    note = (
        f"How many times more structures {reference} needs for the same mean error, with the 95 % "
        "interval. ≥, ≤, >, <: censored, the curve of the reference ends there."
    )
    title = titled(study, f"Data-efficiency factor against {reference}", target)
    return [Table(title=title, head=["arm", "n", "forces", "energy"], rows=rows, note=note)]


def _pairs_table(study: Study, target: str, reference: str) -> list[Table]:
    """Return how other arms stand to each other at the smallest n of all."""
    own = [
        one
        for one in contrasts(study, reference)
        if one.target == target and one.error_set == TEST and one.against != reference
    ]
    if not own:
        return []
    n = min(one.n_train for one in own)
    pairs = dict.fromkeys((one.arm, one.against) for one in own if one.n_train == n)
    found = {(one.arm, one.against, one.quantity): one for one in own if one.n_train == n}
    apart = {None: "–", True: "apart", False: "overlap"}
    rows = []
    for arm, against in list(pairs)[:MOST_PAIRS]:
        both = [found.get((arm, against, quantity)) for quantity in QUANTITIES]
        cells = [ratio_text(one.ratio if one else None) for one in both]
        cells += [apart[one.factors_apart] if one else "–" for one in both]
        rows.append([arm, against, *cells])
    head = ["arm", "against", "forces, ratio", "energy, ratio"]
    head += ["factors, forces", "factors, energy"]
    title = titled(study, f"Arms against each other at n = {n}", target)
    note = f"{len(rows)} of {len(pairs)} pairs; contrasts.csv has every pair at every n."
    return [Table(title=title, head=head, rows=rows, note=note)]


def _fates(study: Study, palette: Palette, reference: str) -> Section:
    found = fates(study, reference)
    if not found:
        return Section(title="Fate in molecular dynamics")
    groups = dict.fromkeys((one.target, one.n_train, one.temperature_K) for one in found)
    drawn = [
        figures.survival_figure(
            [one for one in found if (one.target, one.n_train, one.temperature_K) == group],
            palette,
        )
        for group in groups
    ]
    return Section(
        title="Equal test error, different fate",
        tables=[_fates_table(study, found, reference)],
        figures=drawn,
    )


def _fates_table(study: Study, found: list[FateOfArm], reference: str) -> Table:
    head = ["arm", "n", FORCES, ENERGY, "K", "survived", "models whole", "survival at the end"]
    head += ["first events", f"log-rank p, {reference}"]
    several = len(targets(study)) > 1
    rows = [
        [
            f"{one.arm}, {one.target}" if several else one.arm,
            str(one.n_train),
            estimate_text(one.forces),
            estimate_text(one.energy),
            f"{one.temperature_K:g}",
            f"{one.survived} of {one.runs}"
            + (f" ({one.set_aside} aside)" if one.set_aside else ""),
            f"{one.models_whole} of {one.models}",
            f"{one.survival:.2f} ({one.low:.2f} to {one.high:.2f}) at {one.end_ps:g} ps",
            "; ".join(f"{kind} {n}" for kind, n in one.first_events.items()) or "none",
            "–" if one.p_against is None else _p_text(one.p_against),
        ]
        for one in found
    ]
    note = (
        "Survival: Kaplan–Meier with the 95 % log-log interval, Clopper–Pearson where all or none "
        "survive. Runs of one model are not independent: where models drive several runs, read "
        "the interval as too narrow and look at the models without a failed run. p: log-rank."
    )
    return Table(title=titled(study, "Errors and fates"), head=head, rows=rows, note=note)


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else number_text(p, 2)


def _forgetting(study: Study, palette: Palette) -> Section:
    found = forgetting(study)
    groups = dict.fromkeys((one.target, one.error_set) for one in found)
    tables, drawn = [], []
    for target, error_set in groups:
        own = [one for one in found if (one.target, one.error_set) == (target, error_set)]
        rows = [
            [
                one.arm,
                str(one.n_train),
                one.quantity,
                estimate_text(one.test),
                estimate_text(one.before),
                estimate_text(one.after),
                ratio_text(one.ratio, verdict=False),
            ]
            for one in own
        ]
        head = ["arm", "n", "of", "test, after", f"{error_set}, before", f"{error_set}, after"]
        title = titled(study, f"Errors on {error_set}", target)
        note = "Forces in eV/Å, energy in meV/atom. Before: the base, reference energies refitted."
        tables.append(Table(title=title, head=[*head, "after ÷ before"], rows=rows, note=note))
        drawn.append(figures.forgetting_figure(own, palette))
    return Section(
        title="Forgetting", tables=tables, figures=[one for one in drawn if one is not None]
    )


def _negative(study: Study, reference: str) -> Section:
    negative = negative_transfer(study, reference)
    rows = [
        [
            one.contrast.target,
            one.contrast.arm,
            str(one.contrast.n_train),
            one.contrast.quantity,
            one.contrast.against,
            ratio_text(one.contrast.ratio, verdict=False),
            one.told_apart,
        ]
        for one in negative
    ]
    head = ["target", "arm", "n", "of", "worse than", "ratio", "interval clear of 1"]
    title = titled(study, f"Means worse than {reference}, or than {START}")
    tables = [Table(title=title, head=head, rows=rows)] if rows else []
    based = any(row.arm.base is not None for row in study.rows)
    text = _negative_text(negative, reference) if based else ""
    return Section(title="Negative transfer", text=text, tables=tables)


def _costs(study: Study) -> Section:
    found = costs(study)
    names = ["training", "rates not chosen", "pre-training", "its labels"]
    rows = [
        [
            one.arm,
            str(one.models),
            *(
                number_text(value)
                for value in (
                    one.training_core_h,
                    one.tuning_core_h,
                    one.pretraining_core_h,
                    one.labels_core_h,
                    one.core_h,
                    one.gpu_h,
                )
            ),
        ]
        for one in found
    ]
    head = ["arm", "models", *names, "all, core-hours", "GPU-hours"]
    note = "A base that several rows start from counts once per arm, and once in the last line."
    table = Table(title=titled(study, "Core-hours"), head=head, rows=rows, note=note)
    return Section(title="What it cost", tables=[table], figures=[figures.cost_figure(found)])


def estimate_text(one: Estimate | None) -> str:
    """Return a mean with its interval; what diverged is said where nothing is left."""
    if one is None:
        return "–"
    if one.mean is None:
        return "diverged"
    return number_text(one.mean) + _interval(one.low, one.high)


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f" ({number_text(low)} to {number_text(high)})"


def ratio_text(one: Ratio | None, verdict: bool = True) -> str:
    """Return a ratio with its interval and what it says."""
    if one is None:
        return "–"
    text = number_text(one.ratio) + _interval(one.low, one.high)
    return f"{text} {one.verdict}" if verdict and one.low is not None else text


def factor_text(one: Factor | None) -> str:
    """Return a factor with its interval; signs say where the reference's curve ends."""
    if one is None:
        return "–"
    sign = {"no": "", "above": "≥ ", "below": "≤ "}[one.censored]
    text = sign + number_text(one.factor)
    if one.low is None or one.high is None or one.low == one.high:
        return text
    low = ("< " if one.low_censored else "") + number_text(one.low)
    high = ("> " if one.high_censored else "") + number_text(one.high)
    return f"{text} ({low} to {high})"
