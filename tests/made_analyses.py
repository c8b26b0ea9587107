"""Analyses of runs that never ran, with known events and curves."""

from __future__ import annotations

from tempermd.events import Analysis, Event, RunLabel, read_thresholds


def made_event(kind: str, severity: str, time_ps: float) -> Event:
    """Return an event of one atom."""
    return Event(
        kind=kind,
        severity=severity,
        step=round(2000 * time_ps),
        time_ps=time_ps,
        atom_ids=[7],
        value=1.0,
        limit=0.5,
        unit="Å",
        message=f"made up: {kind}",
    )


def made_analysis(
    model: str, seed: int = 1, *, events: tuple[Event, ...] = (), **changes: object
) -> Analysis:
    """Return a run of 10 ps at 3000 K with these events."""
    damning = [event.time_ps for event in events if event.severity != "warn"]
    counts: dict[str, int] = {}
    for event in events:
        counts[event.kind] = counts.get(event.kind, 0) + 1
    run = {
        "label": RunLabel(
            run_id=f"{model}-{seed}", model=model, potential="nequip", seed=seed
        ).model_copy(update={"structure": "(8,0)", "temperature_K": 3000.0}),
        "outcome": "finished",
        "reason": "",
        "events": list(events),
        "event_counts": counts,
        "notes": [],
        "thresholds": read_thresholds(None),
        "n_frames": 200,
        "n_atoms": 128,
        "duration_ps": 10.0,
        "planned_ps": 10.0,
        "first_severe_ps": min(damning, default=None),
        "series": {},
        "extremes": {},
        "trajectory": None,
        "timestep_fs": 0.5,
        "elements": {1: "C"},
        "folder": None,
        "provenance": {},
        "versions": {},
        "wall_s": 60.0,
    }
    return Analysis(**run | changes)
