"""Campaigns: plans, resuming, refusals, verdicts and exit codes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tempermd import campaign, lmp, md
from tempermd.campaign import RobustnessSpec
from tempermd.campaign.breaking import with_breaks
from tempermd.campaign.hot_frames import hot_frames
from tempermd.events import Event, analyse_run, read_thresholds
from tempermd.physics import PhysicsCheck, PhysicsRecord
from tempermd.records import UserError, parse_spec, read_record, read_spec
from tempermd.report import Summary
from tempermd.trajectory import iter_frames

TUBE = lmp.potentials_folder() / "tube_8_8.data"


def control_spec(**changes: object) -> RobustnessSpec:
    """Return a short campaign of the control alone."""
    values: dict[str, object] = {
        "models": {},
        "control": True,
        "temperatures_K": [1000.0],
        "seeds": [1],
        "ramp_ps": 0.1,
        "hold_ps": 0.2,
        "quench_frames": 1,
    }
    return RobustnessSpec(**(values | changes))


# plans


def test_a_plan_has_one_case_for_each_combination(make_model, tmp_path: Path) -> None:
    model = make_model(dtype="float64")
    spec = control_spec(
        models={"mine": str(model)}, temperatures_K=[300.0, 1000.0], seeds=[1, 2, 3]
    )
    cases = campaign.plan(spec, tmp_path)
    combinations = {(c.model_name, c.structure_name, c.temperature_K, c.seed) for c in cases}
    assert len(cases) == len(combinations) == len({case.id for case in cases}) == 12
    assert {case.model_name for case in cases} == {"mine", "LCBOP"}
    assert {case.structure_name for case in cases} == {"tube_8_8"}
    assert {case.seed for case in cases[:4]} == {1}  # first results span models and heat
    assert (cases[0].ramp_steps, cases[0].hold_steps) == (200, 400)


def test_files_of_a_list_are_named_by_their_stems() -> None:
    spec = RobustnessSpec(models=["a/carbon.nequip.pth", "b/other.nequip.pth"])
    assert spec.models == {"carbon": "a/carbon.nequip.pth", "other": "b/other.nequip.pth"}
    with pytest.raises(UserError, match="two files have the same name"):
        parse_spec({"models": ["a/x.nequip.pth", "b/x.nequip.pth"]}, RobustnessSpec, "options")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"models": {"LCBOP": "x"}}, "name of the control"),
        ({"models": {}, "seeds": [1, 1]}, "the same value twice"),
        ({"models": {}, "seeds": []}, "at least 1 item"),
        ({"models": {}, "temperatures_K": [-5]}, "greater than 0"),
        ({"models": {}, "temperature_K": [300]}, "unknown key 'temperature_K'"),
        ({"models": {}, "hold_ps": "long"}, "key 'hold_ps'"),
        ({"structures": {"a": {"length_A": 9}}}, "either tube"),
        ({"structures": {"a": {"amorphous_g_cm3": 2, "vacancies": 1}}}, "belong to a tube"),
        ({"protocols": {"a": {"kind": "pull", "strain_per_ps": 0}}}, "pulls nothing"),
        ({"protocols": {"a": {"kind": "pull", "hold_ps": 3}}}, "leave out hold_ps"),
        ({"protocols": {"a": {"structures": ["b"]}}}, "no structure b"),
    ],
)
def test_faults_of_a_spec_are_named(raw: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_spec(raw, RobustnessSpec, "options")


@pytest.mark.parametrize("name", campaign.SUITES)
def test_a_suite_plans_what_its_text_says(name: str, tmp_path: Path, monkeypatch) -> None:
    # the amorphous cell of the paper's suite takes MD; its own test makes a small one
    monkeypatch.setattr(
        "tempermd.campaign.building._amorphous", lambda spec: campaign.build(TUBE_SPEC)
    )
    spec = campaign.read_suite(name).model_copy(update={"control": True})
    cases = campaign.plan(spec, tmp_path)
    assert {case.protocol_name for case in cases} == set(spec.protocols)
    assert {case.seed for case in cases} == set(spec.seeds)
    assert len({case.id for case in cases}) == len(cases)
    total_ps = sum(case.planned_steps * case.timestep_fs for case in cases) / 1000
    most = {"quick": 60, "standard": 2000, "paper": 10_000}
    assert total_ps <= most[name]


TUBE_SPEC = campaign.BuiltStructure(tube=(5, 5), length_A=10.0)


def test_a_suite_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one of the suites paper, quick, standard"):
        campaign.read_suite("slow")
    (tmp_path / "own.toml").write_text('[protocols.a]\nstructures = ["b"]\n')
    with pytest.raises(UserError, match=r"own.toml: protocol a: no structure b$"):
        campaign.read_suite(tmp_path / "own.toml")


def test_structures_of_ones_own_take_the_place_of_the_suite_s(tmp_path: Path) -> None:
    spec, said = campaign.suite_with("standard", {"structures": [str(TUBE)], "control": True})
    (sentence,) = said  # of those protocols only that name structures
    assert sentence.startswith(
        "structures of protocols quench, tension, compression, npt, knock_on:"
    )
    cases = campaign.plan(spec, tmp_path)
    assert {case.structure_name for case in cases} == {"tube_8_8"}
    assert {case.protocol_name for case in cases} == set(campaign.read_suite("standard").protocols)
    assert campaign.suite_with("standard", {"structures": []})[1] == []


def test_options_go_over_a_suite_s_protocols_too(tmp_path: Path) -> None:
    options = {"temperatures_K": [500.0], "hold_ps": 20.0, "timestep_fs": 0.25, "control": True}
    spec, said = campaign.suite_with("standard", options)
    cases = {case.protocol_name: case for case in campaign.plan(spec, tmp_path)}
    hot = {name: max(case.start_K, case.temperature_K) for name, case in cases.items()}
    assert set(hot.values()) == {500.0}
    held = {name for name, case in cases.items() if case.hold_steps * case.timestep_fs == 20_000}
    assert set(cases) - held == {"tension", "compression"}
    steps_fs = {name: case.timestep_fs for name, case in cases.items()}
    assert steps_fs.pop("knock_on") == 0.1
    assert set(steps_fs.values()) == {0.25}
    assert cases["npt"].ramp_steps * 0.25 == 1000  # not given: the suite's own
    assert [sentence.split(":")[0] for sentence in said] == [
        "temperatures_K of protocols quench, tension, compression, npt, knock_on",
        "hold_ps of protocols quench, npt, knock_on",
        "hold_ps of protocols tension, compression",
        "timestep_fs of protocol knock_on",
    ]
    assert ["not as in the suite" in sentence for sentence in said] == [True, True, False, False]


def test_a_knock_keeps_its_own_timestep(tmp_path: Path) -> None:
    suite = tmp_path / "own.toml"
    suite.write_text('control = true\n[protocols.hit]\nkind = "knock_on"\ntimestep_fs = 0.05\n')
    spec, said = campaign.suite_with(suite, {"timestep_fs": 0.25})
    assert {case.timestep_fs for case in campaign.plan(spec, tmp_path / "out")} == {0.05}
    assert [sentence.split(":")[0] for sentence in said] == ["timestep_fs of protocol hit"]
    assert "not as given" in said[0]


def test_protocols_that_options_make_alike_are_named(tmp_path: Path) -> None:
    suite = tmp_path / "own.toml"
    suite.write_text(
        "control = true\n[protocols.warm]\ntemperatures_K = [300]\n"
        "[protocols.hot]\ntemperatures_K = [900]\n"
    )
    spec, _ = campaign.suite_with(suite, {"temperatures_K": [500.0]})
    with pytest.raises(UserError, match="protocols warm and hot are the same run on tube_8_8"):
        campaign.plan(spec, tmp_path / "out")


def test_protocols_become_cases(tmp_path: Path) -> None:
    from ase.io import read

    protocols = {
        "down": {"kind": "quench", "ramp_ps": 1.0, "hold_ps": 0.5},
        "apart": {"kind": "pull", "strain_per_ps": -0.1, "largest_strain": 0.05},
        "free": {"kind": "npt", "temperatures_K": [300.0, 600.0]},
        "hit": {"kind": "knock_on", "knock_eV": 15.0},
    }
    cases = campaign.plan(control_spec(protocols=protocols), tmp_path)
    by_name = {case.protocol_name: case for case in cases}
    assert len(cases) == 5
    down = by_name["down"]
    assert (down.start_K, down.temperature_K) == (1000.0, 300.0)
    assert [stage.kind for stage in down.stages] == ["ramp", "hold"]
    apart = by_name["apart"]
    assert (apart.hold_steps, apart.strain_per_ps, apart.quench_frames) == (1000, -0.1, 0)
    hit = by_name["hit"]
    assert (hit.timestep_fs, hit.knock_eV) == (0.1, 15.0)
    # outward, from the atom farthest from the axis
    positions = read(TUBE, format="lammps-data", atom_style="atomic").positions
    out = positions[hit.knock_atom - 1, :2] - positions[:, :2].mean(axis=0)
    np.testing.assert_allclose(hit.knock_along[:2], out / np.linalg.norm(out), atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "n_atoms", "bodies"),
    [
        ({"tube": (8, 0), "length_A": 20.0, "vacancies": 2}, 158, 1),
        ({"tube": (8, 0), "length_A": 20.0, "stone_wales": 1}, 160, 1),
        ({"tube": (4, 4), "outer": (9, 9), "length_A": 9.0}, 4 * (16 + 36), 2),
    ],
)
def test_structures_are_built(spec: dict, n_atoms: int, bodies: int, tmp_path: Path) -> None:
    from ase.neighborlist import build_neighbor_list, get_connectivity_matrix
    from scipy.sparse.csgraph import connected_components

    atoms = campaign.build(campaign.BuiltStructure(**spec))
    assert len(atoms) == n_atoms
    near = build_neighbor_list(atoms, [0.9] * len(atoms), self_interaction=False)
    assert connected_components(get_connectivity_matrix(near.nl))[0] == bodies
    assert atoms.get_all_distances(mic=True)[np.triu_indices(n_atoms, 1)].min() > 1.2


def test_defects_are_built_at_rest() -> None:
    """A bond only turned has forces of 30 eV/Å by LCBOP: its atoms would start at 70 kT."""
    from tempermd.labels import SourceSpec, open_source

    spec = campaign.BuiltStructure(tube=(8, 0), length_A=20.0, stone_wales=1, vacancies=1)
    atoms = campaign.build(spec)
    atoms.center(vacuum=8.0, axis=(0, 1))
    atoms.pbc = True
    forces = open_source(SourceSpec(name="lcbop"))[1].get_forces(atoms)
    assert np.abs(forces).max() < 5


@pytest.mark.parametrize(
    ("outer", "said"), [((10, 0), "their periods do not fit"), ((6, 6), "have walls 1.3")]
)
def test_walls_that_do_not_fit_are_refused(outer: tuple[int, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        campaign.build(campaign.BuiltStructure(tube=(4, 4), outer=outer, length_A=9.0))


def test_physics_is_checked_kept_and_reported(make_model, tmp_path: Path) -> None:
    """Random weights have no tube at rest, or not a right one."""
    spec = control_spec(
        models={"random": str(make_model())},
        physics=True,
        ramp_ps=0.0,
        hold_ps=0.02,
        temperatures_K=[10.0],
    )
    page, _ = campaign.robustness(spec, tmp_path / "out", workers=2)
    records = sorted((tmp_path / "out" / "physics").glob("*.json"))
    assert [path.name.split(".")[0] for path in records] == ["LCBOP", "random"]
    before = [path.stat().st_mtime_ns for path in records]
    text = page.read_text()
    assert "<h2>Physics checks</h2>" in text
    summary = json.loads((page.parent / "summary.json").read_text())
    by_name = {model["name"]: model for model in summary["models"]}
    assert "random on tube 5,5: " in by_name["random"]["sentence"]
    assert by_name["random"]["verdict"] != "PASS"
    assert "tube 5,5" not in by_name["LCBOP"]["sentence"]
    campaign.robustness(spec, tmp_path / "out", workers=2)
    assert [path.stat().st_mtime_ns for path in records] == before


def test_a_truth_that_fails_is_told_in_the_report(tmp_path: Path) -> None:
    """Of the free motion and of the last frames of the run at 1000 K."""
    truth = "ase:made_sources:Unconverged"
    spec = control_spec(physics=True, physics_truth=truth, quench_frames=0)
    page, code = campaign.robustness(spec, tmp_path / "out", workers=1)
    assert code == 0
    text = page.read_text()
    assert "5 of 5 frames at 300 K have no label and are left out" in text
    assert "2 of 2 frames at 1000 K have no label and are left out" in text
    assert "SCF not converged in 250 cycles" in text
    with pytest.raises(UserError, match="label source 'xbt' is unknown"):
        campaign.robustness(control_spec(physics_truth="xbt"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_amorphous_cell_has_its_density(tmp_path: Path) -> None:
    atoms = campaign.build(campaign.BuiltStructure(amorphous_g_cm3=1.5, atoms=24))
    grams = atoms.get_masses().sum() * 1.66053907e-24
    assert grams / (atoms.get_volume() * 1e-24) == pytest.approx(1.5, rel=1e-3)


def test_a_right_potential_is_clean_in_the_papers_suite(tmp_path: Path) -> None:
    """Shortened: an amorphous cell that anneals, and what its time step does to the energy."""
    suite = campaign.read_suite("paper")
    cell = suite.structures["amorphous"].model_copy(update={"atoms": 64})
    spec = suite.model_copy(
        update={
            "control": True,
            "structures": {"amorphous": cell},
            "seeds": [1],
            "ramp_ps": 1.0,
            "hold_ps": 3.0,
            "quench_frames": 3,
        }
    )
    page, code = campaign.robustness(spec, tmp_path / "out", workers=2)
    (run,) = read_record(page.parent / "summary.json", Summary).models
    assert (run.verdict, run.event_counts, code) == ("PASS", {}, 0)
    assert "begins disordered anneals" in page.read_text()


def test_breaks_are_physics_of_their_model(tmp_path: Path) -> None:
    """0.03 / ps after a ramp of 1 ps: a strain of 0.3 takes 10 ps."""
    pull = {"protocol": "pull", "strain_per_ps": 0.03, "ramp_steps": 1000, "timestep_fs": 1.0}
    heat = {"ramp_steps": 4700, "start_temperature_K": 300.0, "temperature_K": 5000.0}
    record = PhysicsRecord(potential="m", structure="t", reference=None, checks=[])

    def checks_of(*runs: tuple[dict, int | None]) -> dict[str, PhysicsCheck]:
        made = [(md_case(**changes), judged("m", severed)) for changes, severed in runs]
        other = [(md_case(**changes), judged("another", 0)) for changes, _ in runs]
        (found,) = with_breaks([record], made + other)
        return {check.name: check for check in found.checks}

    steps = {"hold_steps": 13_000}
    (one,) = checks_of(*[(pull | steps, step) for step in (8_000, 9_000, 3_000)]).values()
    assert (one.name, one.good) == ("fracture_strain_at_300_K", True)
    assert one.value == pytest.approx(0.03 * 7)  # the median
    (brittle,) = checks_of((pull | steps, 3_000)).values()
    assert (brittle.value, brittle.good) == (pytest.approx(0.06), False)
    (endless,) = checks_of((pull | steps, None)).values()
    assert (endless.value, endless.good) == (pytest.approx(0.39), False)
    short, pushed = {"hold_steps": 5_000}, {"strain_per_ps": -0.03, "hold_steps": 5_000}
    assert checks_of((pull | short, None), (pull | pushed, 2_000)) == {}
    (melted,) = checks_of((heat | steps, 2_000)).values()
    assert (melted.name, melted.value, melted.good) == ("collapse", pytest.approx(2_300), False)
    (late,) = checks_of((heat | steps, 6_000)).values()
    assert (late.value, late.good) == (5000, True)
    assert checks_of((heat | steps | {"temperature_K": 4000.0}, 2_000)) == {}
    faulty = record.model_copy(update={"fault": "no minimum"})
    assert with_breaks([faulty], [(md_case(**pull, **steps), judged("m", 8_000))]) == [faulty]


def md_case(**changes: object) -> md.Case:
    values = {"structure": "t", "structure_sha256": "0", "temperature_K": 300.0, "seed": 1}
    return md.Case(**(values | changes))


def judged(model: str, severed: int | None) -> SimpleNamespace:
    """Return what a verdict rests on: a run that was severed at a step, or that survived."""
    events = [] if severed is None else [SimpleNamespace(kind="severed", step=severed)]
    label = SimpleNamespace(model=model)
    return SimpleNamespace(label=label, events=events, survived=True)


def test_no_model_and_no_control_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model to run"):
        campaign.plan(RobustnessSpec(models={}), tmp_path)


def test_a_missing_or_damaged_model_is_refused_before_anything_runs(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.nequip.pth"
    damaged.write_bytes(b"PK\x03\x04 cut")
    for path, said in ((tmp_path / "gone.nequip.pth", "no such file"), (damaged, "truncated")):
        with pytest.raises(UserError, match=said):
            campaign.robustness(control_spec(models=[str(path)]), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_an_element_that_a_model_does_not_know_is_named(make_model, tmp_path: Path) -> None:
    from ase.build import molecule
    from ase.io import write

    write(tmp_path / "methane.xyz", molecule("CH4"))
    model = make_model(dtype="float64")
    spec = RobustnessSpec(models=[str(model)], structures=[str(tmp_path / "methane.xyz")])
    with pytest.raises(UserError, match=r"methane: has H, but model\d+ knows only C"):
        campaign.plan(spec, tmp_path)


def test_the_same_file_under_two_names_is_refused(make_model, tmp_path: Path) -> None:
    model = make_model(dtype="float64")
    copy = shutil.copy(model, tmp_path / "copy.nequip.pth")
    spec = RobustnessSpec(models={"one": str(model), "two": str(copy)}, seeds=[1])
    with pytest.raises(UserError, match="two on tube_8_8 is the same as one"):
        campaign.plan(spec, tmp_path)


def test_structures_of_ase_become_data_files_with_vacuum(tmp_path: Path) -> None:
    from ase.build import nanotube
    from ase.io import read, write

    tube = nanotube(5, 0, length=2)
    tube.rattle(0.05, seed=1)
    write(tmp_path / "tube.extxyz", tube)
    data = campaign.prepare_structure(tmp_path / "tube.extxyz", tmp_path / "out" / "tube.data")
    found = read(data, format="lammps-data", atom_style="atomic")
    assert md.data_elements(data) == ["C"]
    np.testing.assert_allclose(found.get_all_distances(), tube.get_all_distances(), atol=1e-8)
    np.testing.assert_allclose(found.cell[2], tube.cell[2], atol=1e-8)
    spread = np.ptp(tube.positions[:, :2], axis=0)
    np.testing.assert_allclose(found.cell.lengths()[:2], spread + 2 * campaign.VACUUM_A)


def test_a_structure_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    strange = tmp_path / "strange.extxyz"
    strange.write_text("not a structure\n")
    for path, said in (
        (strange, "cannot be read as a structure"),
        (tmp_path / "gone.xyz", "no such structure file"),
    ):
        with pytest.raises(UserError, match=said):
            campaign.prepare_structure(path, tmp_path / "out.data")
    assert not (tmp_path / "out.data").exists()


def test_specs_are_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('models = ["a.nequip.pth"]\ntemperatures_K = [300, 3000]\n')
    spec = read_spec(path, RobustnessSpec)
    assert spec.models == {"a": "a.nequip.pth"}
    assert spec.temperatures_K == [300.0, 3000.0]


# runs


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of one small campaign of the control."""
    output = tmp_path_factory.mktemp("campaign") / "report"
    page, code = campaign.robustness(control_spec(seeds=[1, 2]), output, workers=2)
    assert page == output / "report.html"
    assert code == 0  # the control is clean
    return output


