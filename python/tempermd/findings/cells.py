"""Words for numbers: means, ratios and factors with their intervals, as tables show them."""

from __future__ import annotations

import math

from tempermd.findings.statistics import Estimate, Factor, Ratio
from tempermd.pages import number_text

NONE = "–"
ARROWS = {"better": " ↓", "worse": " ↑"}


def interval_text(low: float | None, high: float | None) -> str:
    """Return an interval in brackets, nothing where there is none."""
    if low is None or high is None:
        return ""
    return f" ({number_text(low)} to {number_text(high)})"


def estimate_text(one: Estimate | None) -> str:
    """Return a mean with its interval (unless it has no width), and how many seeds diverged."""
    if one is None:
        return NONE
    if one.mean is None:
        return f"all {one.n_diverged} diverged"
    lost = f", {one.n_diverged} diverged" if one.n_diverged else ""
    constant = one.low is not None and math.isclose(one.low, one.high or 0.0, rel_tol=1e-9)
    interval = "" if constant else interval_text(one.low, one.high)
    return number_text(one.mean) + interval + lost


def ratio_text(one: Ratio | None) -> str:
    """Return a ratio with its interval; an arrow where that is clear of 1."""
    if one is None:
        return NONE
    return number_text(one.ratio) + interval_text(one.low, one.high) + ARROWS.get(one.verdict, "")


def factor_text(one: Factor | None) -> str:
    """Return a factor with its interval; signs say where the reference's curve ends."""
    if one is None:
        return NONE
    text = {"no": "", "above": "≥ ", "below": "≤ "}[one.censored] + number_text(one.factor)
    if one.low is None or one.high is None or one.low == one.high:
        return text
    low = ("< " if one.low_censored else "") + number_text(one.low)
    high = ("> " if one.high_censored else "") + number_text(one.high)
    return f"{text} ({low} to {high})"


def p_text(p: float | None) -> str:
    """Return a p-value with two digits."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else number_text(p, 2)


def apart_text(apart: bool | None) -> str:
    """Say whether two intervals touch."""
    return {None: NONE, True: "apart", False: "overlap"}[apart]
