"""Runs that end and go on: the chain of their attempts is the unbroken run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from md_cases import (
    assert_same_run,
    killing,
    lammps_below,
    lcbop_case,
    newest_log,
    reaches,
    thermo_of,
    wait_for,
)
from tempermd import lmp, md
from tempermd.md import running
from tempermd.records import sha256_file
from tempermd.trajectory import iter_frames, read_thermo


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a restart file every 200 steps, so that a short run has many."""
    monkeypatch.setattr(md.Case, "restart_every", property(lambda case: 200))


def killed_at(case: md.Case, root: Path, *steps: int) -> list[md.RunResult]:
    """Run a case, killing LAMMPS once at each of these steps, and then to its end."""
    results = []
    for step in steps:
        with killing(root / case.id, signal.SIGKILL, reaches(root / case.id, step)):
            results.append(md.run(case, root))
        assert results[-1].failure == "signal", results[-1].reason
    return [*results, md.run(case, root)]


PROTOCOLS = {
    "heat": {},
    "pull": {"protocol": "pull", "strain_per_ps": 0.2},
    "npt": {"protocol": "npt"},
    "knock_on": {"protocol": "knock_on", "knock_eV": 12.0, "timestep_fs": 0.2},
}


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_run_killed_twice_is_the_unbroken_run(name: str, tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=330, hold_steps=670, quench_frames=1, **PROTOCOLS[name])
    whole = md.run(case, tmp_path / "whole")
    folder = tmp_path / case.id
    first, second, last = killed_at(case, tmp_path, 230, 630)
    assert (first.attempt, second.attempt, last.attempt) == (
        "attempt-001",
        "attempt-002",
        "attempt-003",
    )
    assert (last.outcome, last.reason, last.last_step) == (whole.outcome, whole.reason, 1000)
    assert_same_run(folder, tmp_path / "whole" / case.id)
    quench = [
        json.loads((md.newest_attempt(path) / md.QUENCH).read_text())
        for path in (folder, tmp_path / "whole" / case.id)
    ]
    assert quench[0] == quench[1]
    origin = json.loads((folder / "attempt-003" / "attempt.json").read_text())["origin"]
    assert (origin["attempt"], origin["step"]) == ("attempt-002", 600)
    assert sha256_file(folder / origin["file"]) == origin["sha256"]


@pytest.mark.usefixtures("often")
def test_the_shipped_model_goes_on_exactly(tmp_path: Path) -> None:
    model = lmp.potentials_folder() / "carbon_base.nequip.pth"
    case = lcbop_case(
        potential="nequip",
        model=str(model),
        model_sha256=sha256_file(model),
        ramp_steps=100,
        hold_steps=140,
        dump_every=20,
        quench_frames=0,
    )
    assert md.run(case, tmp_path / "whole").outcome == "finished"
    _, last = killed_at(case, tmp_path, 210)
    assert (last.outcome, last.attempt) == ("finished", "attempt-002")
    assert_same_run(tmp_path / case.id, tmp_path / "whole" / case.id)


@pytest.mark.usefixtures("often")
def test_a_result_tells_of_the_whole_chain(tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=1000, quench_frames=1)
    first, last = killed_at(case, tmp_path, 500)
    folder = tmp_path / case.id
    assert (last.attempts, last.failure) == (2, None)
    assert last.wall_s > first.wall_s > 0
    attempt = folder / last.attempt
    assert set(last.products) == {md.DUMP, md.LOG, md.QUENCH, "final.data"}
    for name, digest in last.products.items():
        assert sha256_file(attempt / name) == digest
    loops = [
        float(words[3])
        for line in newest_log(folder).read_text().splitlines()
        if (words := line.split())[:2] == ["Loop", "time"]
    ]
    assert last.rate_atom_steps_per_s == pytest.approx(128 * 600 / sum(loops))
    # the log is one log, and what reads it sees one run
    thermo = read_thermo(attempt / md.LOG)
    assert (thermo.error, thermo.truncated, len(thermo.runs)) == (None, False, 1)
    assert thermo.column("Temp").size == 101


