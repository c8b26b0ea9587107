"""The figures of a study's page: curves, factors, surfaces, survival, forgetting and costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from tempermd.findings.contrasts import Forgotten
from tempermd.findings.costs import ALL, ArmCost
from tempermd.findings.curves import REFERENCE, TEST, CurvePoint, FactorPoint
from tempermd.findings.drawing import asymmetric, bars, log_axis
from tempermd.findings.rows import Arm, Quantity
from tempermd.findings.statistics import Factor
from tempermd.findings.survival import FateOfArm
from tempermd.pages import Figure, number_text
from tempermd.pages.palette import Palette, Trace, rounded
from tempermd.report import survival_figure

NAMES: dict[Quantity, str] = {"forces": "Force RMSE", "energy": "Energy RMSE"}
UNITS: dict[Quantity, str] = {"forces": "eV/Å", "energy": "meV/atom"}


def learning_curve(
    points: Sequence[CurvePoint], quantity: Quantity, palette: Palette
) -> Figure | None:
    """Draw the test error of all arms of a target against n_train, both logarithmic."""
    bands, lines = [], []
    for arm in dict.fromkeys(point.arm for point in points):
        own = [
            point
            for point in points
            if (point.arm, point.quantity, point.error_set) == (arm, quantity, TEST)
            and point.estimate.mean is not None
        ]
        banded = [point for point in own if point.estimate.low is not None]
        if len(banded) > 1:
            n = [point.n_train for point in banded]
            low = [rounded(point.estimate.low) for point in banded]
            high = [rounded(point.estimate.high) for point in banded]
            bands.append(palette.band(arm, n + n[::-1], high + low[::-1]))
        lines.append(_errors_trace(arm, own, palette, with_bars=len(banded) == 1))
    shown = [value for trace in bands + lines for value in trace["y"]]
    sizes = sorted({point.n_train for point in points})
    if len(sizes) < 2 or not shown:
        return None
    layout = {
        "xaxis": log_axis("structures", sizes, sizes),
        "yaxis": log_axis(f"{NAMES[quantity]}, {UNITS[quantity]}", shown),
    }
    return Figure(
        title=NAMES[quantity],
        data=bands + lines,
        layout=layout,
        note="on the test set; geometric mean over seeds and its 95 % interval",
    )


def _errors_trace(
    arm: str, points: Sequence[CurvePoint], palette: Palette, with_bars: bool
) -> Trace:
    trace: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": arm,
        "legendgroup": arm,
        "x": [point.n_train for point in points],
        "y": [rounded(point.estimate.mean) for point in points],
        "line": palette.line(arm),
        "marker": {"color": palette.colour(arm), "size": 6},
    }
    if with_bars:
        trace["error_y"] = bars([point.estimate for point in points], palette.colour(arm))
    return trace


def factor_figure(
    points: Sequence[FactorPoint], quantity: Quantity, palette: Palette
) -> Figure | None:
    """Draw factors with their intervals; a triangle is an end that the data do not close."""
    own = [point for point in points if point.quantity == quantity]
    if not own:
        return None
    names = list(dict.fromkeys(point.arm for point in own))
    data: list[Trace] = []
    for k, arm in enumerate(names):
        aside = 1.035 ** (k - (len(names) - 1) / 2)
        data += _factor_traces([p for p in own if p.arm == arm], aside, palette)
    sizes = sorted({point.n_train for point in own})
    ends = [sizes[0] / 1.3, sizes[-1] * 1.3]
    equal = {"x": ends, "y": [1, 1], "mode": "lines", "name": own[0].reference}
    equal |= {"type": "scatter", "line": {"color": palette.colour(REFERENCE), "dash": "dot"}}
    shown = [value for trace in data for value in trace["y"]] + [1.0]
    shown += [p.factor.low for p in own if p.factor.low] + [p.factor.high or 1.0 for p in own]
    layout = {
        "xaxis": log_axis("structures of the arm", ends, sizes),
        "yaxis": log_axis(f"times as many for {own[0].reference}", shown),
    }
    return Figure(
        title=f"Data-efficiency factor, {'forces' if quantity == 'forces' else 'energy'}",
        data=[*data, equal],
        layout=layout,
        note="with 95 % intervals; triangles: the reference's curve ends there (censored)",
    )


def _factor_traces(points: Sequence[FactorPoint], aside: float, palette: Palette) -> list[Trace]:
    """Return an arm's markers, the line through those that are not censored, and open ends."""
    arm, factors = points[0].arm, [point.factor for point in points]
    x = [rounded(point.n_train * aside) for point in points]
    y = [rounded(one.factor) for one in factors]
    shared = {"type": "scatter", "legendgroup": arm, "showlegend": False}
    symbols = {"no": "circle", "above": "triangle-up", "below": "triangle-down"}
    ups = [rounded(max(0.0, (one.high or 0.0) - one.factor)) for one in factors]
    downs = [rounded(max(0.0, one.factor - (one.low or one.factor))) for one in factors]
    marks = shared | {
        "mode": "markers",
        "name": arm,
        "showlegend": True,
        "x": x,
        "y": y,
        "marker": {
            "color": palette.colour(arm),
            "size": [11 if one.censored != "no" else 7 for one in factors],
            "opacity": 1,
            "line": {"width": 0},
            "symbol": [symbols[one.censored] for one in factors],
        },
        "error_y": asymmetric(ups, downs, palette.colour(arm)),
    }
    known = [k for k, one in enumerate(factors) if one.censored == "no"]
    line = shared | {"mode": "lines", "line": palette.line(arm) | {"width": 1}}
    line |= {"x": [x[k] for k in known], "y": [y[k] for k in known], "hoverinfo": "skip"}
    ends = [*_open_ends(x, factors)]
    arrows = shared | {"mode": "markers", "hoverinfo": "skip"}
    arrows |= {"x": [at for at, _, _ in ends], "y": [rounded(end) for _, end, _ in ends]}
    arrows["marker"] = {
        "color": palette.colour(arm),
        "symbol": [f"{symbol}-open" for _, _, symbol in ends],
        "size": 9,
    }
    return [trace for trace in (line, marks, arrows) if trace["x"]]


