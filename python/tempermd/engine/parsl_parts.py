"""What Parsl is told for a profile: a provider for each scheduler, and one executor."""

from __future__ import annotations

import shlex
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tempermd.engine import slurm
from tempermd.engine.crew import available_cores
from tempermd.engine.job_lines import end_lines, environment_lines
from tempermd.engine.profile import EngineProfile
from tempermd.records import UserError

HEARTBEAT_S, LOST_AFTER_S = 2, 60
"""How often each side of a block is heard, and when it counts as lost."""
IDLE_S = 60.0
"""A block without work is given back after that."""
STRATEGY_S, ASK_SCHEDULER_S = 2, 15
"""How often blocks are thought about, and how often the scheduler is asked for their states."""
LOST_BLOCKS = 3
"""So many blocks in a row that ended without a word from a worker: none will do better."""
COMMAND_S = 30
POOL = "tempermd.engine.worker_pool"


def slots_of(profile: EngineProfile) -> int:
    """Return how many tasks a node of the profile runs at a time."""
    return profile.slots_per_node(profile.cores_per_node or available_cores())


def executor_for(profile: EngineProfile, label: str, count: int, lost_blocks: int) -> Any:
    """Return Parsl's executor for a profile, with as many blocks as ``count`` tasks fill."""
    from parsl.executors import HighThroughputExecutor
    from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

    per_block = slots_of(profile) * profile.nodes
    blocks = min(profile.max_blocks, -(-count // per_block))
    python = profile.python or sys.executable
    gpus = [str(gpu) for gpu in range(profile.gpus_per_node)]
    shares = [gpus[i : i + profile.gpus_per_task] for i in _starts(profile)]
    executor = HighThroughputExecutor(
        label=label,
        provider=_provider(profile, blocks),
        launch_cmd=f"{python} -m {POOL} {DEFAULT_LAUNCH_CMD.split(' ', 1)[1]}",
        interchange_launch_cmd=[sys.executable, "-m", "tempermd.engine.interchange"],
        # given, or Parsl would ask a server on the internet for its own address
        address=profile.address or "127.0.0.1",
        cores_per_worker=0.01,  # the number of workers is ours to say
        max_workers_per_node=min(slots_of(profile), count),
        available_accelerators=[",".join(share) for share in shares],
        heartbeat_period=HEARTBEAT_S,
        heartbeat_threshold=LOST_AFTER_S,
        drain_period=_drain_s(profile),
        block_error_handler=lambda executor, status: _give_up(executor, status, lost_blocks),
    )
    if profile.scheduler != "local" and not profile.address:
        executor.address, executor.all_addresses = None, _addresses()
    return executor


def _starts(profile: EngineProfile) -> range:
    """Return where each task's share of a node's GPUs starts."""
    if not profile.gpus_per_task:
        return range(0)
    return range(0, slots_of(profile) * profile.gpus_per_task, profile.gpus_per_task)


def _drain_s(profile: EngineProfile) -> int | None:
    """Return after how long a block starts no more tasks; those that run go on to the end."""
    if profile.scheduler == "local" or not profile.last_start_s:
        return None
    return max(1, round(profile.walltime_s - profile.last_start_s))


def _addresses() -> set[str]:
    """Return the addresses under which other nodes may reach this one."""
    import psutil

    found = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    }
    outer = {address for address in found if not address.startswith("127.")}
    return outer or {"127.0.0.1"}


def _give_up(executor: Any, status: dict[str, Any], lost_blocks: int) -> None:
    """Let all tasks fail when block after block ends before a worker has said a word."""
    from parsl.jobs.states import TERMINAL_STATES, JobState

    if executor.bad_state_is_set:
        return
    ended = [status[block] for block in sorted(status, key=int)]
    ended = [block for block in ended if block.state in TERMINAL_STATES]
    last = ended[-lost_blocks:]
    if len(last) == lost_blocks and all(
        block.state in (JobState.FAILED, JobState.MISSING) for block in last
    ):
        executor.set_bad_state_and_fail_all(UserError(lost_sentence(last)))


def lost_sentence(blocks: Sequence[Any]) -> str:
    """Return in words why blocks were lost: the end of what the last one printed."""
    said = []
    for text in (blocks[-1].stderr_summary, blocks[-1].stdout_summary, blocks[-1].message):
        lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
        if lines:
            said.append("; ".join(lines[-3:]))
            break
    return (
        f"{len(blocks)} jobs in a row ended before a worker of theirs had started: "
        f"{said[0] if said else 'they printed nothing'}; 'tempermd doctor --cluster PROFILE' "
        "looks closer"
    )


def _provider(profile: EngineProfile, blocks: int) -> Any:
    """Return Parsl's provider for the profile's scheduler."""
    # paths in tasks may be relative, and some schedulers start jobs in the home folder
    lines = [f"cd {shlex.quote(str(Path.cwd()))} || exit 1"]
    lines += environment_lines(profile, profile.cores_per_task)
    lines += end_lines(profile, profile.scheduler)
    common = {
        "worker_init": "\n".join(lines),
        "init_blocks": max(1, min(profile.min_blocks, blocks)),
        "min_blocks": min(profile.min_blocks, blocks),
        "max_blocks": blocks,
        "cmd_timeout": COMMAND_S,
    }
    return _PROVIDERS[profile.scheduler](profile, common)


def _local(profile: EngineProfile, common: dict[str, Any]) -> Any:
    from parsl.launchers import SimpleLauncher
    from parsl.providers import LocalProvider

    class Local(LocalProvider):
        """Blocks are processes here: their end is seen at once."""

        status_polling_interval = 2

    return Local(launcher=SimpleLauncher(), **common)


def _slurm(profile: EngineProfile, common: dict[str, Any]) -> Any:
    from parsl.launchers import SimpleLauncher, SrunLauncher
    from parsl.providers import SlurmProvider

    class Slurm(SlurmProvider):
        """Asks squeue and scontrol in our own way, and never sacct, which may hang."""

        status_polling_interval = ASK_SCHEDULER_S

        def execute_wait(self, cmd: str, timeout: int | None = None) -> tuple[int, str, str]:
            if cmd.startswith("sacct"):
                return 1, "", "not asked"
            return super().execute_wait(cmd, timeout)

        def _status(self) -> None:
            _ask_slurm(self.resources)

    # srun only where several nodes need it: from 22.05 on it forgets the cores of the job
    common["worker_init"] += "\nexport SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"
    return Slurm(
        partition=profile.partition,
        account=profile.account,
        nodes_per_block=profile.nodes,
        cores_per_node=profile.cores_per_node,
        mem_per_node=None if profile.memory_GB is None else round(profile.memory_GB),
        gpus_per_node=profile.gpus_per_node or None,
        walltime=profile.walltime,
        exclusive=False,
        # a block that Slurm runs again after a node was lost would come when none is wanted
        scheduler_options="\n".join(["#SBATCH --no-requeue", *profile.options]),
        launcher=SimpleLauncher() if profile.nodes == 1 else SrunLauncher(),
        **common,
    )


def _ask_slurm(resources: dict[str, Any]) -> None:
    """Bring the states of all blocks up to date; while Slurm is silent they stay."""
    from parsl.jobs.states import JobState, JobStatus

    states = {"PENDING": JobState.PENDING, "CONFIGURING": JobState.PENDING}
    states |= dict.fromkeys(("RUNNING", "COMPLETING", "SUSPENDED"), JobState.RUNNING)
    states |= {"FAILED": JobState.FAILED, "BOOT_FAIL": JobState.FAILED}
    states |= {"CANCELLED": JobState.CANCELLED, "OUT_OF_MEMORY": JobState.FAILED}
    states |= dict.fromkeys(("TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL"), JobState.TIMEOUT)
    states |= dict.fromkeys(("COMPLETED", "REVOKED", slurm.GONE), JobState.COMPLETED)
    active = [number for number, job in resources.items() if not job["status"].terminal]
    for number, word in slurm.jobs(active).items():
        job = resources[number]
        job["status"] = JobStatus(
            states.get(word, JobState.RUNNING),
            stdout_path=job["job_stdout_path"],
            stderr_path=job["job_stderr_path"],
        )


def _pbs(profile: EngineProfile, common: dict[str, Any]) -> Any:
    from parsl.launchers import SimpleLauncher
    from parsl.providers import PBSProProvider

    wanted = [f"ngpus={profile.gpus_per_node}"] if profile.gpus_per_node else []
    wanted += [f"mem={round(profile.memory_GB)}gb"] if profile.memory_GB else []
    return PBSProProvider(
        queue=profile.partition,
        account=profile.account,
        cpus_per_node=profile.cores_per_node,
        select_options=":".join(wanted),
        walltime=profile.walltime,
        scheduler_options="\n".join(profile.options),
        launcher=SimpleLauncher(),
        **common,
    )


def _lsf(profile: EngineProfile, common: dict[str, Any]) -> Any:
    from parsl.launchers import SimpleLauncher
    from parsl.providers import LSFProvider

    options = list(profile.options)
    if profile.gpus_per_node:
        options.append(f'#BSUB -gpu "num={profile.gpus_per_node}"')
    return LSFProvider(
        queue=profile.partition,
        project=profile.account,
        request_by_nodes=False,
        cores_per_block=profile.cores_per_node,
        cores_per_node=profile.cores_per_node,
        bsub_redirection=True,
        walltime=profile.walltime,
        scheduler_options="\n".join(options),
        launcher=SimpleLauncher(),
        **common,
    )


_PROVIDERS = {"local": _local, "slurm": _slurm, "pbs": _pbs, "lsf": _lsf}


def cancel_all(executor: Any, profile: EngineProfile, label: str) -> None:
    """Cancel every block that waits or runs, also one that was submitted a moment ago."""
    provider = executor.provider
    active = [number for number, job in provider.resources.items() if not job["status"].terminal]
    if active:
        provider.cancel(active)
    if profile.scheduler == "slurm":
        slurm.cancel(slurm.named(f"parsl.{label}.block"))


def kept_folder(scratch: Path | None) -> Path:
    """Return a new folder for logs and scripts of one crew."""
    root = (scratch or Path.home() / ".cache" / "tempermd" / "engine").resolve()
    if len(str(root).split()) > 1:
        raise UserError(f"{root}: Parsl cannot work under a path with spaces; name another")
    folder = root / f"parsl-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06}"
    folder.mkdir(parents=True)
    return folder