@pytest.mark.usefixtures("often")
def test_what_an_orphan_writes_later_changes_nothing(tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=1000, quench_frames=0)
    md.run(case, tmp_path / "whole")
    folder = tmp_path / case.id
    with killing(folder, signal.SIGKILL, reaches(folder, 500)):
        md.run(case, tmp_path)
    orphan = tmp_path / "whole" / case.id / "attempt-001"
    for name in (md.DUMP, md.LOG):  # it went on to the end while the next attempt ran
        text = (orphan / name).read_text().replace(" -", " -9")
        kept = (folder / "attempt-001" / name).read_text()
        cut = kept.rfind("ITEM: TIME\n") if name == md.DUMP else kept.rfind("\n", 0, -1) + 1
        (folder / "attempt-001" / name).write_text(kept[:cut] + text[cut:])
    assert md.run(case, tmp_path).outcome == "finished"
    assert_same_run(folder, tmp_path / "whole" / case.id)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("damage", ["cut", "empty", "inside", "other step"])
def test_a_damaged_restart_file_is_passed_over(damage: str, tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=900, quench_frames=0)
    md.run(case, tmp_path / "whole")
    folder = tmp_path / case.id
    with killing(folder, signal.SIGKILL, reaches(folder, 630)):
        md.run(case, tmp_path)
    newest = folder / "attempt-001" / "restart.600"
    whole = newest.read_bytes()
    if damage == "cut":
        newest.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        newest.write_bytes(b"")
    elif damage == "inside":  # right at both ends: only LAMMPS itself finds out
        newest.write_bytes(whole[:200] + b"\xff" * 400 + whole[600:])
    else:
        newest.write_bytes((folder / "attempt-001" / "restart.400").read_bytes())
    result = md.run(case, tmp_path)
    assert (result.outcome, result.attempts) == ("finished", 3 if damage == "inside" else 2)
    origin = json.loads((folder / result.attempt / "attempt.json").read_text())["origin"]
    assert origin["step"] == 400
    assert_same_run(folder, tmp_path / "whole" / case.id)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("name", [md.DUMP, md.LOG])
def test_a_restart_counts_only_as_far_as_the_outputs_are_there(name: str, tmp_path: Path) -> None:
    """A machine that loses power may keep a restart file and lose what was written before it."""
    case = lcbop_case(ramp_steps=0, hold_steps=900, quench_frames=0)
    md.run(case, tmp_path / "whole")
    folder = tmp_path / case.id
    with killing(folder, signal.SIGKILL, reaches(folder, 630)):
        md.run(case, tmp_path)
    output = folder / "attempt-001" / name
    text = output.read_text()
    gone = text.find("ITEM: TIMESTEP\n500\n") if name == md.DUMP else text.find("\n       500 ")
    assert gone > 0
    output.write_bytes(text[:gone].encode() + bytes(len(text) - gone))  # a hole reads as zeros
    assert md.run(case, tmp_path).outcome == "finished"
    origin = json.loads((folder / "attempt-002" / "attempt.json").read_text())["origin"]
    assert origin["step"] == 400
    assert_same_run(folder, tmp_path / "whole" / case.id)


@pytest.mark.usefixtures("often")
def test_a_replay_finds_the_restarts_of_all_attempts(tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=1800, dump_every=50, quench_frames=0)
    killed_at(case, tmp_path, 1250)
    dump = md.replay(tmp_path / case.id, 1300, tmp_path / "again")
    again = {frame.step: frame for frame in iter_frames(dump)}
    assert list(again) == list(range(800, 1501))  # attempt 1 wrote restart.800
    before = iter_frames(md.newest_attempt(tmp_path / case.id) / md.DUMP)
    shared = [frame for frame in before if frame.step in again]
    assert len(shared) == 15
    for frame in shared:
        np.testing.assert_array_equal(again[frame.step].positions, frame.positions)


