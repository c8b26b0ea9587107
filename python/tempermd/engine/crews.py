"""Which crew a profile means: processes here, or workers in jobs of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

from tempermd.engine.crew import AnyCrew, Crew, available_cores
from tempermd.engine.profile import EngineProfile
from tempermd.records import UserError


class EngineOptions(TypedDict, total=False):
    """What ``run_tasks``, ``stream_tasks`` and ``run_graph`` are told of where tasks run."""

    workers: int | None
    profile: EngineProfile | None
    scratch: Path | None


def check_takes_tasks(profile: EngineProfile | None) -> None:
    """Refuse a profile that cannot take single tasks, before anything is written."""
    if profile is not None and profile.kind == "slurm_array":
        raise UserError(
            "an array script is written and submitted, it cannot take single tasks; name an "
            "engine of kind 'parsl' or 'local' here"
        )
    if profile is not None and profile.kind == "parsl" and find_spec("parsl") is None:
        raise UserError("engines of kind 'parsl' need Parsl: pip install 'tempermd[hpc]'")


def open_crew(
    profile: EngineProfile | None = None,
    count: int | None = None,
    *,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    scratch: Path | None = None,
) -> AnyCrew:
    """Return a crew that takes tasks until it is stopped.

    Parameters
    ----------
    profile
        This machine if None.
    count
        Tasks at a time; as many as the profile has room for if None.
    initializer, initargs
        Called once in every worker before its first task.
    scratch
        Folder for logs and job scripts, on a cluster one that all nodes see; in the home
        folder's cache if None.
    """
    profile = profile or EngineProfile()
    check_takes_tasks(profile)
    if profile.kind == "local":
        room = profile.slots_per_node(available_cores())
        cores = profile.cores_per_task if profile.cores_per_task > 1 else None
        return Crew(count or room, initializer, initargs, cores)
    from tempermd.engine.parsl_crew import ParslCrew

    return ParslCrew(profile, count, initializer, initargs, scratch)
