"""The tables of a study as readers see them, on its page and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from tempermd.findings.cells import (
    NONE,
    apart_text,
    estimate_text,
    factor_text,
    p_text,
    ratio_text,
)
from tempermd.findings.contrasts import (
    Contrast,
    Forgotten,
    Negative,
    against_reference,
    contrasts,
    rivals_text,
)
from tempermd.findings.costs import ArmCost
from tempermd.findings.curves import (
    GENERAL,
    QUANTITIES,
    TEST,
    CurvePoint,
    FactorPoint,
    arms,
    has_curves,
    rows_of,
)
from tempermd.findings.figures import NAMES, UNITS
from tempermd.findings.rows import Quantity, Study
from tempermd.findings.statistics import Estimate, Ratio
from tempermd.findings.survival import FateOfArm
from tempermd.findings.tables import titled
from tempermd.pages import Table, number_text

MOST_PAIRS = 60
"""Pairs of arms that the page lists; the file has all."""
Key = tuple[str, int, Quantity]
"""An arm, an n_train, and forces or energy."""
Cells = Mapping[tuple[str, int], str]
"""What a table says of an arm at an n_train."""


def error_tables(
    study: Study, target: str, points: list[CurvePoint], reference: str
) -> list[Table]:
    """Return test errors: a row for every arm, a column for every n; one table for a single n."""
    found = _test_errors(points, target)
    if not has_curves(study, target):
        ratios = against_reference(study, target, reference)
        return [_single_size(study, target, found, ratios, reference)]
    tables = []
    for quantity in QUANTITIES:
        cells = {key[:2]: estimate_text(one) for key, one in found.items() if key[2] == quantity}
        title = titled(study, f"{NAMES[quantity]} on the test set, {UNITS[quantity]}", target)
        tables.append(_pivot(title, study, target, cells, _seeds_text(found, quantity)))
    return tables


def full_tables(
    study: Study,
    target: str,
    points: list[CurvePoint],
    factor_points: list[FactorPoint],
    reference: str,
) -> list[Table]:
    """Return test errors, their ratios to the reference's and factors, a row for each n."""
    if not has_curves(study, target):
        return error_tables(study, target, points, reference)
    found = _test_errors(points, target)
    ratios = against_reference(study, target, reference)
    factors = {
        (one.arm, one.n_train, one.quantity): one.factor
        for one in factor_points
        if one.target == target
    }
    tables = []
    for quantity in QUANTITIES:
        head = ["arm", "n", f"RMSE, {UNITS[quantity]}"]
        head += [f"÷ {reference}, by seed"] if ratios else []
        head += ["data-efficiency factor"] if factors else []
        rows = []
        for key, one in found.items():
            if key[2] == quantity:
                more = [ratio_text(ratios.get(key))] if ratios else []
                more += [factor_text(factors.get(key))] if factors else []
                if key[0] == reference:
                    more = ["1"] * len(more)
                cells = [key[0], str(key[1]), estimate_text(one), *more]
                rows.append(cells)
        notes = [_seeds_text(found, quantity)]
        notes += [_arrows_text(len(ratios))] if ratios else []
        notes += [_factor_note(reference)] if factors else []
        title = titled(study, f"{NAMES[quantity]} on the test set", target)
        tables.append(Table(title=title, head=head, rows=rows, note=" ".join(notes)))
    return tables


def _test_errors(points: list[CurvePoint], target: str) -> dict[Key, Estimate]:
    return {
        (point.arm, point.n_train, point.quantity): point.estimate
        for point in points
        if point.target == target and point.error_set == TEST
    }