def _open_ends(x: list[float], factors: list[Factor]) -> Iterator[tuple[float, float, str]]:
    """Yield where an interval passes the end of the reference's curve, and which way."""
    for at, one in zip(x, factors, strict=True):
        if one.high_censored and one.high is not None and one.censored != "above":
            yield at, one.high, "triangle-up"
        if one.low_censored and one.low is not None and one.censored != "below":
            yield at, one.low, "triangle-down"


def surface(points: Sequence[CurvePoint], arms: dict[str, Arm], quantity: Quantity) -> list[Figure]:
    """Draw n_pretrain x n_train heat maps, where a strategy has bases of several sizes."""
    found = []
    usable = [
        p
        for p in points
        if p.quantity == quantity and p.error_set == TEST and p.estimate.mean is not None
    ]
    kinds = {(a.strategy, a.base) for a in arms.values() if a.n_pretrain is not None}
    for strategy, base in sorted(kinds):
        own = [p for p in usable if (arms[p.arm].strategy, arms[p.arm].base) == (strategy, base)]
        heights = sorted({arms[p.arm].n_pretrain or 0 for p in own})
        if len(heights) < 2:
            continue
        direct = [p for p in usable if p.arm == REFERENCE]
        values = {(0, p.n_train): p.estimate.mean for p in direct}
        values |= {(arms[p.arm].n_pretrain or 0, p.n_train): p.estimate.mean for p in own}
        found.append(_heat_map(f"{NAMES[quantity]}, {strategy} {base}", values, quantity))
    return found


