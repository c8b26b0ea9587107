"""Plans of campaigns: specs, folders, counts and costs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from campaign_cases import tempermd, write_spec
from tempermd import campaign, md
from tempermd.campaign import estimating, rates
from tempermd.campaign.folder import LIMITS
from tempermd.campaign.submitting import array_slots, array_tasks
from tempermd.engine import EngineProfile
from tempermd.records import UserError, read_record


def read(tmp_path: Path, text: str) -> campaign.CampaignSpec:
    (tmp_path / "campaign.toml").write_text(text)
    return campaign.read_campaign_spec(tmp_path / "campaign.toml")


# specs


def test_paths_are_relative_to_the_spec(tmp_path: Path) -> None:
    text = """
    models = ["models/a.nequip.pth"]
    engine = "my/cluster.toml"
    thresholds = "limits.toml"
    [structures]
    file = "tube.data"
    built = { tube = [5, 5] }
    """
    spec = read(tmp_path, text)
    assert spec.models == {"a": f"{tmp_path}/models/a.nequip.pth"}
    assert spec.structures["file"] == f"{tmp_path}/tube.data"
    assert spec.structures["built"] == campaign.BuiltStructure(tube=(5, 5))
    assert spec.engine == f"{tmp_path}/my/cluster.toml"
    assert spec.thresholds == f"{tmp_path}/limits.toml"
    assert read(tmp_path, 'engine = "local"').engine == "local"


def test_resources_shape_the_engine(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.toml"
    cluster.write_text('kind = "slurm_array"\ncores_per_node = 12\nwalltime = "01:00:00"\n')
    text = 'control = true\nengine = "cluster.toml"\n[resources]\nranks = 2\nthreads = 2\n'
    spec = read(tmp_path, text)
    assert spec.resources.cores == 4
    profile = spec.profile()
    assert (profile.cores_per_task, profile.walltime) == (4, "01:00:00")
    assert (array_slots(profile), array_tasks(profile, 7), array_tasks(profile, 6)) == (3, 3, 2)
    longer = read(tmp_path, text + 'walltime = "1-00:00:00"\n')
    assert longer.profile().walltime == "24:00:00"
    with pytest.raises(UserError, match=r"engine 'cluster.toml'.*wants 40 cores|wants 40 cores"):
        read(tmp_path, text.replace("ranks = 2", "ranks = 20")).profile()


def test_array_tasks_are_no_more_than_may_run() -> None:
    profile = EngineProfile(kind="slurm_array", cores_per_node=4, max_running=5)
    assert (array_tasks(profile, 1000), array_tasks(profile, 0)) == (5, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[resources]\nrank = 2", "unknown key 'resources.rank'"),
        ("[early_stopping]\nsurvival_bad = 0.95", "must be smaller"),
        ("seeds = []", "at least 1 item"),
    ],
)
def test_faults_of_a_spec_are_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, text)


def test_a_campaign_lies_beside_its_spec(tmp_path: Path) -> None:
    spec = tmp_path / "many.toml"
    spec.touch()
    assert campaign.folder_of(spec) == tmp_path / "many"
    assert campaign.folder_of(spec, tmp_path / "else") == tmp_path / "else"
    assert campaign.folder_of(tmp_path) == tmp_path


# folders


def open_(path: Path, folder: Path) -> campaign.Campaign:
    return campaign.open_campaign(campaign.read_campaign_spec(path), folder)


def test_a_plan_is_kept_and_read_back(tmp_path: Path) -> None:
    opened = open_(write_spec(tmp_path), tmp_path / "out")
    found = campaign.read_campaign(tmp_path / "out")
    assert list(found.cases) == list(opened.cases)
    assert (found.cases, found.spec, found.key) == (opened.cases, opened.spec, opened.key)
    assert len(opened.cases) == 4
    for one, case in opened.cases.items():
        assert case.id == one
        assert Path(case.structure).parent == tmp_path / "out" / "structures"
    assert not (tmp_path / "out" / "runs").exists()


def test_a_campaign_may_grow_but_not_shrink(tmp_path: Path) -> None:
    small = open_(write_spec(tmp_path, seeds=2), tmp_path / "out")
    large = open_(write_spec(tmp_path, seeds=3), tmp_path / "out")
    assert set(small.cases) < set(large.cases)
    assert len(campaign.read_campaign(tmp_path / "out").cases) == 6
    with pytest.raises(UserError, match="holds another campaign"):
        open_(write_spec(tmp_path, seeds=2), tmp_path / "out")


def test_other_limits_and_means_are_the_same_campaign(tmp_path: Path) -> None:
    first = open_(write_spec(tmp_path), tmp_path / "out")
    limits = tmp_path / "mine.toml"
    text = (tmp_path / "out" / LIMITS).read_text()
    limits.write_text(text.replace("severe_eV_per_A = 100.0", "severe_eV_per_A = 101.0"))
    tables = "[resources]\nranks = 2\n[early_stopping]\n"
    spec = write_spec(tmp_path, more='thresholds = "mine.toml"', tables=tables)
    second = open_(spec, tmp_path / "out")
    assert list(second.cases) == list(first.cases)
    assert second.key != first.key
    assert campaign.read_campaign(tmp_path / "out").key == second.key


def guard_options(case: md.Case) -> list[str | None]:
    """Return what LAMMPS is told of a guard's limits, by the case as `run-one` reads it."""
    words = md.lammps_arguments(md.Case.model_validate_json(case.model_dump_json()), "d", "m")
    options = dict(zip(words[1::3], words[2::3], strict=True))
    return [options.get("shortest"), options.get("force")]


