"""Numerical failures, unphysical events, rare ones and a machine's fault are told apart."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from made_analyses import made_analysis, made_event
from tempermd import events
from tempermd.events import Analysis
from tempermd.events.classes import CLASS_OF_KIND
from tempermd.records import read_record
from tempermd.report import Summary, rate_per_ns, summarise, summary_text, write_report

ROOT = Path(__file__).parents[1]


@pytest.fixture
def runs() -> list[Analysis]:
    """Seven runs: one is numerical, two are unphysical first, one is rare, one met a bad machine.

    They are at risk for 10 + 2 + 3 + 4 + 10 + 6 + 10 = 45 ps.
    """
    return [
        made_analysis("m", 1),
        made_analysis("m", 2, events=(made_event("nonfinite", "fatal", 2.0),)),
        made_analysis("m", 3, events=(made_event("detached", "severe", 3.0),)),
        made_analysis(
            "m",
            4,
            events=(
                made_event("ring_change", "warn", 1.0),
                made_event("severed", "severe", 4.0),
                made_event("temperature", "severe", 5.0),
            ),
        ),
        made_analysis("m", 5, events=(made_event("interwall_bond", "warn", 2.0),)),
        made_analysis("m", 6, outcome="infrastructure_failure", duration_ps=6.0),
        made_analysis("m", 7, events=(made_event("energy_drift", "warn", 0.5),)),
    ]


def test_every_kind_has_its_class() -> None:
    text = (ROOT / "docs" / "robustness.md").read_text().split("## Events")[1].split("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert told == set(CLASS_OF_KIND)
    found = set()
    for path in Path(events.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Event":
                kinds = [one.value for one in node.keywords if one.arg == "kind"]
                found |= {one.value for one in kinds if isinstance(one, ast.Constant)}
    assert len(found) > 10
    assert found <= set(CLASS_OF_KIND)


@pytest.mark.parametrize(
    ("kind", "severity", "expected"),
    [
        ("nonfinite", "fatal", "numerical"),
        ("energy_drift", "warn", "numerical"),
        ("temperature", "severe", "numerical"),
        ("detached", "severe", "unphysical"),
        ("ring_change", "severe", "unphysical"),
        ("ring_change", "warn", "rare"),
        ("hot_atom", "warn", "rare"),
    ],
)
def test_class_of_an_event(kind: str, severity: str, expected: str) -> None:
    assert made_event(kind, severity, 1.0).event_class == expected


def test_a_failure_of_one_class_censors_the_other(runs: list[Analysis]) -> None:
    (model,) = summarise(runs).models
    numerical, unphysical = (model.failures_by_class[c] for c in ("numerical", "unphysical"))
    assert (numerical.n_failed, numerical.first_ps) == (1, 2.0)
    assert (unphysical.n_failed, unphysical.first_ps) == (2, 3.0)
    assert numerical.failures_per_ns == pytest.approx(rate_per_ns(1, 45.0))
    assert unphysical.failures_per_ns == pytest.approx(rate_per_ns(2, 45.0))
    both = numerical.failures_per_ns[0] + unphysical.failures_per_ns[0]
    assert model.failures_per_ns[0] == pytest.approx(both)
    assert model.runs_by_class == {"numerical": 3, "unphysical": 2, "rare": 2}
    assert model.n_infrastructure == 1


def test_a_stop_without_an_event_is_numerical() -> None:
    stopped = made_analysis("m", outcome="model_failure", reason="it died", duration_ps=5.0)
    (model,) = summarise([stopped]).models
    assert model.failures_by_class["numerical"].first_ps == 5.0
    assert model.failures_by_class["unphysical"].n_failed == 0


def test_all_products_tell_classes_apart(runs: list[Analysis], tmp_path: Path) -> None:
    page = write_report(runs, tmp_path).read_text()
    raw = json.loads((tmp_path / "summary.json").read_text())
    assert raw["version"] == 2
    assert raw["models"][0]["failures_by_class"]["numerical"]["n_failed"] == 1
    summary = read_record(tmp_path / "summary.json", Summary)
    assert summary == summarise(runs)
    lines = map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines())
    told = {(one["kind"], one["severity"]): one["class"] for one in lines}
    assert told["nonfinite", "fatal"] == told["energy_drift", "warn"] == "numerical"
    assert told["severed", "severe"] == "unphysical"
    assert told["interwall_bond", "warn"] == "rare"
    row = ["m", "1", "2.00", "22.2 (0.563–124)", "2", "3.00", "44.4 (5.38–161)", "2"]
    assert f"| {' | '.join(row)} |" in (tmp_path / "report.md").read_text()
    shown = page.split("<h3>Failures by class</h3>")[1].split("</table>")[0]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", shown) == row
    assert re.findall(r'data-class="(\w+)"', page).count("rare") == 2
    text = summary_text(summary)
    assert "1 numerical, first after 2 ps, 22.2 per ns; 2 unphysical, first after 3 ps" in text
    cases = ElementTree.parse(tmp_path / "junit.xml").getroot().findall(".//testcase")
    classes = [one.get("value") for case in cases for one in case.findall(".//property")]
    assert classes == ["numerical", "unphysical", "unphysical"]
    assert [case.find("error") is not None for case in cases].count(True) == 1


def test_a_report_without_events_has_no_such_table(tmp_path: Path) -> None:
    assert "Failures by class" not in write_report([made_analysis("m")], tmp_path).read_text()
    assert "per ns (95 %)" not in (tmp_path / "report.md").read_text()
