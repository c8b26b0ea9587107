"""Slots: whatever starts tasks on a node, no two of them ever hold the same core or GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tempermd.engine import slots, take_slot
from tempermd.records import UserError

TAKER = """
import os, random, sys, time
from tempermd.engine import slots, take_slot
log, seed, cores_per_slot, total = sys.argv[1], *map(int, sys.argv[2:5])
os.sched_getaffinity = lambda process: set(range(8))   # more cores than a test machine has
gpus = {"gpus_per_slot": 1, "total_gpus": 3} if seed % 2 else {}
random.seed(seed)
for _ in range(6):
    with take_slot(cores_per_slot, total, **gpus) as slot:
        taken = [*(f"core{c}" for c in slot.cores), *(f"gpu{d}" for d in slot.devices)]
        with open(log, "a") as stream:
            for name in taken:
                stream.write(f"{time.monotonic_ns()} take {name} {seed}\\n")
        if seed == 5:
            os._exit(9)  # the kernel lets go of what it held
        time.sleep(random.uniform(0, 0.05))
        with open(log, "a") as stream:
            for name in taken:
                stream.write(f"{time.monotonic_ns()} give {name} {seed}\\n")
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slots.FOLDER_VARIABLE, str(tmp_path / "slots"))


def test_many_processes_never_overlap(tmp_path: Path) -> None:
    """Twelve processes on eight cores and three GPUs: every hold ends before the next begins."""
    log = tmp_path / "log"
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER, log, str(seed), str(1 + seed % 3), "8"])
        for seed in range(12)
    ]
    codes = [taker.wait(120) for taker in takers]
    assert codes == [9 if seed == 5 else 0 for seed in range(12)]
    lines = sorted((line.split() for line in log.read_text().splitlines()), key=lambda x: int(x[0]))
    held: dict[str, str] = {}
    for _, what, name, seed in lines:
        if what == "give":
            assert held.pop(name) == seed
        else:
            assert name not in held or held[name] == "5"  # 5 died with what it held
            held[name] = seed
    assert len(lines) > 200
    assert "gpu0" in {line[2] for line in lines}  # how many at a time is up to the machine


def pretend_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(count)))


def test_slots_of_a_size_are_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cores(monkeypatch, 8)
    with take_slot(1, 8) as one, take_slot(2, 8) as two, take_slot(4, 8) as four:
        assert (one.cores, two.cores, four.cores) == ((0,), (2, 3), (4, 5, 6, 7))
        with take_slot(1, 8) as last:
            assert last.cores == (1,)


def test_a_job_holds_no_more_than_its_total(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs on a node that does not bind them: each keeps to its own number of cores."""
    pretend_cores(monkeypatch, 4)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with take_slot(2, 2) as mine:
        with pytest.raises(UserError, match="no 1 free cores"), take_slot(1, 2, patience_s=0):
            pass
        monkeypatch.setenv("SLURM_JOB_ID", "8")
        with take_slot(2, 2) as other:
            assert set(mine.cores).isdisjoint(other.cores)


def test_what_is_given_back_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cores(monkeypatch, 2)
    for _ in range(3):
        with take_slot(2, 2, patience_s=0) as slot:
            assert slot.cores == (0, 1)
    for _ in range(20):  # a refusal holds nothing either
        with take_slot(1, 2, patience_s=0), pytest.raises(UserError), take_slot(2, 2, patience_s=0):
            pass
    assert len(list(Path(f"/proc/{os.getpid()}/fd").iterdir())) < 60


def test_who_waits_may_look_around_and_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cores(monkeypatch, 1)
    looks: list[float] = []

    def look(waited_s: float) -> None:
        looks.append(waited_s)
        if len(looks) == 3:
            raise KeyError("enough")

    with take_slot(1, 1):
        with pytest.raises(KeyError, match="enough"), take_slot(1, 1, waiting=look):
            pass
        assert looks == sorted(looks)
        assert looks[2] > slots.PAUSE_S
    with take_slot(1, 1, patience_s=0, waiting=look):  # nothing is held by who left
        assert len(looks) == 3


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ((3, 2), r"wants 3 cores, but there are 2 \(2 seen, 2 allowed\)"),
        ((2, 1), r"wants 2 cores, but there are 1 \(2 seen, 1 allowed\)"),
        ((1, 2, 1, 0), "wants 1 gpus, but there are 0"),
    ],
)
def test_more_than_there_is_is_refused(
    wish: tuple[int, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_cores(monkeypatch, 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cores, total, gpus, total_gpus = (*wish, 0, 0)[:4]
    with (
        pytest.raises(UserError, match=words),
        take_slot(cores, total, gpus_per_slot=gpus, total_gpus=total_gpus),
    ):
        pass


def test_a_pinned_slot_binds_children() -> None:
    """A child sees the slot's core and GPU alone; afterwards all is as before."""
    code = "import os; print(*sorted(os.sched_getaffinity(0)), os.environ['CUDA_VISIBLE_DEVICES'])"
    before = (os.sched_getaffinity(0), os.environ.get("CUDA_VISIBLE_DEVICES"))
    os.environ["CUDA_VISIBLE_DEVICES"] = "GPU-a,GPU-b"
    try:
        with take_slot(1, len(before[0]), gpus_per_slot=1, total_gpus=2) as slot, slot.pinned():
            seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert seen.stdout.split() == [str(slot.cores[0]), "GPU-a"]
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        if before[1] is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before[1]
    assert os.sched_getaffinity(0) == before[0]


def test_a_killed_holder_gives_back(tmp_path: Path) -> None:
    code = (
        "import time\nfrom tempermd.engine import take_slot\n"
        "with take_slot(1, 1):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    start_s = time.monotonic()
    with take_slot(1, 1, patience_s=30):
        assert time.monotonic() - start_s < 30


HOLDER = """
import time
from tempermd.engine import take_slot
with take_slot(1, 8):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("mine", "free"), [({"SLURM_RESTART_COUNT": "1"}, True), ({"SLURM_JOB_ID": "8"}, False)]
)
def test_an_orphan_keeps_no_core_from_its_own_job_begun_anew(
    mine: dict[str, str], free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost node left a process behind; Slurm starts the same job again on the same cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import os; os.sched_getaffinity = lambda p: {0}\n" + HOLDER],
        env=os.environ | {"SLURM_JOB_ID": "7"},
        stdout=subprocess.PIPE,
    )
    try:
        assert orphan.stdout is not None
        assert orphan.stdout.readline() == b"held\n"
        for name, value in ({"SLURM_JOB_ID": "7"} | mine).items():
            monkeypatch.setenv(name, value)
        if free:
            with take_slot(1, 1, patience_s=0.5) as slot:
                assert slot.cores == (0,)
                with (
                    pytest.raises(UserError, match="no 1 free cores"),
                    take_slot(1, 2, patience_s=0.1),
                ):
                    pass
        else:
            with pytest.raises(UserError, match="no 1 free"), take_slot(1, 1, patience_s=0.5):
                pass
    finally:
        orphan.kill()
        orphan.wait()
        orphan.stdout.close()
