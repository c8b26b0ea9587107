"""Runs: their identity, their directories, and how each kind of failure is told apart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from md_cases import TUBE, killing, lammps_below, lcbop_case, wait_for
from tempermd import engine, lmp, md
from tempermd.events import read_thresholds
from tempermd.records import UserError, sha256_file
from tempermd.trajectory import iter_frames

# identity


def test_the_id_depends_on_contents_and_not_on_paths(tmp_path: Path) -> None:
    copy = tmp_path / "other name.data"
    copy.write_bytes(TUBE.read_bytes())
    moved = lcbop_case(structure=str(copy), structure_name="x", model_name="y")
    assert moved.id == lcbop_case().id
    assert len(moved.id) == 16
    changes = [
        {"seed": 2},
        {"temperature_K": 1001.0},
        {"hold_steps": 101},
        {"timestep_fs": 0.4},
        {"structure_sha256": "0" * 64},
        {"potential": "nequip", "model_sha256": "1" * 64},
        {"dump_every": 99},
    ]
    ids = {lcbop_case(**change).id for change in changes}
    assert len(ids | {lcbop_case().id}) == len(changes) + 1


@pytest.mark.parametrize(("every", "known"), [(0, "4cdc5dc7cf8ff2f2"), (10, "039e03fc0f29a4b9")])
def test_limits_of_the_guard_count_only_where_they_are_others(every: int, known: str) -> None:
    """The ids are those of runs that were made before a case had such limits."""
    plain = md.Case(
        model_sha256="1" * 64,
        structure="s",
        structure_sha256="0" * 64,
        temperature_K=1000.0,
        ramp_steps=100,
        hold_steps=100,
        seed=1,
        guard_every=every,
    )
    assert plain.id == known
    others = [{"guard_shortest_A": 0.9}, {"guard_force_eV_per_A": 90.0}]
    ids = {plain.model_copy(update=other).id for other in others}
    assert len(ids | {plain.id}) == (3 if every else 1)


def test_defaults_of_the_guard_are_the_shipped_severe_limits() -> None:
    limits, case = read_thresholds(), lcbop_case()
    shipped = limits.close_contact.severe_A, limits.force_spike.severe_eV_per_A
    assert (case.guard_shortest_A, case.guard_force_eV_per_A) == shipped
    text = (lmp.inputs_folder() / "potential.inc").read_text()
    by_hand = [
        re.search(rf"variable {name} +index (\S+)", text)[1] for name in ("shortest", "force")
    ]
    assert tuple(map(float, by_hand)) == shipped


def test_stages_cover_the_run_without_empty_ones() -> None:
    ramp, hold = lcbop_case().stages
    assert (ramp.kind, ramp.first_step, ramp.last_step) == ("ramp", 0, 100)
    assert (ramp.start_temperature_K, ramp.stop_temperature_K) == (300.0, 1000.0)
    assert (hold.kind, hold.first_step, hold.last_step) == ("hold", 100, 200)
    assert (hold.start_temperature_K, hold.stop_temperature_K) == (1000.0, 1000.0)
    assert [stage.kind for stage in lcbop_case(ramp_steps=0).stages] == ["hold"]


@pytest.mark.parametrize(
    ("changes", "kinds", "box", "breaks"),
    [
        ({}, ["ramp", "hold"], "fixed", False),
        ({"protocol": "pull", "strain_per_ps": 0.02}, ["hold", "hold"], "deformed", True),
        ({"protocol": "npt"}, ["ramp", "hold"], "barostat", False),
        ({"protocol": "knock_on", "knock_eV": 10.0}, ["hold", "free"], "fixed", True),
    ],
)
def test_every_protocol_runs_and_has_its_stages(
    changes: dict, kinds: list[str], box: str, breaks: bool, tmp_path: Path
) -> None:
    case = lcbop_case(quench_frames=0, **changes)
    first, second = case.stages
    assert [first.kind, second.kind] == kinds
    assert (first.box, first.breaks) == ("fixed", False)
    assert (second.box, second.breaks) == (box, breaks)
    assert md.run(case, tmp_path).outcome == "finished"
    assert len({case.id, lcbop_case(quench_frames=0).id}) == 1 + bool(changes)


# healthy runs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs that holds one finished run."""
    root = tmp_path_factory.mktemp("some runs")
    assert md.run(lcbop_case(), root).outcome == "finished"
    return root


