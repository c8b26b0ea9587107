"""Limits measured by a trusted potential: they hold what was seen, and nothing else moves."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from made_trajectories import TIMESTEP_FS, frame_of, tube_atoms
from tempermd import campaign
from tempermd.campaign.calibrating import (
    COLUMNS,
    RULES,
    CalibrationRecord,
    limits_beyond,
    with_limits,
    worst_by_condition,
)
from tempermd.events import Event, Thresholds, analyse_run, read_thresholds
from tempermd.events.limits import DEFAULT_FILE, ORDERED, value_of
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


def read_back(limits: dict[str, float], folder: Path) -> Thresholds:
    """Return limits as `calibrate` writes them and a report reads them."""
    path = folder / "thresholds.toml"
    path.write_text(with_limits(DEFAULT_FILE.read_text(), limits))
    return read_thresholds(path)


MEASURES = sorted({name for name, _, _ in RULES.values()})


@pytest.mark.parametrize("seen", [0.0, 1e-9, 1e-3, 0.0475, 0.06, 0.5, 1.0, 7.0, 1e3, 1e12])
@pytest.mark.parametrize("name", [*MEASURES, "all"])
def test_whatever_is_seen_the_file_reads_back(name: str, seen: float, tmp_path: Path) -> None:
    worst = {"300 K": dict.fromkeys(MEASURES if name == "all" else [name], seen)}
    limits = limits_beyond(worst)
    found = read_back(limits, tmp_path)
    for limit, value in limits.items():
        assert value_of(found, limit) == value
    for limit, (measure, _, least) in RULES.items():
        if measure in worst["300 K"] and measure != "shortest_A":
            assert value_of(found, limit) >= max(seen, least) * 0.999
    if "shortest_A" in worst["300 K"] and seen > 0.2:
        assert found.close_contact.severe_A < found.close_contact.warn_A < seen
    assert set(COLUMNS) >= set(MEASURES)  # the table shows what the limits come from


def test_pairs_keep_their_order_and_the_shipped_ratio(tmp_path: Path) -> None:
    shipped = read_thresholds()
    for share, severe in ((0.04, 0.10), (0.06, 1.2), (0.2, 4.0)):
        found = read_back(limits_beyond({"300 K": {"fewer_bonds_share": share}}), tmp_path).dangling
        assert (found.warn_share, found.severe_share) == (2 * share, severe)
    found = read_back(limits_beyond({"300 K": {"drift_eV_per_atom_ps": 0.02}}), tmp_path)
    drift = found.energy_drift
    assert (drift.warn_eV_per_atom_ps, drift.severe_eV_per_atom_ps) == (0.04, 0.8)
    every = read_back(limits_beyond({"300 K": dict.fromkeys(MEASURES, 3.0)}), tmp_path)
    for larger, smaller in ORDERED:
        assert value_of(every, larger) > value_of(every, smaller)
        assert value_of(shipped, larger) > value_of(shipped, smaller)


def test_many_atoms_short_of_a_bond_lose_no_run(
    calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six in a hundred put the limit of a warning beyond that of the severe event."""
    output = tmp_path / "again"
    shutil.copytree(calibrated.parent, output)
    worst = {"3000 K": {"fewer_bonds_share": 0.06}}
    monkeypatch.setattr("tempermd.campaign.calibrating.worst_by_condition", lambda _: worst)
    limits = read_thresholds(campaign.calibrate(control(), output))
    assert limits.dangling.severe_share == pytest.approx(10 * limits.dangling.warn_share)
    assert "dangling.severe_share = 1.2: more than all" in (output / "calibration.md").read_text()


def test_limits_of_statistics_are_only_widened() -> None:
    shipped = read_thresholds()
    for name in ("hot_atom.kT", "energy_drift.warn_eV_per_atom_ps", "temperature.sigmas"):
        measure, factor, least = RULES[name]
        assert least == value_of(shipped, name)
        assert limits_beyond({"300 K": {measure: 0.1 * least}}) == {name: least}
        seen = 1.01 * least
        assert limits_beyond({"300 K": {measure: seen}})[name] == pytest.approx(
            factor * seen, rel=5e-3
        )


def test_drift_and_temperature_are_measured_by_their_events(calibrated: Path) -> None:
    folder = next((calibrated.parent / "runs").iterdir())
    run = analyse_run(folder)

    def event(kind: str, value: float, unit: str) -> Event:
        return Event(
            kind=kind,
            severity="severe",
            step=0,
            time_ps=0.0,
            atom_ids=[],
            value=value,
            limit=0.0,
            unit=unit,
            message="",
        )

    told = [
        event("energy_drift", -0.003, "eV/atom/ps"),
        event("energy_drift", 0.002, "eV/atom/ps"),
        event("temperature", -9.0, "σ"),
        event("temperature", 9000.0, "K"),  # ran away: another limit's
    ]
    (worst,) = worst_by_condition([run.model_copy(update={"events": told})]).values()
    assert (worst["drift_eV_per_atom_ps"], worst["sigmas"]) == (0.003, 9.0)
    assert worst["kT"] == run.extremes["kT"]


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
