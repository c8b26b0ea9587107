"""Array scripts on a real one-node Slurm: submit, states, cancel, time limit, requeue."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm_node import SlurmNode, slurm  # noqa: F401  (a fixture)
from tempermd.engine import END_VARIABLE, EngineProfile, Resources
from tempermd.engine import slurm as commands
from tempermd.records import UserError

pytestmark = pytest.mark.slurm
PROFILE = EngineProfile(kind="slurm_array", partition="debug", walltime="00:02:00")
ONE_CORE = Resources()

WORK = """
import os, signal, sys, time
from pathlib import Path
folder, end = Path(sys.argv[1]), os.environ["TEMPERMD_JOB_END_UNIX_S"]
task, total = sys.argv[3], sys.argv[5]
with (folder / f"task{task}").open("a") as log:
    print("began", total, int(end) - int(time.time()), os.environ["OMP_NUM_THREADS"], file=log)
    log.flush()
    def stop(*_):
        print("warned", file=log, flush=True)
    signal.signal(signal.SIGTERM, stop)
    exec((folder / "work.py").read_text())
"""


def write(folder: Path, work: str, n_tasks: int = 1, profile: EngineProfile = PROFILE) -> Path:
    """Write an array script whose tasks note that they began and then do ``work``."""
    folder.mkdir(exist_ok=True)
    (folder / "work.py").write_text(work)
    command = [sys.executable, "-c", WORK, str(folder)]
    return commands.write_array(
        folder / "array.sh", profile, command, n_tasks, ONE_CORE, log_folder=folder / "logs"
    )


def wait_for(ready: Callable[[], object], patience_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + patience_s
    while not ready():
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.3)


def ended(ids: list[str]) -> bool:
    return all(state in commands.ENDED for state in commands.jobs(ids).values())


def test_every_array_task_does_its_share(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    job = commands.submit(write(tmp_path, "print('hello from', task)", n_tasks=3))
    wait_for(lambda: ended([job]))
    assert commands.jobs([job]) == {f"{job}_{n}": "COMPLETED" for n in range(3)}
    for number in range(3):
        began, total, left_s, threads = (tmp_path / f"task{number}").read_text().split()
        assert (began, total, threads) == ("began", "3", "1")
        assert 100 <= int(left_s) <= 120  # of a walltime of two minutes
        log = (tmp_path / "logs" / f"{job}_{number}.log").read_text()
        assert f"hello from {number}" in log


def test_states_of_what_fails_waits_and_is_unknown(
    slurm: SlurmNode,  # noqa: F811
    tmp_path: Path,
) -> None:
    failing = commands.submit(write(tmp_path / "failing", "sys.exit(3)"))
    nowhere = commands.submit(
        write(tmp_path, "", profile=PROFILE.model_copy(update={"partition": "closed"}))
    )
    too_long = commands.submit(
        write(tmp_path, "", profile=PROFILE.model_copy(update={"partition": "short"}))
    )
    wait_for(lambda: ended([failing]))
    assert commands.jobs([f"{failing}_0", nowhere, "9999"]) == {
        f"{failing}_0": "FAILED",
        f"{nowhere}_0": "PENDING",
        "9999": commands.GONE,
    }
    wait_for(lambda: commands.reason(nowhere) == "PartitionDown")
    wait_for(lambda: commands.reason(too_long) == "PartitionTimeLimit")
    commands.cancel([nowhere, too_long])
    assert commands.jobs([nowhere]) == {f"{nowhere}_0": "CANCELLED"}
    commands.cancel([nowhere])  # again is no fault


def test_cancel_ends_the_work(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    """Half-done tasks and waiting ones go; the programs themselves end, too."""
    job = commands.submit(write(tmp_path, "time.sleep(300)", n_tasks=6))
    wait_for(lambda: (tmp_path / "task0").exists())
    assert commands.named("tempermd") != []
    commands.cancel([job])
    wait_for(lambda: ended([job]))
    assert set(commands.jobs([job]).values()) == {"CANCELLED"}
    assert commands.named("tempermd") == []
    wait_for(lambda: not processes_of(tmp_path), 15)


TWO_RUNS = """
import subprocess
from tempermd import lmp
mpirun = lmp.mpirun_command(1)
first = subprocess.Popen([*mpirun, "bash", "-c", f"touch {folder}/first; sleep 40"])
while not (folder / "first").exists():
    time.sleep(0.1)
