"""One holder at a time: who keeps a run, who loses it, and that a loser publishes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from md_cases import assert_same_run, lammps_below, lcbop_case, reaches, wait_for
from tempermd import md
from tempermd.md import lease as leases
from tempermd.md.lease import Lease, LeaseFile, take_turn
from tempermd.md.owner import Owner, this_process
from tempermd.records import UserError, write_record

ELSEWHERE = Owner(host="node7", boot="another boot", pid=os.getpid(), pid_start=1, job="41")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beat and judge within a second or two."""
    monkeypatch.setattr(leases, "BEAT_S", 0.1)
    monkeypatch.setattr(leases, "STALE_S", 1.5)


def left_attempt(folder: Path, owner: Owner, beats: int = 5, number: int = 1) -> Path:
    """Make an attempt that somebody holds, or held."""
    attempt = folder / f"attempt-{number:03d}"
    attempt.mkdir(parents=True, exist_ok=True)
    write_lease(attempt, owner, beats)
    return attempt


def write_lease(attempt: Path, owner: Owner, beats: int) -> None:
    # a foreign monotonic clock may say anything
    lease = LeaseFile(owner=owner, beats=beats, elapsed_s=3.0, beat_monotonic_s=1e9 - beats)
    write_record(attempt / leases.LEASE, lease)


@contextmanager
def beating(attempt: Path, owner: Owner) -> Iterator[None]:
    """Let a lease beat as a runner on another machine does."""
    stop = threading.Event()

    def beat() -> None:
        count = 5
        while not stop.wait(0.1):
            count += 1
            write_lease(attempt, owner, count)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def is_taken(folder: Path) -> bool:
    """Try to take the next attempt, and leave it at once."""
    turn = take_turn(folder)
    if isinstance(turn, Lease):
        turn.attempt.rmdir()
    return isinstance(turn, Lease)


@pytest.mark.usefixtures("hasty")
def test_a_foreign_lease_that_beats_is_respected(tmp_path: Path) -> None:
    case = lcbop_case()
    attempt = left_attempt(tmp_path / case.id, ELSEWHERE)
    with beating(attempt, ELSEWHERE):
        result = md.run(case, tmp_path)
        state = md.state_of(tmp_path / case.id)
    assert (result.outcome, result.failure) == ("infrastructure_failure", "held")
    assert "process" in result.reason
    assert "on node7, job 41 is running it" in result.reason
    assert [path.name for path in (tmp_path / case.id).glob("attempt-*")] == ["attempt-001"]
    assert md.read_result(tmp_path / case.id) is None
    assert (state.state, state.heartbeat_age_s) == ("running", None)
    assert state.owner == f"process {os.getpid()} on node7, job 41"
    assert state.beats >= 5


@pytest.mark.usefixtures("hasty")
def test_a_foreign_lease_that_stands_still_is_stale(tmp_path: Path) -> None:
    left_attempt(tmp_path, ELSEWHERE)
    begin_s = time.monotonic()
    assert is_taken(tmp_path)
    assert time.monotonic() - begin_s >= leases.STALE_S


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("hours", [-1000, 1000])
def test_clocks_that_disagree_change_nothing(hours: float, tmp_path: Path) -> None:
    attempt = left_attempt(tmp_path, ELSEWHERE)
    then = time.time() + 3600 * hours
    os.utime(attempt / leases.LEASE, (then, then))
    os.utime(attempt, (then, then))
    with beating(attempt, ELSEWHERE):
        assert not is_taken(tmp_path)
    os.utime(attempt / leases.LEASE, (then, then))
    assert is_taken(tmp_path)


def ended_process() -> Owner:
    """Return an owner whose process has just ended on this machine."""
    script = "from tempermd.md.owner import this_process; print(this_process().model_dump_json())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return Owner.model_validate_json(done.stdout)


def test_a_process_that_is_gone_loses_its_lease_at_once(tmp_path: Path) -> None:
    left_attempt(tmp_path, ended_process())
    assert is_taken(tmp_path)  # in far less than the minute of a stale lease


def test_a_process_id_that_was_used_again_is_another_process(tmp_path: Path) -> None:
    parent = this_process().model_copy(update={"pid": os.getppid(), "pid_start": 1})
    left_attempt(tmp_path, parent)
    assert is_taken(tmp_path)


def test_what_this_process_gave_up_is_free(tmp_path: Path) -> None:
    left_attempt(tmp_path, this_process())
    assert is_taken(tmp_path)


def test_an_attempt_of_this_process_is_held_in_every_thread(tmp_path: Path) -> None:
    turn = take_turn(tmp_path)
    assert isinstance(turn, Lease)
    with turn:
        assert not is_taken(tmp_path)
    assert is_taken(tmp_path)


@pytest.mark.usefixtures("hasty")
def test_a_requeued_job_overrules_its_orphan_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = left_attempt(tmp_path, ELSEWHERE)
    monkeypatch.setattr(leases, "STALE_S", 1e9)
    with beating(attempt, ELSEWHERE):
        for job, restarts, taken in [("41", "", False), ("40", "3", False), ("41", "1", True)]:
            monkeypatch.setenv("SLURM_JOB_ID", job)
            monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
            assert is_taken(tmp_path) == taken, (job, restarts)


@pytest.mark.usefixtures("hasty")
def test_an_attempt_without_any_lease_is_watched_first(tmp_path: Path) -> None:
    (tmp_path / "attempt-001").mkdir()
    begin_s = time.monotonic()
    assert is_taken(tmp_path)
    assert time.monotonic() - begin_s >= leases.STALE_S


