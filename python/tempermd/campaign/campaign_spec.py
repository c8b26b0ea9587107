"""The spec of a campaign: what a robustness spec asks, and with what means it is run."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from tempermd.campaign.spec import RobustnessSpec
from tempermd.records import Spec, read_spec

WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")


class Resources(Spec):
    """What each run gets, and what a job that works on runs asks its scheduler for."""

    ranks: PositiveInt = Field(1, description="MPI processes of a run")
    threads: PositiveInt = Field(1, description="of each rank")
    gpus: int = Field(0, ge=0, description="of a run")
    walltime: str | None = Field(None, description="of a job: [DAYS-]HOURS:MINUTES:SECONDS")
    memory_GB: PositiveFloat | None = Field(None, description="of a run")

    @field_validator("walltime")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None and not WALLTIME.fullmatch(value):
            raise ValueError("expected a time like '04:00:00' or '1-00:00:00'")
        return value

    @property
    def cores(self) -> int:
        """Cores of one run."""
        return self.ranks * self.threads

    @property
    def walltime_s(self) -> int | None:
        """Length of a job in seconds."""
        if self.walltime is None:
            return None
        days, hours, minutes, seconds = WALLTIME.fullmatch(self.walltime).groups()
        return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)


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
