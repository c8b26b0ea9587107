"""The page of a campaign: its matrix, its list of runs, in a real browser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import BROWSER, NO_BROWSER, Page, browser_page
from made_campaign import make_up_rows, open_made_campaign
from tempermd import campaign
from tempermd.report import clopper_pearson

pytestmark = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
FRAILTY = {"frail": 0.1, "sound": 0.003}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_model) -> Path:
    """Return a collected campaign of 210 made-up runs: 3 models, 5 temperatures, 2 tubes."""
    models = {name: str(make_model(seed=seed)) for seed, name in enumerate(FRAILTY, start=5)}
    root = tmp_path_factory.mktemp("page") / "many <runs> & more"
    opened = open_made_campaign(root, models, 7, 2)
    make_up_rows(opened, FRAILTY)
    campaign.collect_campaign(root, details=0)
    return root


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> Iterator[Page]:
    with browser_page(tmp_path / "browser") as one:
        one.open(folder / "campaign.html")
        yield one


def rows(page: Page) -> list[list[str]]:
    """Return the cells of the runs that are shown."""
    return page.run(
        "return [...document.querySelectorAll('tr.run')]"
        ".map(row => [...row.cells].map(cell => cell.textContent));"
    )


def facts(folder: Path) -> list[dict]:
    import json

    return json.loads((folder / "table.json").read_text())["runs"]


def test_it_is_one_small_file_without_faults_or_network(folder: Path, page: Page) -> None:
    assert (folder / "campaign.html").stat().st_size < 6e6
    page.run("scrollTo(0, document.body.scrollHeight);")
    page.wait_for("document.querySelector('[data-drawn]')")
    assert (page.console, page.requests) == ([], set())
    assert page.run("return document.querySelector('h1').textContent;") == folder.name
    assert "Made-up numbers" in page.run("return document.body.textContent;")


def test_the_matrix_has_the_tables_numbers(folder: Path, page: Page) -> None:
    cells = page.run(
        "return [...document.querySelectorAll('button.cell')].map(one => "
        "[one.dataset.model, one.dataset.condition, one.querySelector('strong').textContent, "
        "one.querySelector('small').textContent]);"
    )
    assert len(cells) == 15
    survived: Counter[tuple[str, str]] = Counter()
    for run in facts(folder):
        survived[run["model"], f"{run['temperature_K']:g} K"] += run["verdict"] != "failed"
    for model, condition, counted, interval in cells:
        k = survived[model, condition]
        low, high = clopper_pearson(k, 14)
        assert counted == f"{k} of 14"
        assert interval == f"{100 * low:.0f}–{100 * high:.0f} %"


def test_a_click_on_a_cell_lists_its_runs_and_again_all(folder: Path, page: Page) -> None:
    cell = "button.cell[data-model='frail'][data-condition='3000 K']"
    assert len(rows(page)) == 50
    page.run(f'document.querySelector("{cell}").click();')
    found = rows(page)
    assert len(found) == 14
    assert {(row[1], row[3]) for row in found} == {("frail", "3000 K")}
    assert page.run(f'return document.querySelector("{cell}").ariaPressed;') == "true"
    assert page.run("return document.querySelector('.filters output').textContent;") == (
        "14 of 210 runs"
    )
    page.run(f'document.querySelector("{cell}").click();')
    assert len(rows(page)) == 50


def test_a_click_on_a_run_shows_its_events_and_commands(folder: Path, page: Page) -> None:
    page.run(
        "document.querySelector('[name=state]').value = 'failed';"
        "document.querySelector('.filters').dispatchEvent(new Event('input'));"
        "document.querySelector('tr.run').click();"
    )
    text = page.run("return document.querySelector('tr.inside').textContent;")
    run = next(run for run in facts(folder) if run["verdict"] == "failed")
    assert run["id"] in text
    assert f"tempermd analyse runs/{run['id']}/attempt-001/trajectory.lammpstrj" in text
    assert f"tempermd replay runs/{run['id']} " in text
    assert "atoms " in text
    page.run("document.querySelector('tr.run').click();")
    assert page.run("return document.querySelector('tr.inside');") is None


def test_pages_and_orders_of_the_list(folder: Path, page: Page) -> None:
    first = [row[0] for row in rows(page)]
    page.run("document.querySelector('.pager [data-move=\"1\"]').click();")
    second = [row[0] for row in rows(page)]
    assert len(second) == 50
    assert not set(first) & set(second)
    page.run("document.querySelector('th[data-key=t]').click();")
    times = [run["first_severe_ps"] for run in facts(folder) if run["first_severe_ps"] is not None]
    shown = [float(row[7].split(" at ")[1].split()[0]) for row in rows(page) if " at " in row[7]]
    assert len(times) > 20
    assert shown == pytest.approx(sorted(times)[:50], rel=1e-4)
    page.run("document.querySelector('th[data-key=seed]').click();")
    page.run("document.querySelector('th[data-key=seed]').click();")
    assert {row[4] for row in rows(page)} <= {"7", "6"}


def test_a_run_is_found_by_its_id_and_names_are_no_markup(folder: Path, page: Page) -> None:
    one = facts(folder)[100]["id"]
    page.run(
        f"document.querySelector('[name=text]').value = '{one[:12]}';"
        "document.querySelector('.filters').dispatchEvent(new Event('input'));"
    )
    (row,) = rows(page)
    assert row[0] == one[:10]
    assert page.run("return document.querySelectorAll('runs').length;") == 0


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_is_wider_than_the_window(page: Page, width: int, tmp_path: Path) -> None:
    page.run("document.querySelector('tr.run').click();")
    page.picture(tmp_path / "page.png", width)
    wide = page.run(
        "return [document.documentElement.scrollWidth, innerWidth, "
        "document.querySelector('tr.inside > td').scrollWidth, "
        "document.querySelector('tr.inside > td').clientWidth];"
    )
    assert wide[0] <= wide[1]
    assert wide[2] <= wide[3]


def test_skipped_runs_are_named_and_not_counted(make_model, tmp_path: Path) -> None:
    models = {"frail": str(make_model(seed=5))}
    opened = open_made_campaign(tmp_path / "out", models, 8, 1, early_stopping={})
    make_up_rows(opened, {"frail": 50.0})
    campaign.collect_campaign(tmp_path / "out", details=0)
    found = Counter(run["state"] for run in facts(tmp_path / "out") if run["model"] == "frail")
    # two failures in a row settle it, at each of five temperatures
    assert found == {"failed": 10, "skipped": 30}
    text = (tmp_path / "out" / "campaign.html").read_text()
    assert "6 skipped" in text
    assert "0 of 2" in text