def _single_size(
    study: Study,
    target: str,
    found: Mapping[Key, Estimate],
    ratios: Mapping[Key, Ratio],
    reference: str,
) -> Table:
    """Return one table for arms that were trained at one n each."""
    head = ["arm", "n", "seeds", *(f"{q} RMSE, {UNITS[q]}" for q in QUANTITIES)]
    head += [f"{quantity} ÷ {reference}" for quantity in QUANTITIES] if ratios else []
    rows = []
    for arm, n in dict.fromkeys(key[:2] for key in found):
        one = found[arm, n, "forces"]
        cells = [arm, str(n), str(one.n_used + one.n_diverged)]
        cells += [estimate_text(found[arm, n, quantity]) for quantity in QUANTITIES]
        if ratios:
            cells += [ratio_text(ratios.get((arm, n, quantity))) for quantity in QUANTITIES]
        rows.append(cells)
    several = any(one.low is not None for one in ratios.values())
    title = titled(study, "Errors on the test set", target)
    return Table(
        title=title, head=head, rows=rows, note=_arrows_text(len(ratios)) if several else ""
    )


def _pivot(title: str, study: Study, target: str, cells: Cells, note: str) -> Table:
    """Return a table with a row for every arm and a column for every n_train."""
    sizes = sorted({n for _, n in cells})
    names = [arm for arm in arms(rows_of(study, target)) if any(arm == a for a, _ in cells)]
    rows = [[arm, *(cells.get((arm, n), NONE) for n in sizes)] for arm in names]
    return Table(title=title, head=["arm", *(f"n = {n}" for n in sizes)], rows=rows, note=note)


def _seeds_text(found: Mapping[Key, Estimate], quantity: Quantity) -> str:
    counts = {one.n_used + one.n_diverged for key, one in found.items() if key[2] == quantity}
    if counts == {1}:
        return "One seed: no intervals."
    least, most = min(counts), max(counts)
    text = f"{most} seeds" if least == most else f"{least} to {most} seeds"
    return f"Geometric mean over {text}, with the 95 % interval of the mean."


def _arrows_text(n_comparisons: int) -> str:
    return (
        "↓ better, ↑ worse: the 95 % interval is clear of 1; no arrow: not told apart. Of "
        f"{n_comparisons} comparisons about one in twenty is clear by chance alone."
    )


def factor_tables(
    study: Study, target: str, found: list[FactorPoint], reference: str
) -> list[Table]:
    """Return data-efficiency factors, for forces and for energy."""
    tables = []
    for quantity in QUANTITIES:
        cells = {
            (point.arm, point.n_train): factor_text(point.factor)
            for point in found
            if (point.target, point.quantity) == (target, quantity)
        }
        title = titled(study, f"Data-efficiency factor of {quantity} over {reference}", target)
        if cells:
            tables.append(_pivot(title, study, target, cells, _factor_note(reference)))
    return tables


def _factor_note(reference: str) -> str:
    return (
        f"Factor: how many times more structures {reference} needs for the same mean error, with "
        "the 95 % interval; ≥, ≤, > and < stand where its curve ends (censored)."
    )


def pair_tables(study: Study, target: str, reference: str) -> list[Table]:
    """Return how the other arms stand to each other at the smallest n that pairs share."""
    own = [
        one
        for one in contrasts(study, reference)
        if one.target == target and one.error_set == TEST and one.against != reference
    ]
    if not own:
        return []
    n = min(one.n_train for one in own)
    found = {(one.arm, one.against, one.quantity): one for one in own if one.n_train == n}
    pairs = list(dict.fromkeys(key[:2] for key in found))
    rows = []
    for arm, against in pairs[:MOST_PAIRS]:
        both = [found.get((arm, against, quantity)) for quantity in QUANTITIES]
        rows.append([f"{arm} ÷ {against}", *_pair_cells(both)])
    head = ["arms", "forces", "energy", "factors of forces", "factors of energy"]
    title = titled(study, f"Other arms against each other at n = {n}", target)
    note = (
        "Ratio of errors by seed with its 95 % interval; whether the intervals of the two "
        f"data-efficiency factors touch. {len(rows)} of {len(pairs)} pairs; contrasts.csv has "
        "every pair at every n."
    )
    return [Table(title=title, head=head, rows=rows, note=note)]


def _pair_cells(both: list[Contrast | None]) -> list[str]:
    ratios = [ratio_text(one.ratio if one else None) for one in both]
    return ratios + [apart_text(one.factors_apart if one else None) for one in both]


