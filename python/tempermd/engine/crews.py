"""Which crew a profile means: processes here, or workers in jobs of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tempermd.engine.crew import AnyCrew, Crew, available_cores
from tempermd.engine.profile import EngineProfile
from tempermd.records import UserError


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
    if profile.kind == "slurm_array":
        raise UserError(
            "an array script is written and submitted, it cannot take single tasks; name an "
            "engine of kind 'parsl' or 'local' here"
        )
    if profile.kind == "local":
        return Crew(count or profile.slots_per_node(available_cores()), initializer, initargs)
    from tempermd.engine.parsl_crew import ParslCrew

    return ParslCrew(profile, count, initializer, initargs, scratch)