second = subprocess.run([*mpirun, "true"], timeout=120)
print("second", second.returncode, "first", first.poll(), file=log, flush=True)
first.terminate()
"""


def test_two_mpi_runs_share_a_job(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    """Left to itself MPICH starts ranks as steps of Slurm's, and the second waits for the first."""
    job = commands.submit(write(tmp_path, TWO_RUNS))
    wait_for(lambda: ended([job]))
    assert "second 0 first None" in (tmp_path / "task0").read_text()


def processes_of(folder: Path) -> list[str]:
    """Return the processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(folder).encode() in command:
            found.append(process.name)
    return found


@pytest.mark.slow
def test_time_limit_and_requeue(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    """At once, to save time: a task over its time limit, and one that asks to go on later.

    Slurm ends the first some 20 s late; the second waits about two minutes in the queue.
    """
    long, again = tmp_path / "long", tmp_path / "again"
    short = PROFILE.model_copy(update={"walltime": "00:01:00"})
    over = commands.submit(write(long, "while True: time.sleep(1)", profile=short))
    more = commands.submit(
        write(again, "sys.exit(0 if os.environ.get('SLURM_RESTART_COUNT') else 75)")
    )
    wait_for(lambda: ended([over]), 150)
    assert commands.jobs([over]) == {f"{over}_0": "TIMEOUT"}
    lines = (long / "task0").read_text().split("\n")
    assert 50 <= int(lines[0].split()[2]) <= 60
    assert lines[1] == "warned"
    wait_for(lambda: not processes_of(long), 30)
    wait_for(lambda: commands.jobs([more]) == {f"{more}_0": "COMPLETED"}, 240)
    assert (again / "task0").read_text().count("began") == 2


def test_a_refusal_is_one_sentence(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    script = write(tmp_path, "", profile=PROFILE.model_copy(update={"partition": "nosuch"}))
    with pytest.raises(UserError, match=r"sbatch refused .*invalid partition"):
        commands.submit(script)


def test_a_silent_slurm_is_said_to_be_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that never answers, as sacct and squeue do under load, is given up."""
    (tmp_path / "squeue").write_text("#!/bin/sh\nsleep 100\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(commands, "PATIENCE_S", 0.5)
    with pytest.raises(UserError, match="squeue gave no answer"):
        commands.jobs(["1"])


def test_without_slurm_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no 'scancel' here"):
        commands.cancel(["1"])


def test_the_script_is_plain_and_says_what_each_line_is_for(tmp_path: Path) -> None:
    profile = EngineProfile(
        kind="slurm_array",
        partition="gpu",
        account="me",
        max_running=4,
        walltime="1-02:00:00",
        setup=("module load cuda",),
        options=("#SBATCH --qos=long",),
    )
    script = commands.write_array(
        tmp_path / "runs.sh",
        profile,
        ["/opt/bin/tempermd", "campaign", "run-some", "my campaign"],
        50,
        Resources(ranks=2, threads=4, gpus=1, memory_GB=3),
        log_folder=tmp_path / "logs",
    )
    text = script.read_text()
    for line in (
        "#SBATCH --array=0-49%4",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=me",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --mem=3000",
        "#SBATCH --time=26:00:00",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=B:TERM@30",
        "#SBATCH --qos=long",
        "module load cuda",
        "export OMP_NUM_THREADS=4",
    ):
        assert line in text.splitlines()
    assert "'my campaign' --task \"$SLURM_ARRAY_TASK_ID\" --of 50" in text
    assert END_VARIABLE in text
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize(
    ("left", "seconds"),
    [("59:30", 3570), ("1:00:05", 3605), ("2-03:04:05", 183845), ("0:07", 7), ("UNLIMITED", 120)],
)
def test_the_end_is_what_slurm_says_is_left(left: str, seconds: int, tmp_path: Path) -> None:
    """The lines of the script themselves, with a squeue that gives a fixed answer."""
    from tempermd.engine.job_lines import end_lines

    (tmp_path / "squeue").write_text(f"#!/bin/sh\necho {left}\n")
    (tmp_path / "squeue").chmod(0o755)
    script = "\n".join([*end_lines(PROFILE, "slurm"), f"echo ${END_VARIABLE}"])
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "1"}
    done = subprocess.run(
        [shutil.which("bash"), "-ec", script],
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    )
    assert abs(int(done.stdout) - time.time() - seconds) < 20
