"""Parsl as an engine: the same as here, and jobs that end cost no task anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_node import SlurmNode, slurm  # noqa: F401  (a fixture)
from tempermd import engine
from tempermd.engine import END_VARIABLE, EngineProfile, GraphTask, crews, parsl_crew, parsl_parts
from tempermd.engine import slurm as commands
from tempermd.records import UserError

pytest.importorskip("parsl", reason="needs pip install 'tempermd[hpc]'")

TESTS = Path(__file__).parent
LOCAL = EngineProfile(kind="parsl", cores_per_node=2)
ON_SLURM = EngineProfile(
    kind="parsl", scheduler="slurm", partition="debug", cores_per_node=1, walltime="00:05:00"
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Workers find this file; lost jobs are noticed sooner; nothing is left where we work."""
    given = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(given))
    monkeypatch.setattr(parsl_parts, "LOST_AFTER_S", 8)
    monkeypatch.setattr(parsl_parts, "ASK_SCHEDULER_S", 2)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield
    assert list(work.iterdir()) == []


def act(task: tuple[str, str]) -> str:
    """Leave a mark and do as the task's fate says."""
    folder, name, *fate = Path(task[0]), *task[1].split()
    with (folder / "log").open("a") as log:
        log.write(f"{name} {os.getpid()}\n")
    for word in fate:
        if word == "die" or (word == "once" and (folder / "log").read_text().count(name) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "refuse":
            raise UserError(f"{name} is refused")
        if word == "wait":
            (folder / "child").write_text("")
            subprocess.run(["sleep", "297"], check=False)
            time.sleep(297)  # the end of a job may reach the child before us
    return name.upper()


def marks(folder: Path) -> list[str]:
    log = folder / "log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def wait_for(ready, patience_s: float = 90.0) -> None:
    deadline_s = time.monotonic() + patience_s
    while not ready():
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.2)


def test_results_failures_and_deaths_are_as_here(tmp_path: Path) -> None:
    """By index; a refusal is a failure; a worker that dies costs its own task alone."""
    fates = ["a", "b refuse", "c die", "d once", "e"]
    found: dict[int, str] = {}
    tasks = [(str(tmp_path), fate) for fate in fates]
    with pytest.raises(engine.TaskFailureError) as caught:
        found.update(engine.run_tasks(act, tasks, profile=LOCAL, scratch=tmp_path / "s"))
    assert found == {0: "A", 3: "D", 4: "E"}
    assert set(caught.value.failures) == {1, 2}
    assert caught.value.failures[1] == "b is refused"
    assert "worker process died" in caught.value.failures[2]
    assert [marks(tmp_path).count(name) for name in "abcde"] == [1, 1, 3, 2, 1]
    assert not (tmp_path / "s").exists()  # no job was lost: nobody will ask for its logs


def large(number: int) -> tuple[int, bytes]:
    """Return more than a pipe holds: it takes a while until the last byte is read."""
    return os.getpid(), bytes(8_000_000)


def test_killed_workers_take_no_lock_with_them(tmp_path: Path) -> None:
    """Neither while a result of theirs is on its way, nor while they wait for a task."""
    crew = engine.open_crew(LOCAL, scratch=tmp_path)
    try:
        futures = []
        for name in "abcd":
            futures.append(crew.submit(large, 1))
            futures.append(crew.submit(act, (str(tmp_path), f"{name} once")))
        outcomes = [future.result(timeout=120) for future in futures]
        assert [len(outcome.value[1]) for outcome in outcomes[::2]] == [8_000_000] * 4
        assert [outcome.value for outcome in outcomes[1::2]] == ["A", "B", "C", "D"]
        (idle, _) = crew.submit(large, 1).result(timeout=60).value
        os.kill(idle, signal.SIGKILL)
        futures = [crew.submit(act, (str(tmp_path), name)) for name in "efgh"]
        assert [future.result(timeout=60).value for future in futures] == ["E", "F", "G", "H"]
    finally:
        crew.stop()


