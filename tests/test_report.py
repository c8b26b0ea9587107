"""Verdicts against hand-counted runs and exact statistics; the page in a real browser."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import typer.testing

from browser import BROWSER, NO_BROWSER, browser_page, open_in_browser
from made_trajectories import dump_text, frame_of, log_text, tube_atoms
from tempermd import campaign
from tempermd.cli.application import app
from tempermd.events import Analysis, RunLabel, analyse_run, analyse_trajectory
from tempermd.events.limits import DEFAULT_FILE
from tempermd.records import UserError, read_record
from tempermd.report import (
    Summary,
    Table,
    clips,
    pictures,
    runs_to_tell_apart,
    summarise,
    summary_markdown,
    summary_text,
    write_movie,
    write_report,
)

pytest_plugins = ("hot_tube",)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """A tube that loses an atom at 0.1 ps and goes non-finite at 0.5 ps."""
    folder = tmp_path_factory.mktemp("broken")
    atoms = tube_atoms()
    radial = atoms.positions[40] - atoms.positions.mean(axis=0)
    frames = []
    for number in range(20):
        places = atoms.positions.copy()
        places[40] += max(number - 1, 0) * 1.2 * radial * [1, 1, 0] / np.linalg.norm(radial[:2])
        if number >= 10:
            places[:] = np.nan
        frames.append(frame_of(atoms, number, places))
    (folder / "dump").write_text(dump_text(frames))
    temperature = np.full(200, 3000.0)
    temperature[100:] = np.nan
    log = log_text(10 * np.arange(200), temperature, np.full(200, -900.0))
    (folder / "log").write_text(log)
    found = analyse_trajectory(folder / "dump", folder / "log")
    return labelled(found, "direct <0>", 3000.0, 1).model_copy(update={"wall_s": 12.0})


@pytest.fixture(scope="module")
def clean(hot_tube: Path) -> Analysis:
    """The healthy hot tube."""
    return analyse_run(hot_tube)


def labelled(analysis: Analysis, model: str, temperature_K: float, seed: int) -> Analysis:
    label = RunLabel(
        run_id="made",
        model=model,
        model_sha256="ab" * 32,
        potential="nequip",
        structure="(8,0)",
        temperature_K=temperature_K,
        seed=seed,
    )
    return analysis.model_copy(update={"label": label})


def failed_machine(analysis: Analysis) -> Analysis:
    return analysis.model_copy(
        update={"outcome": "infrastructure_failure", "reason": "ended by signal 15"}
    )


@pytest.fixture(scope="module")
def many(broken: Analysis, clean: Analysis) -> list[Analysis]:
    """Ten runs of three models, one of them ended by a machine."""
    runs = [labelled(clean, "pre-trained", 3000.0, seed) for seed in range(1, 6)]
    runs += [failed_machine(labelled(clean, "pre-trained", 3000.0, 6))]
    runs += [broken, labelled(broken, "direct <0>", 3000.0, 2)]
    runs += [labelled(clean, "direct <0>", 1000.0, 1), clean]
    return runs


@pytest.fixture(scope="module")
def report_folder(many: list[Analysis], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    table = Table(
        title="Direct against pre-trained",
        head=["Model", "Force error (meV/Å)"],
        rows=[["direct", "312"], ["pre-trained", "148"]],
        note="made up",
    )
    write_report(many, folder, tables=[table], provenance={"spec": "demo.toml"})
    return folder


def test_verdicts_and_their_denominators(many: list[Analysis], clean: Analysis) -> None:
    summary = summarise(many)
    good, bad, control = summary.models
    assert (good.name, good.verdict, good.control) == ("pre-trained", "PASS", False)
    assert (good.n_runs, good.n_usable, good.n_survived) == (6, 5, 5)
    assert (good.n_infrastructure, good.n_censored, good.n_failed) == (1, 1, 0)
    assert good.total_ps == pytest.approx(6 * clean.duration_ps)
    assert "5 of 5 means survival above 48 % (95 %)" in good.sentence
    assert (bad.verdict, bad.n_failed, bad.n_survived) == ("FAIL", 2, 1)
    assert bad.first_severe_ps == pytest.approx(0.15)
    assert "2 of 3 runs failed, the first after 0.15 ps (detached, 3000 K, seed 1)" in bad.sentence
    assert (control.name, control.verdict, control.control) == ("LCBOP", "PASS", True)
    assert summary.verdict == "FAIL"
    counts = {(cell.model, cell.condition): cell for cell in summary.survival}
    assert counts["direct <0>", "3000 K"].n_survived == 0
    assert counts["direct <0>", "1000 K"].n_survived == 1
    assert counts["pre-trained", "3000 K"].low == pytest.approx(0.025 ** (1 / 5))


def test_warnings_alone_warn_and_no_usable_run_is_inconclusive(clean, broken) -> None:
    warning = broken.events[0].model_copy(update={"severity": "warn"})
    warned = clean.model_copy(update={"events": [warning], "event_counts": {warning.kind: 1}})
    assert summarise([clean, warned]).verdict == "WARN"
    assert summarise([failed_machine(clean)]).verdict == "INCONCLUSIVE"
    assert summarise([]).verdict == "INCONCLUSIVE"
    # an event that was seen before the machine failed still counts
    assert summarise([failed_machine(broken)]).verdict == "FAIL"
    crashed = clean.model_copy(update={"outcome": "model_failure", "reason": "it died"})
    assert summarise([crashed]).verdict == "FAIL"


def test_table_of_few_things_and_many_long_qualities_is_turned() -> None:
    head = ["arm", "frames", "steps", "rate", "force", "events"]
    long = [*"abcde", "close contact 2.05, temperature 2.15, lost atoms"]
    assert Table(title="", head=head, rows=[long]).turned
    assert not Table(title="", head=head, rows=[list("abcdef")]).turned
    assert not Table(title="", head=head[3:], rows=[long[3:]]).turned


def test_failing_control_does_not_fail_the_models(clean, broken) -> None:
    control = broken.model_copy(
        update={"label": clean.label.model_copy(update={"potential": "lcbop"})}
    )
    good = labelled(clean, "pre-trained", 3000.0, 1)
    summary = summarise([good, control])
    assert summary.verdict == "PASS"
    assert [model.verdict for model in summary.models] == ["PASS", "FAIL"]


def test_terminal_twin_says_the_same(many: list[Analysis]) -> None:
    text = summary_text(summarise(many))
    assert len(text.splitlines()) == 9
    assert "survived: 1000 K 1 of 1; 3000 K 0 of 2" in text
    assert text.splitlines()[0].startswith("PASS          pre-trained")
    assert "1 infrastructure failure apart, 1 of them censored" in text
    assert text.splitlines()[-1].startswith("3000 K: pre-trained and direct <0> are told apart")


def test_models_are_compared_and_told_what_more_runs_would_do(clean, broken) -> None:
    runs = [labelled(clean, "good", 3000.0, seed) for seed in (1, 2)]
    runs += [labelled(broken, "bad", 3000.0, seed) for seed in (1, 2)]
    (contrast,) = summarise(runs).contrasts
    assert contrast.comparison.p > 0.05
    needed = runs_to_tell_apart(2, 2, 0, 2)
    assert contrast.runs_needed == needed > 3
    assert f"{needed - 2} and {needed - 2} more runs would tell" in contrast.sentence
    better = [labelled(clean, "better", 3000.0, seed) for seed in (1, 2)]
    (neither,) = summarise([*runs[:2], *better]).contrasts
    assert neither.sentence == "Neither good nor better failed: they are not told apart."
    best = [labelled(clean, "best", 3000.0, seed) for seed in (1, 2)]
    lines = summarise([*runs, *better, *best]).told_apart  # six pairs, three of them quiet
    assert len(lines) == 4
    assert lines[-1] == "3000 K: None of good, better, best failed: they are not told apart."
    assert all("bad" in line for line in lines[:-1])
    worse = [labelled(broken, "worse", 3000.0, seed) for seed in (1, 2)]
    (both,) = summarise([*runs[2:], *worse]).contrasts
    assert "all fail, and at the same time" in both.sentence
    assert summarise([*runs[1:3]]).contrasts == []  # one run each tells nothing apart
    assert summarise([*runs[:2], clean, clean]).contrasts == []  # the control is no rival


def test_failures_per_time_at_risk(clean, broken) -> None:
    runs = [labelled(clean, "m", 3000.0, 1), labelled(broken, "m", 3000.0, 2)]
    (model,) = summarise(runs).models
    at_risk_ns = (clean.duration_ps + broken.first_severe_ps) / 1000
    assert model.failures_per_ns[0] == pytest.approx(1 / at_risk_ns)
    assert model.failures_per_ns[1] < model.failures_per_ns[0] < model.failures_per_ns[2]


def test_products_agree_with_the_analyses(report_folder: Path, many: list[Analysis]) -> None:
    summary = read_record(report_folder / "summary.json", Summary)
    assert summary == summarise(many)
    lines = (report_folder / "events.jsonl").read_text().splitlines()
    assert len(lines) == sum(len(analysis.events) for analysis in many)
    kinds = {json.loads(line)["kind"] for line in lines}
    assert kinds == {"detached", "nonfinite"}
    assert json.loads(lines[0])["run"]["model"] == "direct <0>"


def test_junit_counts_what_the_summary_counts(report_folder: Path) -> None:
    root = ElementTree.parse(report_folder / "junit.xml").getroot()
    summary = read_record(report_folder / "summary.json", Summary)
    suites = {suite.get("name"): suite for suite in root}
    for model in summary.models:
        suite = suites[model.name]
        assert int(suite.get("tests")) == len(suite) == model.n_runs
        assert int(suite.get("failures")) == len(suite.findall(".//failure")) == model.n_failed
        assert int(suite.get("errors")) == len(suite.findall(".//error")) == model.n_infrastructure
    failure = suites["direct <0>"].find(".//failure")
    assert failure.get("type") == "detached"
    assert "severe detached at step" in failure.text


def test_markdown_says_the_same(report_folder: Path) -> None:
    text = (report_folder / "report.md").read_text()
    summary = read_record(report_folder / "summary.json", Summary)
    assert text == summary_markdown(summary)
    table, classes = (part.splitlines() for part in text.split("\n\n") if part.startswith("|"))
    assert len({line.count("|") for line in classes}) == 1
    assert len(classes) == 3  # one model failed
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 2 + len(summary.models)
    assert "| pre-trained | **PASS** | – | 5 of 5 (48–100 %) |" in text
    for model in summary.models:
        assert model.sentence in text


def test_a_report_is_shown_in_a_terminal(report_folder: Path, tmp_path: Path) -> None:
    def show(*words: object) -> subprocess.CompletedProcess:
        main = "from tempermd.cli import main; main()"
        command = [sys.executable, "-c", main, "report", "show", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True)

    summary = read_record(report_folder / "summary.json", Summary)
    plain, marked = show(report_folder), show(report_folder, "--markdown")
    assert plain.stdout == summary_text(summary) + "\n"
    assert marked.stdout == summary_markdown(summary) + "\n"
    assert plain.returncode == marked.returncode == 2  # FAIL
    absent = show(tmp_path)
    assert absent.returncode == 1
    assert absent.stderr.count("\n") == 1


def test_page_shows_it_all_and_escapes(report_folder: Path, many: list[Analysis]) -> None:
    text = (report_folder / "report.html").read_text()
    assert len(text) < 6_000_000
    assert "direct &lt;0&gt;" in text
    assert "direct <0>" not in text
    titles = re.findall(r"<h2>([^<]*)</h2>", text)
    assert titles == [
        "Direct against pre-trained",
        "Verdicts",
        "Survival",
        "Events",
        "Runs",
        "Thresholds",
        "Provenance",
    ]
    for phrase in ("0 of 2", "48–100 %", "outside_ps", "ab" * 32, "demo.toml", "made up"):
        assert phrase in text
    assert not re.search(r"(src|href)=[\"'](https?:)?//", text)
    assert text.count('<tr id="event-') == 6  # three events of each of two runs


def test_pictures_mark_the_culprit(report_folder: Path, broken: Analysis) -> None:
    pytest.importorskip("ovito", exc_type=ImportError, reason="OVITO cannot be loaded here")
    assert "data:image/png;base64," in (report_folder / "report.html").read_text()
    detached = next(event for event in broken.events if event.kind == "detached")
    (clip,) = clips.clips_of(broken, [detached])
    (with_mark,) = pictures.render_clip(clip)
    clip.event = detached.model_copy(update={"atom_ids": []})
    (without,) = pictures.render_clip(clip)
    assert len(pictures.render_clip(clip, around=True)) == 3
    assert red_pixels(with_mark) > 50
    assert red_pixels(without) == 0


def red_pixels(png: bytes) -> int:
    import io

    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), dtype=int)
    red = (pixels[..., 0] > 2 * pixels[..., 2] + 40) & (pixels[..., 3] > 128)
    return int(np.sum(red))


def test_page_without_a_renderer_says_why(
    broken: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python's own way to make an import fail
    monkeypatch.setitem(__import__("sys").modules, "ovito.vis", None)
    text = write_report([broken], tmp_path).read_text()
    assert "No pictures: OVITO cannot be loaded" in text
    assert "data:image/png" not in text


def test_report_without_trajectory_or_runs(broken: Analysis, tmp_path: Path) -> None:
    moved = broken.model_copy(update={"trajectory": str(tmp_path / "moved-away")})
    assert "data:image/png" not in write_report([moved], tmp_path / "a").read_text()
    assert "INCONCLUSIVE" in write_report([], tmp_path / "b").read_text()


def test_replay_command_can_be_pasted(broken: Analysis, tmp_path: Path) -> None:
    folder = str(tmp_path / "it's a run & more")
    report = write_report([broken.model_copy(update={"folder": folder})], tmp_path, pictures=False)
    (command, *_) = re.findall(r'<code class="command">([^<]*)</code>', report.read_text())
    step = broken.events[0].step
    assert shlex.split(html.unescape(command)) == ["tempermd", "replay", folder, str(step)]


# --- clips -------------------------------------------------------------------------------


def test_clip_holds_the_frames_around_the_one_that_shows_the_event(broken: Analysis) -> None:
    detached = next(event for event in broken.events if event.kind == "detached")
    early = detached.model_copy(update={"step": 0, "time_ps": 0.0, "shown_step": 0})
    between = detached.model_copy(update={"shown_step": 350})
    late = detached.model_copy(update={"shown_step": 10**6})
    first, middle, last = clips.clips_of(broken, [early, between, late])
    assert [frame.step for frame in first.frames] == list(range(0, 1000, 100))  # then come NaN
    assert (first.frame.step, middle.frame.step, last.frame.step) == (0, 300, 900)
    assert [frame.step for frame in middle.frames] == list(range(0, 1000, 100))
    assert last.shown == len(last.frames) - 1


def test_clip_of_a_second_run_is_taken_from_that_run(tmp_path: Path) -> None:
    atoms = tube_atoms()
    radial = (atoms.positions[40] - atoms.positions.mean(axis=0)) * [1, 1, 0]
    out_A = np.array([[0.0] * 10, [1.2 * max(number - 1, 0) for number in range(10)]])
    frames = []
    for run in out_A:
        for number, shift_A in enumerate(run):
            places = atoms.positions.copy()
            places[40] += shift_A * radial / np.linalg.norm(radial)
            frames.append(frame_of(atoms, number, places))
    (tmp_path / "dump").write_text(dump_text(frames))
    found = analyse_trajectory(tmp_path / "dump")
    (event,) = found.events
    (clip,) = clips.clips_of(found, [event])
    gap_A = np.linalg.norm(clip.frame.positions[40] - atoms.positions[40])
    assert clip.frame.step == event.shown_step
    assert gap_A == pytest.approx(out_A[1, event.shown_step // 100])
    assert gap_A > 3


def test_packed_clip_has_every_place_and_says_who_is_absent(broken: Analysis) -> None:
    detached = next(event for event in broken.events if event.kind == "detached")
    (clip,) = clips.clips_of(broken, [detached])
    gone = clip.frames[2]
    keep = gone.ids != 7
    clip.frames[2] = replace(gone, ids=gone.ids[keep], positions=gone.positions[keep])
    packed = clip.packed()
    raw = gzip.decompress(base64.b64decode(packed["places"]))
    coded = np.frombuffer(raw, "<u2").reshape(len(clip.frames), 128, 3)
    assert (coded[2, 6] == clips.ABSENT).all()
    assert (coded == clips.ABSENT).sum() == 3
    places = packed["low"] + packed["step"] * coded[clip.shown]
    np.testing.assert_allclose(places, clip.frame.positions, atol=packed["step"])
    assert packed["step"] < 1e-3
    assert packed["marked"] == detached.atom_ids


def test_culprit_frames_lie_beside_the_page(report_folder: Path, broken: Analysis) -> None:
    from ase.io import read

    frames = read(report_folder / "culprits.extxyz", index=":")
    assert {frame.info["event"] for frame in frames} == {"detached", "nonfinite"}
    first = next(frame for frame in frames if frame.info["event"] == "detached")
    detached = next(event for event in broken.events if event.kind == "detached")
    (clip,) = clips.clips_of(broken, [detached])
    np.testing.assert_allclose(first.positions, clip.frame.positions, atol=1e-7)
    assert first.get_chemical_symbols() == ["C"] * 128


# --- movie -------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [True, False])
def test_movie_names_events_while_they_happen(
    broken: Analysis, tmp_path: Path, times: bool
) -> None:
    pytest.importorskip("ovito", exc_type=ImportError, reason="OVITO cannot be loaded here")
    from PIL import Image, ImageSequence

    if not times:
        dump = re.sub(r"ITEM: TIME\n.*\n", "", Path(broken.trajectory).read_text())
        (tmp_path / "dump").write_text(dump)
        broken = broken.model_copy(update={"trajectory": str(tmp_path / "dump")})
    path = write_movie(broken, tmp_path / "tube.gif", most_frames=10)
    with Image.open(path) as image:
        shown = [one.convert("RGB") for one in ImageSequence.Iterator(image)]
    frames = [np.asarray(one, int) for one in shown]
    assert len(frames) == 5  # every second frame, until they are no numbers any more
    red = [int(np.sum((f[-20:, 90:, 0] > 150) & (f[-20:, 90:, 1] < 90))) for f in frames]
    detached_ps = next(event.time_ps for event in broken.events if event.kind == "detached")
    named = [0 <= 0.1 * number - detached_ps <= 0.3 for number in range(5)]
    assert [count > 20 for count in red] == named
    assert any(named)
    assert not all(named)


def test_movie_leaves_out_frames_that_cannot_be_shown(tmp_path: Path) -> None:
    pytest.importorskip("ovito", exc_type=ImportError, reason="OVITO cannot be loaded here")
    from PIL import Image

    atoms, none = tube_atoms(), np.zeros((0, 3))
    frames = [frame_of(atoms, number) for number in range(6)]
    frames[0].positions[7] = np.nan
    frames[3] = replace(frames[3], ids=frames[3].ids[:0], positions=none, velocities=none)
    (tmp_path / "dump").write_text(dump_text(frames))
    path = campaign.movie(tmp_path / "dump", tmp_path / "tube.gif")
    with Image.open(path) as image:
        assert image.n_frames == 4
    for frame in frames:
        frame.positions[:] = np.nan
    (tmp_path / "dump").write_text(dump_text(frames))
    with pytest.raises(UserError, match="no frame has atoms and finite positions"):
        campaign.movie(tmp_path / "dump", tmp_path / "none.gif")
    assert not (tmp_path / "none.gif").exists()


def test_movie_judges_by_the_limits_given(tmp_path: Path, monkeypatch) -> None:
    shown = []
    monkeypatch.setattr("tempermd.report.write_movie", lambda run, *_, **__: shown.append(run))
    (tmp_path / "dump").write_text(dump_text([frame_of(tube_atoms(), n) for n in range(3)]))
    limits = DEFAULT_FILE.read_text().replace("warn_A = 1.10", "warn_A = 1.45")
    (tmp_path / "limits.toml").write_text(limits)
    runner = typer.testing.CliRunner()
    for more in ([], ["--thresholds", str(tmp_path / "limits.toml")]):
        done = runner.invoke(app, ["movie", str(tmp_path / "dump"), *more])
        assert done.exit_code == 0, done.output
    assert [set(run.event_counts) for run in shown] == [set(), {"close_contact"}]


@pytest.mark.parametrize("given", [{"log": "log.lammps"}, {"timestep_fs": 1.0}])
def test_a_run_directory_has_its_own_log_and_timestep(given: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave LOG and --timestep-fs out"):
        campaign.movie(tmp_path, tmp_path / "tube.gif", **given)


def test_movies_that_cannot_be_made(broken: Analysis, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"\.gif or \.mp4"):
        write_movie(broken, tmp_path / "tube.avi")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs ffmpeg"):
        write_movie(broken, tmp_path / "tube.mp4")
    gone = broken.model_copy(update={"trajectory": str(tmp_path / "gone")})
    with pytest.raises(UserError, match="not there any more"):
        write_movie(gone, tmp_path / "tube.gif")


# --- in a browser ------------------------------------------------------------------------


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_page_in_a_browser(report_folder: Path, tmp_path: Path) -> None:
    source = report_folder / "report.html"
    console, requests, dom = open_in_browser(source, tmp_path / "good")
    assert console == []
    assert requests == set()
    # survival where a model had several runs, and a failed run's curves
    assert dom.count('data-drawn="yes"') == 2
    assert 'class="main-svg"' in dom
    # the same look at a page with an error and a request finds them
    bad = tmp_path / "bad.html"
    text = re.sub(r"<meta http-equiv[^>]*>", "", source.read_text())
    intruder = '<img src="http://127.0.0.1:9/x.png"><script>nothing.here</script></main>'
    bad.write_text(text.replace("</main>", intruder))
    console, requests, _ = open_in_browser(bad, tmp_path / "bad")
    assert any("nothing is not defined" in line for line in console)
    assert requests == {"http://127.0.0.1:9/x.png"}


FILTER = """
const form = document.querySelector(".filters"), said = form.querySelector("output");
form.elements[NAME].value = VALUE;
form.dispatchEvent(new Event("input"));
const rows = [...document.querySelectorAll("table.events tbody tr")];
return [rows.filter(row => !row.hidden).length, said.textContent];
"""
STEPS = """
document.querySelectorAll("table.events th")[2].click();
return [...document.querySelectorAll("table.events tbody tr")].map(r => +r.cells[2].dataset.value);
"""
SCENE = """
const data = document.querySelector("#viewer .scene").data;
const said = document.querySelector("#viewer .player output").textContent;
return {points: data.slice(1).map(one => one.x.length), bonds: data[0].x.length / 3, said,
  frame: Number(document.getElementById("viewer").dataset.frame)};
