"""A description of a dataset as text for the terminal and as a page with plots."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tempermd.dataset.description import ENERGY, QUANTITIES, Description, describe
from tempermd.pages import Figure, Section, Table, write_page
from tempermd.records import UserError

SHOWN = 20
"""Outliers and duplicates that are listed; all are counted."""
BINS = 60
POINTS = 5000
"""Points of a scatter plot: a page must stay readable and small."""


def description_text(found: Description) -> str:
    """Return what a dataset holds as lines of text."""
    lines = [f"{found.path}: {len(found.parts)} frames, {sum(found.n_atoms)} atoms"]
    for table in _tables(found):
        lines.append("")
        lines.append(table.title + (f" ({table.note})" if table.note else ""))
        lines += _columns([table.head, *table.rows])
    return "\n".join(lines)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _tables(found: Description) -> list[Table]:
    tables = [
        _counts("Parts" if found.record else "Files", "part", found.parts, found),
        _elements(found),
        _counts("Kinds", "kind", found.kinds, found),
        _sources(found),
        _ranges(found),
        _outliers(found),
        _duplicates("Exact duplicates", found.duplicates, found.straddling),
        _duplicates("Turned or reordered duplicates", found.near_duplicates, found.straddling),
    ]
    return [table for table in tables if table is not None]


def _counts(title: str, head: str, names: list[str], found: Description) -> Table:
    frames = Counter(names)
    atoms: Counter[str] = Counter()
    trajectories: dict[str, set[str]] = {name: set() for name in frames}
    for name, n_atoms, trajectory in zip(names, found.n_atoms, found.trajectories, strict=True):
        atoms[name] += n_atoms
        trajectories[name].add(trajectory)
    rows = [
        [name, str(count), str(atoms[name]), str(len(trajectories[name] - {""}))]
        for name, count in frames.items()
    ]
    return Table(title=title, head=[head, "frames", "atoms", "trajectories"], rows=rows)


def _elements(found: Description) -> Table:
    total = found.elements.total()
    rows = [
        [symbol, str(count), f"{100 * count / total:.2f} %"]
        for symbol, count in found.elements.most_common()
    ]
    return Table(title="Composition", head=["element", "atoms", "part"], rows=rows)


def _sources(found: Description) -> Table:
    rows = []
    for name, count in Counter(found.sources).items():
        reference = found.references.get(name, {})
        text = ", ".join(f"{s} {e:.4f}" for s, e in sorted(reference.items())) or "no labels"
        rows.append([name, str(count), text, found.reference_kinds.get(name, "-")])
    note = "labels: " + (", ".join(f"{k} of {v} frames" for k, v in found.labels.items()) or "none")
    head = ["source", "frames", "reference energies (eV)", "kind"]
    return Table(title="Labels", head=head, rows=rows, note=note)


def _ranges(found: Description) -> Table | None:
    rows = []
    for name in QUANTITIES:
        values = found.quantities[name]
        values = values[np.isfinite(values)]
        if len(values):
            quantiles = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
            rows.append([name, *(f"{value:.3f}" for value in quantiles)])
    head = ["quantity", "least", "5 %", "median", "95 %", "most"]
    return Table(title="Ranges over frames", head=head, rows=rows) if rows else None


def _outliers(found: Description) -> Table | None:
    if not found.outliers:
        return None
    rows = [
        [one.part, str(one.frame), one.quantity, f"{one.value:.3f}", f"{one.score:.1f}"]
        for one in found.outliers[:SHOWN]
    ]
    note = f"{len(found.outliers)} in all; robust z-score within their kind"
    head = ["part", "frame", "quantity", "value", "score"]
    return Table(title="Outliers", head=head, rows=rows, note=note)


def _duplicates(
    title: str, groups: list[list[tuple[str, int]]], leaks: list[list[tuple[str, int]]]
) -> Table | None:
    if not groups:
        return None
    order = [one for one in groups if one in leaks] + [one for one in groups if one not in leaks]
    rows = [
        [", ".join(f"{part} {number}" for part, number in group[:8])] for group in order[:SHOWN]
    ]
    note = f"{len(groups)} structures occur more than once"
    n_leaks = sum(one in leaks for one in groups)
    note += f", {n_leaks} of them in more than one part: a leak" if n_leaks else ""
    return Table(title=title, head=["part and frame"], rows=rows, note=note)


def write_description(path: Path | str, found: Description, more: Sequence[Section] = ()) -> Path:
    """Write the page of a description; ``more`` sections come at its end."""
    path = Path(path)
    tables = _tables(found)
    figures = [_histogram(found, name) for name in QUANTITIES]
    sections = [
        Section(title="What it holds", tables=tables[:4]),
        Section(
            title="Ranges",
            tables=tables[4:5],
            figures=[one for one in figures if one is not None] + _scatter(found),
        ),
        Section(
            title="What stands out",
            text="" if tables[5:] else "No outliers and no duplicates were found.",
            tables=tables[5:],
        ),
        *more,
    ]
    return write_page(path, f"Dataset {found.path.name}", sections, _facts(found))


def _facts(found: Description) -> dict[str, str]:
    facts = {"path": str(found.path), "frames": str(len(found.parts))}
    if found.record is not None:
        facts |= {"seed": str(found.record.seed), "energy scale": found.record.energy_scale}
        facts |= {f"sha256 of {name}": value for name, value in found.record.files.items()}
    return facts


def _histogram(found: Description, name: str) -> Figure | None:
    """Draw how frames of each part spread over a quantity."""
    values = found.quantities[name]
    finite = np.isfinite(values)
    if not finite.any():
        return None
    edges = np.histogram_bin_edges(values[finite], bins=BINS)
    parts = np.array(found.parts)
    data = []
    for part in dict.fromkeys(found.parts):
        counts = np.histogram(values[finite & (parts == part)], bins=edges)[0]
        centres = (0.5 * (edges[1:] + edges[:-1])).round(6).tolist()
        data.append({"type": "bar", "name": part, "x": centres, "y": counts.tolist()})
    layout = {
        "barmode": "overlay" if len(data) == 1 else "group",
        "xaxis": {"title": {"text": name}},
        "yaxis": {"title": {"text": "frames"}, "type": "log" if len(parts) > 50 else "linear"},
    }
    return Figure(title=name[0].upper() + name[1:], data=data, layout=layout)


def _scatter(found: Description) -> list[Figure]:
    """Draw energies against forces by kind: what does not belong stands apart."""
    energy, force = found.quantities[ENERGY], found.quantities[QUANTITIES[2]]
    usable = np.flatnonzero(np.isfinite(energy) & np.isfinite(force))
    if len(usable) < 2:
        return []
    shown = usable[:: -(-len(usable) // POINTS)]
    kinds = np.array(found.kinds)
    data = []
    for kind in dict.fromkeys(found.kinds):
        own = shown[kinds[shown] == kind]
        text = [f"{found.parts[i]} {found.numbers[i]} {found.trajectories[i]}" for i in own]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": kind,
                "x": force[own].round(4).tolist(),
                "y": energy[own].round(5).tolist(),
                "text": text,
            }
        )
    layout = {
        "xaxis": {"title": {"text": QUANTITIES[2]}, "type": "log"},
        "yaxis": {"title": {"text": ENERGY}},
    }
    note = "" if len(shown) == len(usable) else f"{len(shown)} of {len(usable)} frames are drawn."
    return [Figure(title="Energies and forces", data=data, layout=layout, note=note)]


def describe_on_page(path: Path | str, output: Path | str) -> Path:
    """Describe a dataset on a page that also shows its structures; text goes to stderr."""
    from tempermd.structures.picture import Survey

    if Path(output).suffix != ".html":
        raise UserError(f"{output}: a page is written as .html")
    survey = Survey()
    found = describe(path, survey.add)
    print(description_text(found), file=sys.stderr)
    return write_description(output, found, survey.sections())