def test_a_finished_run_has_its_products(root: Path) -> None:
    case = lcbop_case()
    folder = root / case.id
    result = md.read_result(folder)
    assert result is not None
    assert (result.outcome, result.exit_code, result.signal) == ("finished", 0, None)
    assert (result.last_step, result.planned_steps) == (200, 200)
    assert result.attempt == "attempt-001"
    assert result.versions["lammps"] == lmp.versions()["lammps"]
    assert md.read_case(folder) == case
    attempt = md.newest_attempt(folder)
    assert attempt == folder / "attempt-001"
    assert md.finite_frames(attempt / md.DUMP) == [0, 100, 200]
    quench = md.read_quench(attempt / "quench.log", 128)
    assert [frame.step for frame in quench.frames] == [100, 200]
    # at 1000 K nothing breaks: frames fall back into the tube's own minimum
    for frame in quench.frames:
        assert frame.energy_eV == pytest.approx(quench.pristine_energy_eV, abs=0.01 * 128)
    assert (folder / "result.json").samefile(attempt / "result.json")


def test_a_finished_run_is_not_run_again(root: Path) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    before = stamps()
    again = md.run(lcbop_case(), root)
    assert again.outcome == "finished"
    assert stamps() == before


@pytest.mark.parametrize("step", [150, 2900])
def test_a_replay_shows_the_same_moments_in_every_step(step: int, tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=1000, hold_steps=2000, dump_every=50, quench_frames=0)
    assert md.run(case, tmp_path).outcome == "finished"
    dump = md.replay(tmp_path / case.id, step, tmp_path / "again")
    again = {frame.step: frame for frame in iter_frames(dump)}
    begin = 0 if step < 1500 else 2000  # the last restart a quarter of a picosecond before
    assert list(again) == list(range(begin, min(step + 200, 3000) + 1))
    before = iter_frames(tmp_path / case.id / "attempt-001" / md.DUMP)
    shared = [frame for frame in before if frame.step in again]
    assert len(shared) > 5
    for frame in shared:
        np.testing.assert_allclose(again[frame.step].positions, frame.positions, atol=1e-4)


def test_a_replay_of_a_step_that_is_none_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this run has steps 0 to 200"):
        md.replay(root / lcbop_case().id, 999, tmp_path / "again")


def test_a_model_runs_and_is_quenched(make_model, tmp_path: Path) -> None:
    from ase.build import nanotube
    from ase.io import write

    data = tmp_path / "small.data"
    write(data, nanotube(4, 4, length=2, vacuum=5.0), format="lammps-data", masses=True)
    model = make_model(dtype="float64")
    case = lcbop_case(
        potential="nequip",
        structure=str(data),
        structure_sha256=sha256_file(data),
        model=str(model),
        model_sha256=sha256_file(model),
        ramp_steps=3,
        hold_steps=3,
        timestep_fs=0.01,
        dump_every=3,
        thermo_every=1,
        quench_frames=1,
    )
    result = md.run(case, tmp_path)
    assert result.outcome == "finished", result.reason
    attempt = md.newest_attempt(tmp_path / case.id)
    quench = md.read_quench(attempt / "quench.log", 32)
    start_eV = float((attempt / md.LOG).read_text().split("Press")[1].split()[3])
    assert quench.pristine_energy_eV < start_eV  # it went downhill


# failures of a model


def test_a_run_that_explodes_is_a_model_failure(tmp_path: Path) -> None:
    case = lcbop_case(timestep_fs=20.0)
    result = md.run(case, tmp_path)
    assert result.outcome == "model_failure"
    assert "Lost atoms: original 128 current" in result.reason
    assert result.last_step < 200
    before = (tmp_path / case.id / "result.json").stat().st_mtime_ns
    assert md.run(case, tmp_path) == result  # a result like any other: not tried again
    assert (tmp_path / case.id / "result.json").stat().st_mtime_ns == before


def test_nan_is_a_model_failure_whatever_the_exit_code(tmp_path: Path) -> None:
    lines = TUBE.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("Atoms")) + 2
    lines[first + 1] = "2 1 " + " ".join(lines[first].split()[2:])  # two atoms at one place
    data = tmp_path / "collapsed.data"
    data.write_text("\n".join(lines) + "\n")
    case = lcbop_case(
        structure=str(data),
        structure_sha256=sha256_file(data),
        ramp_steps=0,
        hold_steps=3,
        thermo_every=1,
        dump_every=1,
    )
    result = md.run(case, tmp_path)
    assert (result.outcome, result.last_step) == ("model_failure", 3)
    assert re.fullmatch(r"\w+ became -?nan at step 0", result.reason)
    # LAMMPS itself ends a run full of NaN with 0: only write_data stopped at it here
    attempt = md.newest_attempt(tmp_path / case.id)
    process = lmp.ProcessResult(exit_code=0, signal=None, stdout_tail="", wall_s=1.0)
    judged = md.judge(case, process, md.read_progress(attempt / md.LOG), attempt / md.DUMP)
    assert judged == ("model_failure", result.reason)


