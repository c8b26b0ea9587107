"""Detectors against trajectories whose answer is known, and against a healthy hot tube."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from made_trajectories import STEPS_PER_FRAME, dump_text, frame_of, log_text, tube_atoms
from tempermd import lmp, md
from tempermd.events import (
    Event,
    RunLabel,
    analyse_run,
    analyse_trajectory,
    read_thresholds,
    write_events,
)
from tempermd.events.limits import DEFAULT_FILE
from tempermd.events.snapshot import Snapshots, close_pairs, gap_between
from tempermd.events.stops import stop_events
from tempermd.events.thermostat import line_through, target_band
from tempermd.md import Stage
from tempermd.records import UserError, write_record
from tempermd.trajectory import Frame

pytest_plugins = ("hot_tube",)

NOT_QUENCHED = "no quenched frames: spurious minima were not looked for"
LIMITS = read_thresholds()
ATOM = 40  # index; its id is 41


def analyse(tmp_path: Path, frames: list[Frame], log: str | None = None, **options):
    dump = tmp_path / "made.lammpstrj"
    dump.write_text(dump_text(frames))
    if log is not None:
        (tmp_path / "log.lammps").write_text(log)
    return analyse_trajectory(dump, None if log is None else tmp_path / "log.lammps", **options)


def outward(atoms, index: int) -> np.ndarray:
    """Return the unit vector from the tube's axis to an atom."""
    radial = atoms.positions[index] - atoms.positions.mean(axis=0)
    radial[2] = 0
    return radial / np.linalg.norm(radial)


def excursion(shifts_A: list[float], index: int = ATOM) -> list[Frame]:
    """Return frames 0.05 ps apart in which one atom stands so far outside its place."""
    atoms = tube_atoms()
    frames = []
    for number, shift in enumerate(shifts_A):
        places = atoms.positions.copy()
        places[index] += shift * outward(atoms, index)
        frames.append(frame_of(atoms, number, places))
    return frames


# --- neighbors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "angles", "n_atoms", "pbc"),
    [
        ((8.0, 9.0, 10.0), (90, 90, 90), 40, (True, True, True)),
        ((8.0, 9.0, 10.0), (70, 80, 65), 40, (True, True, True)),
        ((2.5, 9.0, 3.1), (90, 75, 60), 6, (True, True, True)),
        ((8.0, 9.0, 4.0), (90, 90, 90), 30, (False, False, True)),
        ((8.0, 9.0, 4.0), (90, 90, 90), 30, (False, False, False)),
    ],
)
def test_close_pairs_are_those_of_ase(lengths, angles, n_atoms, pbc) -> None:
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    rng = np.random.default_rng(5)
    atoms = Atoms(f"C{n_atoms}", cell=[*lengths, *angles], pbc=pbc)
    atoms.positions = rng.uniform(-1.0, 2.0, (n_atoms, 3)) @ atoms.cell[:]  # also outside
    pairs = close_pairs(frame_of(atoms), 3.0)
    expected: dict[tuple[int, int], float] = {}
    for i, j, d in zip(*neighbor_list("ijd", atoms, 3.0), strict=True):
        if i < j:
            expected[i, j] = min(d, expected.get((i, j), np.inf))
    found = {(i, j): d for i, j, d in zip(pairs.first, pairs.second, pairs.distance, strict=True)}
    assert found.keys() == expected.keys()
    assert all(found[pair] == pytest.approx(expected[pair], abs=1e-9) for pair in found)


def test_frames_share_a_network_while_bonds_stay_and_no_longer() -> None:
    atoms = tube_atoms()
    middle = atoms.positions.mean(axis=0)
    snapshots = Snapshots(read_thresholds(None).bond, 1.1)
    networks = []
    for number in range(6):  # all atoms go farther than any skin: drift, and a turn by 40 degrees
        atoms.rotate(40, "z", center=middle)
        atoms.positions += [0.3, 0.2, 0.9]
        networks.append(snapshots.take(frame_of(atoms, number), 0.1 * number).network)
    assert all(one is networks[0] for one in networks)
    atoms.positions[ATOM] += 4 * outward(atoms, ATOM)
    torn = snapshots.take(frame_of(atoms, 6), 0.6).network
    assert np.flatnonzero(torn.coordination != networks[0].coordination).size == 4
    assert torn.coordination[ATOM] == 0
    atoms.positions[ATOM] -= 4 * outward(atoms, ATOM)
    del atoms[[0]]
    fewer = snapshots.take(frame_of(atoms, 7), 0.7).network
    assert fewer.n_atoms == 127
    assert len(fewer.first) == len(networks[0].first) - 3


