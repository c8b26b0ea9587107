"""The status of a campaign: counts by state, what is left, the last failures in words."""

from __future__ import annotations

import os
import pty
import random
import subprocess
import sys
from pathlib import Path

import pytest

from campaign_cases import tempermd
from made_campaign import made_up_row, make_up_rows, open_made_campaign
from tempermd import campaign, md
from tempermd.campaign.rows import row_path
from tempermd.campaign.status import status, status_text
from tempermd.campaign.stopping import go_on, stop
from tempermd.md.lease import LeaseFile
from tempermd.md.owner import this_process
from tempermd.md.result import STUCK, Stuck
from tempermd.records import write_record


@pytest.fixture
def opened(tmp_path: Path) -> campaign.Campaign:
    """Return a campaign of the control: five temperatures, three seeds."""
    return open_made_campaign(tmp_path / "out", {}, 3)


def begin(opened: campaign.Campaign, one: str, step: int, alive: bool) -> None:
    """Leave a run as an attempt does that has come to a restart file."""
    attempt = opened.runs / one / "attempt-001"
    attempt.mkdir(parents=True)
    (opened.runs / one / "case.json").write_text(opened.cases[one].model_dump_json())
    (attempt / f"restart.{step}").write_bytes(b"x")
    owner = this_process()
    if not alive:
        owner = owner.model_copy(update={"pid_start": owner.pid_start + 1})
    lease = LeaseFile(owner=owner, beats=1, elapsed_s=1.0, beat_monotonic_s=0.0)
    write_record(attempt / "lease.json", lease)


def column(found, name: str) -> list[str]:
    place = found.head.index(name)
    return [row[place] for row in found.rows]


def test_every_state_is_counted(opened: campaign.Campaign) -> None:
    ids = list(opened.cases)
    draw = random.Random(1)
    for one, frailty in zip(ids[:4], (0.0, 0.0, 0.0, 1e9), strict=True):
        (opened.runs / one).mkdir(parents=True)
        row = made_up_row(opened.cases[one], opened.key, frailty, draw)
        write_record(row_path(opened.runs / one, opened.key), row)
    begin(opened, ids[4], 1000, alive=True)
    begin(opened, ids[5], 2000, alive=False)
    begin(opened, ids[6], 0, alive=False)
    write_record(opened.runs / ids[6] / STUCK, Stuck(stuck=True, reason="no space"))
    found = status(opened)
    counts = {name: column(found, name) for name in found.head[1:8]}
    assert counts == {
        "finished": ["3"],
        "failed": ["1"],
        "running": ["1"],
        "waiting": ["1"],
        "planned": ["8"],
        "stuck": ["1"],
        "skipped": ["–"],
    }
    # 8 ps each for what ended (one of them perhaps cut), 1000 and 2000 steps of 0.5 fs
    lived = 3 * 8.0 + 8.0 + 1.5
    assert float(column(found, "ps done")[0]) == pytest.approx(lived, abs=8.0)
    assert column(found, "of") == ["120"]
    assert found.open_runs == 10
    text = status_text(found)
    assert "4 of 15 runs have ended, 1 go on" in text
    failed = next(note for note in found.notes if ids[3] in note)
    assert failed.startswith("LCBOP, tube_0, ")
    assert " at " in failed


def test_time_left_is_by_hand(opened: campaign.Campaign) -> None:
    """All runs alike: what took 400 s each, with one at a time, for those that are left."""
    ids = list(opened.cases)
    draw = random.Random(1)
    n_atoms = md.count_atoms(opened.cases[ids[0]].structure)
    for one in ids[:3]:
        row = made_up_row(opened.cases[one], opened.key, 0.0, draw)
        rate = n_atoms * opened.cases[one].planned_steps / 400
        cost = row.cost.model_copy(update={"atom_steps_per_s": rate})
        (opened.runs / one).mkdir(parents=True)
        write_record(row_path(opened.runs / one, opened.key), row.model_copy(update={"cost": cost}))
    assert column(status(opened), "left") == ["?"]  # nobody works on it
    assert column(status(opened), "ps/h") == ["72"]  # 8 ps in 400 s
    begin(opened, ids[3], 8000, alive=True)
    # half of one run and eleven whole ones
    assert column(status(opened), "left") == [f"{11.5 * 400 / 60:.0f} min"]


def test_lines_by_condition_add_up_to_those_by_model(make_model, tmp_path: Path) -> None:
    models = {"frail": str(make_model(seed=5)), "sound": str(make_model(seed=6))}
    opened = open_made_campaign(tmp_path / "out", models, 4)
    make_up_rows(opened, {"frail": 0.2, "sound": 0.001})
    by_model, by_condition = status(opened), status(opened, "condition")
    assert [row[0] for row in by_model.rows] == ["frail", "sound", "LCBOP", "all"]
    assert len(by_condition.rows) == 3 * 5 + 1
    for name in ("finished", "failed"):
        for model in ("frail", "sound", "LCBOP", "all"):
            parts = [
                0 if value == "–" else int(value)
                for row, value in zip(by_condition.rows, column(by_condition, name), strict=True)
                if row[0] == model
            ]
            whole = column(by_model, name)[[row[0] for row in by_model.rows].index(model)]
            assert sum(parts) == (0 if whole == "–" else int(whole))
    assert by_model.open_runs == 0
    assert set(column(by_model, "left")) == {"done"}


def test_a_stop_is_said(opened: campaign.Campaign) -> None:
    assert stop(opened.folder) == 0
    assert "STOPPED" in status(opened).title
    go_on(opened.folder)
    assert "STOPPED" not in status(opened).title


def test_it_is_plain_where_there_is_no_terminal(opened: campaign.Campaign) -> None:
    said = tempermd("campaign", "status", opened.folder)
    assert said.returncode == 0
    assert said.stdout.splitlines()[0] == "out: 0 of 15 runs have ended, 0 go on"
    assert "\x1b" not in said.stdout


def test_in_a_terminal_it_ends_when_all_has_ended(opened: campaign.Campaign) -> None:
    make_up_rows(opened, {})
    terminal, other_end = pty.openpty()
    program = Path(sys.executable).with_name("tempermd")
    command = [str(program), "campaign", "status", str(opened.folder)]
    process = subprocess.Popen(command, stdout=other_end, stdin=other_end)
    os.close(other_end)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break  # the other end is closed
        if not piece:
            break
        shown += piece
    os.close(terminal)
    assert process.wait(60) == 0
    assert b"15 of 15 runs have ended" in shown
    assert b"\x1b[" in shown