def test_nan_in_the_trajectory_alone_is_a_model_failure(root: Path, tmp_path: Path) -> None:
    case = lcbop_case()
    attempt = md.newest_attempt(root / case.id)
    dump = tmp_path / "dump"
    words = (attempt / md.DUMP).read_text().split(" ")
    words[-2] = "-nan"
    dump.write_text(" ".join(words))
    process = lmp.ProcessResult(exit_code=0, signal=None, stdout_tail="", wall_s=1.0)
    progress = md.read_progress(attempt / md.LOG)
    outcome, reason = md.judge(case, process, progress, dump)
    assert (outcome, reason) == ("model_failure", "the trajectory is not finite from step 200 on")


# failures of the machine


def test_a_killed_run_is_tried_again_in_a_new_attempt(tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=6000, dump_every=500)
    folder = tmp_path / case.id
    log = folder / "attempt-001" / md.LOG
    with killing(folder, signal.SIGKILL, lambda: md.read_progress(log).last_step >= 500):
        broken = md.run(case, tmp_path)
    assert broken.outcome == "infrastructure_failure"
    assert (broken.exit_code, broken.signal) == (None, signal.SIGKILL)
    assert 500 <= broken.last_step < 6000
    assert "signal 9" in broken.reason
    assert not (folder / "result.json").exists()
    assert md.read_result(folder) == broken
    mended = md.run(case, tmp_path)
    assert (mended.outcome, mended.attempt) == ("finished", "attempt-002")
    assert md.read_result(folder) == mended
    assert md.newest_attempt(folder) == folder / "attempt-002"


def test_a_killed_quench_is_no_result(tmp_path: Path) -> None:
    case = lcbop_case(quench_frames=2, temperature_K=5000.0, ramp_steps=0, hold_steps=200)
    folder = tmp_path / case.id
    log = folder / "attempt-001" / "quench.log"
    with killing(folder, signal.SIGKILL, log.exists):
        result = md.run(case, tmp_path)
    assert result.outcome == "infrastructure_failure"
    assert result.reason == "all 200 steps done, but the quench was ended by signal 9"


def test_a_cut_trajectory_is_an_infrastructure_failure(root: Path, tmp_path: Path) -> None:
    case = lcbop_case()
    attempt = md.newest_attempt(root / case.id)
    whole = (attempt / md.DUMP).read_bytes()
    dump = tmp_path / "dump"
    process = lmp.ProcessResult(exit_code=0, signal=None, stdout_tail="", wall_s=1.0)
    progress = md.read_progress(attempt / md.LOG)
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        dump.write_bytes(whole[:length])
        outcome, reason = md.judge(case, process, progress, dump)
        assert outcome == "infrastructure_failure"
        assert "the last frame, of step 200, is missing or cut" in reason
    dump.write_bytes(whole)
    assert md.judge(case, process, progress, dump)[0] == "finished"


def test_a_run_that_stops_early_is_not_finished(root: Path) -> None:
    attempt = md.newest_attempt(root / lcbop_case().id)
    process = lmp.ProcessResult(exit_code=0, signal=None, stdout_tail="", wall_s=1.0)
    longer = lcbop_case(hold_steps=200)
    progress = md.read_progress(attempt / md.LOG)
    outcome, reason = md.judge(longer, process, progress, attempt / md.DUMP)
    assert outcome == "infrastructure_failure"
    assert "stopped after step 200 of 300" in reason


def test_a_truncated_model_file_is_not_blamed_on_physics(tmp_path: Path) -> None:
    model = tmp_path / "model.nequip.pth"
    model.write_bytes(b"PK\x03\x04 cut")
    case = lcbop_case(potential="nequip", model=str(model), model_sha256=sha256_file(model))
    result = md.run(case, tmp_path)
    assert result.outcome == "infrastructure_failure"
    assert result.last_step == -1
    assert "ERROR" in result.reason


def test_one_attempt_publishes_first_and_its_result_stands(root: Path, tmp_path: Path) -> None:
    from tempermd.md.running import publish
    from tempermd.records import write_record

    result = md.read_result(root / lcbop_case().id)
    for number in (1, 2):
        mine = result.model_copy(update={"attempt": f"attempt-00{number}"})
        write_record(tmp_path / f"{number}.json", mine)
        published = publish(tmp_path / f"{number}.json", tmp_path / "result.json")
        assert published.attempt == "attempt-001"


# mistakes of the user