def test_gap_between_groups_is_that_of_ase() -> None:
    from ase import Atoms

    rng = np.random.default_rng(6)
    atoms = Atoms("C20", cell=[9, 10, 11, 75, 80, 70], pbc=True)
    atoms.positions = rng.uniform(0, 1, (20, 3)) @ atoms.cell[:]
    group, others = np.arange(4), np.arange(4, 20)
    expected = min(atoms.get_distances(i, others, mic=True).min() for i in group)
    assert gap_between(frame_of(atoms), group, others) == pytest.approx(expected)


# --- geometry ----------------------------------------------------------------------------


def test_atom_outside_briefly_is_no_event(tmp_path: Path) -> None:
    analysis = analyse(tmp_path, excursion([0, 0, 4, 4, 4, 0, 0, 0]))  # 0.1 ps
    assert analysis.events == []
    assert analysis.first_severe_ps is None


def test_atom_outside_for_long_is_detached_where_it_began(tmp_path: Path) -> None:
    analysis = analyse(tmp_path, excursion([0, 0, 4, 4, 4, 4, 4, 4, 4, 0]))  # 0.3 ps
    (event,) = analysis.events
    assert (event.kind, event.severity) == ("detached", "severe")
    assert event.step == 2 * STEPS_PER_FRAME
    assert event.shown_step == 6 * STEPS_PER_FRAME  # after 0.2 ps
    assert event.atom_ids == [ATOM + 1]
    atoms = tube_atoms()
    atoms.positions[ATOM] += 4 * outward(atoms, ATOM)
    others = [index for index in range(128) if index != ATOM]
    assert event.value == pytest.approx(atoms.get_distances(ATOM, others, mic=True).min(), rel=1e-6)
    assert event.message.startswith("C (atom 41) left its body")
    assert analysis.first_severe_ps == pytest.approx(0.1)


def test_atom_outside_but_near_is_no_event(tmp_path: Path) -> None:
    # 1.7 A out: its bonds are 2.2 A long and so broken, but it is not gone
    analysis = analyse(tmp_path, excursion([0, *[1.7] * 10]))
    assert analysis.events == []
    assert any("outside their body at the end" in note for note in analysis.notes)


