"""The page of a running training: its curves as drawn lines, small enough to write all the time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from tempermd.records import atomic_write

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 200, 70, 15, 30, 30
REFRESH_S = 5
CURVES = (
    ("train_loss", "training loss"),
    ("val_force_rmse_eV_per_A", "validation force RMSE, eV/Å"),
    ("val_energy_rmse_meV_per_atom", "validation energy RMSE, meV/atom"),
    ("learning_rate", "learning rate"),
)
STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { max-width: 45rem; margin: 1rem auto; padding: 0 1rem; }
svg { display: block; width: 100%; } text { fill: currentColor; font-size: 12px; }
polyline { fill: none; stroke: #2a78b8; stroke-width: 1.5; } circle { fill: #2a78b8; }
.grid { stroke: currentColor; opacity: 0.2; }
"""


def write_live_page(path: Path, rows: Sequence[dict[str, float]], n_steps: int) -> None:
    """Write curves against steps; the browser reloads the page until the last step is there."""
    done = bool(rows) and rows[-1]["step"] >= n_steps
    reload = "" if done else f'<meta http-equiv="refresh" content="{REFRESH_S}">'
    if rows:
        heading = f"epoch {rows[-1]['epoch']:.0f}, step {rows[-1]['step']:.0f} of {n_steps}"
    else:
        heading = "no epoch is finished yet"
    figures = [curve(rows, key, title, n_steps) for key, title in CURVES]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{reload}'
        f"<title>Training: {escape(heading)}</title><style>{STYLE}</style></head><body>"
        f"<h1>Training</h1><p>{escape(heading)}</p>{''.join(figures)}</body></html>\n"
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def curve(rows: Sequence[dict[str, float]], key: str, title: str, n_steps: int) -> str:
    """Return one curve as SVG, on a logarithmic axis; an empty text where there are no values."""
    points = [
        (row["step"], row[key])
        for row in rows
        if key in row and math.isfinite(row[key]) and row[key] > 0
    ]
    if not points:
        return ""
    logs = [math.log10(value) for _, value in points]
    low, high = min(logs), max(logs)
    if high - low < 0.1:
        low, high = low - 0.05, high + 0.05

    def place(step: float, log: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / n_steps
        y = TOP + (HEIGHT - TOP - BOTTOM) * (high - log) / (high - low)
        return x, y

    placed = [place(step, math.log10(value)) for step, value in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    x, y = placed[-1]
    parts = [
        f'<text x="{LEFT}" y="18">{escape(title)}: {points[-1][1]:.4g}</text>',
        *(_rule(value, place(0, math.log10(value))[1]) for value in ticks(low, high)),
        f'<text x="{LEFT}" y="{HEIGHT - 8}">0</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{n_steps} steps</text>',
        f'<polyline points="{line}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>',
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg>'


def _rule(value: float, y: float) -> str:
    label = f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    return (
        label + f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    )


def ticks(low: float, high: float) -> list[float]:
    """Return round values between two decimal logarithms; the ends where there are none."""
    steps = (1,) if high - low > 3 else (1, 2, 5)
    decades = range(math.floor(low), math.ceil(high) + 1)
    values = [step * 10.0**decade for decade in decades for step in steps]
    inside = [value for value in values if low <= math.log10(value) <= high]
    return inside if len(inside) > 1 else [10.0**low, 10.0**high]
