"""Curves of runs as the page carries them: small, for there may be hundreds of runs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tempermd import pages
from tempermd.events import Analysis, Series
from tempermd.events.curves import MOST_POINTS, thinned
from tempermd.report.summary import kind_name

POINTS_ON_PAGE = 40_000
"""Of each curve of all runs together: with more than a hundred runs each gets fewer."""
FEWEST_POINTS = 60
TIME_LEVELS = 4095
"""Steps between the first and the last time: more than a screen has dots."""


def most_points(n_runs: int) -> int:
    """Return how many points each curve may have on a page of so many runs."""
    return max(FEWEST_POINTS, min(MOST_POINTS, POINTS_ON_PAGE // max(1, n_runs)))


def packed_curves(analysis: Analysis, most: int) -> str:
    """Return what the page's script unpacks to draw a run: curves, and marks of its events.

    Gzipped JSON in base64. Times are whole steps from one point to the next, values have the four
    digits that are shown.
    """
    marks = [
        {
            "time": float(f"{event.time_ps:.6g}"),
            "severity": event.severity,
            "text": kind_name(event.kind),
        }
        for event in analysis.events
    ]
    series = {name: _coded(curve, most) for name, curve in analysis.series.items()}
    text = json.dumps({"series": series, "marks": marks}, separators=(",", ":"), allow_nan=False)
    return pages.packed(text.encode("utf-8"))


def _coded(curve: Series, most: int) -> dict[str, Any]:
    values = np.array(curve.value, dtype=float)  # None becomes NaN
    curve = thinned(curve.unit, np.array(curve.time_ps), values, most)
    times = np.array(curve.time_ps)
    low = times.min() if times.size else 0.0
    step = (np.ptp(times) if times.size else 0.0) / TIME_LEVELS or 1.0
    levels = np.rint((times - low) / step).astype(int)
    return {
        "unit": curve.unit,
        "low": float(low),
        "step": float(step),
        "moves": np.diff(levels, prepend=0).tolist(),
        "value": [None if value is None else float(f"{value:.4g}") for value in curve.value],
    }
