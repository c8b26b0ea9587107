"""Runs all detectors over one run, streaming its dump once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tempermd import md
from tempermd.events.clock import Clock, check_timestep, gap_notes
from tempermd.events.limits import Thresholds, read_thresholds
from tempermd.events.logs import LogWatch
from tempermd.events.minima import SpuriousMinimum
from tempermd.events.products import Analysis, Event, Outcome, RunLabel, Series
from tempermd.events.protocol import Protocol
from tempermd.events.settings import (
    stages_from_log,
    timestep_from_dump,
    timestep_from_log,
)
from tempermd.events.stops import is_by_guard, stop_events
from tempermd.events.watch import FrameWatch, heat_excused
from tempermd.md import Quench, Stage
from tempermd.md.case import DATA
from tempermd.records import UserError, atomic_write, read_record
from tempermd.trajectory import Thermo, iter_frames, read_thermo


@dataclass
class _Run:
    """What is known of a run before its frames are looked at."""

    dump: Path | None
    thermo: Thermo | None
    stages: Sequence[Stage]
    timestep_fs: float | None
    damping_fs: float | None
    quench: Quench | None
    limits: Thresholds
    label: RunLabel
    outcome: Outcome = "finished"
    reason: str = ""
    stages_are_the_log_s: bool = False
    damage_is_noted: bool = False  # one broken file must not stop the report of many runs
    elements: dict[int, str] = field(default_factory=dict)
    n_atoms: int = 0
    planned_ps: float | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    wall_s: float | None = None
    folder: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def units(self) -> str | None:
        """Of the dump, where it does not name its own: those of the log."""
        return None if self.thermo is None else self.thermo.units


def analyse_trajectory(
    dump: Path | str,
    log: Path | str | None = None,
    *,
    stages: Sequence[Stage] = (),
    timestep_fs: float | None = None,
    quench: Path | str | None = None,
    thresholds: Path | str | Thresholds | None = None,
) -> Analysis:
    """Look for unphysical events in any LAMMPS trajectory.

    Parameters
    ----------
    dump : path
        LAMMPS text dump, see `tempermd.trajectory.iter_frames`.
    log : path or None
        Its log; without it, temperature and energy drift are not judged.
    stages : sequence of Stage
        Ramps and holds; by default read from the thermostats that the log echoes.
    timestep_fs : float or None
        By default read from the log, or from the dump's times.
    quench : path or None
        ``quench.json`` of the run.
    thresholds : path, Thresholds or None
        Limits; None for the shipped ones.

    Returns
    -------
    Analysis
    """
    check_timestep(timestep_fs)
    thermo = None if log is None else read_thermo(log)
    run = _Run(
        dump=Path(dump),
        thermo=thermo,
        stages=list(stages) or stages_from_log(thermo),
        stages_are_the_log_s=not stages,
        timestep_fs=timestep_fs
        or timestep_from_log(thermo)
        or timestep_from_dump(dump, None if thermo is None else thermo.units),
        damping_fs=None,
        quench=None if quench is None else read_record(quench, Quench),
        limits=thresholds if isinstance(thresholds, Thresholds) else read_thresholds(thresholds),
        label=RunLabel(run_id=Path(dump).name, model=Path(dump).name),
    )
    if thermo is not None and thermo.error is not None:
        to_blame = is_by_guard(thermo.error) or bool(
            stop_events(thermo.error, 0, 0.0, None, run.limits)
        )
        run.outcome = "model_failure" if to_blame else "infrastructure_failure"
        run.reason = thermo.error
    elif thermo is not None and thermo.truncated:
        run.outcome, run.reason = "infrastructure_failure", "the log is cut off inside a run"
    return _analyse(run)


def analyse_run(run_dir: Path | str, thresholds: Path | str | Thresholds | None = None) -> Analysis:
    """Look for unphysical events in a run directory made by `tempermd.md`.

    Writes ``events.jsonl`` into the attempt that counts.

    Parameters
    ----------
    run_dir : path
        Folder with ``case.json``.
    thresholds : path, Thresholds or None
        Limits; None for the shipped ones.

    Returns
    -------
    Analysis
    """
    run_dir = Path(run_dir)
    case, result = md.read_case(run_dir), md.read_result(run_dir)
    attempt = md.newest_attempt(run_dir)
    limits = thresholds if isinstance(thresholds, Thresholds) else read_thresholds(thresholds)
    files = {
        name: None if attempt is None or not (attempt / name).is_file() else attempt / name
        for name in (md.DUMP, md.LOG, md.QUENCH, DATA)
    }
    run = _Run(
        dump=files[md.DUMP],
        thermo=None if files[md.LOG] is None else read_thermo(files[md.LOG]),
        stages=case.stages,
        timestep_fs=case.timestep_fs,
        damping_fs=case.damping_fs,
        quench=None if files[md.QUENCH] is None else read_record(files[md.QUENCH], Quench),
        limits=limits,
        label=label_of(case),
        outcome="infrastructure_failure" if result is None else result.outcome,
        reason="it has no result yet" if result is None else result.reason,
        damage_is_noted=True,
        planned_ps=case.planned_steps * case.timestep_fs / 1000,
        provenance=_provenance(case, result),
        versions={} if result is None else result.versions,
        wall_s=None if result is None else result.wall_s,
        folder=str(run_dir.resolve()),
    )
    if files[DATA] is not None:
        run.n_atoms = md.count_atoms(files[DATA])
        run.elements = dict(enumerate(md.data_elements(files[DATA]), start=1))
    analysis = _analyse(run)
    if attempt is not None:
        write_events(attempt / "events.jsonl", [(None, event) for event in analysis.events])
    return analysis


def label_of(case: md.Case) -> RunLabel:
    """Name a run for tables and pages."""
    nequip = case.potential == "nequip"
    file_name = Path(case.model).name.removesuffix(".nequip.pth") if case.model else ""
    return RunLabel(
        run_id=case.id,
        model=case.model_name or (file_name if nequip else case.potential.upper()),
        model_sha256=case.model_sha256 if nequip else None,
        potential=case.potential,
        structure=case.structure_name or Path(case.structure).stem,
        protocol=case.protocol_name,
        temperature_K=case.temperature_K,
        seed=case.seed,
    )


def write_events(path: Path | str, events: Sequence[tuple[RunLabel | None, Event]]) -> None:
    """Write events as one JSON object a line, with its class and the run's label if given.

    A value that is not finite is written as records write it: as text.
    """
    lines = []
    for label, event in events:
        head = {"format": event.format_name, "version": event.format_version}
        if label is not None:
            head["run"] = json.loads(label.model_dump_json())
        head["class"] = event.event_class
        whole = head | json.loads(event.model_dump_json())
        lines.append(json.dumps(whole, ensure_ascii=False, allow_nan=False))
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _analyse(run: _Run) -> Analysis:
    """Pass frames, thermo and quench through the detectors and gather what they found."""
    events, series = [], {}
    watch = None if run.dump is None else _watch(run)
    if watch is not None:
        events += watch.finish()
        series |= watch.series()
    n_atoms = (watch.n_atoms if watch else 0) or run.n_atoms
    times_ps = watch.times_ps if watch else []
    if run.thermo is not None and n_atoms:
        thermo_events, curves = _judge_thermo(run, n_atoms)
        events = heat_excused([*events, *thermo_events], Protocol(run.stages))
        series |= curves
    elif run.thermo is None:
        run.notes.append("no log: temperature and energy drift were not judged")
    events += _judge_quench(run, watch)
    first_ps, last_ps = _span(run, times_ps)
    events += _crash(run, events, last_ps)
    event_counts = dict(sorted(Counter(event.kind for event in events).items()))
    events = _capped(events, run)
    damning = [event.time_ps for event in events if event.severity != "warn"]
    return Analysis(
        label=run.label,
        outcome=run.outcome,
        reason=run.reason,
        events=events,
        event_counts=event_counts,
        notes=run.notes,
        thresholds=run.limits,
        n_frames=len(times_ps),
        n_atoms=n_atoms,
        duration_ps=last_ps - first_ps,
        planned_ps=run.planned_ps,
        first_severe_ps=max(min(damning) - first_ps, 0.0) if damning else None,
        series=series,
        extremes=watch.measured() if watch else {},
        trajectory=None if run.dump is None else str(run.dump.resolve()),
        units=run.units,
        timestep_fs=run.timestep_fs,
        elements=run.elements,
        folder=run.folder,
        provenance=run.provenance,
        versions=run.versions,
        wall_s=run.wall_s,
    )


def _watch(run: _Run) -> FrameWatch:
    """Stream the dump through the detectors of geometry and numbers."""
    watch = FrameWatch(run.limits, Protocol(run.stages), run.elements)
    reader, clock = iter_frames(run.dump, run.units), Clock(run.dump, run.timestep_fs)
    try:
        for frame in reader:
            time_ps = clock.time_ps(frame)
            if time_ps is not None:
                watch.take(frame, time_ps)
        if watch.times_ps and not watch.n_atoms:
            raise UserError(f"{run.dump}: no frame has atoms; give the dump of a structure")
    except UserError as error:
        if not run.damage_is_noted:
            raise
        run.notes.append(str(error))
    if reader.truncated and watch.times_ps:
        run.notes.append("the last frame of the dump is cut off and was left out")
        if run.outcome == "finished":
            run.outcome, run.reason = "infrastructure_failure", "the dump is cut off"
    if not reader.units_known:
        run.notes.append("neither log nor dump names its units: they were taken to be metal")
    run.notes += clock.notes() + watch.notes()
    return watch


def _judge_thermo(run: _Run, n_atoms: int) -> tuple[list[Event], dict[str, Series]]:
    """Pass the log through its detectors."""
    if run.timestep_fs is None:
        raise UserError("neither the log nor the dump tells the timestep; give it in fs")
    stages = None if run.stages_are_the_log_s else run.stages
    watch = LogWatch(run.limits, stages, n_atoms, run.timestep_fs, run.damping_fs)
    watch.take(run.thermo)
    times_ps = run.thermo.table([])[:, 0] * run.timestep_fs / 1000
    run.notes += watch.notes() + gap_notes(times_ps, "thermo lines")
    return watch.finish(), watch.series()


def _judge_quench(run: _Run, watch: FrameWatch | None) -> list[Event]:
    """Look for holes, where the start is at rest: what anneals relaxes to below its start."""
    if run.quench is None:
        run.notes.append("no quenched frames: spurious minima were not looked for")
        return []
    if watch is not None and watch.anneals:
        run.notes.append("what begins disordered anneals: spurious minima were not looked for")
        return []
    minima = SpuriousMinimum(run.limits.spurious_minimum, run.timestep_fs or 0.0)
    minima.update(run.quench)
    return minima.finish()


def _span(run: _Run, frame_times: list[float]) -> tuple[float, float]:
    """Return the first and the last simulated time, ps, by frames and thermo."""
    times = list(frame_times)
    if run.thermo is not None and run.timestep_fs is not None:
        times += (run.thermo.table([])[:, 0] * run.timestep_fs / 1000).tolist()
    return (min(times), max(times)) if times else (0.0, 0.0)


def _crash(run: _Run, events: list[Event], last_ps: float) -> list[Event]:
    """Return the events of a stop that the model caused and no detector has seen."""
    if run.outcome != "model_failure" or any(event.severity == "fatal" for event in events):
        return []
    text = run.reason or "LAMMPS stopped without a reason"
    step = round(last_ps * 1000 / run.timestep_fs) if run.timestep_fs else 0
    known = stop_events(text, step, last_ps, run.timestep_fs, run.limits)
    if is_by_guard(text) and all(event.severity == "warn" for event in [*events, *known]):
        run.outcome = "infrastructure_failure"
        run.notes.append("the guard stopped this run within the limits here: it counts as cut off")
    if known or is_by_guard(text):
        return [event for event in known if not _is_told(event, events)]
    crash = Event(
        kind="crash",
        severity="fatal",
        step=step,
        time_ps=last_ps,
        atom_ids=[],
        value=None,
        limit=None,
        unit="",
        message=f"LAMMPS stopped: {text}",
    )
    return [crash]


def _is_told(event: Event, events: list[Event]) -> bool:
    """Whether frames have shown the same to the same atoms."""
    return any(
        (other.kind, other.severity, set(other.atom_ids))
        == (event.kind, event.severity, set(event.atom_ids))
        for other in events
    )


def _capped(events: list[Event], run: _Run) -> list[Event]:
    """Sort events by time and keep the first ones of each kind and severity."""
    kept: list[Event] = []
    seen: Counter[tuple[str, str]] = Counter()
    for event in sorted(events, key=lambda event: (event.step, event.kind)):
        seen[event.kind, event.severity] += 1
        if seen[event.kind, event.severity] <= run.limits.events_per_kind:
            kept.append(event)
    for (kind, severity), count in seen.items():
        more = count - run.limits.events_per_kind
        if more > 0:
            run.notes.append(f"{more} more {kind} events ({severity}) are not listed")
    return kept


def _provenance(case: md.Case, result: md.RunResult | None) -> dict[str, str]:
    """Tell where a run comes from."""
    facts = {
        "structure sha256": case.structure_sha256,
        "timestep": f"{case.timestep_fs:g} fs",
        "thermostat damping": f"{case.damping_fs:g} fs",
    }
    if result is not None:
        facts["attempt"] = result.attempt
    return facts
