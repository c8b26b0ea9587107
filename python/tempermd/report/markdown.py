"""The verdicts as Markdown, for a pull request or an issue."""

from __future__ import annotations

from tempermd.pages import number_text
from tempermd.report.classes import class_table
from tempermd.report.summary import Summary, kind_name


def summary_markdown(summary: Summary, title: str = "Robustness in molecular dynamics") -> str:
    """Return verdicts, survival by temperature and what tells models apart as Markdown."""
    conditions = summary.conditions
    cells = {(cell.model, cell.condition): cell for cell in summary.survival}
    head = ["model", "verdict", *conditions, "failures per ns", "events"]
    lines = [f"**{title}: {summary.verdict}**", "", _line(head), _line(["---"] * len(head))]
    for model in summary.models:
        row = [model.name + (" (control)" if model.control else ""), f"**{model.verdict}**"]
        for condition in conditions:
            cell = cells.get((model.name, condition))
            usable = cell is not None and cell.n_usable
            interval = f"{100 * cell.low:.0f}–{100 * cell.high:.0f} %" if usable else ""
            row.append(f"{cell.n_survived} of {cell.n_usable} ({interval})" if usable else "–")
        rate, low, high = model.failures_per_ns
        row.append(f"{number_text(rate)} ({number_text(low)}–{number_text(high)})")
        counted = [f"{kind_name(kind)} {count}" for kind, count in model.event_counts.items()]
        lines.append(_line([*row, ", ".join(counted) or "none"]))
    lines += ["", *(f"- {model.name}: {model.sentence}" for model in summary.models)]
    lines += [f"- {line}" for line in summary.told_apart]
    classes = class_table(summary.models)
    if classes.rows:
        lines += ["", _line(classes.head), _line(["---"] * len(classes.head))]
        lines += [*map(_line, classes.rows), "", classes.note]
    low_level = f"{summary.n_runs} runs, {summary.total_ps:.1f} ps simulated. "
    lines += ["", f"{low_level}Intervals are exact at 95 % (Clopper–Pearson, Poisson)."]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
