"""One campaign by three engines: here, by Parsl's pilots in Slurm, and as a Slurm array."""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from campaign_cases import table_of, tempermd, write_spec
from slurm_node import SlurmNode, slurm  # noqa: F401  (a fixture)
from tempermd import campaign, md
from tempermd.campaign.submitting import active_jobs, submitted
from tempermd.engine import slurm as commands
from tempermd.records import read_record

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
ROOT = Path(__file__).parents[1]
PROFILES = {
    "pilots": 'kind = "parsl"\nscheduler = "slurm"\ncores_per_node = 2\nwalltime = "00:05:00"\n',
    "array": 'kind = "slurm_array"\ncores_per_node = 1\nmax_running = 2\nwalltime = "00:05:00"\n',
}


@pytest.fixture(autouse=True)
def own_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPERMD_SLOTS", str(tmp_path / "slots"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the campaign as this machine alone ran it."""
    root = tmp_path_factory.mktemp("here")
    ran = tempermd("campaign", "run", write_spec(root, seeds=2, hold_ps=0.2))
    assert ran.returncode == 0, ran.stderr
    assert tempermd("campaign", "collect", root / "campaign").returncode == 0
    return root / "campaign"


def spec_on(engine: str, folder: Path, partition: str = "debug", hold_ps: float = 0.2) -> Path:
    profile = f'{PROFILES[engine]}partition = "{partition}"\n'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{engine}.toml").write_text(profile)
    return write_spec(folder, seeds=2, hold_ps=hold_ps, more=f'engine = "{engine}.toml"')


def wait_for_the_queue(folder: Path) -> None:
    deadline_s = time.monotonic() + 150
    while active_jobs(folder):
        assert time.monotonic() < deadline_s, [log.read_text() for log in folder.glob("logs/*")]
        time.sleep(1.0)


def assert_same_table(folder: Path, other: Path) -> None:
    collected = tempermd("campaign", "collect", folder)
    assert collected.returncode == 0, collected.stderr
    assert {run["state"] for run in table_of(folder)} == {"finished"}
    for name in ("table.csv", "table.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.skipif(
    importlib.util.find_spec("parsl") is None, reason="needs pip install 'tempermd[hpc]'"
)
def test_pilots_give_the_table_of_this_machine(
    slurm: SlurmNode,  # noqa: F811
    here: Path,
    tmp_path: Path,
) -> None:
    ran = tempermd("campaign", "run", spec_on("pilots", tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert_same_table(tmp_path / "campaign", here)
    assert commands.named("tempermd") == []


def test_an_array_gives_the_table_of_this_machine(
    slurm: SlurmNode,  # noqa: F811
    here: Path,
    tmp_path: Path,
) -> None:
    spec, folder = spec_on("array", tmp_path), tmp_path / "campaign"
    dry = tempermd("campaign", "run", spec, "--dry-run")
    assert (dry.returncode, submitted(folder)) == (0, []), dry.stderr
    script = (folder / "array.sh").read_text()
    assert "#SBATCH --array=0-1%2" in script
    assert f"campaign work {folder} --workers 1 --task" in script
    ran = tempermd("campaign", "run", spec)
    assert (ran.returncode, "array " in ran.stderr) == (0, True), ran.stderr
    refused = tempermd("campaign", "run", spec)
    assert (refused.returncode, "still in the queue" in refused.stderr) == (1, True)
    wait_for_the_queue(folder)
    assert_same_table(folder, here)
    again = tempermd("campaign", "run", spec)
    assert (again.returncode, "4 runs: 4 finished" in again.stderr) == (0, True)
    assert len(submitted(folder)) == 1


def test_stop_takes_the_array_out_of_the_queue(
    slurm: SlurmNode,  # noqa: F811
    tmp_path: Path,
) -> None:
    spec = spec_on("array", tmp_path, partition="closed")
    assert tempermd("campaign", "run", spec).returncode == 0
    assert len(active_jobs(tmp_path / "campaign")) == 2
    stopped = tempermd("campaign", "stop", tmp_path / "campaign")
    assert (stopped.returncode, "2 jobs cancelled" in stopped.stderr) == (0, True)
    assert active_jobs(tmp_path / "campaign") == {}
    assert campaign.read_campaign(tmp_path / "campaign").cases


def test_the_pages_commands_for_a_cluster_run(
    slurm: SlurmNode,  # noqa: F811
    tmp_path: Path,
) -> None:
    """The blocks of docs/campaigns.md that need a Slurm, in order, as a newcomer types them."""
    pytest.importorskip("parsl", reason="needs pip install 'tempermd[hpc]'")
    shutil.copytree(ROOT / "studies" / "quickstart", tmp_path / "studies" / "quickstart")
    page = (ROOT / "docs" / "campaigns.md").read_text()
    blocks = re.findall(r"^```bash slurm\n(.*?)^```", page, flags=re.M | re.S)
    lines = "".join(blocks).splitlines()
    assert lines.pop(0) == "cd studies/quickstart"
    folder = tmp_path / "studies" / "quickstart"
    for line in lines:
        program, *words = line.split()
        assert program == "tempermd"
        if words[1] == "collect":
            wait_for_the_queue(folder / words[2])
        said = tempermd(*words, cwd=folder)
        assert said.returncode == 0, f"{line}\n{said.stdout}\n{said.stderr}"
    for name in ("table.csv", "table.json"):
        tables = [(folder / one / name).read_bytes() for one in ("by_pilots", "by_array")]
        assert tables[0] == tables[1]


def orphans_of(folder: Path) -> list[psutil.Process]:
    """Return the workers of a campaign's folder, and all that they started."""
    workers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"work", str(folder)} <= set(process.info["cmdline"] or ())
    ]
    return [*workers, *(child for one in workers for child in one.children(recursive=True))]


