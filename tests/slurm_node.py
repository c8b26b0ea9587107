"""A real Slurm of one node for tests: its daemons run as long as a test session does.

The binaries are those of Debian's packages `slurm-wlm` and `munge`; nothing of an installed
Slurm is used or changed, since folder, ports, key and configuration are this session's own.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
START_S, STOP_S = 30.0, 10.0

CONFIGURATION = """
ClusterName=tempermd-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# no cgroups, no plugins that want them: it must run in a container
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
# a node that was lost comes back by itself; killed jobs end soon
ReturnToService=2
SlurmdTimeout=10
KillWait=5
UnkillableStepTimeout=20
MinJobAge=120
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=1 State=UP
PartitionName=closed Nodes={host} State=DOWN
"""


@dataclass
class SlurmNode:
    """A running Slurm: its folder, and what a test does to it."""

    folder: Path
    host: str
    cores: int
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        return self.folder / "slurm.conf"

    def start(self) -> None:
        """Start all daemons and wait until the node takes jobs."""
        key = self.folder / "munge.key"
        subprocess.run(["mungekey", "-c", "-k", str(key)], check=True)
        key.chmod(0o400)
        files = {name: self.folder / f"munge.{name}" for name in ("socket", "seed", "pid", "log")}
        munge = [f"--{name}-file={files[name]}" for name in ("seed", "pid", "log")]
        munge += [f"--key-file={key}", f"--socket={files['socket']}", "--foreground", "--force"]
        self._daemon("munged", munge)
        self._await("munge's socket", lambda: files["socket"].exists())
        self._daemon("slurmctld", ["-D", "-c", "-f", str(self.configuration)])
        self.start_node()

    def start_node(self) -> None:
        """Start ``slurmd``, as at first or after it was killed, and wait for the node."""
        self._daemon("slurmd", ["-D", "-f", str(self.configuration), "-N", self.host])
        self._await("the node", lambda: self.node_state() in ("idle", "mix", "alloc"))

    def node_state(self) -> str:
        """Return what ``sinfo`` says of the node."""
        command = ["sinfo", "-h", "-o", "%t", "-p", "debug"]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment())
        return done.stdout.strip()

    def kill_node(self) -> None:
        """Lose the node: ``slurmd`` and the keepers of its jobs die, the jobs' programs do not."""
        for keeper in self._keepers():
            os.kill(keeper, signal.SIGKILL)
        self.daemons["slurmd"].kill()
        self.daemons.pop("slurmd").wait()
        for keeper in self._keepers():  # started in between
            os.kill(keeper, signal.SIGKILL)

    def stop(self) -> None:
        """Cancel all jobs and end all daemons; nothing of this Slurm is left running."""
        env = self.environment()
        subprocess.run(["scancel", "--me"], env=env, capture_output=True, timeout=20, check=False)
        queue = ["squeue", "-h", "--states=all", "-t", "RUNNING,COMPLETING", "-o", "%i"]
        deadline_s = time.monotonic() + STOP_S
        while time.monotonic() < deadline_s:
            left = subprocess.run(queue, env=env, capture_output=True, text=True, timeout=20)
            if not left.stdout.strip():
                break
            time.sleep(0.3)
        for name in ("slurmd", "slurmctld", "munged"):
            self._end(self.daemons.pop(name, None))
        for keeper in self._keepers():
            os.kill(keeper, signal.SIGKILL)

    def environment(self) -> dict[str, str]:
        return os.environ | {"SLURM_CONF": str(self.configuration)}

    def _daemon(self, name: str, arguments: list[str]) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                start_new_session=True,
            )

    def _await(self, what: str, ready) -> None:
        deadline_s = time.monotonic() + START_S
        while not ready():
            dead = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > deadline_s:
                said = [(self.folder / f"{name}.out").read_text()[-500:] for name in self.daemons]
                raise RuntimeError(f"waiting for {what}; ended: {dead}; " + " | ".join(said))
            time.sleep(0.2)

    def _keepers(self) -> list[int]:
        """Return the ids of this Slurm's ``slurmstepd`` processes: they have its configuration."""
        ours = f"SLURM_CONF={self.configuration}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if b"slurmstepd" in (process / "cmdline").read_bytes():
                    environment = (process / "environ").read_bytes()
                    opened = (process / "cmdline").read_bytes()
                    if ours in environment or str(self.folder).encode() in opened:
                        found.append(int(process.name))
            except OSError:
                continue  # it ended meanwhile
        return found

    def _end(self, daemon: subprocess.Popen[bytes] | None) -> None:
        if daemon is None:
            return
        daemon.terminate()
        try:
            daemon.wait(STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def why_not() -> str | None:
    """Return why no Slurm can be started here, None if it can."""
    if os.getuid() != 0:
        return "Slurm's daemons want root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    return None


@contextmanager
def one_node(cores: int | None = None) -> Iterator[SlurmNode]:
    """Run a Slurm of one node; its commands find it by ``SLURM_CONF`` in our environment."""
    # not pytest's own folder: munge wants one that only root may write to, all the way up
    folder = Path(tempfile.mkdtemp(prefix="tempermd-slurm-", dir="/run"))
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    node = SlurmNode(folder, host, cores or len(os.sched_getaffinity(0)))
    controller_port, node_port = _free_ports()
    node.configuration.write_text(
        CONFIGURATION.format(
            host=host,
            folder=folder,
            cores=node.cores,
            controller_port=controller_port,
            node_port=node_port,
        )
    )
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(node.configuration)
    try:
        node.start()
        yield node
    finally:
        node.stop()
        if before is None:
            os.environ.pop("SLURM_CONF")
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmNode]:
    """A Slurm of one node for the tests of this process; skips where none can be started."""
    obstacle = why_not()
    if obstacle:
        pytest.skip(obstacle)
    with one_node() as node:
        yield node