def fates_table(study: Study, found: list[FateOfArm]) -> Table:
    """Return errors beside survival, of the arms at one target, n_train and temperature."""
    first = found[0]
    head = ["arm", "forces, eV/Å", "energy, meV/atom", "survived", "models whole", "survival"]
    head += [f"p, {first.reference}", "first events"]
    rows = [
        [
            one.arm,
            estimate_text(one.forces),
            estimate_text(one.energy),
            _count_text(one),
            f"{one.models_whole} of {one.models}",
            f"{one.survival:.2f} ({one.low:.2f} to {one.high:.2f})",
            p_text(one.p_against),
            ", ".join(f"{kind} {n}" for kind, n in one.first_events.items()) or "none",
        ]
        for one in found
    ]
    end_ps = max(one.end_ps for one in found)
    title = f"Test error and fate at {first.temperature_K:g} K, n = {first.n_train}"
    note = (
        f"Survival to {end_ps:g} ps: Kaplan–Meier with the 95 % log-log interval, Clopper–Pearson "
        "where all or none survive. Runs of one model are not independent: where models drive "
        "several runs the interval is too narrow, and whole models (none of whose runs failed) "
        f"tell more. p: log-rank test against {first.reference}."
    )
    return Table(title=titled(study, title, first.target), head=head, rows=rows, note=note)


def _count_text(one: FateOfArm) -> str:
    aside = f", {one.set_aside} set aside" if one.set_aside else ""
    return f"{one.survived} of {one.runs}{aside}"


def forgetting_tables(study: Study, own: list[Forgotten]) -> list[Table]:
    """Return errors on a further set beside those on the test set, before and after."""
    name = own[0].error_set
    head = ["arm", "n", "test, before", "test, after", f"{name}, before", f"{name}, after"]
    note = (
        "Before: the model before its first step, with refitted reference energies. ↑: worse than "
        "before, the interval clear of 1."
    )
    if name == GENERAL:
        note += (
            " The general set is what the base's pre-training held out, labelled by the base's "
            "source; for arms without a base it is that of the first base."
        )
    tables = []
    for quantity in QUANTITIES:
        rows = [
            [
                one.arm,
                str(one.n_train),
                *map(estimate_text, (one.test_before, one.test, one.before, one.after)),
                ratio_text(one.ratio),
            ]
            for one in own
            if one.quantity == quantity
        ]
        title = titled(study, f"{NAMES[quantity]} on {name}, {UNITS[quantity]}", own[0].target)
        tables.append(Table(title=title, head=[*head, "after ÷ before"], rows=rows, note=note))
    return tables


def negative_table(study: Study, found: list[Negative], reference: str) -> Table:
    """Return every mean of an arm with a base that is worse than it should be."""
    rows = [
        [
            one.contrast.target,
            one.contrast.arm,
            str(one.contrast.n_train),
            one.contrast.quantity,
            one.contrast.against,
            ratio_text(one.contrast.ratio),
            one.told_apart,
        ]
        for one in found
    ]
    head = ["target", "arm", "n", "of", "worse than", "ratio", "interval clear of 1"]
    title = titled(study, f"Means worse than those of {rivals_text(study, reference)}")
    return Table(title=title, head=head, rows=rows)


def cost_table(study: Study, found: list[ArmCost]) -> Table:
    """Return the hours of every arm and of all."""
    rows = [
        [
            one.arm,
            str(one.models),
            number_text(one.training_core_h),
            number_text(one.tuning_core_h),
            number_text(one.pretraining_core_h),
            number_text(one.labels_core_h),
            number_text(one.core_h),
            number_text(one.gpu_h),
        ]
        for one in found
    ]
    head = ["arm", "models", "training", "rates not chosen", "pre-training", "its labels"]
    note = "A base that several rows start from counts once per arm, and once in the last line."
    return Table(
        title=titled(study, "Core-hours"),
        head=[*head, "all", "GPU-hours"],
        rows=rows,
        note=note,
    )
