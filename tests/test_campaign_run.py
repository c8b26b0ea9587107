"""Campaigns that really run: finished, killed, stopped and shared, always to the same table."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from campaign_cases import table_of, tempermd, write_spec
from tempermd import campaign, md
from tempermd.campaign import stopping, taking
from tempermd.campaign.rows import read_row
from tempermd.campaign.working import own_order
from tempermd.engine import available_cores, take_slot
from tempermd.md.result import STUCK, Stuck
from tempermd.records import write_record

pytestmark = pytest.mark.slow
PROGRAM = str(Path(sys.executable).with_name("tempermd"))
TABLES = ("table.csv", "table.json")
HOLD_PS = 1.2
"""2400 steps: two restart files on the way."""


@pytest.fixture(autouse=True)
def own_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPERMD_SLOTS", str(tmp_path / "slots"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a campaign that ran without a fault, and was collected."""
    root = tmp_path_factory.mktemp("unbroken")
    spec = write_spec(root, seeds=2, hold_ps=HOLD_PS)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TEMPERMD_SLOTS", str(root / "slots"))
        ran = tempermd("campaign", "run", spec)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == str(root / "campaign")
    assert "4 runs: 4 finished" in ran.stderr
    collected = tempermd("campaign", "collect", root / "campaign")
    assert collected.returncode == 0, collected.stderr
    return root / "campaign"


