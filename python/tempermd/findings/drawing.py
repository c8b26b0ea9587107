"""What the figures of a study share: error bars and logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tempermd.findings.statistics import Estimate
from tempermd.pages.palette import rounded

FINE = (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)
COARSE = (1, 1.5, 2, 3, 4, 5, 7)


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