@pytest.mark.usefixtures("often")
def test_events_see_one_run(tmp_path: Path) -> None:
    from tempermd.events import analyse_run

    case = lcbop_case(ramp_steps=330, hold_steps=670, quench_frames=1, dump_every=10)
    md.run(case, tmp_path / "whole")
    killed_at(case, tmp_path, 530)
    found, expected = (
        analyse_run(root / case.id).model_dump(exclude={"trajectory", "folder", "wall_s"})
        for root in (tmp_path, tmp_path / "whole")
    )
    found["provenance"].pop("attempt")
    expected["provenance"].pop("attempt")
    assert found == expected
    assert found["n_frames"] == 101


@pytest.mark.usefixtures("often")
def test_a_model_failure_in_a_chain_is_that_of_the_unbroken_run(tmp_path: Path) -> None:
    case = lcbop_case(
        ramp_steps=2000, hold_steps=0, temperature_K=60_000.0, timestep_fs=2.0, quench_frames=2
    )
    whole = md.run(case, tmp_path / "whole")
    assert whole.outcome == "model_failure"
    assert whole.last_step > 250, whole
    _, last = killed_at(case, tmp_path, 230)
    assert (last.outcome, last.reason) == ("model_failure", whole.reason)
    assert last.attempt == "attempt-002"
    assert_same_run(tmp_path / case.id, tmp_path / "whole" / case.id)


@pytest.mark.usefixtures("often")
def test_nan_in_an_earlier_part_is_found_in_the_whole(tmp_path: Path) -> None:
    """Its runner was killed before it could judge, and a restart file was written since."""
    case = lcbop_case(ramp_steps=0, hold_steps=900, quench_frames=0)
    folder = tmp_path / case.id
    with killing(folder, signal.SIGKILL, reaches(folder, 530)):
        md.run(case, tmp_path)
    log = folder / "attempt-001" / md.LOG
    lines = log.read_text().splitlines(keepends=True)
    row = next(number for number, line in enumerate(lines) if line.split()[:1] == ["310"])
    words = lines[row].split()
    lines[row] = " ".join([*words[:2], "-nan", *words[3:]]) + "\n"
    log.write_text("".join(lines))
    result = md.run(case, tmp_path)
    assert (result.outcome, result.reason) == ("model_failure", "Temp became -nan at step 310")


# the end of a job