def test_guard_stops_at_the_severe_limits_of_the_campaign(make_model, tmp_path: Path) -> None:
    guarded = f'models = ["{make_model()}"]\nguard_every = 10\n'
    first = open_(write_spec(tmp_path, more=guarded), tmp_path / "shipped")
    text = (tmp_path / "shipped" / LIMITS).read_text().replace("severe_A = 1.0", "severe_A = 0.9")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("severe_eV_per_A = 100.0", "severe_eV_per_A = 150.0"))
    spec = campaign.read_campaign_spec(tmp_path / "campaign.toml")
    given = campaign.open_campaign(spec, tmp_path / "given", thresholds=mine)  # by --thresholds
    more = guarded + 'thresholds = "mine.toml"'
    named = open_(write_spec(tmp_path, more=more), tmp_path / "named")
    assert list(named.cases) == list(given.cases)
    for opened, limits in ((first, ["1", "100"]), (named, ["0.9", "150"])):
        assert {case.guard_every for case in opened.cases.values()} == {0, 10}
        for case in opened.cases.values():
            assert guard_options(case) == (limits if case.guard_every else [None, None])
    controls = [
        {one for one, case in c.cases.items() if not case.guard_every} for c in (first, named)
    ]
    assert controls[0] == controls[1]  # what has no guard is the same run by any limits


