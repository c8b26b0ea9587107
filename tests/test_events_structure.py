"""Detectors of a structure's bonds, rings and shape, on tubes that were changed on purpose."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_trajectories import STEPS_PER_FRAME, dump_text, frame_of, log_text, tube_atoms
from tempermd.events import Analysis, Event, analyse_trajectory, read_thresholds
from tempermd.events.beginning import winding
from tempermd.events.protocol import Protocol
from tempermd.events.ring_changes import BOLTZMANN_eV_K, ExpectedChanges
from tempermd.events.rings import defect_name, groups_of, shortest_rings
from tempermd.events.snapshot import close_pairs
from tempermd.events.walls import cross_sections
from tempermd.events.watch import FrameWatch
from tempermd.md import Stage
from tempermd.structures.defects import with_stone_wales, with_vacancies
from tempermd.trajectory import Frame

LIMITS = read_thresholds()
HOLD = Stage(
    kind="hold",
    first_step=0,
    last_step=100_000,
    start_temperature_K=3000.0,
    stop_temperature_K=3000.0,
)
LONG = 14
"""Frames in 0.7 ps, which is longer than any limit."""


def watch(frames: list[Frame], **stage) -> tuple[list[Event], list[str]]:
    """Return events and notes of frames in a hold at 3000 K."""
    watching = FrameWatch(LIMITS, Protocol([HOLD.model_copy(update=stage)]))
    for frame in frames:
        watching.take(frame, frame.time_ps)
    return watching.finish(), watching.notes()


def becoming(atoms, *later) -> list[Frame]:
    """Return frames of a structure, followed by each later one for long enough."""
    frames = [frame_of(atoms, number) for number in range(3)]
    for other in later:
        frames += [frame_of(other, len(frames) + number) for number in range(LONG)]
    return frames


def bonds_of(atoms):
    pairs = close_pairs(frame_of(atoms), 1.85)
    return pairs.first, pairs.second


def sizes(atoms) -> dict[int, int]:
    rings = shortest_rings(*bonds_of(atoms), len(atoms))
    numbers, counts = np.unique([len(ring) for ring in rings], return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def stone_wales(count: int = 1):
    atoms = tube_atoms()
    return with_stone_wales(atoms, count, np.random.default_rng(3))


# --- rings -------------------------------------------------------------------------------


def test_tube_has_a_hexagon_for_every_two_atoms() -> None:
    """Euler: a closed net of three bonds per atom on a torus has n/2 faces."""
    assert sizes(tube_atoms()) == {6: 64}


def test_fullerene_has_twelve_pentagons() -> None:
    from ase.build import molecule

    atoms = molecule("C60")
    atoms.center(vacuum=5.0)
    assert sizes(atoms) == {5: 12, 6: 20}


def test_stone_wales_has_two_pentagons_and_two_heptagons() -> None:
    atoms, _ = stone_wales()
    assert sizes(atoms) == {5: 2, 6: 60, 7: 2}


def test_rings_are_those_of_ovito() -> None:
    pytest.importorskip("ovito", reason="OVITO cannot be loaded", exc_type=ImportError)
    from ovito.io.ase import ase_to_ovito
    from ovito.modifiers import CreateBondsModifier, FindRingsModifier
    from ovito.pipeline import Pipeline, StaticSource

    atoms, _ = stone_wales(3)
    pipeline = Pipeline(source=StaticSource(data=ase_to_ovito(atoms)))
    pipeline.modifiers.append(CreateBondsModifier(cutoff=1.85))
    pipeline.modifiers.append(FindRingsModifier(minimum_ring_size=3, maximum_ring_size=9))
    table = pipeline.compute().tables["ring-size-histogram"]
    expected = {int(size): int(count) for size, count in table.xy() if count}
    assert sizes(atoms) == expected


def test_ring_is_written_once_along_its_bonds() -> None:
    first, second = np.array([0, 1, 2, 3, 0]), np.array([1, 2, 3, 4, 4])
    assert shortest_rings(first, second, 5) == [(0, 1, 2, 3, 4)]


def test_no_rings_in_a_tree_and_none_at_crowded_atoms() -> None:
    assert shortest_rings(np.array([0, 0, 0]), np.array([1, 2, 3]), 4) == []
    every = np.array([(i, j) for i in range(7) for j in range(i)]).T
    assert shortest_rings(every[0], every[1], 7) == []


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ([5, 5, 7, 7], "Stone-Wales"),
        ([5, 7], "5-7 pair"),
        ([5, 8, 5], "rearrangement"),
        ([5, 9], "damage"),
        ([4, 8], "damage"),
        ([10], "damage"),
    ],
)
def test_defects_have_their_names(group: list[int], name: str) -> None:
    assert defect_name(group) == name


def test_rings_that_touch_are_one_group() -> None:
    groups = groups_of([(1, 2, 3), (7, 8, 9), (3, 4, 5), (5, 6, 7), (10, 11, 12)])
    assert sorted(len(group) for group in groups) == [1, 4]


def test_expected_changes_are_arrhenius_sums() -> None:
    """robustness: at 7 eV, 600 bonds and 4500 K, 0.9 in a nanosecond."""
    rate = ExpectedChanges(LIMITS.ring_change, 600)
    for time_ps in range(1001):
        rate.update(float(time_ps), 4500.0)
    by_hand = 600 * 1e14 * 1e-9 * np.exp(-7.0 / (BOLTZMANN_eV_K * 4500))
    assert rate.expected == pytest.approx(by_hand)
    assert rate.expected == pytest.approx(0.9, abs=0.05)
    assert rate.chance_of(1) == pytest.approx(1 - np.exp(-by_hand))
    rate.update(1001.0, None)
    assert rate.chance_of(1) is None


@pytest.mark.parametrize(
    ("temperature_K", "severity", "words"),
    [(3000.0, "severe", "an implausible rate"), (5500.0, "warn", "rare but possible")],
)
def test_stone_wales_is_judged_by_its_rate(temperature_K, severity, words) -> None:
    atoms, touched = stone_wales()
    frames = becoming(tube_atoms(), atoms)
    # a nanosecond apart: hot enough, a rotation is to be expected
    frames = [replace(frame, time_ps=frame.time_ps + (frame.step > 0) * 1000) for frame in frames]
    events, _ = watch(frames, start_temperature_K=temperature_K, stop_temperature_K=temperature_K)
    (event,) = events
    assert (event.kind, event.severity) == ("ring_change", severity)
    assert event.message.startswith("Stone-Wales: rings of 5, 5, 7, 7 atoms")
    assert words in event.message
    assert event.step == 3 * STEPS_PER_FRAME
    assert {index + 1 for index in touched} <= set(event.atom_ids)


def test_vacancy_that_opens_is_damage_but_not_one_of_the_beginning() -> None:
    whole = tube_atoms()
    with_hole = with_vacancies(whole, 1, np.random.default_rng(1))
    assert watch(becoming(with_hole, with_hole))[0] == []
    opened = whole.copy()
    opened.positions[40] += 3.2 * outward(whole, 40)  # out, but not far enough to be detached
    # damage that lasts for 2 ps is severe; that heals before, or is cut off, a warning
    for n_open, n_frames, severity in ((50, 50, "severe"), (30, 60, "warn"), (30, 33, "warn")):
        frames = [frame_of(opened if 3 <= n < 3 + n_open else whole, n) for n in range(n_frames)]
        events, _ = watch(frames)
        rings = [event for event in events if event.kind == "ring_change"]
        assert [event.severity for event in rings] == [severity]
        assert rings[0].message.startswith("damage: rings of")
        assert rings[0].step == 3 * STEPS_PER_FRAME


@pytest.mark.parametrize(("near", "severity"), [(True, "warn"), (False, "severe")])
def test_what_becomes_of_a_defect_of_the_beginning_is_a_warning(near: bool, severity: str) -> None:
    """A vacancy grows by an atom at its rim, or the same happens where the tube was whole."""
    with_hole = with_vacancies(tube_atoms(), 1, np.random.default_rng(1))
    bonds = np.bincount(np.concatenate(bonds_of(with_hole)), minlength=len(with_hole))
    rim = int(np.flatnonzero(bonds == 2)[0])
    distances = with_hole.get_distances(rim, range(len(with_hole)), mic=True)
    opened = with_hole.copy()
    chosen = rim if near else int(np.argmax(distances))
    opened.positions[chosen] += 3.2 * outward(with_hole, chosen)
    frames = [frame_of(opened if n >= 3 else with_hole, n) for n in range(60)]
    events = [event for event in watch(frames)[0] if event.kind == "ring_change"]
    assert [event.severity for event in events] == [severity]
    assert ("at a defect of the beginning" in events[0].message) == near


def test_change_that_does_not_last_is_none() -> None:
    changed, _ = stone_wales()
    whole = tube_atoms()
    frames = [frame_of(changed if 3 <= n < 12 else whole, n) for n in range(30)]  # 0.45 ps
    assert watch(frames)[0] == []


def outward(atoms, index: int) -> np.ndarray:
    radial = atoms.positions[index] - atoms.positions.mean(axis=0)
    radial[2] = 0
    return radial / np.linalg.norm(radial)


# --- coordination ------------------------------------------------------------------------


def test_atom_with_five_bonds_is_named() -> None:
    whole = tube_atoms()
    crowded = whole.copy()
    # two neighbours of neighbours of one atom come within a bond's length of it
    distances = whole.get_all_distances(mic=True)[40]
    second_shell = np.flatnonzero((distances > 2.3) & (distances < 2.6))[:2]
    for index in second_shell:
        way = whole.get_distance(index, 40, mic=True, vector=True)
        crowded.positions[index] += way * (1 - 1.7 / np.linalg.norm(way))
    events, _ = watch(becoming(whole, crowded))
    before, after = whole.get_all_distances(mic=True), crowded.get_all_distances(mic=True)
    bonded = (after <= 1.85) | ((before <= 1.85) & (after < 2.10))
    n_bonds = bonded.sum(axis=1) - 1  # an atom is at no distance from itself
    named = [event for event in events if event.unit == "bonds"]
    assert [(e.kind, e.severity, e.value) for e in named] == [("overcoordinated", "severe", 5.0)]
    assert named[0].atom_ids == (np.flatnonzero(n_bonds >= 5) + 1).tolist()
    assert 41 in named[0].atom_ids
    assert named[0].step == 3 * STEPS_PER_FRAME


def test_fourfold_atoms_count_by_their_share_of_a_wall() -> None:
    whole = tube_atoms()
    events, _ = watch(becoming(whole, pinched(whole)))
    shares = [e for e in events if e.kind == "overcoordinated" and e.unit == "%"]
    assert [event.severity for event in shares] == ["severe"]
    assert shares[0].value == pytest.approx(100 * 2 / 128)
    assert len(shares[0].atom_ids) == 2


def pinched(whole):
    """Return the tube with one pair of second neighbours brought together to 1.7 Å."""
    atoms = whole.copy()
    distances = whole.get_all_distances(mic=True)[40]
    (other, *_) = np.flatnonzero((distances > 2.3) & (distances < 2.6))
    way = whole.get_distance(40, other, mic=True, vector=True)
    step = way * (1 - 1.7 / np.linalg.norm(way)) / 2
    atoms.positions[40] += step
    atoms.positions[other] -= step
    return atoms


@pytest.mark.parametrize(("n_out", "severities"), [(1, ["warn"]), (5, ["severe"])])
def test_lost_bonds_count_by_their_share_of_a_wall(n_out: int, severities: list[str]) -> None:
    """An atom 1.7 Å outside has no bond left, and its three neighbours one fewer."""
    whole = tube_atoms()
    opened = whole.copy()
    for index in (8, 40, 72, 104, 20)[:n_out]:
        opened.positions[index] += 1.75 * outward(whole, index)
    events, _ = watch(becoming(whole, opened))
    dangling = [event for event in events if event.kind == "dangling"]
    assert [event.severity for event in dangling] == severities
    assert dangling[0].value == pytest.approx(100 * 4 * n_out / 128)


def test_bond_between_walls_is_told_and_one_within_is_not() -> None:
    from ase.build import nanotube

    inner, outer = nanotube(5, 5, length=6, bond=1.42), nanotube(10, 10, length=6, bond=1.42)
    atoms = inner + outer
    atoms.center(vacuum=6.0, axis=(0, 1))
    for part in (slice(0, len(inner)), slice(len(inner), None)):
        middle = atoms.positions[part].mean(axis=0)
        atoms.positions[part, :2] -= middle[:2] - np.diag(atoms.cell)[:2] / 2
    atoms.pbc = True
    joined = atoms.copy()
    gaps = atoms.get_all_distances(mic=True)[: len(inner), len(inner) :]
    one, other = np.unravel_index(np.argmin(gaps), gaps.shape)
    other += len(inner)
    way = atoms.get_distance(one, other, mic=True, vector=True)
    joined.positions[one] += way / 2 - 0.8 * way / np.linalg.norm(way)
    joined.positions[other] -= way / 2 - 0.8 * way / np.linalg.norm(way)
    events, notes = watch(becoming(atoms, joined))
    between = [event for event in events if event.kind == "interwall_bond"]
    assert [(e.severity, e.atom_ids) for e in between] == [("warn", [one + 1, other + 1])]
    assert "the structure begins as 2 separate bodies" in notes


# --- the tube as a whole -----------------------------------------------------------------


def test_winding_is_followed_through_unwrapped_and_tilted_cells() -> None:
    atoms = tube_atoms()
    rng = np.random.default_rng(2)
    for shear in (0.0, 3.0):
        tilted = atoms.copy()
        cell = tilted.cell[:].copy()
        cell[2, 0] += shear  # the axis leans: atoms lean with it
        tilted.set_cell(cell, scale_atoms=True)
        tilted.positions += rng.integers(-2, 3, (len(atoms), 3)) @ cell
        frame = frame_of(tilted)
        pairs = close_pairs(frame, 2.1)
        assert winding(frame, pairs).tolist() == [[False, False, True]] * len(atoms)


def cut(whole, gap_A: float):
    """Return the tube pulled apart in its middle by so much, in a longer cell."""
    atoms = whole.copy()
    atoms.positions[atoms.positions[:, 2] > atoms.cell[2, 2] / 2 - 0.1, 2] += gap_A
    atoms.cell[2, 2] += gap_A
    return atoms


def test_tube_that_is_cut_once_is_severed_though_still_one_cluster() -> None:
    whole = tube_atoms()
    events, _ = watch(becoming(whole, cut(whole, 1.5)))
    severed = [event for event in events if event.kind == "severed"]
    assert [(e.severity, e.step) for e in severed] == [("severe", 3 * STEPS_PER_FRAME)]
    assert severed[0].value == pytest.approx(100 * 1.5 / whole.cell[2, 2])
    assert not any(event.kind == "detached" for event in events)


def test_what_a_protocol_is_meant_to_break_is_no_fault() -> None:
    whole = tube_atoms()
    events, _ = watch(becoming(whole, cut(whole, 1.5)), breaks=True, box="deformed")
    assert {event.severity for event in events} == {"warn"}
    assert "severed" in {event.kind for event in events}


@pytest.mark.parametrize(
    ("pulled", "hot_ps", "severity"),
    [(True, 1.48, "warn"), (True, 0.7, "severe"), (False, 1.48, "severe")],
)
def test_heat_of_a_break_that_was_meant_is_no_fault(
    pulled: bool, hot_ps: float, severity: str, tmp_path: Path
) -> None:
    """Strain becomes heat where a pulled tube breaks, at 1.5 ps; not before, and not in a hold."""
    whole = tube_atoms()
    frames = [frame_of(cut(whole, 1.5) if n >= 30 else whole, n) for n in range(60)]
    steps = np.arange(0, 5901, 10)
    kelvin = np.where(abs(steps * 0.0005 - hot_ps - 0.25) <= 0.25, 1200.0, 300.0)
    log = log_text(steps, kelvin, np.full(len(steps), -900.0), target_K=(300.0, 300.0))
    if pulled:
        log = log.replace("run 5900", "fix pull all deform 1 z erate 0.05 remap x\nrun 5900")
    (tmp_path / "dump").write_text(dump_text(frames))
    (tmp_path / "log").write_text(log)
    events = analyse_trajectory(tmp_path / "dump", tmp_path / "log").events
    hot = [event for event in events if event.kind == "temperature"]
    assert [event.severity for event in hot] == [severity]
    assert "severed" in {event.kind for event in events}


def test_elements_without_limits_are_named(tmp_path: Path) -> None:
    atoms = tube_atoms()
    text = dump_text([frame_of(atoms, number) for number in range(3)])
    assert not any("the limits are for carbon" in note for note in analysis_of(text, tmp_path))
    named = text.replace("ATOMS id type x", "ATOMS id element x").replace("\n7 1 ", "\n7 Si ")
    named = re.sub(r"(?m)^(\d+) 1 ", r"\1 C ", named)
    (note,) = [one for one in analysis_of(named, tmp_path) if "the limits are for carbon" in one]
    assert "there is Si" in note


def analysis_of(text: str, folder: Path) -> list[str]:
    (folder / "dump").write_text(text)
    return analyse_trajectory(folder / "dump").notes


def test_stretch_without_a_break_is_no_event() -> None:
    whole = tube_atoms()
    longer = whole.copy()
    longer.set_cell(whole.cell[:] * [[1, 1, 1], [1, 1, 1], [1.1, 1.1, 1.1]], scale_atoms=True)
    assert watch(becoming(whole, longer))[0] == []


def test_cross_section_of_an_ellipse() -> None:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    across = np.stack([5.0 * np.cos(angle), 3.0 * np.sin(angle)], axis=1)  # (40, 2)
    along = np.tile([1.0, 7.0], 20)
    found = cross_sections(np.zeros(40), across, 6.0, 6.0)
    assert found.ellipticity.tolist() == pytest.approx([5 / 3])
    opposite = np.linalg.norm(across[:, None] - across[None], axis=2)
    cosine = across @ across.T / np.outer(*2 * [np.linalg.norm(across, axis=1)])
    assert found.width_A == pytest.approx(opposite[cosine < -0.5].min())
    assert found.radius_A == pytest.approx(np.linalg.norm(across, axis=1).mean())
    assert len(cross_sections(along, across, 12.0, 6.0).ellipticity) == 2


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ((1.12, 1.12), "radius off by 12 %"),
        ((1.25, 0.80), "flat: an axis ratio of 1.56"),
        ((1.05, 1.0), None),
    ],
)
def test_shape_of_a_tube(scale: tuple[float, float], words: str | None) -> None:
    whole = tube_atoms()
    changed = whole.copy()
    middle = whole.positions[:, :2].mean(axis=0)
    changed.positions[:, :2] = middle + (whole.positions[:, :2] - middle) * scale
    events = [event for event in watch(becoming(whole, changed))[0] if event.kind == "shape"]
    assert [event.message for event in events] == ([] if words is None else [words])
    assert all(event.severity == "warn" for event in events)


def test_kink_is_one_flat_slice() -> None:
    from ase.build import nanotube

    whole = nanotube(8, 0, length=8, bond=1.42)
    whole.center(vacuum=8.0, axis=(0, 1))
    whole.pbc = True
    kinked = whole.copy()
    middle = whole.positions[:, :2].mean(axis=0)
    squeeze = np.exp(-(((whole.positions[:, 2] - 17.0) / 3.0) ** 2))[:, None]
    scale = 1 + squeeze * np.array([0.5, -0.55])
    kinked.positions[:, :2] = middle + (whole.positions[:, :2] - middle) * scale
    messages = [e.message for e in watch(becoming(whole, kinked))[0] if e.kind == "shape"]
    assert any(message.startswith("a kink: axis ratio") for message in messages)


# --- atoms -------------------------------------------------------------------------------


def test_hot_atom_by_hand() -> None:
    """25 kT at 3000 K are 6.46 eV, which carbon has at 101.9 Å/ps."""
    frames = [frame_of(tube_atoms(), 50 * number) for number in range(3)]  # 2.5 ps apart
    for factor, n_events in ((0.999, 0), (1.001, 1)):
        events, _ = watch(
            [frames[0], with_speed(frames[1], factor * speed_of(25, 3000)), frames[2]]
        )
        assert [(e.kind, e.severity, e.atom_ids) for e in events] == [
            ("hot_atom", "warn", [8])
        ] * n_events


def speed_of(kT: float, temperature_K: float) -> float:
    """Return the speed of a carbon atom with so much kinetic energy, Å/ps."""
    return np.sqrt(2 * kT * BOLTZMANN_eV_K * temperature_K / (12.011 * 1.0364269e-4))


def with_speed(frame: Frame, speed: float) -> Frame:
    velocities = frame.velocities.copy()
    velocities[7] = [0.0, speed, 0.0]
    return replace(frame, velocities=velocities)


@pytest.mark.parametrize(
    ("number", "target_K", "kT"),
    [
        (0, 3000, 2 * 25),  # velocities are drawn at twice the target
        (4, 3000, (1 + np.exp(-0.2 / 0.2)) * 25),
        (60, 3000, 25),
        (60, 300, 25 * (1 + 0.2 * 2700 / 3.0 / 300)),  # a ramp down to it: the lag is 180 K
    ],
)
def test_hot_atom_is_held_against_what_the_atoms_may_still_have(
    number: int, target_K: int, kT: float
) -> None:
    frames = [frame_of(tube_atoms(), one) for one in range(number + 1)]
    ramp = {"kind": "ramp", "last_step": 6000, "stop_temperature_K": float(target_K)}
    for factor, n_events in ((0.995, 0), (1.005, 1)):
        fast = with_speed(frames[-1], factor * speed_of(kT, target_K))
        events, _ = watch([*frames[:-1], fast], **ramp)
        assert [event.kind for event in events] == ["hot_atom"] * n_events


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_numbers_that_are_none_are_told_once(number: float) -> None:
    frames = becoming(tube_atoms())
    frames[1] = replace(with_speed(frames[1], number), forces=np.full((128, 3), number))
    events, _ = watch(frames)
    assert [(e.kind, e.step) for e in events] == [("nonfinite", 100)]


@pytest.mark.parametrize(("size", "severity"), [(74.0, None), (76.0, "warn"), (101.0, "severe")])
def test_force_spike(size: float, severity: str | None) -> None:
    frames = becoming(tube_atoms())
    forces = np.zeros((128, 3))
    forces[11, 2] = -size
    frames[1] = replace(frames[1], forces=forces)
    events, _ = watch(frames)
    assert [(e.kind, e.severity, e.atom_ids, e.value) for e in events] == (
        [] if severity is None else [("force_spike", severity, [12], size)]
    )


# --- box and committee -------------------------------------------------------------------


def test_box_is_judged_under_a_barostat_only() -> None:
    whole = tube_atoms()
    longer = whole.copy()
    longer.set_cell(whole.cell[:] * [[1, 1, 1], [1, 1, 1], [1.06, 1.06, 1.06]], scale_atoms=True)
    assert watch(becoming(whole, longer))[0] == []
    (event,) = watch(becoming(whole, longer), box="barostat")[0]
    assert (event.kind, event.severity) == ("box", "severe")
    assert event.value == pytest.approx(6.0)


def deviating(tmp_path: Path, deviations: list[float]) -> Analysis:
    steps = np.arange(len(deviations)) * 10
    log = log_text(steps, np.full(len(steps), 3000.0), np.zeros(len(steps)))
    rows = iter(deviations)
    lines = []
    for line in log.splitlines():
        if line.split()[:1] == ["Step"]:
            line += "  v_deviation"
        elif line[:10].strip().isdigit():
            line += f" {next(rows)}"
        lines.append(line)
    (tmp_path / "log.lammps").write_text("\n".join(lines) + "\n")
    (tmp_path / "made.lammpstrj").write_text(dump_text(becoming(tube_atoms())))
    return analyse_trajectory(tmp_path / "made.lammpstrj", tmp_path / "log.lammps")


@pytest.mark.parametrize(
    ("deviations", "severity"),
    [
        ([0.3, 1.5, 1.5, 0.3, 1.5], None),
        ([0.3, 1.5, 9.0, 1.5, 0.3], "warn"),
        ([0.3, 3.5, 9.0, 3.1, 1.5], "severe"),
    ],
)
def test_committee_must_disagree_in_a_row(tmp_path: Path, deviations, severity) -> None:
    events = [e for e in deviating(tmp_path, deviations).events if e.kind == "uncertainty"]
    assert [event.severity for event in events] == ([] if severity is None else [severity])
    assert all(event.value == 9.0 and event.step == 10 for event in events)


# --- what is judged at all ---------------------------------------------------------------


def test_other_structures_are_not_judged_as_tubes() -> None:
    from ase.build import bulk

    diamond = bulk("C", cubic=True) * (3, 3, 3)
    events, notes = watch(becoming(diamond, diamond))
    assert events == []
    assert any("does not begin as sp2 carbon" in note for note in notes)
