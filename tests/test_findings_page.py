"""The page and the text of a study: what they say, and that a browser draws it all."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from browser import BROWSER, NO_BROWSER, open_in_browser
from study_cases import DIRECT, NEP, SIZES, errors, row, study, whole_study
from tempermd.findings.cells import estimate_text, factor_text, ratio_text
from tempermd.findings.page import markdown, sections, write_page
from tempermd.findings.rows import Study
from tempermd.findings.statistics import Factor, estimate, paired_ratio


@pytest.fixture(scope="module")
def whole() -> Study:
    return whole_study()


def small() -> Study:
    """Return a study like the demo: two arms, one size, one seed."""
    return study([row(DIRECT, 16, 1, 0.2), row(NEP, 16, 1, 0.1)], notes={"tubes": "GFN1-xTB"})


def figures_of(made: Study) -> list[str]:
    return [figure.title for section in sections(made) for figure in section.figures]


def test_figures_of_a_whole_study(whole: Study) -> None:
    each = ["Force RMSE", "Energy RMSE"]
    each += ["Data-efficiency factor, forces", "Data-efficiency factor, energy"]
    each += ["Force RMSE, finetuned nep", "Energy RMSE, finetuned nep"]
    fates = [f"Survival at 3000 K, {target}, n = 20" for target in ("tubes", "broad")]
    lost = [f"Forgetting: general against the test set, {name}" for name in ("tubes", "broad")]
    assert figures_of(whole) == [*each * 2, *fates, *lost, "Core-hours"]


def test_figures_of_a_small_study() -> None:
    assert figures_of(small()) == ["Core-hours"]


def test_every_title_of_a_target_names_its_truth(whole: Study) -> None:
    for section in sections(whole):
        for table in section.tables:
            assert "GFN1-xTB, converged" in table.title or "C_2024_NEP4" in table.title


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_page_in_a_browser(whole: Study, tmp_path: Path) -> None:
    page = write_page(whole, tmp_path / "study.html")
    console, requests, dom = open_in_browser(page, tmp_path / "browser")
    assert console == []
    assert requests == set()
    assert dom.count('data-drawn="yes"') == len(figures_of(whole))
    for words in ("Force RMSE, eV/Å", "times as many for direct", "time, ps", "core-hours"):
        assert f">{words}<" in dom  # axis titles: the figures are drawn
    for n in SIZES:
        assert f">{n}</text>" in dom  # the ticks are the sizes


def test_page_says_which_trainings_diverged(tmp_path: Path) -> None:
    rows = [row(DIRECT, 16, s, 0.2) for s in (1, 2)]
    rows += [row(NEP, 16, 1, 0.1), row(NEP, 16, 2, math.nan)]
    text = write_page(study(rows), tmp_path / "study.html").read_text()
    assert "Diverged and in no mean: tubes, finetuned nep 1000, n = 16, seed 2." in text
    assert "0.100, 1 diverged" in text


def test_markdown_of_a_small_study() -> None:
    lines = markdown(small()).splitlines()
    assert lines[0] == "# Made up"
    assert lines[2] == "## What was found"
    assert "**Errors on the test set: tubes (GFN1-xTB)**" in lines
    assert "| finetuned nep 1000 | 16 | 1 | 0.100 | 10.0 | 0.500 | 0.500 |" in lines
    assert lines[6].startswith("Negative transfer: no arm with a base has a mean worse")


def test_markdown_names_negative_transfer(whole: Study) -> None:
    lines = markdown(whole).splitlines()
    (found,) = [line for line in lines if line.startswith("Negative transfer: ")]
    assert "finetuned tersoff 1000 on tubes, forces at n = 10, 20" in found
    # all that the page tells in words and tables
    for section in sections(whole):
        assert f"## {section.title}" in lines
        for table in section.tables:
            assert f"**{table.title}**" in lines
            assert {"| " + " | ".join(row) + " |" for row in table.rows} <= set(lines)


def test_markdown_without_direct_says_so() -> None:
    worse = {"test": errors(0.05, 1.0)}
    text = markdown(study([row(NEP, 16, 1, 0.1, start_errors=worse)]))
    assert "forces at n = 16 (up to 2.00 times its own start)" in text
    assert "There is no arm direct to compare with." in text


def test_markdown_says_which_source_could_not_be_compared() -> None:
    rows = [row(NEP, 16, 1, 0.1, sources_not_compared={"nep": "no such file"})]
    assert "Not compared with its label source: nep (no such file)." in markdown(study(rows))
    rows = [row(NEP, 16, 1, 0.1, source_errors={"nep": errors(0.05, 11.0)})]
    text = markdown(study([row(DIRECT, 16, 1, 0.2), *rows]))
    assert "worse than direct, its own start or its label source" in text
    assert "forces at n = 16 (up to 2.00 times its label source)" in text


def test_cells() -> None:
    assert estimate_text(estimate([0.2, math.nan])) == "0.200, 1 diverged"
    assert estimate_text(estimate([math.nan])) == "all 1 diverged"
    better = paired_ratio({1: 0.1, 2: 0.1001}, {1: 0.2, 2: 0.2})
    assert ratio_text(better).endswith(" ↓")
    beyond = Factor(factor=16, censored="above", low=9.2, high=16, high_censored=True)
    assert factor_text(beyond) == "≥ 16.0 (9.20 to > 16.0)"
    wholly = Factor(factor=16, censored="above", low=16, high=16, high_censored=True)
    assert factor_text(wholly) == "≥ 16.0"