@pytest.mark.usefixtures("often")
def test_jobs_that_end_make_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job is too short for the run; where it met a scheduled restart, all is as unbroken."""
    monkeypatch.setattr(running, "LEAST_S", 0.1)
    case = lcbop_case(ramp_steps=330, hold_steps=9670, quench_frames=0, dump_every=200)
    whole = md.run(case, tmp_path / "whole")
    job_s = max(3.0, 0.5 * whole.wall_s) + 1.0
    results = []
    while not results or results[-1].failure == "walltime":
        assert len(results) < 20, results
        budget = md.Budget(time.time() + job_s, margin_s=1.0)
        results.append(md.run(case, tmp_path, budget=budget))
    assert len(results) > 1
    assert results[-1].outcome == "finished", results[-1]
    assert_same_run(tmp_path / case.id, tmp_path / "whole" / case.id)


def test_the_time_limit_is_ours_and_leaves_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "LEAST_S", 0.5)
    case = lcbop_case(ramp_steps=900_000, hold_steps=300_000, quench_frames=0, dump_every=1000)
    folder = tmp_path / case.id
    steps = []
    for number in (1, 2):
        result = md.run(case, tmp_path, budget=md.Budget(time.time() + 5.0, margin_s=2.0))
        assert (result.outcome, result.failure) == ("infrastructure_failure", "walltime")
        assert (result.exit_code, result.signal) == (0, None), result.reason
        assert 0 <= result.ending_s < result.wall_s
        output = folder / f"attempt-00{number}" / ("" if number == 1 else "part")
        (stopped,) = output.glob("stopped.*")
        steps.append(int(stopped.suffix[1:]))
        assert md.state_of(folder).step == steps[-1]
    assert 0 < steps[0] < steps[1]
    origin = json.loads((folder / "attempt-002" / "attempt.json").read_text())["origin"]
    assert origin["step"] == steps[0]
    # Econserve goes on where it was: the thermostat's work is in the file
    first = thermo_of(folder / "attempt-001" / md.LOG)[-1].split()
    second = thermo_of(folder / "attempt-002" / "part" / md.LOG)[0].split()
    assert float(second[6]) == pytest.approx(float(first[6]), abs=0.02)


@pytest.mark.usefixtures("often")
def test_a_scheduled_restart_is_preferred_to_that_of_the_time_limit(tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=900, quench_frames=0)
    md.run(case, tmp_path / "whole")
    folder = tmp_path / case.id
    with killing(folder, signal.SIGKILL, reaches(folder, 530)):
        md.run(case, tmp_path)
    attempt = folder / "attempt-001"
    (attempt / "stopped.530").write_bytes((attempt / "restart.400").read_bytes())
    assert md.run(case, tmp_path).outcome == "finished"
    assert_same_run(folder, tmp_path / "whole" / case.id)


def test_a_run_is_not_begun_when_the_job_is_about_to_end(tmp_path: Path) -> None:
    case = lcbop_case()
    result = md.run(case, tmp_path, budget=md.Budget(time.time() + 12.0, margin_s=5.0))
    assert (result.outcome, result.failure) == ("infrastructure_failure", "walltime")
    assert "not begun: the job ends in" in result.reason
    assert result.attempts == 0
    assert [path.name for path in (tmp_path / case.id).iterdir()] == ["case.json"]


def test_the_end_of_the_job_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from tempermd.records import UserError

    for name in ("SLURM_JOB_END_TIME", "TEMPERMD_JOB_END_UNIX_S"):
        monkeypatch.delenv(name, raising=False)
    assert md.Budget.from_environment().remaining_s() == float("inf")
    end_unix_s = time.time() + 100
    monkeypatch.setenv("TEMPERMD_JOB_END_UNIX_S", str(end_unix_s))
    assert md.Budget.from_environment().remaining_s() == pytest.approx(100, abs=5)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(end_unix_s) + 1000))
    budget = md.Budget.from_environment()
    assert budget.remaining_s() == pytest.approx(1100, abs=5)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # the wall clock jumps: it counts no more
    assert budget.remaining_s() == pytest.approx(1100, abs=5)
    monkeypatch.setenv("SLURM_JOB_END_TIME", "tomorrow")
    with pytest.raises(UserError, match="SLURM_JOB_END_TIME: expected seconds since 1970"):
        md.Budget.from_environment()


# how LAMMPS is started


def test_a_run_is_pinned_and_has_its_ranks(tmp_path: Path) -> None:
    cores = (sorted(os.sched_getaffinity(0))[0],)
    case = lcbop_case(hold_steps=400_000, ramp_steps=0, quench_frames=0, dump_every=1000)
    folder = tmp_path / case.id
    seen: list[tuple[set[int], dict[str, str]]] = []

    def look() -> bool:
        if not reaches(folder, 10)():
            return False
        for process in lammps_below(folder):
            if Path(f"/proc/{process}/exe").resolve().name == "lmp":
                text = Path(f"/proc/{process}/environ").read_text()
                variables = dict(item.split("=", 1) for item in text.split("\0") if "=" in item)
                seen.append((os.sched_getaffinity(process), variables))
        return True

    launch = md.Launch(ranks=2, threads=1, cores=cores, devices=("3", "5"))
    with killing(folder, signal.SIGTERM, look):
        result = md.run(case, tmp_path, launch=launch)
    assert result.failure == "signal", result.reason
    assert len(seen) == 2
    for affinity, variables in seen:
        assert affinity == set(cores)
        assert variables["CUDA_VISIBLE_DEVICES"] == "3,5"
        assert variables["OMP_NUM_THREADS"] == "1"


@pytest.mark.usefixtures("often")
def test_several_ranks_go_on_to_rounding(tmp_path: Path) -> None:
    """Atoms may change hands where a run goes on, so sums have another order."""
    case = lcbop_case(ramp_steps=0, hold_steps=500, quench_frames=1)
    launch = md.Launch(ranks=2)
    whole = md.run(case, tmp_path / "whole", launch=launch)
    folder = tmp_path / case.id
    with killing(folder, signal.SIGKILL, reaches(folder, 230)):
        assert md.run(case, tmp_path, launch=launch).failure == "signal"
    last = md.run(case, tmp_path, launch=launch)
    assert (last.outcome, last.reason) == (whole.outcome, whole.reason)
    assert last.attempts == 2
    found, expected = (
        np.array([line.split() for line in thermo_of(md.newest_attempt(path) / md.LOG)], float)
        for path in (folder, tmp_path / "whole" / case.id)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_ranks_end_with_the_runner_that_started_them(tmp_path: Path) -> None:
    case = lcbop_case(hold_steps=400_000, ramp_steps=0, quench_frames=0, dump_every=1000)
    folder = tmp_path / case.id
    script = (
        "from tempermd import md\n"
        f"case = md.Case.model_validate_json({case.model_dump_json()!r})\n"
        f"md.run(case, {str(tmp_path)!r}, launch=md.Launch(ranks=2))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as runner:
        wait_for(reaches(folder, 10))
        assert len(lammps_below(folder)) >= 2
        runner.kill()
        runner.wait()
        wait_for(lambda: not lammps_below(folder))
    assert md.state_of(folder).state == "waiting"


# many kills

RUNNER = """
import sys
from pathlib import Path
from tempermd import md
from tempermd.records import UserError
md.Case.restart_every = property(lambda case: 200)
case = md.Case.model_validate_json(Path(sys.argv[1]).read_text())
try:
    result = md.run(case, sys.argv[2])
