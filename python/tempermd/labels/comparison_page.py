"""The report of a comparison: Markdown and CSV tables, a record, and a page with plots."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.pages import Figure, Section, Table, number_text, write_page
from tempermd.records import atomic_write, write_record

if TYPE_CHECKING:
    from tempermd.labels.comparison_record import ComparisonRecord, Judged, SourceResult
    from tempermd.labels.errors import KindErrors

HEAD = [
    "source",
    "frames",
    "forces RMSE, eV/Å",
    "forces MAE, eV/Å",
    "energy RMSE, meV/atom",
    "energy MAE, meV/atom",
    "ms per atom",
    "remark",
]


def write_report(record: ComparisonRecord, judged: list[Judged], output: Path) -> Path:
    """Write the report's files into a folder and return its page."""
    write_record(output / "comparison.json", record)
    _write_csv(record, output / "comparison.csv")
    with atomic_write(output / "comparison.md") as temporary:
        temporary.write_text(markdown(record))
    return write_page(
        output / "report.html",
        "Label sources against the truth",
        [_numbers(record), _kinds(record), _plots(judged)],
        {"truth": truth_text(record)} | {f"sha256 of {k}": v for k, v in record.made_from.items()},
    )


def truth_text(record: ComparisonRecord) -> str:
    """Name the truth with version and settings."""
    return "; ".join(
        f"{truth['name']} ({truth['version']}, settings {json.dumps(truth['settings'])})"
        for truth in record.truth
    )


def markdown(record: ComparisonRecord) -> str:
    """Return the table of all sources, and what stands under it, as Markdown."""
    rows = [HEAD, ["---"] * len(HEAD), *_rows(record)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{table}\n\n{_caption(record)}\n"


def _caption(record: ComparisonRecord) -> str:
    return (
        f"Truth: {truth_text(record)}. {record.frames} frames, {record.atoms} atoms; the rms of "
        f"the true forces is {record.true_force_rms_eV_per_A:.3f} eV/Å. Energies per atom after "
        "one offset per element and source; processor time, median over frames."
    )


def _rows(record: ComparisonRecord) -> list[list[str]]:
    return [
        [
            result.source["name"],
            str(result.all.frames),
            *_error_cells(result.all),
            number_text(result.ms_per_atom),
            _remark(result),
        ]
        for result in record.results
    ]


def _error_cells(errors: KindErrors) -> list[str]:
    return [
        f"{errors.force_rmse_eV_per_A:.3f}",
        f"{errors.force_mae_eV_per_A:.3f}",
        f"{errors.energy_rmse_meV_per_atom:.1f}",
        f"{errors.energy_mae_meV_per_atom:.1f}",
    ]


def _remark(result: SourceResult) -> str:
    aside = [f"{number} set aside: {kind}" for kind, number in sorted(result.set_aside.items())]
    return "; ".join([result.note, *aside] if result.note else aside)


def _write_csv(record: ComparisonRecord, path: Path) -> None:
    """Write one row per source and kind of structure; the kind ``all`` is all of them."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        fields = list(type(record.results[0].all).model_fields)
        writer.writerow(["source", "kind", *fields, "ms_per_atom", "remark"])
        for result in record.results:
            for kind, errors in ({"all": result.all} | result.kinds).items():
                values = [getattr(errors, name) for name in fields]
                row = [result.source["name"], kind, *values, result.ms_per_atom, _remark(result)]
                writer.writerow(row)


def _numbers(record: ComparisonRecord) -> Section:
    table = Table(title="Errors of each source", head=HEAD, rows=_rows(record))
    return Section(title="Which source", text=_caption(record), tables=[table])


def _kinds(record: ComparisonRecord) -> Section:
    rows = [
        [kind, result.source["name"], str(errors.frames), *_error_cells(errors)]
        for result in record.results
        for kind, errors in result.kinds.items()
    ]
    head = ["kind", *HEAD[:6]]
    tables = [Table(title="Errors by kind of structure", head=head, rows=sorted(rows))]
    text = "" if rows else "The frames name no kinds."
    return Section(title="By kind of structure", text=text, tables=tables if rows else [])


def _plots(judged: list[Judged]) -> Section:
    forces, energies = [], []
    for one in judged:
        pairs = np.concatenate([pair.T for pair in one.errors.pairs])  # (points, 2)
        forces.append((one.result.source["name"], pairs[:, 0], pairs[:, 1]))
        true = np.array(one.errors.true_energies)
        step = -(-len(true) // 3000)
        shifted = true + one.errors.shifted_energy_errors()
        energies.append((one.result.source["name"], true[::step], shifted[::step]))
    return Section(
        title="Correlations",
        figures=[
            _correlation("Forces", "eV/Å", forces),
            _correlation("Energies per atom, after each source's offset", "eV", energies),
        ],
    )


def _correlation(title: str, unit: str, clouds: list[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    data: list[dict[str, Any]] = []
    for name, true, values in clouds:
        trace = {"x": np.round(true, 5).tolist(), "y": np.round(values, 5).tolist(), "name": name}
        data.append(trace | {"type": "scatter", "mode": "markers", "marker": {"size": 3}})
    ends = [min(float(c[1].min()) for c in clouds), max(float(c[1].max()) for c in clouds)]
    line = {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "name": "equal"}
    layout = {
        "xaxis": {"title": {"text": f"truth, {unit}"}},
        "yaxis": {"title": {"text": f"source, {unit}"}},
    }
    return Figure(title=title, data=[*data, line], layout=layout)