def test_a_lost_node_and_its_orphan_leave_the_table_of_the_unbroken_one(
    slurm: SlurmNode,  # noqa: F811
    tmp_path: Path,
) -> None:
    """A node is lost amid runs, its processes freeze, Slurm starts the job again, they thaw.

    Slurm takes a dozen seconds to miss the node, and about two minutes to start the job anew.
    """
    spec, folder = spec_on("array", tmp_path / "lost", hold_ps=4.0), tmp_path / "lost" / "campaign"
    assert tempermd("campaign", "run", spec).returncode == 0
    wait_until(lambda: list(folder.glob("runs/*/attempt-001/restart.2000")), 60)
    slurm.kill_node()
    frozen = orphans_of(folder)
    assert len(frozen) > 1
    for orphan in frozen:
        orphan.send_signal(signal.SIGSTOP)
    wait_until(lambda: "down" in slurm.node_state(), 60)
    slurm.start_node()
    wait_until(lambda: list(folder.glob("runs/*/attempt-002")), 240)
    for orphan in frozen:
        orphan.send_signal(signal.SIGCONT)
    wait_for_the_queue(folder)
    wait_until(lambda: not any(orphan.is_running() for orphan in frozen), 60)
    whole = write_spec(tmp_path / "whole", seeds=2, hold_ps=4.0)
    assert tempermd("campaign", "run", whole).returncode == 0
    assert tempermd("campaign", "collect", tmp_path / "whole" / "campaign").returncode == 0
    assert_same_table(folder, tmp_path / "whole" / "campaign")
    assert tempermd("campaign", "verify", folder).returncode == 0
    taken_over = [run for run in (folder / "runs").iterdir() if (run / "attempt-002").exists()]
    assert taken_over
    for run in taken_over:
        first = run / "attempt-001" / md.RESULT
        assert not first.exists() or read_record(first, md.RunResult).failure == "fenced"
        assert md.read_result(run).attempt != "attempt-001"


def wait_until(ready, limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < deadline_s
        time.sleep(0.5)
