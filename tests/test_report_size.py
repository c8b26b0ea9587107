"""A page of a whole standard suite stays small: a model and the control, 81 runs each."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from browser import BROWSER, NO_BROWSER, browser_page
from made_analyses import made_analysis, made_event
from made_trajectories import dump_text, frame_of, tube_atoms
from tempermd.events import Analysis, Series
from tempermd.events.curves import frame_curve, thinned
from tempermd.report import curves, page, write_report

RUNS_PER_MODEL = 81
THERMO_LINES, FRAMES = 2001, 201  # of 10 ps, every 5 and every 50 fs
PICTURE_BYTES = 14_500  # as rendered
EVENTS = [
    ("close_contact", "warn", 8),
    ("close_contact", "severe", 12),
    ("dangling", "severe", 2),
    ("detached", "severe", 3),
    ("force_spike", "severe", 20),
    ("ring_change", "warn", 12),
    ("temperature", "severe", 2),
]


def noisy_series(rng: np.random.Generator) -> dict[str, Series]:
    """Return curves as long and as uneven as those of a run of the standard suite."""
    times = np.linspace(0, 10, THERMO_LINES)
    kelvin = np.minimum(300 + 1350 * times, 3000) * (1 + 0.05 * rng.normal(size=THERMO_LINES))
    drift = np.cumsum(rng.normal(0, 1e-5, THERMO_LINES))
    frames = np.linspace(0, 10, FRAMES).tolist()
    found = {
        "temperature": thinned("K", times, kelvin),
        "potential_energy": thinned("eV/atom", times, 1.3e-4 * kelvin),
        "conserved_energy": thinned("eV/atom", times, drift),
        "shortest_distance": frame_curve("Å", frames, rng.normal(1.25, 0.03, FRAMES).tolist()),
        "ellipticity": frame_curve("", frames, rng.normal(1.15, 0.05, FRAMES).tolist()),
    }
    for name, share in (("target", 1.0), ("band_low", 0.7), ("band_high", 1.3)):
        ramp = share * np.minimum(300 + 1350 * times[::20], 3000)
        found[name] = frame_curve("K", times[::20].tolist(), ramp.tolist())
    return found


def collapse(rng: np.random.Generator) -> tuple:
    """Return the events of a model that collapses early."""
    return tuple(
        made_event(kind, severity, float(time_ps)).model_copy(
            update={"atom_ids": rng.integers(1, 128, 3).tolist(), "message": f"{kind} " * 8}
        )
        for kind, severity, count in EVENTS
        for time_ps in np.sort(rng.uniform(0.1, 9.5, count))
    )


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> list[Analysis]:
    """162 made runs: all of the model collapse, the control is clean."""
    rng = np.random.default_rng(3)
    atoms = tube_atoms().repeat((1, 1, 2))
    places = [atoms.positions + rng.normal(0, 0.08, atoms.positions.shape) for _ in range(40)]
    dump = tmp_path_factory.mktemp("suite") / "dump"
    dump.write_text(dump_text(frame_of(atoms, 5 * number, at) for number, at in enumerate(places)))
    runs = []
    for seed in range(RUNS_PER_MODEL):
        events = collapse(rng)
        folder = f"/home/someone/studies/carbon/report/runs/{seed:016x}"
        runs.append(
            made_analysis(
                "carbon", seed, events=events, series=noisy_series(rng), folder=folder
            ).model_copy(update={"trajectory": str(dump)})
        )
    control = [made_analysis("LCBOP", seed, series=noisy_series(rng)) for seed in range(81)]
    return runs + control


@pytest.fixture(scope="module")
def report(suite: list[Analysis], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite's page, with pictures of a usual size instead of rendered ones."""
    rng = np.random.default_rng(4)

    def rendered(_: object, *, around: bool) -> list[bytes]:
        return [rng.bytes(PICTURE_BYTES) for _ in range(3 if around else 1)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "render_clip", rendered)
        return write_report(suite, tmp_path_factory.mktemp("report"))


def test_a_whole_suite_fits(report: Path) -> None:
    text = report.read_text()
    assert report.stat().st_size < 6_000_000
    assert text.count("data:image/png") == page.MOST_PICTURES + 2 * page.MOST_TRIPLES
    assert text.count('class="look"') > 30
    shown = [
        text.count(f'data-severity="{severity}" data-kind="{kind}"') for kind, severity, _ in EVENTS
    ]
    assert min(shown) == RUNS_PER_MODEL  # every run shows every kind, and the worst of it
    assert sum(shown) <= page.MOST_ROWS
    hidden = re.findall(r"and (\d+) more close contact", text)
    assert len(hidden) == RUNS_PER_MODEL
    assert {int(number) for number in hidden} == {8 + 12 - 2}


def unpacked(text: str) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_packed_curves_are_the_curves(suite: list[Analysis]) -> None:
    run = suite[0]
    found = unpacked(curves.packed_curves(run, 400))
    assert len(found["marks"]) == len(run.events)
    assert set(found["series"]) == set(run.series)
    for name, curve in run.series.items():
        one = found["series"][name]
        times = one["low"] + one["step"] * np.cumsum(one["moves"])
        np.testing.assert_allclose(times, curve.time_ps, atol=10 / 4000)
        np.testing.assert_allclose(one["value"], curve.value, rtol=6e-4)
        assert one["unit"] == curve.unit


def test_fewer_points_keep_the_extremes_and_gaps(suite: list[Analysis]) -> None:
    curve = suite[0].series["temperature"]
    value = [*curve.value[:100], *[None] * 100, *curve.value[200:]]
    value[300] = 9e5
    run = suite[0].model_copy(
        update={"series": {"temperature": curve.model_copy(update={"value": value})}}
    )
    one = unpacked(curves.packed_curves(run, 60))["series"]["temperature"]
    assert 50 < len(one["moves"]) == len(one["value"]) <= 60
    assert max(x for x in one["value"] if x is not None) == 9e5
    assert None in one["value"]


def test_a_curve_of_one_point_or_none(suite: list[Analysis]) -> None:
    series = {"a": Series(unit="", time_ps=[3.0], value=[None])}
    series["b"] = Series(unit="", time_ps=[], value=[])
    run = suite[0].model_copy(update={"series": series})
    found = unpacked(curves.packed_curves(run, 60))["series"]
    assert (found["a"]["low"], found["a"]["moves"], found["a"]["value"]) == (3.0, [0], [None])
    assert found["b"]["moves"] == []


def test_points_are_shared_among_many_runs() -> None:
    assert [curves.most_points(n) for n in (0, 1, 100, 200, 10_000)] == [400, 400, 400, 200, 60]


DRAWN = """
const data = document.getElementById("chart-161").data;
const one = data.filter(trace => trace.y.length && trace.yaxis === "y").at(-1);
return {x: [...one.x], y: [...one.y]};
"""


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_the_browser_draws_what_was_packed(
    report: Path, suite: list[Analysis], tmp_path: Path
) -> None:
    with browser_page(tmp_path / "browser") as one:
        one.open(report)
        one.run("document.getElementById('run-161').open = true;")
        one.wait_for("document.getElementById('chart-161').dataset.drawn")
        drawn = one.run(DRAWN)
        assert one.console == []
        assert one.requests == set()
    curve = suite[161].series["temperature"]
    at = np.searchsorted(curve.time_ps, np.array(drawn["x"]) - 2e-3)
    expected = np.array(curve.value)[at]
    assert len(drawn["y"]) == 246 // 2 * 2
    assert drawn["x"][0] < 0.1
    assert drawn["x"][-1] > 9.9
    np.testing.assert_allclose(drawn["y"], expected, rtol=6e-4)
