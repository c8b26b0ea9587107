"""Running a study: all stages in worker processes, then rows, tables and pages."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tempermd.engine import EngineProfile, GraphResult, GraphTask, check_takes_tasks, run_graph
from tempermd.findings.rows import Study
from tempermd.records import UserError, only_one, write_record
from tempermd.study.collecting import collect_rows
from tempermd.study.loading import LoadedStudy, load_study
from tempermd.study.pages import write_pages
from tempermd.study.plan import Plan, PlannedRow, plan_study
from tempermd.study.stages import Stage, Store
from tempermd.study.work import run_logged

RESULT, STORE, ENGINE = "study.json", "store", "engine"
WRITTEN_EVERY_S = 60.0
"""How old the rows may be that a running study shows."""


def run(
    spec_path: Path,
    output: Path | None,
    workers: int | None = None,
    profile: EngineProfile | None = None,
) -> tuple[Path, int]:
    """Run a study; what is finished is not done again, what was begun is gone on with.

    Parameters
    ----------
    spec_path
        The study's TOML.
    output
        Folder of store, rows, tables and pages; the spec's stem in the working directory if
        None.
    workers, profile
        Stages at a time, and where they run: on this machine if None.

    Returns
    -------
    (path, exit code)
        The page; 2 when a model fails in MD, as `campaign.robustness` says; 1 when a stage
        failed.
    """
    study = load_study(spec_path)
    output = output_of(spec_path, output)
    check_takes_tasks(profile)
    _refuse_foreign(output)
    plan_study(study, Store(output / STORE))  # a fault must show before anything is written
    output.mkdir(parents=True, exist_ok=True)
    store = Store(output / STORE)
    with only_one(output):
        try:
            result = _run_stages(study, store, workers, profile)
        finally:
            rows = _write_rows(study, store, output)
        _tell(result, store)
        page, code = write_pages(rows, plan_study(study, store), store, output)
    return page, 1 if result.failures else code


def output_of(spec_path: Path, output: Path | None) -> Path:
    """Return the folder of a study."""
    return Path(spec_path.stem) if output is None else output


def _refuse_foreign(output: Path) -> None:
    is_study = (output / STORE).is_dir()
    if output.exists() and not is_study and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: exists and is no study; name another output")


def _run_stages(
    study: LoadedStudy, store: Store, workers: int | None, profile: EngineProfile | None
) -> GraphResult:
    """Run what is not finished; each finished training may decide what follows."""
    planned, written_s = plan_study(study, store), time.monotonic()

    def more(key: str, facts: Any) -> Iterable[GraphTask]:
        nonlocal planned, written_s
        if time.monotonic() - written_s > WRITTEN_EVERY_S:
            _write_rows(study, store, store.root.parent)
            written_s = time.monotonic()
        if planned.undecided and planned.stages[key].kind == "training":
            planned = plan_study(study, store)
            return _tasks(planned, store)
        return ()

    return run_graph(
        run_logged,
        _tasks(planned, store),
        more=more,
        workers=workers,
        title="study",
        profile=profile,
        scratch=store.root.parent / ENGINE,
    )


def _tasks(plan: Plan, store: Store) -> list[GraphTask]:
    """Return the tasks of the stages that are not finished, each written down in the store."""
    tasks = []
    after_s = _hidden_costs(plan)
    for key, stage in plan.stages.items():
        if store.done(stage) is not None:
            continue
        store.write(stage)
        tasks.append(
            GraphTask(
                key=key,
                item=(str(store.root), key),
                title=stage.title,
                needs=stage.needs,
                cost_s=stage.cost_s,
                group=stage.group,
                after_s=after_s.get(key, 0.0),
                greedy=stage.greedy,
            )
        )
    return tasks


def _hidden_costs(plan: Plan) -> dict[str, float]:
    """Return for each tuning training the cost of the trainings that its choice decides.

    Shared evenly by the rates that are tried.
    """
    tuned: dict[tuple, list[Stage]] = {}
    for row in plan.undecided:
        if row.trainings:
            tuned[_group_of(row)] = list(row.trainings.values())
    costs: dict[str, float] = {}
    for row in plan.undecided:
        stages = tuned.get(_group_of(row), [])
        if not row.trainings:
            for stage in stages:
                share = stages[0].cost_s / len(stages)
                costs[stage.key] = costs.get(stage.key, 0.0) + share
    return costs


def _group_of(row: PlannedRow) -> tuple:
    return row.target, row.arm.name, row.n_train


def _write_rows(study: LoadedStudy, store: Store, output: Path) -> Study:
    """Write the rows that are finished by now."""
    found = Study(
        title=study.spec.title,
        notes={n: t.truth_note for n, t in study.spec.targets.items() if t.truth_note},
        spec_sha256=study.sha256,
        rows=collect_rows(plan_study(study, store), store),
        versions=_versions(),
    )
    write_record(output / RESULT, found)
    return found


def _versions() -> dict[str, str]:
    from tempermd import lmp

    return lmp.versions()


def _tell(result: GraphResult, store: Store) -> None:
    """Say on stderr which stages failed."""
    for key, failure in result.failures.items():
        print(f"failed: {store.read(key)[1].title}: {failure}", file=sys.stderr)
    if result.failures:
        print(
            f"{len(result.failures)} stages failed and {len(result.not_started)} that need them "
            "were not started; what is finished is kept, and the same command tries the rest again",
            file=sys.stderr,
        )


def dry_run(spec_path: Path, output: Path | None) -> str:
    """Return what a run would do: stages by kind, and how many of each are finished."""
    study = load_study(spec_path)
    store = Store(output_of(spec_path, output) / STORE)
    plan = plan_study(study, store)
    total = Counter(stage.group or stage.kind for stage in plan.stages.values())
    done = Counter(
        stage.group or stage.kind for stage in plan.stages.values() if store.done(stage) is not None
    )
    left_s = sum(s.cost_s for s in plan.stages.values() if store.done(s) is None)
    waiting = [row for row in plan.undecided if not row.trainings]
    lines = [f"{study.spec.title}: {len(plan.rows)} rows"]
    lines += [f"{name}: {count}, of which {done[name]} done" for name, count in total.items()]
    if waiting:
        lines.append(f"trainings that wait for the choice of their rate: {len(waiting)}")
        left_s += sum(_hidden_costs(plan).values())
    lines.append(f"about {left_s / 3600:.1f} core-hours are left (a rough guess)")
    return "\n".join(lines)
