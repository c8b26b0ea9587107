"""Findings: what the rows of a study say, with intervals, as tables, text and a page."""

from __future__ import annotations

from tempermd.findings.page import markdown, sections, write_page, write_tables
from tempermd.findings.rows import Arm, Cost, Fate, Row, Study

__all__ = [
    "Arm",
    "Cost",
    "Fate",
    "Row",
    "Study",
    "markdown",
    "sections",
    "write_page",
    "write_tables",
]
