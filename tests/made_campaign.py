"""A campaign whose rows are made up: for pages and for what ten thousand runs cost to list."""

from __future__ import annotations

import random
from pathlib import Path

from tempermd.campaign import Campaign, CampaignSpec, open_campaign
from tempermd.campaign.rows import RowEvent, RunCost, RunRow, row_path
from tempermd.events import label_of
from tempermd.md import Case
from tempermd.records import write_record

KINDS = {
    "dangling": "atoms of wall 1 are short of a bond",
    "detached": "a body of atoms left its tube",
    "ring_change": "a new ring of 9 atoms",
    "energy_drift": "the conserved energy drifts",
    "close_contact": "a pair came closer than any healthy one",
}
ATOMS = 100


def make_up_rows(campaign: Campaign, frailty: dict[str, float], seed: int = 1) -> list[RunRow]:
    """Write a made-up row for every run of a campaign, each marked as such.

    ``frailty`` is a model's hazard per ps at 1000 K; it grows with the square of the temperature.
    """
    draw = random.Random(seed)
    rows = []
    for case in campaign.cases.values():
        row = made_up_row(case, campaign.key, frailty.get(case.model_name, 0.0), draw)
        run = campaign.runs / case.id
        run.mkdir(parents=True, exist_ok=True)
        (run / "case.json").write_text(case.model_dump_json())
        write_record(row_path(run, row.limits), row)
        rows.append(row)
    return rows


def made_up_row(case: Case, key: str, frailty: float, draw: random.Random) -> RunRow:
    """Return a row as a run of an exponential lifetime would leave it."""
    planned_ps = case.planned_steps * case.timestep_fs / 1000
    hazard = frailty * (case.temperature_K / 1000) ** 2
    time_ps = draw.expovariate(hazard) if hazard else planned_ps + 1
    failed = time_ps < planned_ps
    kind = draw.choice(list(KINDS))
    warned = not failed and draw.random() < 0.15
    events = [_event("severe" if failed else "warn", kind, time_ps, case, draw)]
    lost = failed and kind == "detached"
    outcome = "model_failure" if lost else "finished"
    wall_s = draw.uniform(40, 60) * planned_ps
    return RunRow(
        label=label_of(case),
        outcome=outcome,
        reason="made up: lost atoms" if lost else f"made up: all {case.planned_steps} steps done",
        verdict="failed" if failed else "warned" if warned else "clean",
        first_severe=kind if failed else None,
        first_severe_ps=round(time_ps, 3) if failed else None,
        event_counts={kind: draw.randint(1, 40)} if failed or warned else {},
        events=events if failed or warned else [],
        notes=[],
        duration_ps=min(time_ps + 0.1, planned_ps) if lost else planned_ps,
        planned_ps=planned_ps,
        n_atoms=ATOMS,
        limits=key,
        made_up=True,
        cost=RunCost(
            wall_s=wall_s,
            core_hours=wall_s / 3600,
            atom_steps_per_s=ATOMS * case.planned_steps / wall_s,
            attempts=1 + (draw.random() < 0.1),
            attempt="attempt-001",
        ),
    )


def _event(severity: str, kind: str, time_ps: float, case: Case, draw: random.Random) -> RowEvent:
    time_ps = min(time_ps, case.planned_steps * case.timestep_fs / 1000)
    return RowEvent(
        kind=kind,
        severity=severity,
        step=round(time_ps * 1000 / case.timestep_fs),
        time_ps=round(time_ps, 4),
        atom_ids=sorted(draw.sample(range(1, ATOMS + 1), 4)),
        message=f"{KINDS[kind]} (made up)",
    )


def open_made_campaign(
    folder: Path, models: dict[str, str], n_seeds: int, n_structures: int = 1, **changes: object
) -> Campaign:
    """Plan a campaign of short tubes at five temperatures."""
    spec = {
        "models": models,
        "control": True,
        "structures": {
            f"tube_{k}": {"tube": (5, 5), "length_A": 12.0, "stone_wales": k, "seed": k + 1}
            for k in range(n_structures)
        },
        "temperatures_K": [300.0, 1000.0, 2000.0, 3000.0, 4000.0],
        "seeds": list(range(1, n_seeds + 1)),
        "ramp_ps": 2.0,
        "hold_ps": 6.0,
    }
    return open_campaign(CampaignSpec.model_validate(spec | changes), folder)