def prepare(value: int) -> None:
    os.environ["PREPARED"] = str(value + int(os.environ.get("PREPARED", 0)))


def prepared(item: int) -> tuple[int, str, str]:
    return item, os.environ["PREPARED"], os.environ["OMP_NUM_THREADS"]


def add(task: tuple[int, int]) -> int:
    return sum(task)


def test_graphs_streams_and_initializers(tmp_path: Path) -> None:
    """A profile of two-core tasks on four cores: two at a time, each told of its two cores."""
    profile = EngineProfile(kind="parsl", cores_per_node=4, cores_per_task=2)
    crew = engine.open_crew(profile, initializer=prepare, initargs=(7,), scratch=tmp_path)
    try:
        assert (crew.count, crew.cores_per_task) == (2, 2)
        outcomes = [future.result() for future in [crew.submit(prepared, n) for n in range(6)]]
        assert [outcome.value for outcome in outcomes] == [(n, "7", "2") for n in range(6)]
        unsent = crew.submit(lambda item: item, 1).result()
        assert "pickle" in unsent.failure.lower()
    finally:
        crew.stop()
    tasks = [
        GraphTask(key="a", item=1, title="a", greedy=True),
        GraphTask(key="b", item=10, title="b", needs=("a",)),
    ]
    seen = {}
    engine.run_graph(
        add, tasks, more=lambda key, value: seen.update({key: value}) or (), profile=profile,
        scratch=tmp_path,
    )  # fmt: skip
    assert seen == {"a": 3, "b": 12}


def negative(number: int) -> int:
    return -number


def maybe(number: int) -> int:
    if number == 13:
        os._exit(1)
    return number * number


def test_a_stream_loses_only_what_kills(tmp_path: Path) -> None:
    found = engine.stream_tasks(
        maybe, iter([2, 13, 3]), on_death=negative, profile=LOCAL, scratch=tmp_path
    )
    assert sorted(found) == [-13, 4, 9]


def processes_with(word: str) -> list[str]:
    """Return the processes whose command has a word in it, but not this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if word in command and state != "Z" and int(process.name) != os.getpid():
            found.append(f"{process.name} {command}")
    return found


def test_a_killed_job_gives_its_task_to_the_next(tmp_path: Path) -> None:
    """All processes of the job die at once, as when a node is lost."""
    scratch = tmp_path / "scratch"
    crew = engine.open_crew(LOCAL, 1, scratch=scratch)
    try:
        future = crew.submit(act, (str(tmp_path), "a wait"))
        wait_for(lambda: marks(tmp_path) == ["a"])
        first = int((tmp_path / "log").read_text().split()[1])
        os.killpg(os.getpgid(first), signal.SIGKILL)
        wait_for(lambda: marks(tmp_path) == ["a", "a"])
        assert not future.done()
    finally:
        crew.stop()
    assert future.result().failure == "stopped"
    assert processes_with(str(scratch)) == []
    assert len(list(scratch.glob("parsl-*/000/submit_scripts/*.sh"))) == 2  # kept: a job was lost


DRIVER = """
import sys
from pathlib import Path
from tempermd import engine
from tempermd.engine import parsl_parts
from test_engine_parsl import LOCAL, ON_SLURM, act
parsl_parts.LOST_AFTER_S = 8
profile = {"local": LOCAL, "slurm": ON_SLURM}[sys.argv[2]].model_copy(update=eval(sys.argv[3]))
folder = Path(sys.argv[1])
if __name__ == "__main__":
    tasks = [(str(folder), "a wait"), (str(folder), "b wait")]
    list(engine.run_tasks(act, tasks, profile=profile, scratch=folder / "scratch"))