def test_a_campaign_leaves_a_report_and_its_spec(reported: Path) -> None:
    names = {path.name for path in reported.iterdir()}
    assert {"report.html", "summary.json", "events.jsonl", "runs", "campaign.toml"} <= names
    assert read_spec(reported / "campaign.toml", RobustnessSpec) == control_spec(seeds=[1, 2])
    (control,) = json.loads((reported / "summary.json").read_text())["models"]
    assert (control["name"], control["verdict"]) == ("LCBOP", "PASS")
    assert (control["n_runs"], control["n_survived"]) == (2, 2)
    assert control["total_ps"] == pytest.approx(0.6)


def test_the_same_campaign_runs_nothing_again(reported: Path) -> None:
    results = sorted(reported.glob("runs/*/result.json"))
    before = [path.stat().st_mtime_ns for path in results]
    assert len(before) == 2
    _, code = campaign.robustness(control_spec(seeds=[1, 2]), reported, workers=2)
    assert code == 0
    assert [path.stat().st_mtime_ns for path in results] == before
    assert not list(reported.glob("runs/*/attempt-002"))


def test_hot_frames_are_the_last_ones_before_an_event(reported: Path, monkeypatch) -> None:
    limits = read_thresholds()
    found = hot_frames(reported / "runs", "LCBOP", limits)
    assert (len(found.snapshots), found.temperature_K) == (4, 1000.0)
    assert hot_frames(reported / "runs", "another", limits) is None
    first = min(reported.glob("runs/*"), key=lambda run: md.read_case(run).seed)
    frames = list(iter_frames(md.newest_attempt(first) / md.DUMP))
    assert len(frames) == 7
    for place, number in enumerate((6, 1)):
        atoms = found.snapshots[place]
        np.testing.assert_allclose(
            atoms.positions, frames[number].positions - frames[number].origin
        )
        assert set(atoms.symbols) == {"C"}
    analysis = analyse_run(first)
    warning = Event(
        kind="shape",
        severity="warn",
        step=frames[4].step,
        time_ps=0.2,
        atom_ids=[],
        value=None,
        limit=None,
        unit="",
        message="",
    )
    warned = analysis.model_copy(update={"events": [warning]})
    failed = analysis.model_copy(update={"first_severe_ps": 0.2})
    given = iter([warned, failed, failed, failed])
    monkeypatch.setattr("tempermd.campaign.hot_frames.analyse_run", lambda *_: next(given))
    one_run = hot_frames(reported / "runs", "LCBOP", limits)
    np.testing.assert_allclose(
        one_run.snapshots[0].positions, frames[3].positions - frames[3].origin
    )
    assert len(one_run.snapshots) == 1
    assert hot_frames(reported / "runs", "LCBOP", limits) is None