def test_two_excursions_are_two_events(tmp_path: Path) -> None:
    frames = excursion([0, *[4] * 6, 0, *[4] * 6, 0])
    events = analyse(tmp_path, frames).events
    assert [event.step // STEPS_PER_FRAME for event in events] == [1, 8]


def test_stretched_bond_is_not_broken_and_flicker_is_not_either(tmp_path: Path) -> None:
    # along the tube's outside a bond of 1.95 A stays a bond that was made before;
    # 1.2 A outward makes all three bonds of the atom sqrt(1.42^2 + ...) between 1.85 and 2.10
    atoms = tube_atoms()
    places = atoms.positions.copy()
    places[ATOM] += 1.2 * outward(atoms, ATOM)
    stretched = frame_of(atoms, 0, places)
    pairs = close_pairs(stretched, 2.3)
    mine = (pairs.first == ATOM) | (pairs.second == ATOM)
    assert np.all((pairs.distance[mine] > 1.85) & (pairs.distance[mine] < 2.10))
    assert analyse(tmp_path, excursion([0, *[1.2, 0.9] * 8])).notes == [
        "no log: temperature and energy drift were not judged",
        NOT_QUENCHED,
    ]


def test_cluster_across_the_boundary_is_not_detached(tmp_path: Path) -> None:
    atoms = tube_atoms()
    frames = []
    for number in range(12):  # the tube drifts through the face of the box, wrapped
        moved = atoms.copy()
        moved.positions += [number * 1.7, 0.0, number * 1.3]
        moved.wrap()
        frames.append(frame_of(moved, number))
    assert analyse(tmp_path, frames).events == []


def test_walls_of_a_double_tube_are_bodies_of_their_own(tmp_path: Path) -> None:
    from ase.build import nanotube

    inner, outer = nanotube(5, 0, length=4), nanotube(14, 0, length=4)
    atoms = outer + inner
    atoms.cell = [40, 40, outer.cell[2, 2]]
    atoms.pbc = True
    analysis = analyse(tmp_path, [frame_of(atoms, number) for number in range(10)])
    assert analysis.events == []
    assert "the structure begins as 2 separate bodies" in analysis.notes


def test_close_contact_is_one_event_per_encounter(tmp_path: Path) -> None:
    atoms = tube_atoms()
    partner = int(np.argsort(atoms.get_distances(ATOM, range(128), mic=True))[1])
    bond = atoms.get_distance(ATOM, partner, mic=True, vector=True)

    def at(number: int, distance_A: float) -> Frame:
        places = atoms.positions.copy()
        places[ATOM] += bond * (1 - distance_A / np.linalg.norm(bond))
        return frame_of(atoms, number, places)

    distances = [1.42, 1.05, 0.95, 1.08, 1.42, *[1.42] * 6, 1.09, 1.42]
    frames = [at(number, distance) for number, distance in enumerate(distances)]
    severe, warned = analyse(tmp_path, frames).events
    assert (severe.kind, severe.severity, severe.step) == ("close_contact", "severe", 100)
    assert severe.value == pytest.approx(0.95, abs=1e-6)
    assert severe.shown_step == 200
    assert severe.atom_ids == sorted([ATOM + 1, partner + 1])
    assert (warned.severity, warned.step, warned.limit) == ("warn", 1100, 1.10)


def test_sparse_frames_are_told(tmp_path: Path) -> None:
    frames = [
        replace(frame, step=frame.step * 4, time_ps=frame.time_ps * 4)
        for frame in excursion([0, 0, 0])
    ]
    assert any("too sparse" in note for note in analyse(tmp_path, frames).notes)


# --- numbers -----------------------------------------------------------------------------


def test_nan_is_fatal_at_its_frame_and_atom(tmp_path: Path) -> None:
    frames = excursion([0] * 6)
    for frame in frames[3:]:
        frame.positions[9] = np.nan
        frame.velocities[9] = np.nan
    (event,) = analyse(tmp_path, frames).events
    assert (event.kind, event.severity, event.step) == ("nonfinite", "fatal", 300)
    assert event.atom_ids == [10]
    assert "positions, velocities" in event.message


def test_lost_atom_is_named_with_its_last_place(tmp_path: Path) -> None:
    frames = excursion([0] * 5)
    frames[2].velocities[24] = [3.0, 4.0, 0.0]
    keep = np.arange(128) != 24
    short = [
        replace(f, ids=f.ids[keep], positions=f.positions[keep], velocities=f.velocities[keep])
        for f in frames[3:]
    ]
    (event,) = analyse(tmp_path, frames[:3] + short).events
    assert (event.kind, event.severity, event.step) == ("lost_atoms", "fatal", 300)
    assert event.atom_ids == [25]
    x, y, z = frames[2].positions[24]
    assert f"25 last at ({x:.2f}, {y:.2f}, {z:.2f}) Å at 5.0 Å/ps" in event.message
    assert event.shown_step == 200


def test_nan_in_thermo_names_the_column(tmp_path: Path) -> None:
    steps = np.arange(0, 500, 10)
    temperature = np.full(50, 3000.0)
    temperature[30:] = np.nan
    log = log_text(steps, temperature, np.full(50, -900.0))
    (event,) = analyse(tmp_path, excursion([0] * 6), log).events
    assert (event.kind, event.severity, event.step) == ("nonfinite", "fatal", 300)
    assert "Temp" in event.message
    assert "Econserve" not in event.message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ERROR: Lost atoms: original 128 current 127", "lost_atoms"),
        ("ERROR on proc 0: Pair style nequip: non-finite force on atom 12", "nonfinite"),
        ("ERROR: Non-numeric pressure - simulation unstable", "nonfinite"),
        ("ERROR: Cannot open file info.data", None),
        ("ERROR: Unrecognized pair style 'nequip'", None),
    ],
)
def test_error_of_lammps_is_an_event_only_if_the_model_caused_it(text, kind) -> None:
    events = stop_events(text, 100, 0.05, 0.5, read_thresholds())
    assert [event.kind for event in events] == ([] if kind is None else [kind])