def test_two_never_get_one_attempt(tmp_path: Path) -> None:
    got: list[int] = []
    barrier = threading.Barrier(8)

    def take() -> None:
        barrier.wait()
        turn = take_turn(tmp_path, stop_s=0.0)
        if isinstance(turn, Lease):
            got.append(turn.number)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [1]


@pytest.mark.usefixtures("hasty")
def test_a_holder_sees_that_it_has_lost(tmp_path: Path) -> None:
    ended = threading.Event()
    turn = take_turn(tmp_path)
    assert isinstance(turn, Lease)
    with turn:
        turn.guard(ended.set)
        assert not turn.is_lost()
        (tmp_path / "attempt-002").mkdir()
        assert turn.is_lost()
        assert ended.wait(5.0)


def test_a_result_whose_runner_was_killed_is_published_and_not_run_again(tmp_path: Path) -> None:
    case = lcbop_case(quench_frames=0)
    result = md.run(case, tmp_path)
    folder = tmp_path / case.id
    (folder / "result.json").unlink()  # killed between the attempt's result and the link
    assert md.run(case, tmp_path) == result
    assert (folder / "result.json").samefile(folder / "attempt-001" / "result.json")
    assert len(list(folder.glob("attempt-*"))) == 1


def test_states_are_told_without_reading_what_is_large(tmp_path: Path) -> None:
    case = lcbop_case(quench_frames=0)
    folder = tmp_path / case.id
    with pytest.raises(UserError, match="not a run directory"):
        md.state_of(folder)
    folder.mkdir()
    (folder / "case.json").write_text(case.model_dump_json())
    planned = md.state_of(folder)
    assert (planned.state, planned.step, planned.planned_steps) == ("planned", 0, 200)
    md.run(case, tmp_path)
    for path in folder.glob("attempt-*/*"):
        if path.name != "result.json":
            path.unlink()
    finished = md.state_of(folder)
    assert (finished.state, finished.step, finished.attempts) == ("finished", 200, 1)
    (folder / "result.json").write_text("{")  # a glance does not fail
    assert (md.state_of(folder).state, md.state_of(folder).attempts) == ("waiting", 1)


def test_records_that_a_lost_machine_cut_do_not_stop_a_run(tmp_path: Path) -> None:
    case = lcbop_case(quench_frames=0)
    attempt = left_attempt(tmp_path / case.id, ended_process())
    (attempt / "attempt.json").write_text('{"format": "tem')
    (attempt / "result.json").write_text("")
    (attempt / "restart.100").write_bytes(b"LammpS RestartT\0")
    result = md.run(case, tmp_path)
    assert (result.outcome, result.attempt) == ("finished", "attempt-002")


# orphans

ORPHAN = """
import sys
from pathlib import Path
from tempermd import md
from tempermd.md import lease
lease.BEAT_S = 0.2
md.Case.restart_every = property(lambda case: 200)
case = md.Case.model_validate_json(Path(sys.argv[1]).read_text())
result = md.run(case, sys.argv[2])
print(result.model_dump_json())
"""


@contextmanager
def orphan(case: md.Case, root: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start a runner of its own session that nobody waits for."""
    spec = root / "case.json"
    spec.write_text(case.model_dump_json())
    command = [sys.executable, "-c", ORPHAN, str(spec), str(root)]
    environment = {**os.environ, **variables}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            wait_for(reaches(root / case.id, 230))
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("frozen", [False, True])
def test_an_orphan_stops_and_publishes_nothing(
    frozen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node was lost, the job requeued; it runs on, or sleeps through it all."""
    monkeypatch.setattr(md.Case, "restart_every", property(lambda case: 200))
    case = lcbop_case(ramp_steps=0, hold_steps=4000, quench_frames=0)
    md.run(case, tmp_path / "whole")
    folder = tmp_path / case.id
    with orphan(case, tmp_path, SLURM_JOB_ID="41") as process:
        if frozen:
            process.send_signal(signal.SIGSTOP)
            wait_for(lambda: (md.state_of(folder).heartbeat_age_s or 0.0) > 0.5)
        else:
            monkeypatch.setenv("SLURM_JOB_ID", "41")
            monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        result = md.run(case, tmp_path)
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=30)
    lost = json.loads(said)
    assert (lost["outcome"], lost["failure"]) == ("infrastructure_failure", "fenced")
    assert (result.outcome, result.attempt) == ("finished", "attempt-002")
    assert md.read_result(folder) == result
    assert (folder / "result.json").samefile(folder / "attempt-002" / "result.json")
    assert not lammps_below(folder / "attempt-001")
    assert_same_run(folder, tmp_path / "whole" / case.id)


def test_a_second_runner_on_this_machine_is_told_who_runs(tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=400_000, quench_frames=0, dump_every=1000)
    with orphan(case, tmp_path) as process:
        result = md.run(case, tmp_path)
        state = md.state_of(tmp_path / case.id)
        assert (result.failure, result.attempts) == ("held", 1)
        assert f"process {process.pid} on " in result.reason
        assert (state.state, state.attempts) == ("running", 1)
        assert 0 <= state.heartbeat_age_s < 30
        process.kill()
        process.wait()
        wait_for(lambda: not lammps_below(tmp_path))
        assert md.state_of(tmp_path / case.id).state == "waiting"
