"""A study for readers: its page, its short text for the terminal, and its files of tables."""

from __future__ import annotations

from pathlib import Path

from tempermd import pages
from tempermd.findings import figures, page_tables
from tempermd.findings.contrasts import (
    SOURCE,
    Negative,
    forgetting,
    negative_transfer,
    rivals_text,
)
from tempermd.findings.costs import costs
from tempermd.findings.curves import (
    QUANTITIES,
    REFERENCE,
    CurvePoint,
    arms,
    diverged,
    factors,
    joined,
    learning_curves,
    targets,
)
from tempermd.findings.rows import Study
from tempermd.findings.survival import FateOfArm, fates
from tempermd.findings.tables import titled, write_tables
from tempermd.pages import Figure, Section, Table, number_text
from tempermd.pages.palette import Palette

__all__ = ["markdown", "remarks", "sections", "write_page", "write_tables"]

MOST_NAMED = 6
"""Cases of negative transfer that the text names; the table has all."""


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
    study = joined(study)
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
    """Return the words and the tables of a study's page as Markdown."""
    parts = [f"# {study.title}"]
    for section in sections(study, reference):
        parts += [f"## {section.title}", *([section.text] if section.text else [])]
        for table in section.tables:
            parts += [
                f"**{table.title}**",
                _as_markdown(table),
                *([table.note] if table.note else []),
            ]
    return "\n\n".join(parts)


def _as_markdown(table: Table) -> str:
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _findings(study: Study, reference: str) -> Section:
    seeds = {row.seed for row in study.rows}
    counted = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    text = f"{len(study.rows)} models ({counted}): {', '.join(arms(study.rows))}."
    return Section(title="What was found", text="\n\n".join([text, *remarks(study, reference)]))


def remarks(study: Study, reference: str) -> list[str]:
    """Say what a reader must not miss: trainings that diverged, transfer that does harm."""
    lost = [f"{r.target}, {r.arm.name}, n = {r.n_train}, seed {r.seed}" for r in diverged(study)]
    found = [f"Diverged and in no mean: {'; '.join(lost)}."] if lost else []
    if any(row.arm.base is not None for row in study.rows):
        found.append(_negative_text(study, reference))
    faults = {item for row in study.rows for item in row.sources_not_compared.items()}
    found += [f"Not compared with {SOURCE}: {name} ({why})." for name, why in sorted(faults)]
    return found


def _negative_text(study: Study, reference: str) -> str:
    """Say where transfer does harm, the cases that are clear by name."""
    found = negative_transfer(study, reference)
    has_reference = reference in arms(study.rows)
    against = rivals_text(study, reference)
    absent = "" if has_reference else f" There is no arm {reference} to compare with."
    if not found:
        return f"Negative transfer: no arm with a base has a mean worse than {against}.{absent}"
    text = f"Negative transfer: {len(found)} means of arms with a base are worse than {against}"
    named = [one for one in found if one.told_apart != "no"]
    several = [one for one in found if one.told_apart != "one seed"]
    clear = [one for one in found if one.told_apart == "yes"]
    counted = f", {len(clear)} of them with an interval clear of equality" if several else ""
    alone = "" if several else " One seed: no intervals."
    return f"{text}{counted}{': ' if named else ''}{_cases(named)}.{alone}{absent}"


def _cases(found: list[Negative]) -> str:
    """Name cases, the sizes of one arm and quantity together."""
    cases: dict[tuple[str, ...], list[Negative]] = {}
    for one in found:
        case = one.contrast
        cases.setdefault((case.target, case.arm, case.quantity, case.against), []).append(one)
    named = []
    for (target, arm, quantity, against), group in cases.items():
        sizes = ", ".join(str(one.contrast.n_train) for one in group)
        most = number_text(max(one.contrast.ratio.ratio for one in group))
        named.append(f"{arm} on {target}, {quantity} at n = {sizes} (up to {most} times {against})")
    more = [f"and {len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []
    return "; ".join(named[:MOST_NAMED] + more)


def _target(
    study: Study, target: str, points: list[CurvePoint], palette: Palette, reference: str
) -> Section:
    own = [point for point in points if point.target == target]
    found = [point for point in factors(study, reference) if point.target == target]
    tables = page_tables.full_tables(study, target, points, found, reference)
    tables += page_tables.pair_tables(study, target, reference)
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


def _groups(found: list[FateOfArm]) -> list[list[FateOfArm]]:
    """Return fates by target, n_train and temperature."""
    groups: dict[tuple[str, int, float], list[FateOfArm]] = {}
    for one in found:
        groups.setdefault((one.target, one.n_train, one.temperature_K), []).append(one)
    return list(groups.values())


def _fates(study: Study, palette: Palette, reference: str) -> Section:
    groups = _groups(fates(study, reference))
    return Section(
        title="Equal test error, different fate",
        tables=[page_tables.fates_table(study, group) for group in groups],
        figures=[figures.fates_figure(group, palette) for group in groups],
    )


def _forgetting(study: Study, palette: Palette) -> Section:
    found = forgetting(study)
    groups = [
        [one for one in found if (one.target, one.error_set) == key]
        for key in dict.fromkeys((one.target, one.error_set) for one in found)
    ]
    drawn = [figures.forgetting_figure(group, palette) for group in groups]
    return Section(
        title="Forgetting",
        tables=[table for group in groups for table in page_tables.forgetting_tables(study, group)],
        figures=[figure for figure in drawn if figure is not None],
    )


def _negative(study: Study, reference: str) -> Section:
    found = negative_transfer(study, reference)
    tables = [page_tables.negative_table(study, found, reference)] if found else []
    return Section(title="Negative transfer", tables=tables)


def _costs(study: Study) -> Section:
    found = costs(study)
    return Section(
        title="What it cost",
        tables=[page_tables.cost_table(study, found)],
        figures=[figures.cost_figure(found)],
    )