def test_guard_names_what_it_stopped_for() -> None:
    text = (
        "ERROR: pair_style nequip guard: the distance between atoms 3 and 17 at step 240 is "
        "0.87654321 Angstrom, below the limit of 1 Angstrom; pair_style nequip guard: the force on "
        "atom 3 at step 240 is 312.5 eV/Angstrom, above the limit of 100 eV/Angstrom after step 200"
    )
    near, pulled = stop_events(text, 200, 0.1, 0.5, read_thresholds())
    assert (near.kind, near.severity, near.atom_ids) == ("close_contact", "severe", [3, 17])
    assert (near.step, near.time_ps, near.value, near.limit) == (240, 0.12, 0.87654321, 1.0)
    assert (pulled.kind, pulled.atom_ids, pulled.value) == ("force_spike", [3], 312.5)


@pytest.mark.parametrize(
    ("value", "own", "unit", "told"),
    [
        ("101", "90", "eV/Angstrom", [("severe", 100.0, 101.0)]),
        ("100", "100", "eV/Angstrom", [("severe", 100.0, 100.0)]),  # 100.000000001, printed
        ("99", "90", "eV/Angstrom", [("warn", 75.0, 99.0)]),
        ("70", "60", "eV/Angstrom", []),
        ("2000", "1500", "kcal/mol/Angstrom", [("warn", 75.0, 86.728230617541)]),
        ("2400", "1500", "kcal/mol/Angstrom", [("severe", 100.0, 104.0738767410492)]),
    ],
)
def test_what_a_guard_saw_is_judged_by_the_limits_at_hand(value, own, unit, told) -> None:
    text = (
        f"ERROR: pair_style nequip guard: the force on atom 3 at step 240 is {value} {unit}, "
        f"above the limit of {own} {unit} (guard.cpp:1) after step 240 of 300"
    )
    events = stop_events(text, 200, 0.1, 0.5, read_thresholds())
    assert [(e.severity, e.limit, pytest.approx(e.value)) for e in events] == told


# --- temperature and energy --------------------------------------------------------------


def hold_log(temperature: np.ndarray, conserved: np.ndarray | None = None) -> str:
    steps = 10 * np.arange(len(temperature))
    return log_text(
        steps, temperature, np.full(len(steps), -900.0) if conserved is None else conserved
    )


def canonical(count: int, target_K: float = 3000.0, n_atoms: int = 128) -> np.ndarray:
    """Return temperatures with canonical fluctuations, correlated over 20 fs."""
    rng = np.random.default_rng(8)
    noise = np.empty(count)
    noise[0] = rng.normal()
    keep = np.exp(-5.0 / 20.0)  # 5 fs between lines
    for row in range(1, count):
        noise[row] = keep * noise[row - 1] + np.sqrt(1 - keep**2) * rng.normal()
    return target_K * (1 + np.sqrt(2 / (3 * n_atoms)) * noise)


def test_canonical_temperature_is_clean(tmp_path: Path) -> None:
    assert analyse(tmp_path, excursion([0] * 40), hold_log(canonical(4000))).events == []


