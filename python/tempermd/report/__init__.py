"""Station report: verdicts over many runs, as one page that needs no network."""

from tempermd.report.page import Table, write_report
from tempermd.report.summary import (
    ModelVerdict,
    Summary,
    SurvivalCell,
    clopper_pearson,
    summarise,
    summary_text,
)

__all__ = [
    "ModelVerdict",
    "Summary",
    "SurvivalCell",
    "Table",
    "clopper_pearson",
    "summarise",
    "summary_text",
    "write_report",
]
