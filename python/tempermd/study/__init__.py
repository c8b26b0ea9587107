"""Studies: strategies x bases on targets, trained, tuned alike, judged and driven, from a spec."""

from __future__ import annotations

from tempermd.findings.rows import Arm, Cost, Fate, Row, Study
from tempermd.study.pages import findings, last_words, table
from tempermd.study.running import RESULT, dry_run, run
from tempermd.study.specs import StudySpec
from tempermd.study.work import run_stage

__all__ = [
    "RESULT",
    "Arm",
    "Cost",
    "Fate",
    "Row",
    "Study",
    "StudySpec",
    "dry_run",
    "findings",
    "last_words",
    "run",
    "run_stage",
    "table",
]