def test_another_campaign_in_the_same_folder_is_refused(reported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds another campaign"):
        campaign.robustness(control_spec(seeds=[1, 3]), reported)
    (tmp_path / "something").touch()
    with pytest.raises(UserError, match="exists and is no campaign"):
        campaign.robustness(control_spec(), tmp_path)


def test_a_fault_in_the_thresholds_shows_before_the_runs(tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("nonsense = 1\n")
    with pytest.raises(UserError, match="nonsense"):
        campaign.robustness(control_spec(), tmp_path / "out", thresholds=limits)
    assert not (tmp_path / "out").exists()


def test_a_model_that_explodes_fails_with_exit_code_2(tmp_path: Path) -> None:
    page, code = campaign.robustness(control_spec(timestep_fs=10.0), tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["verdict"], code) == ("FAIL", 2)
    assert page.is_file()


def test_runs_without_a_result_are_not_taken_for_survivors(tmp_path: Path) -> None:
    (case,) = campaign.plan(control_spec(), tmp_path)
    folder = tmp_path / "runs" / case.id
    folder.mkdir(parents=True)
    (folder / "case.json").write_text(case.model_dump_json())
    with pytest.raises(UserError, match="no run in it has a result"):
        campaign.collect(tmp_path / "runs", tmp_path / "out")
    other = campaign.plan(control_spec(seeds=[2]), tmp_path)[0]
    campaign.run_one(other, tmp_path / "runs")
    campaign.collect(tmp_path / "runs", tmp_path / "out")
    (control,) = json.loads((tmp_path / "out" / "summary.json").read_text())["models"]
    assert (control["n_runs"], control["n_usable"], control["n_infrastructure"]) == (2, 1, 1)


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "out"
    spec = control_spec(seeds=[1, 2], ramp_ps=0.0, hold_ps=2.0, quench_frames=0)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from tempermd import campaign\n"
        "if __name__ == '__main__':\n"
        f"    text = {spec.model_dump_json()!r}\n"
        "    spec = campaign.RobustnessSpec.model_validate_json(text)\n"
        f"    campaign.robustness(spec, Path({str(output)!r}), workers=1)\n"
    )
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, script], stdout=said, stderr=said)
        limit = time.monotonic() + 60
        # the first is done, the second has begun
        while len(list(output.glob("runs/*/attempt-001/log.lammps"))) < 2:
            assert time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) != 0
    (done,) = output.glob("runs/*/result.json")
    before = done.stat().st_mtime_ns
    assert not (output / "report.html").exists()
    _, code = campaign.robustness(spec, output, workers=1)
    assert code == 0
    assert done.stat().st_mtime_ns == before
    attempts = sorted(path.name for path in output.glob("runs/*/attempt-*"))
    assert attempts == ["attempt-001", "attempt-001", "attempt-002"]


# foreign trajectories and exit codes


def test_a_trajectory_of_any_run_can_be_analysed(reported: Path, tmp_path: Path) -> None:
    run = next(reported.glob("runs/*/attempt-001"))
    page, code = campaign.analyse(run / md.DUMP, run / md.LOG, tmp_path / "out")
    assert page.is_file()
    assert code == 0
    with pytest.raises(UserError, match="exists already"):
        campaign.analyse(run / md.DUMP, run / md.LOG, tmp_path / "out")


def test_a_dump_that_is_missing_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such dump file"):
        campaign.analyse(tmp_path / "gone", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("verdict", "code"), [("PASS", 0), ("WARN", 0), ("FAIL", 2), ("INCONCLUSIVE", 1)]
)
def test_exit_codes_follow_the_verdict(verdict: str, code: int, tmp_path: Path) -> None:
    from tempermd.records import write_record
    from tempermd.report import Summary

    empty = {"models": [], "survival": [], "contrasts": []}
    summary = Summary(verdict=verdict, n_runs=0, total_ps=0.0, **empty)
    write_record(tmp_path / "summary.json", summary)
    assert read_record(tmp_path / "summary.json", Summary).verdict == verdict
    assert campaign.exit_code(tmp_path / "summary.json") == code
