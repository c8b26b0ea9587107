"""Pages: what is in them, and that a browser shows them without a network."""

import base64
import gzip
from pathlib import Path

import pytest

from browser import BROWSER, NO_BROWSER, open_in_browser
from tempermd import pages
from tempermd.pages import Figure, Section, Table, number_text


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Return a page with a table and two figures."""
    table = Table(title="Errors", head=["source", "eV/Å"], rows=[["lcbop", "0.535"]], note="rms")
    line = Figure(title="Line", data=[{"x": [0, 1], "y": [1, 2]}], note="of </script> two points")
    bars = Figure(
        title="Bars",
        data=[{"type": "bar", "x": ["a", "</script>"], "y": [3, 4]}],
        layout={"yaxis": {"title": {"text": "frames"}}},
    )
    section = Section(
        title="First", text="One.\n\nTwo & three.", tables=[table], figures=[line, bars]
    )
    return pages.write_page(tmp_path / "p.html", "A <title>", [section], {"made by": "a & b"})


def test_page_holds_what_it_was_given(page: Path) -> None:
    text = page.read_text()
    for part in ("A &lt;title&gt;", "<p>Two &amp; three.</p>", "lcbop", "a &amp; b"):
        assert part in text
    assert text.count("data-figure=") == 2
    assert "of </script>" not in text


def test_page_without_figures_carries_no_script(tmp_path: Path) -> None:
    section = Section(title="Only text", text="Nothing to draw.")
    path = pages.write_page(tmp_path / "q.html", "Plain", [section])
    assert "<script" not in path.read_text()


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_page_in_a_browser(page: Path, tmp_path: Path) -> None:
    console, requests, dom = open_in_browser(page, tmp_path / "browser")
    assert console == []
    assert requests == set()
    assert dom.count('data-drawn="yes"') == 2
    assert dom.count('class="main-svg"') >= 2
    assert ">frames<" in dom  # the axis title that the layout asked for


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0215, "0.0215"), (-2.5, "−2.50"), (8452.4, "8452"), (0.0005, "0.000500")]
    + [(3e-7, "3.00e−7"), (593870.8, "593871"), (1.3e9, "1.30e9"), (0.0, "0"), (99.96, "100.0")],
)
def test_numbers_keep_three_digits(value: float | None, text: str) -> None:
    assert number_text(value) == text


def test_plotly_survives_its_packing() -> None:
    from plotly.offline import get_plotlyjs

    assert gzip.decompress(base64.b64decode(pages.plotly_packed())).decode() == get_plotlyjs()
