"""Models that are wrong in known ways end in FAIL, by the events that tell their fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bad_models import BAD_MODELS
from tempermd import campaign, lmp
from tempermd.records import read_record
from tempermd.report import Summary
from tempermd.report.summary import ModelVerdict


def judged(name: str, model: Path, folder: Path) -> tuple[int, ModelVerdict]:
    """Run one model on a small tube at 3000 K; return exit code and verdict."""
    spec = campaign.RobustnessSpec(
        models={name: str(model)},
        structures={"tube": {"tube": [5, 5], "length_A": 10.0}},
        temperatures_K=[3000.0],
        seeds=[1],
        ramp_ps=0.5,
        hold_ps=1.5,
        quench_frames=2,
        guard_every=10,
    )
    _, code = campaign.robustness(spec, folder, workers=1)
    return code, read_record(folder / "summary.json", Summary).models[0]


def damning_kinds(report: Path) -> set[str]:
    """Return the kinds of the fatal and severe events of a report: a warning condemns nobody."""
    events = [json.loads(line) for line in (report / "events.jsonl").read_text().splitlines()]
    return {event["kind"] for event in events if event["severity"] in ("fatal", "severe")}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_model_fails_by_the_right_event(name: str, tmp_path: Path) -> None:
    make, kinds = BAD_MODELS[name]
    model = make(tmp_path / f"{name}.nequip.pth")
    code, verdict = judged(name, model, tmp_path / "report")
    assert (code, verdict.verdict) == (2, "FAIL")
    found = damning_kinds(tmp_path / "report")
    assert kinds & found, found


def test_the_model_they_are_made_from_passes(tmp_path: Path) -> None:
    """Or their failures would tell nothing about what was done to them."""
    shipped = lmp.potentials_folder() / "carbon_base.nequip.pth"
    code, verdict = judged("shipped", shipped, tmp_path / "report")
    assert code == 0, verdict.sentence
