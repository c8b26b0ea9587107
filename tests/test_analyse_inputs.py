"""What users hand to `tempermd analyse`: each damage gives a finding or one sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_trajectories import dump_text, frame_of, log_text, tube_atoms
from tempermd import campaign
from tempermd.events import analyse_trajectory
from tempermd.events.clock import gap_notes
from tempermd.records import UserError, read_record
from tempermd.report import Summary
from tempermd.trajectory import Frame

STEPS = np.arange(0, 1101, 10)


def frames() -> list[Frame]:
    atoms, rng = tube_atoms(), np.random.default_rng(0)
    places = [atoms.positions + rng.normal(0, 0.03, (128, 3)) for _ in range(12)]
    return [frame_of(atoms, number, some) for number, some in enumerate(places)]


def log() -> str:
    temperature = 3000 + np.random.default_rng(1).normal(0, 180, len(STEPS))
    return log_text(STEPS, temperature, np.full(len(STEPS), -900.0))


def with_nan() -> str:
    found = frames()
    places = found[6].positions.copy()
    places[40] = np.nan
    return dump_text([*found[:6], replace(found[6], positions=places), *found[7:]])


def without_atoms(frame: Frame) -> Frame:
    none = np.zeros((0, 3))
    return replace(frame, ids=frame.ids[:0], positions=none, velocities=none, types=frame.types[:0])


def emptied(*numbers: int) -> str:
    """Return the dump with frames in which no atom is left."""
    return dump_text(
        without_atoms(frame) if number in numbers else frame
        for number, frame in enumerate(frames())
    )


def with_line(text: str, number: int, change: Callable[[str], list[str]]) -> str:
    lines = text.splitlines()
    lines[number : number + 1] = change(lines[number])
    return "\n".join(lines) + "\n"


def shuffled() -> str:
    return dump_text(frames(), order=np.random.default_rng(2).permutation(128))


GOOD = dump_text(frames())
CUT = GOOD[: int(0.7 * len(GOOD))]
HOLED_LOG = "".join(log().splitlines(keepends=True)[:30] + log().splitlines(keepends=True)[45:])
WARNED = with_line(log(), 40, lambda line: ["WARNING: Dangerous builds 3 (src/x.cpp:12)", line])
NAN_LOG = with_line(log(), 50, lambda line: [line.rsplit(None, 2)[0] + "  nan  -nan"])
NO_THERMO = "units metal\ntimestep 0.0005\nrun 0\n"


@pytest.mark.parametrize(
    ("dump", "log_file", "verdict", "words"),
    [
        (GOOD, log(), "PASS", ""),
        (with_nan(), log(), "FAIL", "non-finite numbers"),
        (CUT, log(), "INCONCLUSIVE", "the last frame of the dump is cut off"),
        (CUT, None, "INCONCLUSIVE", "the dump is cut off"),
        (dump_text(frames()[:4] + frames()[9:]), log(), "PASS", "frames are missing from"),
        (shuffled(), log(), "PASS", ""),
        (GOOD + GOOD, log() + log(), "PASS", "begin anew once"),
        (GOOD, WARNED, "PASS", ""),
        (GOOD, NAN_LOG, "FAIL", "non-finite numbers"),
        (GOOD, log()[: int(0.7 * len(log()))], "INCONCLUSIVE", "the log is cut off"),
        (with_nan(), log()[: int(0.7 * len(log()))], "FAIL", "the log is cut off"),
        (GOOD, HOLED_LOG, "PASS", "thermo lines are missing from"),
        (GOOD, NO_THERMO, "PASS", "the log has no thermo output"),
        (GOOD, "", "PASS", "the log has no thermo output"),
        (GOOD, None, "PASS", "no log: temperature and energy drift were not judged"),
        (emptied(6), log(), "FAIL", "128 of 128 atoms are gone"),
        (emptied(*range(6, 12)), log(), "FAIL", "128 of 128 atoms are gone"),
        (emptied(0), log(), "FAIL", "128 atoms with new ids"),
    ],
    ids=[
        "whole",
        "NaN",
        "cut dump",
        "cut dump, no log",
        "frames missing",
        "changed order",
        "two runs",
        "warnings inside",
        "NaN in the log",
        "cut log",
        "cut log, NaN in the dump",
        "lines missing in the log",
        "no thermo",
        "empty log",
        "no log",
        "a frame without atoms",
        "no atoms at the end",
        "no atoms at the start",
    ],
)
def test_finding(dump: str, log_file: str | None, verdict: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "dump").write_text(dump)
    if log_file is not None:
        (tmp_path / "log").write_text(log_file)
    given = None if log_file is None else tmp_path / "log"
    page, code = campaign.analyse(tmp_path / "dump", given, tmp_path / "out")
    assert read_record(page.parent / "summary.json", Summary).verdict == verdict
    assert code == {"PASS": 0, "INCONCLUSIVE": 1, "FAIL": 2}[verdict]
    assert words.lower() in page.read_text().lower()


@pytest.mark.parametrize(
    ("times_ps", "said"),
    [
        ([0, 1, 2, 7, 8, 9], "frames are missing from 2 to 7 ps"),
        ([0, 1, 2, 7, 8, 9, 20, 21], "frames are missing from 9 to 20 ps and 1 times more"),
        ([0, 1, 2, 3, 13, 23, 33], None),  # sparser from here on
        ([0, 10, 20, 21, 22, 23], None),
        ([0, 1, 9], None),
    ],
)
def test_gaps_are_not_sparser_output(times_ps: list[float], said: str | None) -> None:
    assert gap_notes(times_ps, "frames") == ([] if said is None else [said])


def test_empty_dump_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "dump").touch()
    with pytest.raises(UserError, match=r"dump: expected a LAMMPS text dump, but it is empty"):
        campaign.analyse(tmp_path / "dump", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_dump_without_any_atom_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "dump").write_text(emptied(*range(12)))
    with pytest.raises(UserError, match="no frame has atoms"):
        campaign.analyse(tmp_path / "dump", None, tmp_path / "out")


def test_frames_without_atoms_are_lost_atoms_only(tmp_path: Path) -> None:
    """Nothing that such a frame cannot show is judged, and what follows is judged as before."""
    (tmp_path / "dump").write_text(emptied(6))
    found = analyse_trajectory(tmp_path / "dump")
    assert [(event.kind, event.step) for event in found.events] == [("lost_atoms", 600)]
    assert found.events[0].shown_step == 500
    assert found.series["shortest_distance"].value[6] is None
    assert None not in found.series["shortest_distance"].value[7:]


@pytest.mark.parametrize("timestep_fs", [float("nan"), float("inf"), 0.0, -1.0])
@pytest.mark.parametrize("command", ["analyse", "movie"])
def test_timestep_that_is_none(timestep_fs: float, command: str, tmp_path: Path) -> None:
    (tmp_path / "dump").write_text(GOOD)
    words = [str(tmp_path / "dump"), "-o", str(tmp_path / "out.gif")]
    done = subprocess.run(
        [sys.executable, "-c", "from tempermd.cli import main; main()", command, *words]
        + ["--timestep-fs", str(timestep_fs)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"expected a timestep above 0 fs, got {timestep_fs:g}" in done.stderr
    assert not (tmp_path / "out.gif").exists()