"""


def drive(folder: Path, engine_name: str = "local", **changes: object) -> subprocess.Popen[str]:
    """Start a driver whose tasks wait for minutes."""
    command = [sys.executable, "-c", DRIVER, str(folder), engine_name, repr(changes)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    """As the terminal sends it: to the driver and all that is in its group."""
    driver = drive(tmp_path)
    wait_for((tmp_path / "child").exists)
    os.killpg(driver.pid, signal.SIGINT)
    assert "KeyboardInterrupt" in driver.communicate(timeout=60)[1]
    wait_for(lambda: not processes_with(str(tmp_path)), 20)
    wait_for(lambda: not processes_with("sleep 297"), 20)


def test_workers_of_a_killed_driver_end(tmp_path: Path) -> None:
    """They hear nothing more; no worker waits for a driver that will not come back."""
    driver = drive(tmp_path)
    wait_for((tmp_path / "child").exists)
    driver.kill()
    driver.communicate()
    wait_for(lambda: not processes_with(str(tmp_path)), 60)


def test_a_node_that_cannot_start_workers_is_told_in_words(tmp_path: Path) -> None:
    profile = LOCAL.model_copy(update={"setup": ("source /no/such/venv/bin/activate || exit 3",)})
    with pytest.raises(engine.TaskFailureError) as caught:
        list(engine.run_tasks(act, [(str(tmp_path), "a")], profile=profile, scratch=tmp_path / "s"))
    assert "3 jobs in a row ended before a worker" in caught.value.failures[0]
    assert "/no/such/venv/bin/activate: No such file" in caught.value.failures[0]


def test_a_task_that_a_node_cannot_load_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = os.environ["PYTHONPATH"].split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path != str(TESTS)))
    with pytest.raises(engine.TaskFailureError, match=r"cannot load the task: ModuleNotFound"):
        list(engine.run_tasks(act, [(str(tmp_path), "a")], profile=LOCAL, scratch=tmp_path / "s"))


def test_a_dead_interchange_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsl_crew, "ANSWER_S", 5.0)
    crew = engine.open_crew(LOCAL, 1, scratch=tmp_path / "s")
    try:
        future = crew.submit(act, (str(tmp_path), "a wait"))
        wait_for((tmp_path / "child").exists)
        crew.executor.interchange_proc.kill()
        assert "interchange ended with code -9" in future.result(timeout=30).failure
        assert "interchange" in crew.submit(act, (str(tmp_path), "b")).result(10).failure
    finally:
        crew.stop()
    wait_for(lambda: not processes_with(str(tmp_path)), 20)


def test_without_parsl_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(crews, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'tempermd\[hpc\]'"):
        engine.open_crew(LOCAL, scratch=tmp_path)


def test_paths_with_spaces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="path with spaces"):
        engine.open_crew(LOCAL, scratch=tmp_path / "my runs")


QSUB = """#!/bin/bash
# stands in for a scheduler's submit command: the job runs at once, as a process of this machine
script="${@: -1}"
[ -t 0 ] || [ "$script" != "$0" ] || script=/dev/stdin
[ $# -gt 0 ] || { script=$(mktemp); cat > "$script"; }
PBS_JOBID=$$ LSB_JOBID=$$ setsid bash "$script" > "$FAKE/$$.out" 2>&1 &
echo $! > "$FAKE/$$.pid"
cp "$script" "$FAKE/$$.script"
[ "$(basename "$0")" = bsub ] && echo "Job <$$> is submitted to queue <normal>." || echo "$$.server"
"""
ENDED = """#!/bin/bash
for id in "$@"; do kill -TERM -- -$(cat "$FAKE/${id%.server}.pid") 2>/dev/null; done; true
"""
STATES = {
    "qstat": """#!/bin/bash
printf '{"Jobs": {'
for id in "${@:5}"; do printf '%s"%s": {"job_state": "R"}' "$comma" "$id"; comma=,; done
printf '}}'
""",
    "bjobs": '#!/bin/bash\nfor id in "${@:4}"; do echo $id RUN; done\n',
}


@pytest.mark.parametrize(
    ("scheduler", "submit", "cancel", "lines"),
    [
        ("pbs", "qsub", "qdel", ["#PBS -l walltime=00:20:00", "#PBS -l select=1:ncpus=2:mem=3gb"]),
        ("lsf", "bsub", "bkill", ["#BSUB -W 20", "#BSUB -q fast", "#BSUB -n 2"]),
    ],
)
def test_scripts_for_other_schedulers_run(
    scheduler: str,
    submit: str,
    cancel: str,
    lines: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PBS and LSF cannot be had here: small scripts stand in for their commands.

    What this shows is that the job's script is one that starts workers; what it asks of the
    scheduler is compared as text.
    """
    fake = tmp_path / "bin"
    fake.mkdir()
    programs = {submit: QSUB, cancel: ENDED, **STATES}
    for name, text in programs.items():
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(fake))
    profile = EngineProfile(
        kind="parsl", scheduler=scheduler, partition="fast", cores_per_node=2, walltime=20,
        memory_GB=3, setup=("export SITE=here",),
    )  # fmt: skip
    found = dict(
        engine.run_tasks(surroundings, [1, 2], profile=profile, scratch=tmp_path / "scratch")
    )
    for site, left_s in found.values():
        assert site == "here"
        assert 1100 < left_s <= 1200
    (script,) = fake.glob("*.script")
    for line in lines:
        assert line in script.read_text()
    wait_for(lambda: not processes_with(str(tmp_path / "scratch")), 20)


