"""What breaks in the machine and in LAMMPS: its class, and whether the run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from md_cases import assert_same_run, killing, lcbop_case, newest_log, reaches
from tempermd import lmp, md
from tempermd.md.failures import class_of, signal_of
from tempermd.md.judge import Progress
from tempermd.records import UserError


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a restart file every 200 steps, so that a short run has many."""
    monkeypatch.setattr(md.Case, "restart_every", property(lambda case: 200))


# a crash that nobody knows


@pytest.fixture
def broken_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let LAMMPS stop at step 300 with an error that says nothing of atoms."""
    inputs = tmp_path / "inputs"
    shutil.copytree(lmp.inputs_folder(), inputs)
    with (inputs / "system.inc").open("a") as stream:
        stream.write("\nvariable bug equal step\n")
        stream.write("fix bug all halt 10 v_bug >= 300 error hard message yes\n")
    monkeypatch.setattr(lmp, "inputs_folder", lambda: inputs)
    monkeypatch.setenv("TEMPERMD_INPUTS", str(inputs))
    return inputs


def test_a_crash_that_comes_again_is_the_models(broken_input: Path, tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=900, quench_frames=1)
    result = md.run(case, tmp_path)
    assert result.outcome == "model_failure"
    assert result.reason.startswith("it crashed twice at the same step: ERROR: Fix halt condition")
    assert "after step 290 of 900" in result.reason
    assert (result.attempts, result.attempt, result.last_step) == (2, "attempt-002", 290)
    attempt = tmp_path / case.id / "attempt-002"
    assert md.finite_frames(attempt / md.DUMP) == [0, 100, 200]  # one run, from the start
    assert set(result.products) == {md.DUMP, md.LOG, md.QUENCH}
    assert md.run(case, tmp_path) == result


def test_a_crash_that_does_not_come_again_is_forgotten(tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=900, quench_frames=0)
    md.run(case, tmp_path / "whole")
    folder = tmp_path / case.id
    with killing(folder, signal.SIGSEGV, reaches(folder, 230)):
        result = md.run(case, tmp_path)
    assert (result.outcome, result.attempts) == ("finished", 2)  # in the same call
    assert md.read_result(folder) == result
    assert_same_run(folder, tmp_path / "whole" / case.id)


def test_crashes_at_two_places_are_left_for_the_next_call(tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=1500, quench_frames=0)
    folder = tmp_path / case.id
    second = folder / "attempt-002"
    with (
        killing(folder / "attempt-001", signal.SIGSEGV, reaches(folder, 230)),
        killing(second, signal.SIGSEGV, lambda: second.is_dir() and reaches(folder, 630)()),
    ):
        result = md.run(case, tmp_path)
    assert (result.outcome, result.failure) == ("infrastructure_failure", "crash")
    assert (result.attempt, result.signal) == ("attempt-002", signal.SIGSEGV)
    assert md.run(case, tmp_path).outcome == "finished"


# no progress


def test_three_attempts_without_progress_are_enough(tmp_path: Path) -> None:
    model = tmp_path / "model.nequip.pth"
    model.write_bytes(b"PK\x03\x04 cut")
    from tempermd.records import sha256_file

    case = lcbop_case(potential="nequip", model=str(model), model_sha256=sha256_file(model))
    folder = tmp_path / case.id
    assert md.run(case, tmp_path).failure == "crash"
    assert md.run(case, tmp_path).failure == "crash"
    assert md.state_of(folder).state == "waiting"
    third = md.run(case, tmp_path)
    assert third.failure == "stuck"
    assert third.reason.startswith("no progress in 3 attempts: ERROR")
    state = md.state_of(folder)
    assert (state.state, state.attempts, state.failure) == ("stuck", 3, "stuck")
    with pytest.raises(UserError, match=r"no progress in 3 attempts .*ERROR.*release"):
        md.run(case, tmp_path)
    assert len(list(folder.glob("attempt-*"))) == 3
    md.release(folder)
    assert md.state_of(folder).state == "waiting"
    assert md.run(case, tmp_path).failure == "crash"  # three more, from now on
    assert md.run(case, tmp_path, again=True).failure == "crash"


def test_kills_with_progress_between_them_are_no_reason_to_stop(tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=1200, quench_frames=0)
    folder = tmp_path / case.id
    for step in (210, 410, 610, 810):
        with killing(folder, signal.SIGKILL, reaches(folder, step)):
            assert md.run(case, tmp_path).failure == "signal"
    assert md.run(case, tmp_path).outcome == "finished"


def test_runners_that_vanish_are_counted_too(tmp_path: Path) -> None:
    case = lcbop_case()
    for number in (1, 2, 3):
        attempt = tmp_path / case.id / f"attempt-00{number}"
        attempt.mkdir(parents=True)
    from tempermd.md import lease

    lease.write_record(attempt / lease.LEASE, _dead_lease())
    with pytest.raises(UserError, match="no progress in 3 attempts"):
        md.run(case, tmp_path)
    assert md.state_of(tmp_path / case.id).state == "stuck"
    assert md.run(case, tmp_path, again=True).outcome == "finished"


def _dead_lease():
    from tempermd.md.lease import LeaseFile
    from tempermd.md.owner import this_process

    owner = this_process().model_copy(update={"pid_start": 1})
    return LeaseFile(owner=owner, beats=1, elapsed_s=0.0, beat_monotonic_s=0.0)


# a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 600 kB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs (a container?)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("chained", [False, True])
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_space(
    chained: bool, small_disk: Path, tmp_path: Path
) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=1000, dump_every=20, quench_frames=1)
    md.run(case, tmp_path / "whole")
    folder = small_disk / case.id
    if chained:
        with killing(folder, signal.SIGKILL, reaches(folder, 210)):
            md.run(case, small_disk)
    full = md.run(case, small_disk)
    assert (full.outcome, full.failure) == ("infrastructure_failure", "disk"), full
    assert not (folder / "result.json").exists()
    still = md.run(case, small_disk)
    assert (still.outcome, still.failure) == ("infrastructure_failure", "disk"), still
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    result = md.run(case, small_disk, again=True)
    assert result.outcome == "finished", result.reason
    assert result.attempts > 1
    assert_same_run(folder, tmp_path / "whole" / case.id)


def test_space_that_comes_back_leaves_a_hole_that_is_seen(tmp_path: Path) -> None:
    """LAMMPS says nothing of frames or lines that it could not write."""
    case = lcbop_case(ramp_steps=0, hold_steps=600, quench_frames=0)
    md.run(case, tmp_path)
    attempt = tmp_path / case.id / "attempt-001"
    process = lmp.ProcessResult(exit_code=0, signal=None, stdout_tail="", wall_s=1.0)
    text = (attempt / md.DUMP).read_text()
    blocks = text.split("ITEM: TIME\n")
    (attempt / md.DUMP).write_text("ITEM: TIME\n".join(blocks[:3] + blocks[4:]))
    progress = md.read_progress(attempt / md.LOG)
    outcome, reason = md.judge(case, process, progress, attempt / md.DUMP)
    assert (outcome, "the frame of step 200 is missing" in reason) == (
        "infrastructure_failure",
        True,
    )
    lines = (attempt / md.LOG).read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split()[:1] != ["340"]]
    (attempt / md.LOG).write_text("".join(kept))
    outcome, reason = md.judge(case, process, md.read_progress(attempt / md.LOG), attempt / md.DUMP)
    assert outcome == "infrastructure_failure"
    assert "thermo lines between step 330 and 350 are missing" in reason


# classes


@pytest.mark.parametrize(
    ("exit_code", "number", "said", "expected"),
    [
        (None, 9, "", "signal"),
        (143, None, "", "signal"),
        (9, None, "=   EXIT CODE: 9\nYOUR APPLICATION TERMINATED WITH THE EXIT STRING: "
         "Killed (signal 9)", "signal"),
        (None, 11, "", "crash"),
        (1, None, "ERROR: something new", "crash"),
        (1, None, "RuntimeError: CUDA out of memory", "memory"),
        (None, 6, "what():  std::bad_alloc", "memory"),
        (1, None, "write failed: No space left on device", "disk"),
        (1, None, "Reading restart file ...\nERROR: Did not assign all restart atoms correctly",
         "restart"),
        (1, None, "Reading restart file ...\n  read_restart CPU = 0.001 seconds\nERROR: no model",
         "crash"),
        (None, 9, "Reading restart file ...", "signal"),
    ],
)  # fmt: skip
def test_each_end_has_its_class(
    exit_code: int | None, number: int | None, said: str, expected: str, tmp_path: Path
) -> None:
    process = lmp.ProcessResult(exit_code, number, said, 1.0)
    progress = Progress()
    assert class_of(lcbop_case(), process, progress, tmp_path, 100) == expected
    assert (signal_of(process) is not None) == (number is not None or expected == "signal")


def test_the_log_of_the_newest_attempt_is_found(tmp_path: Path) -> None:
    (tmp_path / "attempt-002" / "part").mkdir(parents=True)
    assert newest_log(tmp_path) == tmp_path / "attempt-002" / "part" / md.LOG
