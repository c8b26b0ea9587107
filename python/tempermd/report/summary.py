"""Verdicts and survival counts over many runs, each with its denominators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tempermd.events import EventClass, FailureClass
from tempermd.physics import PhysicsRecord
from tempermd.records import Record
from tempermd.report.classes import ClassFailures, class_words, failures_by_class, runs_by_class
from tempermd.report.contrasts import NEITHER, Contrast, contrasts_between
from tempermd.report.fates import (
    Judged,
    by_condition,
    failures_per_ns,
    first_damning,
    lived_ps,
    lives_of,
    usable,
)
from tempermd.report.survival import SurvivalCurve, clopper_pearson, kaplan_meier

Verdict = Literal["PASS", "WARN", "FAIL", "INCONCLUSIVE"]


class ModelVerdict(BaseModel):
    """The verdict on one model, and what it rests on.

    ``n_usable`` counts runs that ended by themselves or by the model's fault;
    ``n_infrastructure`` those that a machine ended, ``n_censored`` those of them that had
    simulated something, without an event, until then. ``failures_per_ns`` (with its exact 95 %
    interval) counts a run's first failure per time until then, ``failures_by_class`` does so for
    each class; ``runs_by_class`` counts the runs that show an event of a class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    control: bool
    verdict: Verdict
    sentence: str
    n_runs: int
    n_usable: int
    n_survived: int
    n_failed: int
    n_infrastructure: int
    n_censored: int
    total_ps: float
    first_severe_ps: float | None
    failures_per_ns: tuple[float, float, float | None]
    failures_by_class: dict[FailureClass, ClassFailures]
    runs_by_class: dict[EventClass, int]
    event_counts: dict[str, int]


