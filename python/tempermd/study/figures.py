"""The figures of a study's page: curves, factors, surfaces, survival, forgetting and costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tempermd.pages import Figure, number_text
from tempermd.study.contrasts import Forgotten
from tempermd.study.costs import ALL, ArmCost
from tempermd.study.curves import REFERENCE, TEST, CurvePoint, FactorPoint
from tempermd.study.rows import Arm, Quantity
from tempermd.study.statistics import Estimate
from tempermd.study.survival import FateOfArm, SurvivalCurve

Trace = dict[str, Any]

NAMES: dict[Quantity, str] = {"forces": "Force RMSE", "energy": "Energy RMSE"}
UNITS: dict[Quantity, str] = {"forces": "eV/Å", "energy": "meV/atom"}
GREY = (123, 135, 148)
COLOURS = [
    (74, 134, 184),
    (194, 112, 61),
    (79, 154, 107),
    (150, 115, 185),
    (184, 87, 122),
    (138, 143, 60),
    (90, 165, 181),
    (125, 106, 90),
]
"""Of arms, seen on white and on black; a band needs its line's colour, so arms name their own."""
DASHES = ("solid", "dash", "dot", "dashdot")
MANTISSAS = (1, 1.5, 2, 3, 4, 5, 7)


class Palette:
    """A colour and a dash for every arm, the same in all figures; grey is the reference."""

    def __init__(self, arms: Iterable[str], reference: str = REFERENCE) -> None:
        others = [arm for arm in dict.fromkeys(arms) if arm != reference]
        self._colours = {arm: COLOURS[k % len(COLOURS)] for k, arm in enumerate(others)}
        self._dashes = {arm: DASHES[k // len(COLOURS) % 4] for k, arm in enumerate(others)}

    def colour(self, arm: str, opacity: float = 1.0) -> str:
        """Return the CSS colour of an arm."""
        red, green, blue = self._colours.get(arm, GREY)
        return f"rgba({red},{green},{blue},{opacity:g})"

    def line(self, arm: str) -> dict[str, Any]:
        """Return the line of an arm."""
        return {"color": self.colour(arm), "dash": self._dashes.get(arm, "solid"), "width": 2}

    def band(self, arm: str, x: Sequence[float], y: Sequence[float]) -> Trace:
        """Return a filled outline behind an arm's line."""
        return {
            "type": "scatter",
            "mode": "lines",
            "x": list(x),
            "y": list(y),
            "fill": "toself",
            "fillcolor": self.colour(arm, 0.16),
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": arm,
        }


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
            low = [_rounded(point.estimate.low) for point in banded]
            high = [_rounded(point.estimate.high) for point in banded]
            bands.append(palette.band(arm, n + n[::-1], high + low[::-1]))
        lines.append(_errors_trace(arm, own, palette, with_bars=len(banded) == 1))
    shown = [value for trace in bands + lines for value in trace["y"]]
    sizes = sorted({point.n_train for point in points})
    if len(sizes) < 2 or not shown:
        return None
    layout = {
        "xaxis": _log_axis("structures", sizes, sizes),
        "yaxis": _log_axis(f"{NAMES[quantity].lower()}, {UNITS[quantity]}", shown),
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
        "y": [_rounded(point.estimate.mean) for point in points],
        "line": palette.line(arm),
        "marker": {"color": palette.colour(arm), "size": 6},
    }
    if with_bars:
        trace["error_y"] = _bars([point.estimate for point in points], palette.colour(arm))
    return trace


def _bars(estimates: Sequence[Estimate], colour: str) -> dict[str, Any]:
    ups = [_rounded((one.high or 0) - (one.mean or 0)) if one.high else 0 for one in estimates]
    downs = [_rounded((one.mean or 0) - (one.low or 0)) if one.low else 0 for one in estimates]
    return _asymmetric(ups, downs, colour)


def _asymmetric(ups: list[float], downs: list[float], colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": ups,
        "arrayminus": downs,
        "color": colour,
        "thickness": 1.2,
        "width": 3,
    }


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
        "xaxis": _log_axis("structures of the arm", ends, sizes),
        "yaxis": _log_axis(f"times as many for {own[0].reference}", shown),
    }
    return Figure(
        title=f"Data-efficiency factor, {'forces' if quantity == 'forces' else 'energy'}",
        data=[*data, equal],
        layout=layout,
        note="with 95 % intervals; triangles: the reference's curve ends there (censored)",
    )


def _factor_traces(points: Sequence[FactorPoint], aside: float, palette: Palette) -> list[Trace]:
    arm = points[0].arm
    factors = [point.factor for point in points]
    x = [_rounded(point.n_train * aside) for point in points]
    symbols = {"no": "circle", "above": "triangle-up", "below": "triangle-down"}
    ups = [_rounded(max(0.0, (one.high or 0.0) - one.factor)) for one in factors]
    downs = [
        _rounded(max(0.0, one.factor - one.low)) if one.low is not None else 0.0 for one in factors
    ]
    main = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": arm,
        "legendgroup": arm,
        "x": x,
        "y": [_rounded(one.factor) for one in factors],
        "line": palette.line(arm) | {"width": 1},
        "marker": {
            "color": palette.colour(arm),
            "size": [11 if one.censored != "no" else 7 for one in factors],
            "symbol": [symbols[one.censored] for one in factors],
        },
        "error_y": _asymmetric(ups, downs, palette.colour(arm)),
    }
    ends = [
        (at, one.high, "triangle-up")
        for at, one in zip(x, factors, strict=True)
        if one.high_censored and one.censored != "above"
    ]
    ends += [
        (at, one.low, "triangle-down")
        for at, one in zip(x, factors, strict=True)
        if one.low_censored and one.censored != "below"
    ]
    if not ends:
        return [main]
    arrows = {
        "type": "scatter",
        "mode": "markers",
        "x": [at for at, _, _ in ends],
        "y": [_rounded(end) for _, end, _ in ends],
        "marker": {
            "color": palette.colour(arm),
            "symbol": [f"{symbol}-open" for _, _, symbol in ends],
            "size": 9,
        },
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": arm,
    }
    return [main, arrows]


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
        "y": [f"{height} (direct)" if height == 0 else str(height) for height in heights],
        "z": [[None if v is None else _rounded(math.log10(v)) for v in line] for line in grid],
        "text": [[number_text(v) if v is not None else "" for v in line] for line in grid],
        "texttemplate": "%{text}",
        "hovertemplate": "%{y} pre-training, %{x} training: %{text}<extra></extra>",
        "colorscale": "Viridis",
        "showscale": False,
    }
    layout = {
        "xaxis": {"title": {"text": "structures"}, "type": "category"},
        "yaxis": {"title": {"text": "pre-training structures"}, "type": "category"},
    }
    return Figure(title=title, data=[trace], layout=layout, note=f"{UNITS[quantity]}; dark is low")