"""


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_events_are_filtered_sorted_and_looked_at(report_folder: Path, tmp_path: Path) -> None:
    from ase.io import read

    with browser_page(tmp_path / "browser") as page:
        page.open(report_folder / "report.html")

        def filtered(name: str, value: str) -> list:
            return page.run(FILTER.replace("NAME", repr(name)).replace("VALUE", repr(value)))

        assert filtered("kind", "detached") == [2, "2 of 6 events"]
        assert filtered("kind", "") == [6, "6 of 6 events"]
        assert filtered("class", "numerical") == [4, "4 of 6 events"]
        assert filtered("class", "")[0] == 6
        assert filtered("text", "no such words")[0] == 0
        assert filtered("text", "")[0] == 6
        rising = page.run(STEPS)
        assert rising == sorted(rising)
        assert page.run(STEPS) == rising[::-1]

        page.run("document.querySelector('tr[data-kind=detached] button.look').click();")
        page.wait_for("document.getElementById('viewer').dataset.drawn")
        scene = page.run(SCENE)
        assert scene["points"] == [127, 1]  # the atom that left is marked
        # three for every two atoms, without the 16 through the face and the three of that atom
        assert scene["bonds"] == 3 * 128 // 2 - 16 - 3
        assert scene["said"].endswith(", the event")
        page.run("document.querySelector('#viewer [data-move=\"1\"]').click();")
        page.wait_for(f"document.getElementById('viewer').dataset.frame != {scene['frame']}")
        after = page.run(SCENE)
        assert after["frame"] == scene["frame"] + 1
        assert not after["said"].endswith("the event")
        saved = page.download("#viewer a[download]", tmp_path / "saved")
        assert page.requests == set()
        assert page.console == []
    culprits = read(report_folder / "culprits.extxyz", index=":")
    expected = next(atoms for atoms in culprits if atoms.info["event"] == "detached")
    frame = read(saved)
    np.testing.assert_allclose(frame.positions, expected.positions, atol=1e-3)
    np.testing.assert_allclose(frame.cell, expected.cell, atol=1e-4)
    assert frame.info["step"] == expected.info["step"]