@pytest.mark.parametrize(("sigmas", "lasting_fs", "found"), [(5, 500, 0), (9, 250, 0), (9, 350, 1)])
def test_temperature_step_counts_beyond_six_sigma_for_three_dampings(
    tmp_path: Path, sigmas: float, lasting_fs: float, found: int
) -> None:
    temperature = np.full(400, 3000.0)  # 2 ps
    sigma_K = 3000 * np.sqrt(2 / (3 * 128))
    rows = slice(200, 201 + int(lasting_fs / 5))
    temperature[rows] += sigmas * sigma_K
    events = analyse(tmp_path, excursion([0] * 40), hold_log(temperature)).events
    assert [event.kind for event in events] == ["temperature"] * found
    for event in events:
        assert event.step == 2000
        assert event.value == pytest.approx(sigmas, rel=1e-6)


def test_start_of_a_hold_is_left_to_equilibrate(tmp_path: Path) -> None:
    temperature = np.full(400, 3000.0)
    temperature[:90] = 300.0  # 0.45 ps, of five damping times
    assert analyse(tmp_path, excursion([0] * 40), hold_log(temperature)).events == []


def test_runaway_is_found_at_once(tmp_path: Path) -> None:
    temperature = np.full(400, 3000.0)
    temperature[70] = 15100.0
    (event,) = analyse(tmp_path, excursion([0] * 40), hold_log(temperature)).events
    assert (event.kind, event.severity, event.step) == ("temperature", "severe", 700)
    assert (event.limit, event.unit) == (15000.0, "K")


def test_lagged_target_follows_its_differential_equation() -> None:
    stages = [
        Stage(
            kind="ramp",
            first_step=0,
            last_step=4000,
            start_temperature_K=300,
            stop_temperature_K=3000,
        )
    ]
    steps = np.arange(0, 4001, 10)
    target, lagged = target_band(steps, stages, timestep_fs=0.5, lag_ps=0.2)
    time_ps = steps * 0.0005
    rate = 2700 / 2.0  # K/ps
    exact = 300 + rate * (time_ps - 0.2 * (1 - np.exp(-time_ps / 0.2)))
    np.testing.assert_allclose(target, 300 + rate * time_ps, rtol=1e-12)
    np.testing.assert_allclose(lagged, exact, rtol=1e-10)


@pytest.mark.parametrize(("slope", "severity"), [(3e-4, None), (2e-3, "warn"), (-2e-2, "severe")])
def test_energy_drift_of_known_slope(tmp_path: Path, slope: float, severity: str | None) -> None:
    time_ps = 10 * np.arange(1000) * 0.0005
    wave = 128 * 3e-4 * np.sin(2 * np.pi * time_ps / 0.02)
    log = hold_log(canonical(1000), -900 + 128 * slope * time_ps + wave)
    events = analyse(tmp_path, excursion([0] * 40), log).events
    assert [event.severity for event in events] == ([severity] if severity else [])
    for event in events:
        assert event.kind == "energy_drift"
        assert event.value == pytest.approx(slope, rel=0.02)


def test_line_is_that_of_numpy() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=50), rng.normal(size=50)
    slope, rms = line_through(x, y)
    fit = np.polyfit(x, y, 1)
    assert slope == pytest.approx(fit[0])
    assert rms == pytest.approx(np.sqrt(np.mean((y - np.polyval(fit, x)) ** 2)))


@pytest.mark.parametrize("slope", [0.0, 0.02])
def test_parts_of_a_log_are_judged_one_by_one(tmp_path: Path, slope: float) -> None:
    """As after ``reset_timestep 0``: each fix begins its own Econserve, and the first is longer."""
    atoms = tube_atoms()
    rng = np.random.default_rng(2)
    sigma = 3000 * np.sqrt(2 / (3 * len(atoms)))
    texts = []
    for last, start_eV, target_K in ((8000, -900.0, 3000.0), (4000, -700.0, 300.0)):
        steps = np.arange(0, last + 1, 10)
        part = slope * len(atoms) * steps * 0.0005 if target_K == 3000 else 0.0
        kelvin = target_K + rng.normal(0, sigma * target_K / 3000, len(steps))
        texts.append(log_text(steps, kelvin, start_eV + part + 0 * steps, target_K=(target_K,) * 2))
    frames = [frame_of(atoms, number) for number in range(80)]
    found = analyse(tmp_path, frames, "".join(texts))
    assert any("begin anew once: its parts were judged one by one" in note for note in found.notes)
    if not slope:
        assert found.events == []
        return
    (event,) = found.events
    assert (event.kind, event.severity) == ("energy_drift", "severe")
    assert event.value == pytest.approx(slope, rel=1e-6)
    assert event.message.endswith("(part 1 of 2 of the log)")