def survival_figure(found: Sequence[FateOfArm], palette: Palette) -> Figure:
    """Draw Kaplan-Meier curves of the arms of one target, n_train and temperature."""
    bands, lines = [], []
    for one in found:
        outline = _step_outline(one.curve)
        if outline:
            bands.append(palette.band(one.arm, *outline))
        line = {"type": "scatter", "mode": "lines", "name": one.arm, "legendgroup": one.arm}
        line |= {"x": one.curve.times_ps, "y": one.curve.survival}
        lines.append(line | {"line": palette.line(one.arm) | {"shape": "hv"}})
    layout = {
        "xaxis": {"title": {"text": "time, ps"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "share without a failure"}, "range": [-0.02, 1.05]},
    }
    first = found[0]
    return Figure(
        title=f"Survival at {first.temperature_K:g} K, n = {first.n_train}",
        data=bands + lines,
        layout=layout,
        note="Kaplan–Meier with 95 % log-log intervals, which are not defined at 0 and 1",
    )


def _step_outline(curve: SurvivalCurve) -> tuple[list[float], list[float]] | None:
    """Return the outline of the band of a step curve, where it is defined."""
    upper: list[tuple[float, float]] = []
    lower: list[tuple[float, float]] = []
    ends = [*curve.times_ps[1:], curve.times_ps[-1]]
    for start, end, low, high in zip(curve.times_ps, ends, curve.low, curve.high, strict=True):
        if low is not None and high is not None:
            upper += [(start, high), (end, high)]
            lower += [(start, low), (end, low)]
    if not upper:
        return None
    outline = upper + lower[::-1]
    return [x for x, _ in outline], [_rounded(y) for _, y in outline]


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
        "xaxis": _log_axis("force RMSE on the test set, eV/Å", shown_x),
        "yaxis": _log_axis(f"force RMSE on {error_set}, eV/Å", shown_y),
    }
    return Figure(
        title=f"What is forgotten of {error_set}",
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
        "x": [_rounded(one.test.mean) for one in points],
        "y": [_rounded(one.after.mean) for one in points],
        "text": [f"n = {one.n_train}" for one in points],
        "line": palette.line(arm) | {"width": 1},
        "marker": {"color": colour, "size": 7},
        "error_x": _bars([one.test for one in points], colour),
        "error_y": _bars([one.after for one in points], colour),
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
            "x": [_rounded(first.test_before.mean)],
            "y": [_rounded(first.before.mean)],
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
            "x": [_rounded(getattr(one, key)) for one in own],
            "y": [one.arm for one in own],
        }
        for name, key in kinds.items()
    ]
    layout = {"barmode": "stack", "xaxis": {"title": {"text": "core-hours"}}, "yaxis": {}}
    note = "a base that several arms share counts for each of them"
    return Figure(title="Core-hours", data=data, layout=layout, note=note)


def _rounded(value: float | None) -> float:
    """Return a number for the page with five digits."""
    return float(f"{value or 0.0:.5g}")


def _log_axis(
    title: str, values: Sequence[float], ticks: Sequence[float] | None = None
) -> dict[str, Any]:
    """Return a logarithmic axis whose range and ticks fit; plotly's own are bare in a decade."""
    usable = [value for value in values if value > 0]
    low, high = min(usable), max(usable)
    margin = max(0.04 * math.log10(high / low), 0.015)
    bounds = [math.log10(low) - margin, math.log10(high) + margin]
    shown = list(ticks) if ticks is not None else _nice(10 ** bounds[0], 10 ** bounds[1])
    return {
        "title": {"text": title},
        "type": "log",
        "range": bounds,
        "tickvals": shown,
        "ticktext": [f"{tick:g}" for tick in shown],
    }


def _nice(low: float, high: float, most: int = 9) -> list[float]:
    """Return round numbers between two bounds, fewer in each decade where there are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in (MANTISSAS, (1, 2, 5), (1,)):
        ticks = [float(f"{m * 10.0**k:.3g}") for k in decades for m in mantissas]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            break
    return ticks or [float(f"{math.sqrt(low * high):.3g}")]