def started(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [PROGRAM, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def assert_same_table(folder: Path, other: Path) -> None:
    collected = tempermd("campaign", "collect", folder)
    assert collected.returncode in (0, 2), collected.stderr
    for name in TABLES:
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_it_leaves_a_table_rows_and_a_page(unbroken: Path) -> None:
    found = table_of(unbroken)
    assert len(found) == 4
    assert {run["state"] for run in found} == {"finished"}
    assert [run["duration_ps"] for run in found] == [HOLD_PS] * 4
    opened = campaign.read_campaign(unbroken)
    for one in opened.cases:
        row = read_row(opened.runs / one, opened.key)
        assert (row.outcome, row.label.run_id, row.made_up) == ("finished", one, False)
        assert (row.cost.attempts, row.cost.attempt) == (1, "attempt-001")
    assert (unbroken / "campaign.html").is_file()
    assert not list(unbroken.glob("drivers/*.json"))


def test_running_it_again_runs_nothing(unbroken: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in unbroken.glob("runs/*/*.json")}
    assert tempermd("campaign", "run", unbroken).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_same_table(unbroken, unbroken)


def test_rows_that_are_missing_are_made_by_collect(unbroken: Path) -> None:
    before = (unbroken / "table.csv").read_bytes()
    for path in unbroken.glob("runs/*/row.*.json"):
        path.unlink()
    assert tempermd("campaign", "collect", unbroken).returncode == 0
    assert (unbroken / "table.csv").read_bytes() == before


def test_other_limits_give_other_rows_beside_the_first(unbroken: Path, tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    text = (unbroken / "limits.toml").read_text()
    limits.write_text(text.replace("warn_eV_per_A = 75.0", "warn_eV_per_A = 1.0"))
    before = (unbroken / "table.csv").read_bytes()
    strict = tempermd("campaign", "collect", unbroken, "--thresholds", limits)
    assert strict.returncode == 0, strict.stderr
    assert {run["verdict"] for run in table_of(unbroken)} == {"warned"}
    assert len(list(unbroken.glob("runs/*/row.*.json"))) == 8
    assert tempermd("campaign", "collect", unbroken).returncode == 0
    assert (unbroken / "table.csv").read_bytes() == before


def test_kills_at_random_leave_the_table_of_the_unbroken_one(
    unbroken: Path, tmp_path: Path
) -> None:
    """SIGKILL of the driver, of a worker or of LAMMPS, whoever is drawn; then run again."""
    draw = random.Random(2)
    spec = write_spec(tmp_path, seeds=2, hold_ps=HOLD_PS)
    folder = tmp_path / "campaign"
    for _ in range(4):
        driver = started("campaign", "run", spec)
        time.sleep(draw.uniform(2.0, 8.0))
        victim = draw.choice(family(driver.pid))
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            if victim != driver.pid:
                time.sleep(draw.uniform(0.0, 2.0))
                driver.kill()
            driver.wait(60)
    # three kills before the first restart file are taken for a run that makes no progress
    ran = tempermd("campaign", "run", spec, "--again")
    assert ran.returncode == 0, ran.stderr
    assert_same_table(folder, unbroken)
    assert len(list(folder.glob("runs/*/result.json"))) == 4


def test_a_driver_goes_on_when_its_workers_are_killed(unbroken: Path, tmp_path: Path) -> None:
    """Whatever is killed below it, the driver ends with all runs done and the same table."""
    draw = random.Random(3)
    spec = write_spec(tmp_path, seeds=2, hold_ps=HOLD_PS)
    driver = started("campaign", "run", spec)
    for _ in range(3):
        time.sleep(draw.uniform(2.0, 4.0))
        below = family(driver.pid)[1:]
        if below:
            with suppress(ProcessLookupError):
                os.kill(draw.choice(below), signal.SIGKILL)
    assert driver.wait(180) == 0
    assert_same_table(tmp_path / "campaign", unbroken)


def test_workers_beside_each_other_share_the_runs(unbroken: Path, tmp_path: Path) -> None:
    """Two workers, one of them killed; a third comes later and ends what is left."""
    spec = write_spec(tmp_path, seeds=2, hold_ps=HOLD_PS)
    folder = tmp_path / "campaign"
    campaign.open_campaign(campaign.read_campaign_spec(spec), folder)
    pair = [started("campaign", "work", folder, "--task", k, "--of", 2, "-j", 1) for k in range(2)]
    deadline_s = time.monotonic() + 90
    while len(list(folder.glob("runs/*/attempt-001"))) < 2:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    pair[0].kill()
    assert pair[1].wait(120) == 0
    pair[0].wait()
    third = tempermd("campaign", "work", folder, "--task", 0, "--of", 2)
    assert third.returncode == 0, third.stderr
    assert_same_table(folder, unbroken)
    assert not list(folder.glob("runs/*/attempt-003"))


def test_a_worker_whose_time_is_short_begins_nothing(tmp_path: Path, monkeypatch) -> None:
    spec = write_spec(tmp_path)
    folder = tmp_path / "campaign"
    campaign.open_campaign(campaign.read_campaign_spec(spec), folder)
    monkeypatch.setenv("TEMPERMD_JOB_END_UNIX_S", f"{time.time() + 15:.0f}")
    assert tempermd("campaign", "work", folder).returncode == 75
    assert not list(folder.glob("runs/*/attempt-*"))


def test_one_run_is_taken_once_and_told_where_it_is_held(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, seeds=1, hold_ps=4.0)
    folder = tmp_path / "campaign"
    opened = campaign.open_campaign(campaign.read_campaign_spec(spec), folder)
    one = next(iter(opened.cases))
    with started("campaign", "run-one", folder, one) as first:
        deadline_s = time.monotonic() + 60
        while not (folder / "runs" / one / "attempt-001" / "log.lammps").is_file():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        # LAMMPS waits for the second, however busy this machine is; its runner's lease goes on
        frozen = [pid for pid in family(first.pid) if pid != first.pid]
        assert frozen
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        # another host would have other slots: here the second must not wait for the first's cores
        second = tempermd("campaign", "run-one", folder, one[:8])
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        assert first.wait(120) == 0
    assert (second.returncode, second.stdout.split(":")[0]) == (0, "held")
    third = tempermd("campaign", "run-one", folder, one)
    assert (third.returncode, third.stdout.strip()) == (0, "ended")
    assert [path.name for path in (folder / "runs" / one).glob("attempt-*")] == ["attempt-001"]
    assert len(list((folder / "runs" / one).glob("row.*.json"))) == 1


def test_stop_interrupts_and_resume_goes_on(unbroken: Path, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, seeds=2, hold_ps=HOLD_PS)
    folder = tmp_path / "campaign"
    driver = started("campaign", "run", spec, "-j", 1)
    deadline_s = time.monotonic() + 60
    while not list(folder.glob("runs/*/attempt-001/log.lammps")):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    stopped = tempermd("campaign", "stop", folder)
    assert (stopped.returncode, "1 driver interrupted" in stopped.stderr) == (0, True)
    assert driver.wait(60) == 130
    refused = tempermd("campaign", "run", spec)
    assert (refused.returncode, "stopped by process" in refused.stderr) == (1, True)
    begun = len(list(folder.glob("runs/*/attempt-*")))
    assert tempermd("campaign", "work", folder).returncode == 0
    assert len(list(folder.glob("runs/*/attempt-*"))) == begun
    assert "STOPPED" in tempermd("campaign", "status", folder, "--once").stdout
    resumed = tempermd("campaign", "resume", spec)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_table(folder, unbroken)


def test_who_waits_for_cores_says_so_and_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(taking, "LOOK_S", 0.1)
    opened = campaign.open_campaign(
        campaign.read_campaign_spec(write_spec(tmp_path, seeds=1)), tmp_path / "campaign"
    )
    task = taking.tasks_of(opened)[0]
    with take_slot(available_cores(), available_cores()), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(taking.take, task)
        with pytest.raises(TimeoutError):
            waiting.result(1.0)
        assert not waiting.done()
        stopping.stop(opened.folder)
        assert waiting.result(20) == taking.Taken("stopped", "the campaign is stopped")
    assert capsys.readouterr().err.count(f"{task.case.id}: waits for free cores (1)") == 1
    assert not list(opened.folder.glob("runs/*/attempt-*"))


def test_what_is_stuck_is_left_until_it_is_asked_for_again(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, seeds=1)
    folder = tmp_path / "campaign"
    opened = campaign.open_campaign(campaign.read_campaign_spec(spec), folder)
    first = opened.runs / next(iter(opened.cases))
    assert tempermd("campaign", "run-one", folder, first.name).returncode == 0
    for path in (first / md.RESULT, *first.glob("row.*.json")):
        path.unlink()
    write_record(first / STUCK, Stuck(stuck=True, reason="the disk was full"))
    ran = tempermd("campaign", "run", spec)
    assert (ran.returncode, "1 finished, 1 stuck" in ran.stderr) == (1, True)
    assert tempermd("campaign", "collect", folder).returncode == 0
    states = Counter(run["state"] for run in table_of(folder))
    assert states == {"finished": 1, "stuck": 1}
    assert "1 of 2 runs have ended" in tempermd("campaign", "status", folder, "--once").stdout
    again = tempermd("campaign", "run", spec, "--again")
    assert (again.returncode, "2 runs: 2 finished" in again.stderr) == (0, True), again.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_settled_loser_is_not_run_further(workers: int, tmp_path: Path) -> None:
    """Steps of 10 fs blow the control up: two failures settle it, whatever ran beside them."""
    more = "timestep_fs = 10.0"
    spec = write_spec(tmp_path, seeds=5, hold_ps=2.0, more=more, tables="[early_stopping]\n")
    ran = tempermd("campaign", "run", spec, "-j", workers)
    assert ran.returncode == 0, ran.stderr
    collected = tempermd("campaign", "collect", tmp_path / "campaign", "--details", 1)
    assert collected.returncode == 2, collected.stderr
    found = table_of(tmp_path / "campaign")
    assert Counter(run["state"] for run in found) == {"failed": 4, "skipped": 6}
    assert {run["seed"] for run in found if run["state"] == "skipped"} == {3, 4, 5}
    assert {run["verdict"] for run in found if run["state"] == "skipped"} == {None}
    if workers == 1:
        assert len(list((tmp_path / "campaign").glob("runs/*/result.json"))) == 4
    (details,) = (tmp_path / "campaign").glob("details/*/report.html")
    assert details.parent.name in (tmp_path / "campaign" / "campaign.html").read_text()


def test_each_worker_has_an_order_of_its_own_with_all_runs() -> None:
    things = list("abcdefg")
    assert own_order(things, 0, 1) == things
    assert own_order(things, 1, 3) == ["b", "e", "c", "f", "a", "d", "g"]
    for task in range(4):
        assert sorted(own_order(things, task, 4)) == things
