"""Survival curves as a figure."""

from __future__ import annotations

from collections.abc import Mapping

from tempermd.pages import Figure
from tempermd.pages.palette import Palette, rounded
from tempermd.report.survival import SurvivalCurve


def survival_figure(title: str, curves: Mapping[str, SurvivalCurve], palette: Palette) -> Figure:
    """Draw Kaplan-Meier curves by name, each with the band of its interval."""
    bands, lines = [], []
    for name, curve in curves.items():
        outline = _step_outline(curve)
        if outline:
            bands.append(palette.band(name, *outline))
        line = {"type": "scatter", "mode": "lines", "name": name, "legendgroup": name}
        line |= {"x": curve.times_ps, "y": curve.survival}
        lines.append(line | {"line": palette.line(name) | {"shape": "hv"}})
    layout = {
        "xaxis": {"title": {"text": "time, ps"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "share without a failure"}, "range": [-0.02, 1.05]},
    }
    return Figure(
        title=title,
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
    return [x for x, _ in outline], [rounded(y) for _, y in outline]