def _heat_map(
    title: str, values: dict[tuple[int, int], float | None], quantity: Quantity
) -> Figure:
    heights = sorted({height for height, _ in values})
    sizes = sorted({size for _, size in values})
    grid = [[values.get((height, size)) for size in sizes] for height in heights]
    trace = {
        "type": "heatmap",
        "x": [str(size) for size in sizes],
        "y": [str(height) for height in heights],
        "z": [[None if v is None else rounded(math.log10(v)) for v in line] for line in grid],
        "text": [[number_text(v) if v is not None else "" for v in line] for line in grid],
        "texttemplate": "%{text}",
        "hovertemplate": "%{y} pre-training, %{x} training: %{text}<extra></extra>",
        "colorscale": "Viridis",
        "showscale": False,
    }
    layout = {
        "xaxis": {"title": {"text": "structures"}, "type": "category"},
        "yaxis": {
            "title": {"text": "pre-training structures", "standoff": 14},
            "type": "category",
        },
    }
    return Figure(
        title=title, data=[trace], layout=layout, note=f"{UNITS[quantity]}; dark is low; 0: direct"
    )


def fates_figure(found: Sequence[FateOfArm], palette: Palette) -> Figure:
    """Draw Kaplan-Meier curves of the arms of one target, n_train and temperature."""
    first = found[0]
    title = f"Survival at {first.temperature_K:g} K, {first.target}, n = {first.n_train}"
    return survival_figure(title, {one.arm: one.curve for one in found}, palette)


def forgetting_figure(found: Sequence[Forgotten], palette: Palette) -> Figure | None:
    """Draw force errors on a further set against those on the test set, one line per arm."""
    own = [one for one in found if one.quantity == "forces" and one.after.mean and one.test.mean]
    if not own:
        return None
    data: list[Trace] = []
    for arm in dict.fromkeys(one.arm for one in own):
        points = [one for one in own if one.arm == arm]
        data.append(_after_trace(arm, points, palette))
        data += _before_trace(arm, points[0], palette)
    error_set = own[0].error_set
    shown_x = [v for trace in data for v in trace["x"]]
    shown_y = [v for trace in data for v in trace["y"]]
    layout = {
        "xaxis": log_axis("force RMSE on the test set, eV/Å", shown_x),
        "yaxis": log_axis(f"force RMSE on {error_set}, eV/Å", shown_y),
    }
    return Figure(
        title=f"Forgetting: {error_set} against the test set, {own[0].target}",
        data=data,
        layout=layout,
        note="points: n_train, rising to the left; stars: the base before its first step",
    )


def _after_trace(arm: str, points: Sequence[Forgotten], palette: Palette) -> Trace:
    colour = palette.colour(arm)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": arm,
        "legendgroup": arm,
        "x": [rounded(one.test.mean) for one in points],
        "y": [rounded(one.after.mean) for one in points],
        "text": [f"n = {one.n_train}" for one in points],
        "line": palette.line(arm) | {"width": 1},
        "marker": {"color": colour, "size": 7},
        "error_x": bars([one.test for one in points], colour),
        "error_y": bars([one.after for one in points], colour),
    }


def _before_trace(arm: str, first: Forgotten, palette: Palette) -> list[Trace]:
    if first.before is None or first.test_before is None:
        return []
    if first.before.mean is None or first.test_before.mean is None:
        return []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{arm}, start",
            "legendgroup": arm,
            "showlegend": False,
            "x": [rounded(first.test_before.mean)],
            "y": [rounded(first.before.mean)],
            "marker": {"color": palette.colour(arm), "symbol": "star", "size": 11},
        }
    ]


def cost_figure(found: Sequence[ArmCost]) -> Figure:
    """Draw the core-hours of every arm by what they went into."""
    kinds = {
        "training": "training_core_h",
        "rates not chosen": "tuning_core_h",
        "pre-training": "pretraining_core_h",
        "its labels": "labels_core_h",
    }
    own = [one for one in found if one.arm != ALL][::-1]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "x": [rounded(getattr(one, key)) for one in own],
            "y": [one.arm for one in own],
        }
        for name, key in kinds.items()
    ]
    layout = {"barmode": "stack", "xaxis": {"title": {"text": "core-hours"}}, "yaxis": {}}
    note = "a base that several arms share counts for each of them"
    return Figure(title="Core-hours", data=data, layout=layout, note=note)