def test_a_guard_that_the_control_has_not_is_told(
    make_model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for every, said in ((10, 1), (0, 0)):
        more = f'models = ["{make_model()}"]\nguard_every = {every}\n'
        open_(write_spec(tmp_path, more=more), tmp_path / str(every))
        assert capsys.readouterr().err.count("LCBOP has no guard") == said


def test_a_structure_that_was_built_is_not_built_again(tmp_path: Path, monkeypatch) -> None:
    spec = write_spec(tmp_path)
    first = open_(spec, tmp_path / "out")
    monkeypatch.setattr("tempermd.campaign.building.build", None)
    second = open_(spec, tmp_path / "out")
    assert list(second.cases) == list(first.cases)


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    opened = open_(write_spec(tmp_path), tmp_path / "out")
    one = next(iter(opened.cases))
    assert opened.run_id(one[:10]) == one
    for given, said in (("", "no run"), ("zz", "no run")):
        with pytest.raises(UserError, match=said):
            opened.run_id(given)


def test_hashes_are_taken_once_per_file(tmp_path: Path, monkeypatch) -> None:
    from tempermd.campaign import planning

    counted: list[Path] = []
    monkeypatch.setattr(planning, "sha256_file", lambda path: counted.append(path) or "0" * 64)
    spec = campaign.read_campaign_spec(write_spec(tmp_path, seeds=20))
    assert len(campaign.plan(spec, tmp_path / "scratch")) == 40
    assert len(counted) == 1


# costs


def rate(**changes: object) -> rates.Rate:
    values = {"atom_steps_per_s": 1000.0, "start_s": 2.0, "source": "probe", "n_runs": 1}
    return rates.Rate.model_validate(values | changes)


def test_costs_follow_from_a_rate(tmp_path: Path, monkeypatch) -> None:
    """4 runs of 60 atoms (a tube of three periods) and 200 steps, by hand."""
    opened = open_(write_spec(tmp_path, tables="[resources]\nranks = 2\n"), tmp_path / "out")
    monkeypatch.setattr(estimating, "rates_of", lambda *_, **__: {"lcbop": rate()})
    from tempermd.campaign.gathering import gather

    found = estimating.estimate(opened, gather(opened), slots=3)
    (line,) = found.lines
    n_atoms = md.count_atoms(next(iter(opened.cases.values())).structure)
    assert (line.runs, line.left, line.atoms, line.steps) == (4, 4, n_atoms, 4 * 200)
    assert (line.temperatures_K, line.seeds) == ((300.0, 1000.0), 2)
    run_s = 2.0 + n_atoms * 200 / 1000
    assert found.left_s == pytest.approx(4 * run_s)
    assert found.core_hours == pytest.approx(4 * run_s * 2 / 3600)
    assert found.wall_s == pytest.approx(4 * run_s / 3)
    text = estimating.plan_text(found)
    assert "4 runs, 4 of them left; 800 steps in all" in text
    assert "3 runs of 2 cores at a time" in text


def test_without_a_rate_nothing_is_claimed(tmp_path: Path, monkeypatch) -> None:
    opened = open_(write_spec(tmp_path), tmp_path / "out")
    monkeypatch.setattr(estimating, "rates_of", lambda *_, **__: {})
    from tempermd.campaign.gathering import gather

    found = estimating.estimate(opened, gather(opened), slots=1)
    assert (found.left_s, found.core_hours, found.wall_s) == (None, None, None)
    assert "cannot be estimated" in estimating.plan_text(found)


@pytest.mark.slow
def test_a_probe_measures_and_is_kept(tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    said = tempermd("campaign", "plan", spec)
    assert said.returncode == 0, said.stderr
    assert "a probe on" in said.stdout
    assert "4 runs, 4 of them left; 800 steps in all" in said.stdout
    path = tmp_path / "campaign" / rates.RATES
    (kept,) = read_record(path, rates.RatesRecord).rates.values()
    assert kept.atom_steps_per_s > 0
    assert not list((tmp_path / "campaign").glob("runs/*/attempt-*"))
    # what is kept is used: a rate of one atom-step per second is no machine's
    raw = json.loads(path.read_text())
    for one in raw["rates"].values():
        one["atom_steps_per_s"] = 1.0
    path.write_text(json.dumps(raw))
    assert "LCBOP: 1 atom-steps/s" in tempermd("campaign", "plan", spec).stdout


def test_loops_are_read_from_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.lammps"
    log.write_text(
        "Loop time of 0.5 on 1 procs for 20 steps with 60 atoms\n"
        "Loop time of 2.25 on 4 procs for 200 steps with 60 atoms\n"
    )
    assert rates.read_loops(log) == [(0.5, 20, 60), (2.25, 200, 60)]


def test_a_folder_without_a_campaign_is_named(tmp_path: Path) -> None:
    for command in ("status", "collect", "verify", "stop"):
        said = tempermd("campaign", command, tmp_path)
        assert (said.returncode, "no campaign here" in said.stderr) == (1, True), command
    shutil.rmtree(tmp_path)
    assert tempermd("campaign", "plan", tmp_path / "gone.toml").returncode == 1