class SurvivalCell(BaseModel):
    """Survivors among the usable runs of a model in a condition, with the 95 % interval.

    ``curve`` takes runs that a machine ended as censored then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    condition: str
    n_usable: int
    n_survived: int
    low: float
    high: float
    curve: SurvivalCurve | None


class Summary(Record):
    """All verdicts; ``verdict`` is the worst of the models that are no control."""

    format_name: ClassVar[str] = "tempermd-summary"
    format_version: ClassVar[int] = 2

    verdict: Verdict
    models: list[ModelVerdict]
    survival: list[SurvivalCell]
    contrasts: list[Contrast]
    n_runs: int
    total_ps: float

    @property
    def told_apart(self) -> list[str]:
        """What tells models apart, a line for each pair, but one for all that nobody failed."""
        lines = []
        for condition in dict.fromkeys(one.condition for one in self.contrasts):
            here = [one for one in self.contrasts if one.condition == condition]
            quiet = [one for one in here if one.sentence.startswith(NEITHER)]
            sentences = [one.sentence for one in here if len(quiet) < 2 or one not in quiet]
            if len(quiet) > 1:
                names = dict.fromkeys(name for one in quiet for name in (one.model, one.other))
                sentences.append(f"None of {', '.join(names)} failed: they are not told apart.")
            head = condition[0].upper() + condition[1:]
            lines += [f"{head}: {sentence}" for sentence in sentences]
        return lines

    @property
    def conditions(self) -> list[str]:
        """All conditions, each once: by protocol, then by temperature."""
        return sorted({cell.condition for cell in self.survival}, key=_in_words_and_numbers)


def summarise(
    analyses: Sequence[Judged],
    physics: Sequence[PhysicsRecord] = (),
    *,
    contrasts: bool = True,
) -> Summary:
    """Judge every model by all of its runs.

    FAIL when any run has a fatal or severe event, INCONCLUSIVE when no run is usable, WARN when
    there are warnings only or numbers of its physics are wrong, otherwise PASS.

    Parameters
    ----------
    analyses : sequence of Analysis, or of a campaign's rows
    physics : sequence of PhysicsRecord
    contrasts : bool
        Whether to compare every two models in every condition: slow where there are many.

    Returns
    -------
    Summary
    """
    names = list(dict.fromkeys(analysis.label.model for analysis in analyses))
    runs = {name: [one for one in analyses if one.label.model == name] for name in names}
    wrong = {record.potential: record.sentence for record in physics if not record.good}
    models = [_judge(name, runs[name], wrong.get(name)) for name in names]
    judged = [model.verdict for model in models if not model.control]
    judged = judged or [model.verdict for model in models]
    order: tuple[Verdict, ...] = ("FAIL", "INCONCLUSIVE", "WARN", "PASS")
    return Summary(
        verdict=next((verdict for verdict in order if verdict in judged), "INCONCLUSIVE"),
        models=models,
        survival=[cell for name in names for cell in _survival(name, runs[name])],
        contrasts=contrasts_between([runs[model.name] for model in models if not model.control])
        if contrasts
        else [],
        n_runs=len(analyses),
        total_ps=sum(analysis.duration_ps for analysis in analyses),
    )


def _judge(name: str, runs: Sequence[Judged], wrong: str | None) -> ModelVerdict:
    failed = [run for run in runs if run.failed]
    events: Counter[str] = Counter()
    for run in runs:
        events.update(run.event_counts)
    n_usable = sum(usable(run) for run in runs)
    broken = [run for run in runs if run.outcome == "infrastructure_failure"]
    verdict: Verdict = "PASS"
    if failed:
        verdict = "FAIL"
    elif n_usable == 0:
        verdict = "INCONCLUSIVE"
    elif events or wrong:
        verdict = "WARN"
    times = [run.first_severe_ps for run in failed if run.first_severe_ps is not None]
    return ModelVerdict(
        name=name,
        control=all(run.label.is_control for run in runs),
        verdict=verdict,
        sentence=_sentence(verdict, runs, n_usable) + (f" {wrong}." if wrong else ""),
        n_runs=len(runs),
        n_usable=n_usable,
        n_survived=sum(run.survived for run in runs),
        n_failed=len(failed),
        n_infrastructure=len(broken),
        n_censored=sum(run.duration_ps > 0 and not run.failed for run in broken),
        total_ps=sum(run.duration_ps for run in runs),
        first_severe_ps=min(times, default=None),
        failures_per_ns=failures_per_ns(lives_of(runs)),
        failures_by_class=failures_by_class(runs),
        runs_by_class=runs_by_class(runs),
        event_counts=dict(sorted(events.items())),
    )


def _sentence(verdict: Verdict, runs: Sequence[Judged], n_usable: int) -> str:
    """Say the verdict with its numbers."""
    if verdict == "INCONCLUSIVE":
        return f"None of {_count(len(runs), 'run')} came to an end that tells about the model."
    n_survived = sum(run.survived for run in runs)
    low, high = clopper_pearson(n_survived, n_usable)
    counted = f"{n_survived} of {_count(n_usable, 'run')}"
    if verdict == "FAIL":
        worst = min((run for run in runs if run.failed), key=lived_ps)
        failed = f"{n_usable - n_survived} of {_count(n_usable, 'run')} failed"
        interval = f"survival is between {_percent(low)} and {_percent(high)} (95 %)"
        return f"{failed}, {_first_failure(worst)}; {interval}."
    means = f"{n_survived} of {n_usable} means survival above {_percent(low)} (95 %)"
    if verdict == "WARN":
        n_warned = sum(bool(run.events) for run in runs)
        how = f", {n_warned} of them with warnings" if n_warned else " without an event"
        return f"{counted} survived{how}; {means}."
    return f"{counted} survived without an event; {means}."


def _first_failure(run: Judged) -> str:
    """Tell when and how the run that failed first did so."""
    event = first_damning(run)
    facts = [run.reason if event is None else kind_name(event.kind)]
    facts += [run.label.condition] if run.label.condition != "all runs" else []
    facts += [] if run.label.seed is None else [f"seed {run.label.seed}"]
    return f"the first after {lived_ps(run):.3g} ps ({', '.join(facts)})"


def _survival(name: str, runs: Sequence[Judged]) -> list[SurvivalCell]:
    cells = []
    for condition, here in by_condition(runs).items():
        n_usable, n_survived = sum(map(usable, here)), sum(run.survived for run in here)
        low, high = clopper_pearson(n_survived, n_usable)
        cells.append(
            SurvivalCell(
                model=name,
                condition=condition,
                n_usable=n_usable,
                n_survived=n_survived,
                low=low,
                high=high,
                curve=kaplan_meier(lives_of(here)) if n_usable else None,
            )
        )
    return cells


def _in_words_and_numbers(condition: str) -> list[tuple[bool, float, str]]:
    """Return a sorting key that takes numbers as such: 300 K comes before 1000 K."""
    words = condition.split()
    return [
        (False, float(word), "") if word.replace(".", "", 1).isdigit() else (True, 0.0, word)
        for word in words
    ]


def kind_name(kind: str) -> str:
    """Return an event's kind as words."""
    return kind.replace("_", " ").replace("nonfinite", "non-finite numbers")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def summary_text(summary: Summary) -> str:
    """Return the verdicts as a few lines for a terminal.

    Parameters
    ----------
    summary : Summary

    Returns
    -------
    str
    """
    width = max((len(model.name) for model in summary.models), default=0)
    lines = []
    for model in summary.models:
        note = " (control)" if model.control else ""
        lines.append(f"{model.verdict:<12}  {model.name:<{width}}{note}  {model.sentence}")
        apart = f"{_count(model.n_runs, 'run')}, {model.total_ps:.1f} ps"
        if model.n_infrastructure:
            apart += (
                f"; {_count(model.n_infrastructure, 'infrastructure failure')} apart, "
                f"{model.n_censored} of them censored"
            )
        events = ", ".join(f"{count} {kind}" for kind, count in model.event_counts.items())
        lines.append(f"{'':<12}  {'':<{width}}  {apart}; events: {events or 'none'}")
        if events:
            lines.append(f"{'':<12}  {'':<{width}}  {class_words(model)}")
        cells = [cell for cell in summary.survival if cell.model == model.name and cell.n_usable]
        if len(cells) > 1:
            counts = [f"{cell.condition} {cell.n_survived} of {cell.n_usable}" for cell in cells]
            lines.append(f"{'':<12}  {'':<{width}}  survived: {'; '.join(counts)}")
    return "\n".join([*lines, *summary.told_apart])
