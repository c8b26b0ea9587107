"""The doctor on a cluster: a job that comes back tells what it saw, one that does not tells why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slurm_node import SlurmNode, slurm  # noqa: F401  (a fixture)
from tempermd import doctor
from tempermd.doctor import cluster, probe
from tempermd.engine import EngineProfile
from tempermd.engine import slurm as commands
from test_engine_slurm import wait_for

ARRAY = EngineProfile(kind="slurm_array", partition="debug")
PARSL = EngineProfile(
    kind="parsl", scheduler="slurm", partition="debug", cores_per_node=2, cores_per_task=2
)
LOOKED_AT = ["job", "node", "tempermd", "shared folder", "time left", "LAMMPS", "ranks", "clock"]


def line_of(findings: list[doctor.Finding]) -> str:
    """Return the one line of a job that did not come back."""
    (finding,) = findings
    assert (finding.subject, finding.good) == ("job", False)
    return finding.detail


def test_this_machine_is_a_good_engine(tmp_path: Path) -> None:
    findings = doctor.examine_cluster(EngineProfile(), tmp_path)
    assert [finding.line() for finding in findings if not finding.good] == []
    assert [finding.subject for finding in findings] == LOOKED_AT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slurm
@pytest.mark.parametrize("profile", [ARRAY, PARSL], ids=["array", "parsl"])
def test_a_good_cluster(slurm: SlurmNode, profile: EngineProfile, tmp_path: Path) -> None:  # noqa: F811
    """Two ranks by mpirun within a job, too, which MPICH would leave to srun."""
    if profile is PARSL:
        pytest.importorskip("parsl")
    findings = doctor.examine_cluster(profile, tmp_path)
    assert [finding.line() for finding in findings if not finding.good] == []
    assert [finding.subject for finding in findings] == LOOKED_AT
    left = next(finding.detail for finding in findings if finding.subject == "time left")
    assert left.endswith(" of 300 s")
    assert list(tmp_path.iterdir()) == []
    # a cancelled pilot is listed until its processes have ended
    wait_for(lambda: commands.named("tempermd") == commands.named("parsl") == [])


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"partition": "nosuch"}, "invalid partition specified: nosuch"),
        ({"partition": "closed"}, r"waits \(PartitionDown\): the partition is down"),
        ({"partition": "short"}, r"waits \(Partition(TimeLimit|Config)\): .* five minutes"),
        ({"python": "/no/such/python"}, "/no/such/python: No such file or directory"),
        ({"setup": ("exit 4",)}, "ended as FAILED: it printed nothing"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_is_wrong_is_said_in_words(
    slurm: SlurmNode,  # noqa: F811
    changes: dict,
    words: str,
    tmp_path: Path,
) -> None:
    import re

    found = line_of(doctor.examine_cluster(ARRAY.model_copy(update=changes), tmp_path))
    assert re.search(words, found), found
    assert list(tmp_path.iterdir()) == []
    assert commands.named("tempermd") == []


@pytest.mark.slurm
def test_parsl_jobs_say_it_too(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("parsl")
    closed = PARSL.model_copy(update={"partition": "closed"})
    assert "PartitionDown" in line_of(doctor.examine_cluster(closed, tmp_path))
    lost = PARSL.model_copy(update={"python": "/no/such/python"})
    assert "/no/such/python" in line_of(doctor.examine_cluster(lost, tmp_path))
    assert commands.named("parsl") == []


@pytest.mark.slurm
def test_patience_ends(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    slow = ARRAY.model_copy(update={"setup": ("sleep 100",)})
    found = line_of(doctor.examine_cluster(slow, tmp_path, patience_s=3))
    assert found.startswith("no word from job")
    assert "RUNNING" in found


@pytest.mark.slurm
def test_the_command_exits_with_1(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "mine.toml").write_text('kind = "slurm_array"\npartition = "closed"\n')
    command = [str(Path(sys.executable).parent / "tempermd"), "doctor", "--cluster", "mine.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("MISSING  job ")
    assert "the partition is down" in done.stdout


def test_a_node_with_another_folder_version_or_clock_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checked at the probe's own functions: one machine has one version and one clock."""
    (tmp_path / "token").write_text("another")
    with pytest.raises(probe.UserError, match="reads something else"):
        probe._shared(tmp_path, "mine")
    with pytest.raises(probe.UserError, match=r"the node imports version .*, here it is 0\.0\.1"):
        probe._version("0.0.1")
    monkeypatch.delenv(probe.END_VARIABLE, raising=False)
    with pytest.raises(probe.UserError, match="is not set"):
        probe._time_left(300)
    monkeypatch.setenv(probe.END_VARIABLE, "1000")
    with pytest.raises(probe.UserError, match="clock"):
        probe._time_left(300)
    assert cluster._clock(100.0, 90.0, 110.0).good
    assert "at least 50 s" in cluster._clock(160.0, 90.0, 110.0).detail
    assert "at least 40 s" in cluster._clock(50.0, 90.0, 110.0).detail
