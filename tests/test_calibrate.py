"""Limits measured by a trusted potential: they hold what was seen, and nothing else moves."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from made_trajectories import TIMESTEP_FS, frame_of, tube_atoms
from tempermd import campaign
from tempermd.campaign.calibrating import RULES, CalibrationRecord, limits_beyond, with_limits
from tempermd.events import analyse_run, read_thresholds
from tempermd.events.limits import DEFAULT_FILE
from tempermd.events.protocol import Protocol
from tempermd.events.watch import FrameWatch
from tempermd.records import UserError, read_record


def control(**changes: object) -> campaign.RobustnessSpec:
    values = {
        "control": True,
        "structures": {"tube": {"tube": [5, 5], "length_A": 10.0}},
        "temperatures_K": [300.0, 3000.0],
        "seeds": [1],
        "ramp_ps": 0.5,
        "hold_ps": 1.0,
        "quench_frames": 0,
    }
    return campaign.RobustnessSpec(**(values | changes))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("calibration") / "limits"
    return campaign.calibrate(control(), output, workers=2)


def test_limits_lie_beyond_all_that_was_seen(calibrated: Path) -> None:
    record = read_record(calibrated.parent / "calibration.json", CalibrationRecord)
    assert list(record.worst) == ["300 K", "3000 K"]
    cold, hot = record.worst.values()
    assert hot["shortest_A"] < cold["shortest_A"] < 1.42
    assert hot["force_eV_per_A"] > cold["force_eV_per_A"]
    limits = read_thresholds(calibrated)
    assert limits.close_contact.severe_A < limits.close_contact.warn_A < hot["shortest_A"]
    assert limits.force_spike.warn_eV_per_A > hot["force_eV_per_A"]
    table = (calibrated.parent / "calibration.md").read_text()
    assert f"{hot['shortest_A']:.4g}" in table
    for folder in (calibrated.parent / "runs").iterdir():
        assert analyse_run(folder, calibrated).events == []


def test_only_measured_limits_move(calibrated: Path) -> None:
    before = tomllib.loads(DEFAULT_FILE.read_text())
    after = tomllib.loads(calibrated.read_text())
    moved = {
        f"{section}.{key}"
        for section, values in after.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if value != before[section][key]
    }
    assert moved <= set(RULES)
    assert {"close_contact.warn_A", "force_spike.warn_eV_per_A"} <= moved
    texts = DEFAULT_FILE.read_text(), calibrated.read_text()
    reasons = [[line for line in text.splitlines() if line[:1] == "#"] for text in texts]
    assert reasons[0] == reasons[1]


def test_rules_by_hand() -> None:
    worst = {"300 K": {"shortest_A": 1.3, "ellipticity": 1.05}, "9 K": {"shortest_A": 1.2}}
    limits = limits_beyond(worst)
    assert limits == {
        "close_contact.warn_A": 1.14,
        "close_contact.severe_A": 1.04,
        "shape.ellipticity": 1.2,
    }
    text = with_limits("[shape]\n# a reason\nellipticity = 1.5\n[bond]\nellipticity = 3\n", limits)
    assert text == ("[shape]\n# a reason\nellipticity = 1.2  # measured\n[bond]\nellipticity = 3\n")


def test_extremes_of_known_frames() -> None:
    atoms = tube_atoms()
    watch = FrameWatch(read_thresholds(), Protocol([]))
    for number in range(4):
        places = atoms.positions.copy()
        if number == 2:
            places[40] += 0.3 * (atoms.get_distance(40, 41, mic=True, vector=True) / 3.0)
        watch.take(frame_of(atoms, number, places), number * TIMESTEP_FS)
    found = watch.measured()
    moved = atoms.copy()
    moved.positions[40] += 0.3 * (atoms.get_distance(40, 41, mic=True, vector=True) / 3.0)
    distances = moved.get_all_distances(mic=True)
    shortest = distances[distances > 0].min()
    assert found["shortest_A"] == pytest.approx(shortest)
    assert found["fewer_bonds_share"] == found["fourfold_share"] == 0.0
    assert found["ellipticity"] < 1.05
    assert "kT" not in found  # at no known temperature
    assert "force_eV_per_A" not in found


def test_two_potentials_and_broken_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one trusted potential"):
        campaign.calibrate(control(control=False), tmp_path / "a")
    with pytest.raises(UserError, match="cannot be trusted here: tube, 3000 K"):
        campaign.calibrate(control(timestep_fs=10.0, temperatures_K=[3000.0]), tmp_path / "b")