def test_short_hold_is_not_judged_for_drift(tmp_path: Path) -> None:
    log = hold_log(np.full(100, 3000.0), np.linspace(-900, -800, 100))  # 0.5 ps
    analysis = analyse(tmp_path, excursion([0] * 10), log)
    assert analysis.events == []
    assert any("energy drift was not judged" in note for note in analysis.notes)


# --- minima, limits, whole runs ----------------------------------------------------------


def quench_file(folder: Path, depth_eV: float) -> Path:
    """Write a quench whose second frame lies so far, per atom, below the relaxed start."""
    frames = [
        md.QuenchedFrame(step=100, energy_eV=-900.0),
        md.QuenchedFrame(step=300, energy_eV=-900.0 - 128 * depth_eV),
    ]
    quench = md.Quench(n_atoms=128, pristine_energy_eV=-900.0, frames=frames)
    write_record(folder / "quench.json", quench)
    return folder / "quench.json"


@pytest.mark.parametrize(("depth_eV", "n_events"), [(0.04, 0), (0.06, 1), (-0.4, 0)])
def test_frame_that_relaxes_below_pristine_is_a_hole(
    tmp_path: Path, depth_eV: float, n_events: int
) -> None:
    quench = quench_file(tmp_path, depth_eV)
    analysis = analyse(tmp_path, excursion([0] * 6), quench=quench)
    assert len(analysis.events) == n_events
    for event in analysis.events:
        assert (event.kind, event.severity, event.step) == ("spurious_minimum", "severe", 300)
        assert event.value == pytest.approx(-depth_eV)


@pytest.mark.parametrize(("kind", "n_events"), [("disordered", 0), ("diamond", 1)])
def test_what_anneals_has_no_holes(tmp_path: Path, kind: str, n_events: int) -> None:
    """A disordered cell relaxes to below its start, right potential or not; a crystal must not."""
    atoms = bulk("C", "diamond", cubic=True) * (2, 2, 2)
    if kind == "disordered":
        del atoms[np.random.default_rng(3).choice(len(atoms), 16, replace=False)]
    frames = [frame_of(atoms, number) for number in range(4)]
    analysis = analyse(tmp_path, frames, quench=quench_file(tmp_path, 0.2))
    assert [event.kind for event in analysis.events] == ["spurious_minimum"] * n_events
    assert any("anneals" in note for note in analysis.notes) == (n_events == 0)


def test_events_that_are_no_numbers_are_written_as_json(tmp_path: Path) -> None:
    event = Event(
        kind="temperature",
        severity="severe",
        step=100,
        time_ps=0.05,
        atom_ids=[],
        value=np.inf,
        limit=np.nan,
        unit="K",
        message="",
    )
    path = tmp_path / "events.jsonl"
    write_events(path, [(RunLabel(temperature_K=np.inf), event)])
    raw = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert raw.pop("run")["temperature_K"] is None
    assert (raw.pop("format"), raw.pop("version")) == ("tempermd-event", 1)
    assert raw.pop("class") == "numerical"
    read = Event.model_validate(raw)
    assert read.value == np.inf
    assert np.isnan(read.limit)


