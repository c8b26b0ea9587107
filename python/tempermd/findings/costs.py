"""What a study cost: every row's own time, and what rows share counted once."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tempermd.findings.curves import arms
from tempermd.findings.rows import Row, Study
from tempermd.records import Spec

HOUR_S = 3600.0
ALL = "all arms"


class ArmCost(Spec):
    """Hours of an arm on all targets; what several rows share is counted once.

    Pre-training and its labels count fully for every arm that starts from the base, and once
    in the sum of all arms, which so may be less than its parts. Rows do not say which base they
    share: one pre-training is told from another by its name, size and time, labels by name and
    time.
    """

    arm: str
    models: int
    training_core_h: float
    tuning_core_h: float
    pretraining_core_h: float
    labels_core_h: float
    gpu_h: float

    @property
    def core_h(self) -> float:
        """Return all core-hours."""
        return (
            self.training_core_h + self.tuning_core_h + self.pretraining_core_h + self.labels_core_h
        )


def costs(study: Study) -> list[ArmCost]:
    """Return the cost of every arm, and of all arms together."""
    if not study.rows:
        return []
    found = [
        _cost(arm, [row for row in study.rows if row.arm.name == arm]) for arm in arms(study.rows)
    ]
    return [*found, _cost(ALL, study.rows)]


def _cost(name: str, rows: Iterable[Row]) -> ArmCost:
    rows = list(rows)
    based = [row for row in rows if row.arm.base is not None]
    trained = {
        (row.arm.base, row.arm.n_pretrain, row.cost.pretraining_gpu_s, row.cost.pretraining_core_s)
        for row in based
    }
    labelled = {(row.arm.base, row.cost.labels_core_s) for row in based}
    return ArmCost(
        arm=name,
        models=len(rows),
        training_core_h=sum(row.cost.training_core_s for row in rows) / HOUR_S,
        tuning_core_h=sum(row.cost.tuning_core_s for row in rows) / HOUR_S,
        pretraining_core_h=math.fsum(one[-1] for one in trained) / HOUR_S,
        labels_core_h=math.fsum(one[-1] for one in labelled) / HOUR_S,
        gpu_h=math.fsum([*(row.cost.gpu_s for row in rows), *(one[-2] for one in trained)])
        / HOUR_S,
    )
