"""Colours of the curves of a page: one for each name, the same in all figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

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
"""Of arms, seen on white and on black; a band needs its line's colour, so curves name their own."""
DASHES = ("solid", "dash", "dot", "dashdot")


class Palette:
    """A colour and a dash for every name; grey is the reference, which all else is held against."""

    def __init__(self, names: Iterable[str], reference: str) -> None:
        others = [name for name in dict.fromkeys(names) if name != reference]
        self._colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(others)}
        self._dashes = {name: DASHES[k // len(COLOURS) % 4] for k, name in enumerate(others)}

    def colour(self, name: str, opacity: float = 1.0) -> str:
        """Return the CSS colour of a name."""
        red, green, blue = self._colours.get(name, GREY)
        return f"rgba({red},{green},{blue},{opacity:g})"

    def line(self, name: str) -> dict[str, Any]:
        """Return the line of a name."""
        return {"color": self.colour(name), "dash": self._dashes.get(name, "solid"), "width": 2}

    def band(self, name: str, x: Sequence[float], y: Sequence[float]) -> Trace:
        """Return a filled outline behind a line."""
        return {
            "type": "scatter",
            "mode": "lines",
            "x": list(x),
            "y": list(y),
            "fill": "toself",
            "fillcolor": self.colour(name, 0.16),
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": name,
        }


def rounded(value: float | None) -> float:
    """Return a number for the page with five digits."""
    return float(f"{value or 0.0:.5g}")