def test_files_that_are_gone_or_changed_are_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone.nequip.pth"
    case = lcbop_case(potential="nequip", model=str(gone), model_sha256="0" * 64)
    with pytest.raises(UserError, match=r"gone\.nequip\.pth: no such file"):
        md.run(case, tmp_path)
    with pytest.raises(UserError, match="changed since this run was planned"):
        md.run(lcbop_case(structure_sha256="0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_lmp_absent_is_one_sentence(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "sys.modules['lammps'] = None\n"  # as if it were not installed
        "from tempermd import md\n"
        "from tempermd.records import UserError\n"
        f"case = md.Case.model_validate_json({lcbop_case().model_dump_json()!r})\n"
        "try:\n"
        f"    md.run(case, {str(tmp_path)!r})\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "lammps" in done.stdout.lower()
    assert list(tmp_path.iterdir()) == []


def test_a_data_file_without_masses_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "bare.data"
    data.write_text("bare\n\n1 atoms\n1 atom types\n\nAtoms\n\n1 1 0 0 0\n")
    with pytest.raises(UserError, match="Masses section"):
        md.data_elements(data)
    assert md.count_atoms(data) == 1


def test_elements_come_from_masses(tmp_path: Path) -> None:
    data = tmp_path / "two.data"
    data.write_text("x\n\nMasses\n\n2 1.008 # H\n1 12.0\n\nAtoms\n")
    assert md.data_elements(data) == ["C", "H"]


# the engine


def double_or_fail(number: int) -> int:
    """Double a number; 3 is a user's mistake and 4 a programmer's."""
    if number == 3:
        raise UserError("three is refused")
    if number == 4:
        raise ZeroDivisionError("four")
    return 2 * number


def test_tasks_return_with_their_index_and_failures_are_collected() -> None:
    found = {}

    def run_all() -> None:
        found.update(engine.run_tasks(double_or_fail, [1, 3, 2, 4, 5], workers=2))

    with pytest.raises(engine.TaskFailureError) as caught:
        run_all()
    assert found == {0: 2, 2: 4, 4: 10}  # what follows a failure runs all the same
    assert caught.value.failures == {1: "three is refused", 3: "ZeroDivisionError: four"}
    assert "2 of 5 tasks failed" in str(caught.value)
    assert isinstance(caught.value, UserError)


def die(number: int) -> int:
    """End the worker as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_worker_that_dies_is_reported() -> None:
    with pytest.raises(engine.TaskFailureError, match="a worker process died"):
        list(engine.run_tasks(die, [1], workers=1))


def prepare(value: int) -> None:
    """Leave a mark in the worker."""
    os.environ["TEMPERMD_TEST_MARK"] = str(value)


def read_mark(_: int) -> tuple[str, str]:
    """Return the mark and the number of threads."""
    return os.environ["TEMPERMD_TEST_MARK"], os.environ["OMP_NUM_THREADS"]


def test_workers_are_prepared_and_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    tasks = engine.run_tasks(read_mark, [0], workers=1, initializer=prepare, initargs=(7,))
    assert list(tasks) == [(0, ("7", "1"))]


def test_closing_early_stops_the_rest(tmp_path: Path) -> None:
    tasks = engine.run_tasks(touch_and_wait, [str(tmp_path)] * 4, workers=1)
    next(tasks)
    start = time.monotonic()
    tasks.close()
    assert time.monotonic() - start < engine.GRACE_S + 2
    assert len(list(tmp_path.iterdir())) <= 2


def touch_and_wait(folder: str) -> None:
    """Leave a file and take some time."""
    Path(folder, f"{time.monotonic_ns()}").touch()
    time.sleep(0.3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_lammps_ends_with_the_command_that_started_it(number: int, tmp_path: Path) -> None:
    case = lcbop_case(ramp_steps=0, hold_steps=5_000_000, dump_every=1000)
    script = tmp_path / "script.py"
    script.write_text(
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from tempermd import engine, md\n"
        "if __name__ == '__main__':\n"
        f"    case = md.Case.model_validate_json({case.model_dump_json()!r})\n"
        "    cases = [case, case.model_copy(update={'seed': 2}), case]\n"
        f"    run = partial(md.run, root=Path({str(tmp_path)!r}))\n"
        "    list(engine.run_tasks(run, cases, workers=2))\n"
    )
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, script], stdout=said, stderr=said)
        wait_for(lambda: len(lammps_below(tmp_path)) == 2)
        process.send_signal(number)
        process.wait(timeout=20)
    wait_for(lambda: not lammps_below(tmp_path))
    assert process.returncode != 0
    assert not list(tmp_path.glob("*/result.json"))
    assert len(list(tmp_path.glob("*/attempt-*"))) == 2  # the third never began