except UserError:  # killed three times before any progress
    md.release(Path(sys.argv[2]) / case.id)
    result = md.run(case, sys.argv[2])
print(result.outcome, result.failure, result.attempt)
"""


def kill_once(folder: Path, runner: subprocess.Popen[str], chance: random.Random) -> str:
    """Kill LAMMPS or its runner at a random moment; return which, or "" when the run ended before.

    Most moments are some steps after the attempt's first, some come before LAMMPS has begun.
    """
    victim, pause_s = chance.choice(["lmp", "runner"]), chance.uniform(0.0, 1.0)
    steps = chance.randint(1, 450) if chance.random() < 0.8 else None
    before = len(list(folder.glob("attempt-*")))
    if steps is None:
        time.sleep(pause_s)
    begin_s, first = time.monotonic(), None
    while steps is not None and runner.poll() is None and time.monotonic() - begin_s < 60:
        if len(list(folder.glob("attempt-*"))) > before:
            done = md.read_progress(newest_log(folder)).last_step
            first = done if first is None and done >= 0 else first
            if first is not None and done >= first + steps:
                break
        time.sleep(0.01)
    if runner.poll() is not None:
        return ""
    targets = [runner.pid] if victim == "runner" else lammps_below(folder)
    for process in targets:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return victim if targets else ""


@pytest.mark.usefixtures("often")
def test_a_run_survives_dozens_of_kills_at_random_moments(tmp_path: Path) -> None:
    """LAMMPS or its runner is killed; the products are those of the unbroken run all the same."""
    case = lcbop_case(ramp_steps=1330, hold_steps=10_670, quench_frames=1)
    md.run(case, tmp_path / "whole")
    folder = tmp_path / case.id
    (tmp_path / "case.json").write_text(case.model_dump_json())
    chance, kills = random.Random(7), Counter[str]()
    command = [sys.executable, "-c", RUNNER, str(tmp_path / "case.json"), str(tmp_path)]
    for _ in range(40):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
            kills[kill_once(folder, runner, chance)] += 1
            said = runner.communicate()[0]
        if said.startswith("finished"):
            break
    assert min(kills["lmp"], kills["runner"]) >= 8, kills
    while not said.startswith("finished"):
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert_same_run(folder, tmp_path / "whole" / case.id)
    wait_for(lambda: not lammps_below(folder))
    assert len(list(folder.glob("attempt-*"))) >= 20
