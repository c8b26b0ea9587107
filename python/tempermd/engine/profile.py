"""Engine profiles: where tasks run, in a dozen lines of TOML, and what one task needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator

from tempermd.records import Spec, UserError, read_spec

_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")


class EngineProfile(Spec):
    """Where tasks run, as a short TOML says it.

    A *block* is one job of a scheduler: Parsl starts workers in it, an array has one per task.
    """

    kind: Literal["local", "parsl", "slurm_array"] = "local"
    scheduler: Literal["local", "slurm", "pbs", "lsf"] = Field("local", description="of parsl")
    partition: str | None = Field(None, validation_alias=AliasChoices("partition", "queue"))
    account: str | None = None
    nodes: int = Field(1, ge=1, description="per block")
    min_blocks: int = Field(0, ge=0)
    max_blocks: int = Field(1, ge=1)
    cores_per_node: int | None = Field(None, ge=1, description="all that a worker sees if None")
    gpus_per_node: int = Field(0, ge=0)
    memory_GB: float | None = Field(None, gt=0, description="per node")
    walltime: str = Field("01:00:00", description="HH:MM:SS, D-HH:MM:SS or minutes")
    cores_per_task: int = Field(1, ge=1)
    gpus_per_task: int = Field(0, ge=0)
    tasks_per_node: int | None = Field(None, ge=1, description="at a time; as many as fit if None")
    max_running: int | None = Field(None, ge=1, description="array tasks at a time")
    last_start_s: float = Field(0.0, ge=0, description="no task starts nearer to a block's end")
    setup: tuple[str, ...] = Field((), description="shell lines before anything of ours")
    options: tuple[str, ...] = Field((), description="lines for the scheduler, as #SBATCH --x=y")
    python: str | None = Field(None, description="of the nodes; the path of this one if None")
    address: str | None = Field(None, description="by which nodes reach this machine")

    @field_validator("walltime", mode="before")
    @classmethod
    def _whole_walltime(cls, given: Any) -> Any:
        """Take minutes or a time, and keep it as HH:MM:SS."""
        if isinstance(given, bool) or not isinstance(given, int | str):
            raise ValueError("expected HH:MM:SS or whole minutes")
        if isinstance(given, int):
            seconds = 60 * given
        else:
            match = _WALLTIME.fullmatch(given)
            if match is None:
                raise ValueError("expected HH:MM:SS or whole minutes")
            days, hours, minutes, rest = (int(part or 0) for part in match.groups())
            seconds = ((24 * days + hours) * 60 + minutes) * 60 + rest
        if seconds < 60:
            raise ValueError("expected at least one minute")
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    @model_validator(mode="after")
    def _agree(self) -> EngineProfile:
        """Refuse what contradicts itself."""
        if self.min_blocks > self.max_blocks:
            raise ValueError(f"min_blocks {self.min_blocks} is above max_blocks {self.max_blocks}")
        if self.cores_per_node is not None and self.cores_per_task > self.cores_per_node:
            raise ValueError(
                f"a task wants {self.cores_per_task} cores, a node has {self.cores_per_node}"
            )
        if self.gpus_per_task > self.gpus_per_node:
            raise ValueError(
                f"a task wants {self.gpus_per_task} GPUs, a node has {self.gpus_per_node}"
            )
        if self.kind != "parsl" and self.scheduler != "local":
            raise ValueError(f"a scheduler goes with kind 'parsl', not with '{self.kind}'")
        if self.scheduler != "local" and self.cores_per_node is None:
            raise ValueError("a scheduler wants to know cores_per_node")
        if self.nodes > 1 and self.scheduler != "slurm":
            raise ValueError("blocks of several nodes are for scheduler 'slurm'; raise max_blocks")
        if self.last_start_s >= self.walltime_s:
            raise ValueError("last_start_s leaves no time to start a task in")
        return self

    @property
    def walltime_s(self) -> int:
        """How long a block may run, in seconds."""
        hours, minutes, seconds = (int(part) for part in self.walltime.split(":"))
        return (60 * hours + minutes) * 60 + seconds

    def slots_per_node(self, n_cores: int) -> int:
        """Return how many tasks fit on a node with so many cores at a time."""
        fit = (self.cores_per_node or n_cores) // self.cores_per_task
        if self.gpus_per_task:
            fit = min(fit, self.gpus_per_node // self.gpus_per_task)
        return max(1, min(fit, self.tasks_per_node or fit))


class Resources(Spec):
    """What one task needs; a task stays on one node."""

    ranks: int = Field(1, ge=1)
    threads: int = Field(1, ge=1)
    gpus: int = Field(0, ge=0)
    memory_GB: float | None = Field(None, gt=0)

    @property
    def cores(self) -> int:
        """Cores of a task: a thread each."""
        return self.ranks * self.threads


def read_profile(name: str | Path | None) -> EngineProfile:
    """Return a profile.

    Parameters
    ----------
    name
        None or ``local`` for this machine; the name of an example of ``deploy/clusters``; or
        the path of a TOML.

    Raises
    ------
    UserError
        For a name that is none, and for every fault of the TOML.
    """
    if name is None or str(name) == "local":
        return EngineProfile()
    path = Path(name)
    if path.suffix != ".toml" and path.name == str(name) and not path.exists():
        shipped = clusters_folder() / f"{name}.toml"
        if not shipped.is_file():
            raise UserError(
                f"engine '{name}': expected {', '.join(profile_names())} or the path of a TOML, "
                "see docs/clusters.md"
            )
        path = shipped
    return read_spec(path, EngineProfile)


def clusters_folder() -> Path:
    """Return the folder of the example profiles: of the source tree, or as installed."""
    package = Path(__file__).resolve().parents[1]
    in_tree = package.parents[1] / "deploy" / "clusters"
    return in_tree if in_tree.is_dir() else package / "clusters"


def profile_names() -> list[str]:
    """Return the names of the shipped profiles, this machine's first."""
    names = sorted(path.stem for path in clusters_folder().glob("*.toml"))
    return ["local", *(name for name in names if name != "local")]