def surroundings(item: int) -> tuple[str | None, float]:
    """Return what the profile's setup set, and the seconds that are left of the job."""
    return os.environ.get("SITE"), int(os.environ[END_VARIABLE]) - time.time()


@pytest.mark.slurm
def test_tasks_run_in_slurm_jobs(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    """With the time that is left of their job; afterwards the queue is empty."""
    profile = ON_SLURM.model_copy(update={"setup": ("export SITE=here",), "max_blocks": 2})
    found = dict(
        engine.run_tasks(surroundings, range(20), profile=profile, scratch=tmp_path / "scratch")
    )
    assert sorted(found) == list(range(20))
    assert all(site == "here" and 200 < left_s <= 300 for site, left_s in found.values())
    wait_for(lambda: commands.named("parsl") == [], 20)
    wait_for(lambda: not processes_with(str(tmp_path / "scratch")), 20)


@pytest.mark.slurm
def test_a_cancelled_job_is_followed_by_another(
    slurm: SlurmNode,  # noqa: F811
    tmp_path: Path,
) -> None:
    """What ends a job of Parsl's, walltime or a person, ends it by the same signals."""
    crew = engine.open_crew(ON_SLURM, scratch=tmp_path / "scratch")
    try:
        future = crew.submit(act, (str(tmp_path), "a wait"))
        wait_for(lambda: marks(tmp_path) == ["a"])
        (job,) = commands.named("parsl")
        commands.cancel([job])
        wait_for(lambda: marks(tmp_path) == ["a", "a"])
        assert not future.done()
        assert commands.named("parsl") not in ([], [job])
    finally:
        crew.stop()
    wait_for(lambda: commands.named("parsl") == [], 20)


@pytest.mark.slurm
@pytest.mark.parametrize("partition", ["debug", "closed"])
def test_ctrl_c_empties_the_queue(
    slurm: SlurmNode,  # noqa: F811
    partition: str,
    tmp_path: Path,
) -> None:
    """Jobs that run and jobs that wait for a partition that is down."""
    driver = drive(tmp_path, "slurm", partition=partition, max_blocks=2)
    if partition == "debug":
        wait_for((tmp_path / "child").exists)
    wait_for(lambda: commands.named("parsl") != [])
    driver.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in driver.communicate(timeout=90)[1]
    wait_for(lambda: commands.named("parsl") == [], 10)
    wait_for(lambda: not processes_with(str(tmp_path)), 20)


@pytest.mark.slurm
def test_a_wrong_partition_is_told_in_words(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    profile = ON_SLURM.model_copy(update={"partition": "nosuch"})
    with pytest.raises(engine.TaskFailureError, match=r"invalid partition"):
        list(engine.run_tasks(act, [(str(tmp_path), "a")], profile=profile, scratch=tmp_path / "s"))
    assert threading.active_count() < 30
