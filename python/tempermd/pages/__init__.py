"""Pages: one self-contained HTML file with text, tables and plotly figures, read offline."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tempermd.records import Spec, atomic_write

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parents[1] / "templates"
LONG_CELL = 30


class Table(Spec):
    """A titled table; every row has as many cells as the head."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""

    @property
    def turned(self) -> bool:
        """Whether it reads better with its rows as columns: few things, long qualities."""
        longest = max((len(cell) for row in self.rows for cell in row), default=0)
        return len(self.head) > 5 and len(self.rows) <= 4 and longest > LONG_CELL


class Figure(Spec):
    """A titled figure: traces and layout as plotly's JavaScript takes them.

    Colours of text, axes and background follow the reader's light or dark setting, so traces
    should name none but their own; the first trace without a colour gets the page's.
    """

    title: str
    data: list[dict[str, Any]] = Field(min_length=1)
    layout: dict[str, Any] = Field(default_factory=dict)
    note: str = ""


class Section(Spec):
    """A headed part of a page: text, then tables, then figures."""

    title: str
    text: str = ""
    tables: list[Table] = Field(default_factory=list)
    figures: list[Figure] = Field(default_factory=list)


def write_page(
    path: Path | str,
    title: str,
    sections: Sequence[Section],
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write a page that needs no network: plotly's script is inside.

    Parameters
    ----------
    facts
        Names and values for the last section: versions, hashes, the command.
    """
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"{path}: a page is written as .html")
    figures = [figure for section in sections for figure in section.figures]
    page = (
        templates()
        .get_template("page.html.j2")
        .render(
            title=title,
            sections=sections,
            numbers={id(figure): number for number, figure in enumerate(figures)},
            figures=[{"data": figure.data, "layout": figure.layout} for figure in figures],
            facts=dict(facts or {}),
            plotly=plotly_packed() if figures else "",
        )
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def plotly_packed() -> str:
    """Return plotly's script gzipped in base64: 2 MB where the plain text has 5 MB."""
    from plotly.offline import get_plotlyjs

    return packed(get_plotlyjs().encode("utf-8"))


def packed(data: bytes) -> str:
    """Return bytes gzipped in base64, which ``unpacked`` of a page's script undoes."""
    return base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode("ascii")


def templates() -> Environment:
    """Return the template engine with the filters of all pages."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number_text,
        "identity": id,
        "is_number": _is_number,
        "script_json": _script_json,
    }
    return environment


def number_text(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits for a table; an en dash for none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value).replace("-", "−")
    magnitude = abs(value)
    if magnitude >= 1e6 or 0 < magnitude < 1e-4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    elif magnitude >= 10 ** (digits - 1) or value == 0:
        text = f"{value:.0f}"
    else:
        text = f"{value:.{digits - 1 - math.floor(math.log10(magnitude))}f}"
    return text.replace("-", "−")


def _is_number(text: str) -> bool:
    """Whether a table's cell reads as a number and so stands to the right."""
    head = str(text).replace("−", "-").replace(" ", "").rstrip("%").lstrip("≥≤<>")
    for mark in ("±", "/", "(", "–"):
        head = head.split(mark)[0]
    try:
        float(head)
    except ValueError:
        return False
    return True


def _script_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    from markupsafe import Markup

    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c"))
