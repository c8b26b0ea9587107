"""Station report: verdicts over many runs, as one page that needs no network."""

from tempermd.report.classes import class_table
from tempermd.report.figures import survival_figure
from tempermd.report.markdown import summary_markdown
from tempermd.report.movie import write_movie
from tempermd.report.page import Table, write_report
from tempermd.report.summary import (
    ModelVerdict,
    Summary,
    SurvivalCell,
    kind_name,
    summarise,
    summary_text,
)
from tempermd.report.survival import (
    Comparison,
    Life,
    SurvivalCurve,
    clopper_pearson,
    kaplan_meier,
    log_rank,
    rate_per_ns,
    runs_to_tell_apart,
)

__all__ = [
    "Comparison",
    "Life",
    "ModelVerdict",
    "Summary",
    "SurvivalCell",
    "SurvivalCurve",
    "Table",
    "class_table",
    "clopper_pearson",
    "kaplan_meier",
    "kind_name",
    "log_rank",
    "rate_per_ns",
    "runs_to_tell_apart",
    "summarise",
    "summary_markdown",
    "summary_text",
    "survival_figure",
    "write_movie",
    "write_report",
]
