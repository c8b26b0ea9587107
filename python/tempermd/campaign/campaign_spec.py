"""The spec of a campaign: what a robustness spec asks, and with what means it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from tempermd import engine
from tempermd.campaign.spec import RobustnessSpec
from tempermd.engine import EngineProfile, read_profile
from tempermd.records import Spec, parse_spec, read_spec


class Resources(engine.Resources):
    """What each run gets, and how long a job that works on runs may last."""

    walltime: str | int | None = Field(
        None, description="of a job, instead of the engine's: HH:MM:SS or minutes"
    )


class EarlyStopping(Spec):
    """When a model is a settled loser: the sequential test of `tempermd.campaign.settling`.

    A model that survives with ``survival_good`` or more is stopped with a probability of
    ``error`` at most; one that survives with ``survival_bad`` or less is what it is meant for.
    """

    survival_good: float = Field(0.9, gt=0, lt=1)
    survival_bad: float = Field(0.5, gt=0, lt=1)
    error: float = Field(0.05, gt=0, lt=0.5)

    @model_validator(mode="after")
    def _good_is_better(self) -> EarlyStopping:
        if self.survival_bad >= self.survival_good:
            raise ValueError("survival_bad must be smaller than survival_good")
        return self


class CampaignSpec(RobustnessSpec):
    """A robustness spec with resources, an engine, limits and a rule for early stopping.

    ``engine`` is the name of a profile or the path of one's own.
    """

    resources: Resources = Resources()
    engine: str = "local"
    thresholds: str | None = Field(None, description="TOML of limits; the shipped ones if none")
    early_stopping: EarlyStopping | None = None

    def profile(self) -> EngineProfile:
        """Return the engine's profile with what a run of this campaign needs."""
        own: dict[str, Any] = {
            "cores_per_task": self.resources.cores,
            "gpus_per_task": self.resources.gpus,
        }
        if self.resources.walltime is not None:
            own["walltime"] = self.resources.walltime
        known = read_profile(self.engine).model_dump(exclude_none=True)
        return parse_spec(known | own, EngineProfile, f"engine '{self.engine}' with [resources]")


def read_campaign_spec(path: Path | str) -> CampaignSpec:
    """Read a campaign's spec; the paths in it are relative to its own folder."""
    path = Path(path)
    spec = read_spec(path, CampaignSpec)
    folder = path.resolve().parent
    return spec.model_copy(
        update={
            "models": {name: _absolute(folder, one) for name, one in spec.models.items()},
            "structures": {
                name: _absolute(folder, one) if isinstance(one, str) else one
                for name, one in spec.structures.items()
            },
            "thresholds": None if spec.thresholds is None else _absolute(folder, spec.thresholds),
            "engine": _absolute(folder, spec.engine)
            if spec.engine.endswith(".toml")
            else spec.engine,
        }
    )


def _absolute(folder: Path, path: str) -> str:
    return str(folder / Path(path).expanduser())
