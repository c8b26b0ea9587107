"""What a finished study shows: tables and page of its rows, and the report of its MD."""

from __future__ import annotations

from pathlib import Path

from tempermd import campaign, report
from tempermd.events import Analysis
from tempermd.findings.page import markdown, remarks, write_page
from tempermd.findings.rows import Row, Study
from tempermd.findings.tables import write_tables
from tempermd.records import UserError, read_record
from tempermd.study.collecting import analyses_of
from tempermd.study.plan import Plan, PlannedRow
from tempermd.study.stages import Store

HEADS = (
    "arm",
    "training frames",
    "steps",
    "rate (chosen of)",
    "force RMSE, eV/Å",
    "energy RMSE, meV/atom",
    "survived",
    "verdict",
    "first events, ps",
)


def write_pages(study: Study, plan: Plan, store: Store, output: Path) -> tuple[Path, int]:
    """Write tables, the study's page, and the report where there was MD.

    Returns
    -------
    (path, exit code)
        ``report.html`` where there was MD, else ``study.html``; the code of the report.
    """
    page = output / "study.json"
    if study.rows:
        reference = reference_of(study)
        write_tables(study, output / "tables", reference)
        page = write_page(study, output / "study.html", reference)
    analyses = _analyses(plan, store)
    if not analyses:
        return page, campaign.EXIT_GOOD
    head, lines = cells(study, _verdicts(analyses))
    table = report.Table(title=study.title, head=head, rows=lines)
    page = report.write_report(analyses, output, tables=[table])
    return page, campaign.exit_code(output / "summary.json")


def reference_of(study: Study) -> str:
    """Return the arm that others are held against: the first without a base, else the first."""
    names = [row.arm.name for row in study.rows if row.arm.base is None]
    return (names or [row.arm.name for row in study.rows])[0]


def _analyses(plan: Plan, store: Store) -> list[Analysis]:
    """Return the analyses of all runs, named by their rows, the control last."""
    several = _seeds_differ(plan)
    found = []
    for row in plan.rows:
        name = model_name(row, several)
        for stage in row.analyses:
            if store.done(stage) is not None:
                found += [_named(one, name) for one in analyses_of(stage, store)]
    for stage in plan.controls:
        if store.done(stage) is not None:
            found += analyses_of(stage, store)
    return found


def _seeds_differ(plan: Plan) -> bool:
    return len({row.seed for row in plan.rows if row.analyses}) > 1


def model_name(row: PlannedRow | Row, with_seed: bool) -> str:
    """Return what a row's model is called in the report of MD."""
    return f"{row.arm.name}, seed {row.seed}" if with_seed else row.arm.name


def _named(analysis: Analysis, name: str) -> Analysis:
    label = analysis.label.model_copy(update={"model": name})
    return analysis.model_copy(update={"label": label})


def _verdicts(analyses: list[Analysis]) -> dict[str, str]:
    return {model.name: model.verdict for model in report.summarise(analyses).models}


def cells(study: Study, verdicts: dict[str, str]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of a study's table, one line for each model.

    ``verdicts`` are by model name. Target and seed are shown where there are several.
    """
    with_seed = len({row.seed for row in study.rows}) > 1
    with_target = len({row.target for row in study.rows}) > 1
    driven_with_seed = len({row.seed for row in study.rows if row.fates}) > 1
    head = ["target"] * with_target + ["seed"] * with_seed + list(HEADS)
    lines = []
    for row in study.rows:
        verdict = verdicts.get(model_name(row, driven_with_seed), "") if row.fates else "no MD"
        front = [row.target] * with_target + [str(row.seed)] * with_seed
        lines.append(front + _cells(row, verdict))
    return head, lines


def _cells(row: Row, verdict: str) -> list[str]:
    usable = [fate for fate in row.fates if fate.outcome != "infrastructure_failure"]
    events = [
        f"seed {fate.md_seed}: {', '.join(fate.first_events)}" for fate in usable if fate.failed
    ]
    rates = ", ".join(f"{rate:g}" for rate in row.learning_rates_tried)
    test = row.errors["test"]
    return [
        row.arm.name,
        str(row.n_train),
        str(row.steps),
        f"{row.learning_rate:g} ({rates})",
        f"{test.force_rmse_eV_per_A:.3f}",
        f"{test.energy_rmse_meV_per_atom:.1f}",
        f"{sum(fate.survived for fate in usable)} of {len(usable)}" if row.fates else "",
        verdict or ("FAIL" if events else "PASS"),
        "; ".join(events) or ("none" if row.fates else ""),
    ]


def findings(output: Path) -> str:
    """Return curves, factors, fates, forgetting and costs of a study as Markdown."""
    study = read_record(output / "study.json", Study)
    if not study.rows:
        raise UserError(f"{output}: no model of this study is finished yet; let it go on")
    return markdown(study, reference_of(study))


def last_words(output: Path) -> str:
    """Return what the end of a run must not keep to itself: divergence, transfer that harms."""
    study = read_record(output / "study.json", Study)
    return "\n".join(remarks(study, reference_of(study))) if study.rows else ""


def table(output: Path, most: int | None = None) -> str:
    """Return the table of a study as Markdown, one line for each model, or so many of them."""
    study = read_record(output / "study.json", Study)
    summary = output / "summary.json"
    verdicts = {}
    if summary.is_file():
        verdicts = {m.name: m.verdict for m in read_record(summary, report.Summary).models}
    head, lines = cells(study, verdicts)
    left = 0 if most is None else len(lines) - most
    more = f"\n\nand {left} models more: tempermd study table {output}" if left > 0 else ""
    lines = lines[:most]
    body = "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])
    notes = "".join(f"\n\n{target}: {note}" for target, note in study.notes.items())
    return f"{study.title}{notes}\n\n{body}{more}"
