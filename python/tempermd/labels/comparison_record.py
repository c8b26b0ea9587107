"""What a comparison of label sources found: its record, and what its plots show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tempermd.labels.errors import Errors, KindErrors
from tempermd.records import Record, Spec


class SourceResult(Spec):
    """What was found of one source; ``ms_per_atom`` of processor time, median over frames."""

    source: dict[str, Any]
    all: KindErrors
    kinds: dict[str, KindErrors]
    set_aside: dict[str, int]
    ms_per_atom: float
    note: str


class ComparisonRecord(Record):
    """The comparison of label sources with a truth."""

    format_name: ClassVar[str] = "tempermd-source-comparison"

    truth: list[dict[str, Any]]
    frames: int
    atoms: int
    true_force_rms_eV_per_A: float
    results: list[SourceResult]
    made_from: dict[str, str]


@dataclass
class Judged:
    """A source, its result and what its plots show."""

    result: SourceResult
    errors: Errors