def test_many_events_of_a_kind_are_counted_not_listed(tmp_path: Path) -> None:
    atoms = tube_atoms()
    frames = [frame_of(atoms, 0)]
    for number in range(1, 10):
        exploded = atoms.copy()
        exploded.positions = atoms.positions * 4.0  # every atom alone
        exploded.cell = atoms.cell[:] * 4.0
        frames.append(frame_of(exploded, number))
    analysis = analyse(tmp_path, frames)
    detached = [event for event in analysis.events if event.kind == "detached"]
    assert len(detached) == LIMITS.events_per_kind
    assert analysis.event_counts["detached"] == 127
    assert f"{127 - LIMITS.events_per_kind} more detached events (severe) are not listed" in (
        analysis.notes
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("made_A = 1.85", "made_a = 1.85", "unknown key 'bond.made_a'"),
        ("broken_A = 2.10", "broken_A = 1.50", "broken_A >= bond.made_A"),
        ("sigmas = 6.0", 'sigmas = "six"', "temperature.sigmas"),
        ("events_per_kind = 20", "", "'events_per_kind' is missing"),
    ],
)
def test_thresholds_are_strict(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "thresholds.toml"
    path.write_text(DEFAULT_FILE.read_text().replace(old, new))
    with pytest.raises(UserError, match=expected):
        read_thresholds(path)


def test_healthy_hot_tube_is_clean(hot_tube: Path) -> None:
    analysis = analyse_run(hot_tube)
    assert analysis.events == []
    assert analysis.notes == []
    assert analysis.outcome == "finished"
    assert analysis.survived
    assert (analysis.n_atoms, analysis.n_frames) == (128, 48)
    assert analysis.duration_ps == pytest.approx(2.35)
    assert analysis.planned_ps == pytest.approx(2.35)
    shortest = analysis.series["shortest_distance"].value
    assert 1.10 < min(shortest) < 1.30  # 1.185 A in 8 ps of a larger tube at 3000 K
    assert (hot_tube / "attempt-001" / "events.jsonl").read_text() == ""


def test_any_trajectory_needs_only_dump_and_log(hot_tube: Path) -> None:
    attempt = hot_tube / "attempt-001"
    analysis = analyse_trajectory(attempt / md.DUMP, attempt / md.LOG)
    assert analysis.events == []
    # stages, timestep and damping came from the log
    assert analysis.notes == [NOT_QUENCHED]


def broken_copy(hot_tube: Path, tmp_path: Path, **changes) -> Path:
    """Copy a run directory and change its result."""
    folder = Path(shutil.copytree(hot_tube, tmp_path / "copy", symlinks=True))
    result = json.loads((folder / md.RESULT).read_text()) | changes
    (folder / md.RESULT).unlink()
    (folder / md.RESULT).write_text(json.dumps(result))
    return folder


def test_crash_of_the_model_is_fatal(hot_tube: Path, tmp_path: Path) -> None:
    reason = "ERROR: Pair style nequip: non-finite force on atom 12 after step 4700"
    folder = broken_copy(hot_tube, tmp_path, outcome="model_failure", reason=reason)
    analysis = analyse_run(folder)
    (event,) = analysis.events
    assert (event.kind, event.severity, event.step) == ("nonfinite", "fatal", 4700)
    assert event.atom_ids == [12]
    (line,) = (folder / "attempt-001" / "events.jsonl").read_text().splitlines()
    assert json.loads(line)["format"] == "tempermd-event"


def test_failed_machine_is_no_event_of_the_model(hot_tube: Path, tmp_path: Path) -> None:
    folder = broken_copy(
        hot_tube, tmp_path, outcome="infrastructure_failure", reason="ended by signal 15"
    )
    analysis = analyse_run(folder)
    assert analysis.events == []
    assert not analysis.survived
    assert not analysis.failed


def test_run_without_a_dump_can_be_analysed(hot_tube: Path, tmp_path: Path) -> None:
    folder = broken_copy(hot_tube, tmp_path, outcome="model_failure", reason="ERROR: it died")
    (folder / "attempt-001" / md.DUMP).unlink()
    (folder / "attempt-001" / md.LOG).unlink()
    analysis = analyse_run(folder)
    assert [event.kind for event in analysis.events] == ["crash"]
    assert analysis.n_frames == 0


@pytest.mark.parametrize("damage", ["", "ITEM: TIMESTEP\n0\n", "no dump\n"])
def test_damaged_dump_of_a_run_is_noted(hot_tube: Path, tmp_path: Path, damage: str) -> None:
    folder = broken_copy(hot_tube, tmp_path, outcome="infrastructure_failure", reason="disk full")
    (folder / "attempt-001" / md.DUMP).write_text(damage)
    analysis = analyse_run(folder)
    assert analysis.n_frames == 0
    assert any("expected" in note for note in analysis.notes)
    assert not analysis.failed


@pytest.mark.parametrize(
    ("place_A", "words"), [(1e300, "numbers beyond 1e+12 Å in positions of atom"), (1e11, None)]
)
def test_exploded_coordinates_are_an_event(
    tmp_path: Path, place_A: float, words: str | None
) -> None:
    """No distance can be told from them, so nothing else would; less is a matter for images."""
    frames = excursion([0] * 6)
    frames[4].positions[3] = place_A
    analysis = analyse(tmp_path, frames)
    assert analysis.n_frames == 6
    exploded = [event for event in analysis.events if event.kind == "nonfinite"]
    assert len(exploded) == (words is not None)
    for event in exploded:
        assert (event.step, event.severity) == (frames[4].step, "fatal")
        assert event.atom_ids == [frames[4].ids[3]]
        assert words in event.message


def test_a_cell_without_volume_is_an_event(tmp_path: Path) -> None:
    frames = excursion([0] * 6)
    frames[2].cell[0] = 0.0
    (event,) = analyse(tmp_path, frames).events
    assert (event.kind, event.step) == ("nonfinite", frames[2].step)
    assert event.message == "the cell has no volume"


# --- a dump of more than one run -------------------------------------------------------------


REAL_UNITS = """
units real
atom_style atomic
read_data tube.data
pair_style tersoff
pair_coeff * * SiC.tersoff C
velocity all create 4000 3 mom yes rot yes
timestep 0.5
fix 1 all nve
fix 2 all temp/csvr 2000 2000 100 5
thermo 10
thermo_style custom step temp pe etotal econserve
dump bare all custom 50 bare.dump id type x y z vx vy vz fx fy fz
dump named all custom 50 named.dump id type x y z vx vy vz fx fy fz
dump_modify named units yes time yes
run 500
"""


def test_units_of_the_log_are_those_of_its_dump(tmp_path: Path) -> None:
    """By default LAMMPS names no units in a dump: kcal/mol/Å would be forces of 100 eV/Å."""
    from ase.io import write

    write(tmp_path / "tube.data", tube_atoms(), format="lammps-data", masses=True)
    (tmp_path / "in.lammps").write_text(REAL_UNITS)
    done = lmp.run_process(["-in", "in.lammps"], cwd=tmp_path)
    assert done.exit_code == 0, done.stdout_tail
    bare, named = (
        analyse_trajectory(tmp_path / f"{name}.dump", tmp_path / "log.lammps")
        for name in ("bare", "named")
    )
    assert bare.events == named.events == []
    assert bare.extremes == pytest.approx(named.extremes, rel=1e-4)
    assert 3 < bare.extremes["force_eV_per_A"] < 50
    assert 4 < bare.extremes["kT"] < 25
    assert not any("units" in note for note in bare.notes)
    alone = analyse_trajectory(tmp_path / "bare.dump", timestep_fs=0.5)
    assert any("names its units: they were taken to be metal" in note for note in alone.notes)


def test_frames_that_a_restart_repeats_are_left_out(tmp_path: Path) -> None:
    frames = excursion([0] * 10)
    analysis = analyse(tmp_path, [*frames[:7], *frames[4:]])
    assert analysis.events == []
    assert analysis.n_frames == 10
    assert "3 frames repeat steps and were left out (a restart?)" in analysis.notes
    assert analysis.duration_ps == pytest.approx(0.45)


def test_second_run_in_one_dump_goes_on_in_time(tmp_path: Path) -> None:
    """An atom outside at the end of the first run and at the start of the second is detached."""
    first, second = excursion([0] * 7 + [4] * 3), excursion([4] * 3 + [0] * 7)
    analysis = analyse(tmp_path, [*first, *second])
    assert [event.kind for event in analysis.events] == ["detached"]
    assert any("steps begin anew once" in note for note in analysis.notes)
    assert analysis.duration_ps == pytest.approx(0.95)
