"""The page of a model's card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tempermd.cards.comparison import guard_lines
from tempermd.cards.records import Calibration, Card, DataPart, LabelSource
from tempermd.pages import Figure, Section, Table, number_text, write_page

MARKERS = {"type": "scatter", "mode": "markers", "marker": {"size": 4}}
DOTTED = {"type": "scatter", "mode": "lines", "line": {"dash": "dot", "width": 1}}


def card_page(card: Card, path: Path) -> Path:
    """Write a card as one self-contained page."""
    sections = [
        _overview(card),
        *_if(card.guard is not None, _guard, card),
        *_if(card.errors, _errors, card),
        *_if(card.calibration is not None, _calibration, card),
        *_if(card.robustness is not None, _robustness, card),
        *_if(card.data, _data, card),
        _lineage(card),
        *_if(card.curve, _curve, card),
        *_if(card.spec, _recipe, card),
    ]
    facts = {"checkpoint sha256": card.checkpoint_sha256}
    facts |= {f"sha256 of {one.file} ({one.part})": one.sha256 for one in card.data}
    facts |= card.versions
    return write_page(path, f"Model card: {card.name}", sections, facts)


def _if(wanted: Any, make: Any, card: Card) -> list[Section]:
    return [make(card)] if wanted else []


def _overview(card: Card) -> Section:
    model = card.model
    rows = [
        ["elements", ", ".join(model.type_names)],
        ["made by", _made_by(card)],
        [
            "model",
            f"NequIP, {model.num_layers} layers × {model.num_features} features, l = "
            f"{model.l_max}, {'parity' if model.parity else 'no parity'}, {model.cutoff_A:g} Å, "
            f"{model.model_dtype}{', ZBL' if model.zbl else ''}; {card.n_parameters:,} parameters",
        ],
        ["reference energies, eV", _pairs(card.reference_energies_eV, 5)],
    ]
    for part, errors in card.errors.items():
        rows.append(
            [
                f"errors on {part} ({errors.n_frames} frames)",
                f"forces {errors.force_rmse_eV_per_A:.3f} eV/Å, "
                f"energy {errors.energy_rmse_meV_per_atom:.1f} meV/atom (RMSE)",
            ]
        )
    if card.cost is not None:
        cost = card.cost
        rows.append(
            [
                "cost, core-minutes",
                f"training {cost.training_core_s / 60:.1f}, ancestors "
                f"{cost.ancestors_core_s / 60:.1f}, guard {cost.guard_core_s / 60:.1f} "
                f"({cost.n_steps} steps of {cost.ms_per_step:.0f} ms)",
            ]
        )
        if cost.training_gpu_s + cost.ancestors_gpu_s + cost.guard_gpu_s > 0:
            rows.append(
                [
                    "cost, GPU-minutes",
                    f"training {cost.training_gpu_s / 60:.1f}, ancestors "
                    f"{cost.ancestors_gpu_s / 60:.1f}, guard {cost.guard_gpu_s / 60:.1f}",
                ]
            )
    if card.guard is not None:
        rows.append(["guard", f"{card.guard.verdict} (see below)"])
    if card.robustness is not None:
        rows.append(["robustness", card.robustness.verdict])
    table = Table(title="", head=["", ""], rows=rows)
    return Section(title="In short", text=card.notes, tables=[table])


def _made_by(card: Card) -> str:
    known = card.transmutation
    if known is None:
        return card.made_by
    pairs = ", ".join(f"{old} → {new}" for old, new in known.elements.items())
    return (
        f"transmutation {pairs}: lengths × {known.length_ratio:.4g} ({known.length_ratio_from}), "
        f"energies × {known.energy_ratio:.4g} ({known.energy_ratio_from})"
    )


def _pairs(values: dict[str, float], digits: int) -> str:
    return ", ".join(f"{name} {number_text(one, digits)}" for name, one in values.items())


def _guard(card: Card) -> Section:
    assert card.guard is not None
    found = card.guard
    head = ["model", "forces, eV/Å", "energy, meV/atom", "forces: difference", "energy: difference"]
    drawn = f"{found.n_resampled} {found.resampled}"
    note = (
        f"RMSE on {found.n_frames} {found.part} frames. A difference is this model's less the "
        f"other's, with its 95 % interval by a paired bootstrap over {drawn}; it holds the choice "
        "of frames, not that of seeds."
    )
    table = Table(title="", head=head, rows=guard_lines(found), note=note)
    return Section(
        title="Was the pre-training worth it",
        text=_capital(found.sentence.removeprefix("guard: ")) + ".",
        tables=[table],
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _errors(card: Card) -> Section:
    tables = []
    if card.by_type:
        head = ["configuration type", "frames", "atoms", "forces RMSE, eV/Å", "forces MAE, eV/Å"]
        head += ["energy RMSE, meV/atom", "energy MAE, meV/atom"]
        rows = [
            [
                one.kind,
                str(one.n_frames),
                str(one.n_atoms),
                f"{one.force_rmse_eV_per_A:.3f}",
                f"{one.force_mae_eV_per_A:.3f}",
                f"{one.energy_rmse_meV_per_atom:.1f}",
                f"{one.energy_mae_meV_per_atom:.1f}",
            ]
            for one in card.by_type
        ]
        tables.append(
            Table(title=f"By configuration type, on {card.judged_on}", head=head, rows=rows)
        )
    figures = []
    if card.parity is not None:
        tables.append(_percentile_table(card))
        one = card.parity
        figures = [
            _parity("Forces", "eV/Å", one.true_forces, one.forces),
            _parity("Energies, less the mean label", "eV/atom", one.true_energies, one.energies),
        ]
    return Section(title="Errors", text=_zero_text(card), tables=tables, figures=figures)


def _zero_text(card: Card) -> str:
    """Say that energies were compared at another zero, where they were."""
    if not card.zero_shift_eV:
        return ""
    shifts = ", ".join(f"{name} {value:+.3f} eV" for name, value in card.zero_shift_eV.items())
    return (
        f"The labels of {card.judged_on} count energies from another zero: {shifts} per atom was "
        "added to the model's, the values that fit best, which favours its energies."
    )


def _percentile_table(card: Card) -> Table:
    assert card.parity is not None
    rows = [
        ["forces, eV/Å", *(f"{v:.3f}" for v in card.parity.force_percentiles.values())],
        ["energy, meV/atom", *(f"{v:.1f}" for v in card.parity.energy_percentiles.values())],
    ]
    head = ["absolute error", "median", "90 %", "95 %", "99 %", "largest"]
    return Table(title="Percentiles", head=head, rows=rows)


def _parity(title: str, unit: str, true: list[float], found: list[float]) -> Figure:
    ends = [min(true + found), max(true + found)]
    data = [
        {**MARKERS, "x": true, "y": found, "marker": {"size": 4, "opacity": 0.5}, "name": title},
        {**DOTTED, "x": ends, "y": ends, "name": "equal", "hoverinfo": "skip"},
    ]
    layout = {
        "showlegend": False,
        "xaxis": {"title": {"text": f"label, {unit}"}},
        "yaxis": {"title": {"text": f"model, {unit}"}},
    }
    return Figure(title=title, data=data, layout=layout)


def _calibration(card: Card) -> Section:
    assert card.calibration is not None
    one = card.calibration
    rows = [
        ["members", str(len(one.members)), ", ".join(one.members)],
        ["rms error of the mean, eV/Å", number_text(one.rms_error_eV_per_A), ""],
        ["rms spread, eV/Å", number_text(one.rms_spread_eV_per_A), ""],
        [
            "factor",
            number_text(one.factor),
            "the spread times this fits best; 1 is calibrated",
        ],
        ["rank correlation", number_text(one.rank_correlation), "of spread and absolute error"],
        ["correlation", number_text(one.correlation), "of spread and absolute error (Pearson)"],
        [
            "miscalibration area",
            number_text(one.miscalibration_area),
            f"0 is calibrated, 0.5 the worst; with the factor "
            f"{number_text(one.scaled_miscalibration_area)}",
        ],
        [
            "negative log likelihood",
            number_text(one.negative_log_likelihood),
            f"with the factor {number_text(one.scaled_negative_log_likelihood)}",
        ],
        ["calibration error", number_text(one.calibration_error), "relative, mean over the bins"],
    ]
    table = Table(title="", head=["", "value", "meaning"], rows=rows)
    text = (
        f"Over {one.n_components:,} force components of the frames of {card.judged_on}. "
        + _calibration_verdict(one)
    )
    return Section(
        title="Does a committee know its error",
        text=text,
        tables=[table],
        figures=[_reliability(one), _coverage(one)],
    )


def _calibration_verdict(one: Calibration) -> str:
    if one.factor > 1.2:
        return f"The spread is too small: errors are {one.factor:.1f} times what it says."
    if one.factor < 1 / 1.2:
        return f"The spread is too large: errors are {one.factor:.2f} times what it says."
    return "On the whole the spread has the size of the errors."


def _reliability(one: Calibration) -> Figure:
    spread, error = [b.spread for b in one.bins], [b.error for b in one.bins]
    ends = [min(spread + error), max(spread + error)]
    data = [
        {**MARKERS, "mode": "lines+markers", "x": spread, "y": error, "name": "bins"},
        {**DOTTED, "x": ends, "y": ends, "name": "calibrated", "hoverinfo": "skip"},
    ]
    axes = {"xaxis": "rms spread, eV/Å", "yaxis": "rms error, eV/Å"}
    layout: dict[str, Any] = {"showlegend": False}
    layout |= {name: {"title": {"text": text}, "type": "log"} for name, text in axes.items()}
    note = "Ten bins of equally many components."
    return Figure(title="Reliability", data=data, layout=layout, note=note)


def _coverage(one: Calibration) -> Figure:
    data = [
        {"type": "scatter", "mode": "lines", "x": one.expected, "y": one.observed, "name": "found"},
        {**DOTTED, "x": [0, 1], "y": [0, 1], "name": "calibrated", "hoverinfo": "skip"},
    ]
    layout = {
        "showlegend": False,
        "xaxis": {"title": {"text": "share expected inside the interval"}},
        "yaxis": {"title": {"text": "share found inside"}},
    }
    return Figure(title="Coverage", data=data, layout=layout)


def _robustness(card: Card) -> Section:
    assert card.robustness is not None
    one = card.robustness
    rows = [[name, sentence] for name, sentence in one.sentences.items()]
    text = f"{one.verdict}: {one.n_runs} runs, {one.total_ps:.1f} ps in all."
    table = Table(title="", head=["model", "verdict"], rows=rows)
    return Section(title="Robustness in molecular dynamics", text=text, tables=[table])


def _data(card: Card) -> Section:
    rows = [
        [
            part.part,
            part.file,
            str(part.n_frames),
            "–" if part.n_atoms is None else f"{part.n_atoms:,}",
            "–" if part.n_trajectories is None else str(part.n_trajectories),
            _kinds(part),
        ]
        for part in card.data
    ]
    head = ["part", "file", "frames", "atoms", "trajectories", "configuration types"]
    sources = [
        [part.part, one.name, one.version, _settings(one), str(one.n_frames)]
        for part in card.data
        for one in part.sources
    ]
    tables = [Table(title="Parts", head=head, rows=rows)]
    if sources:
        head = ["part", "source", "version", "settings and files", "frames"]
        tables.append(Table(title="Labels", head=head, rows=sources))
    return Section(title="Data", tables=tables)


def _kinds(part: DataPart) -> str:
    shown = [f"{name} {number}" for name, number in list(part.kinds.items())[:12]]
    return ", ".join(shown) + (", …" if len(part.kinds) > 12 else "") or "–"


def _settings(one: LabelSource) -> str:
    texts = [f"{name} = {value}" for name, value in one.settings.items()]
    texts += [f"{name} {digest[:12]}" for name, digest in one.files.items()]
    return ", ".join(texts) or "–"


def _lineage(card: Card) -> Section:
    rows = []
    for one in card.line():
        train = next((part for part in one.data if part.part == "train"), None)
        rows.append(
            [
                one.name,
                _made_by(one),
                one.checkpoint_sha256[:12],
                ", ".join(one.label_sources()) or "–",
                "–" if train is None else str(train.n_frames),
                "–" if one.cost is None else f"{one.cost.training_core_s / 60:.1f}",
            ]
        )
    oldest = card.line()[-1]
    note = ""
    if oldest.parent_sha256 is not None:
        note = (
            f"{oldest.name} was made from a checkpoint of which only the sha256 is known here, "
            f"{oldest.parent_sha256[:12]}; --parent names it."
        )
    head = ["model", "made by", "sha256", "labels of", "training frames", "core-minutes"]
    return Section(title="Lineage", tables=[Table(title="", head=head, rows=rows, note=note)])


def _curve(card: Card) -> Section:
    steps = [row["step"] for row in card.curve]
    names = {
        "Forces": ("val_force_rmse_eV_per_A", "RMSE on validation, eV/Å"),
        "Energy": ("val_energy_rmse_meV_per_atom", "RMSE on validation, meV/atom"),
        "Loss": ("train_loss", "training loss"),
    }
    figures = []
    for title, (key, text) in names.items():
        values = [row.get(key) for row in card.curve]
        trace = {"type": "scatter", "mode": "lines+markers", "x": steps, "y": values}
        trace |= {"marker": {"size": 4}, "name": title}
        layout = {
            "xaxis": {"title": {"text": "step"}},
            "yaxis": {"title": {"text": text}, "type": "log"},
        }
        figures.append(Figure(title=title, data=[trace], layout=layout))
    return Section(title="Learning curve", figures=figures)


def _recipe(card: Card) -> Section:
    rows = []
    for table, values in card.spec.items():
        items = values.items() if isinstance(values, dict) else [("", values)]
        rows += [[f"{table}.{key}".rstrip("."), str(value)] for key, value in items]
    return Section(title="Spec", tables=[Table(title="", head=["key", "value"], rows=rows)])
