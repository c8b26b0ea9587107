"""What the figures of a study share: colours of arms, bands, error bars, logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tempermd.findings.curves import REFERENCE
from tempermd.findings.statistics import Estimate

Trace = dict[str, Any]

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
FINE = (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)
COARSE = (1, 1.5, 2, 3, 4, 5, 7)


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


def bars(estimates: Sequence[Estimate], colour: str) -> dict[str, Any]:
    """Return error bars of intervals, of no length where there is none."""
    ups = [rounded((one.high or 0) - (one.mean or 0)) if one.high else 0 for one in estimates]
    downs = [rounded((one.mean or 0) - (one.low or 0)) if one.low else 0 for one in estimates]
    return asymmetric(ups, downs, colour)


def asymmetric(ups: list[float], downs: list[float], colour: str) -> dict[str, Any]:
    """Return error bars that are longer to one side."""
    return {
        "type": "data",
        "symmetric": False,
        "array": ups,
        "arrayminus": downs,
        "color": colour,
        "thickness": 1.2,
        "width": 3,
    }


def rounded(value: float | None) -> float:
    """Return a number for the page with five digits."""
    return float(f"{value or 0.0:.5g}")


def log_axis(
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
    for mantissas in (FINE, COARSE, (1, 2, 5), (1,)):
        ticks = [float(f"{m * 10.0**k:.3g}") for k in decades for m in mantissas]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            break
    return ticks or [float(f"{math.sqrt(low * high):.3g}")]
