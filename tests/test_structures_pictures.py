"""Fingerprints, near-duplicates and the page of a set of structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from ase.neighborlist import neighbor_list

from tempermd.structures import fingerprints, near_duplicates, survey_sections, write_survey
from tempermd.structures.cells import spread_cell
from tempermd.structures.faults import fault_of
from tempermd.structures.fingerprints import FAR_A, LENGTH, nearest
from tempermd.structures.picture import Survey


def some_cell(seed: int, n_atoms: int = 20, density_g_cm3: float = 2.0) -> Atoms:
    rng = np.random.default_rng(seed)
    return spread_cell(["C"] * n_atoms, density_g_cm3, 1.2, cubic=False, rng=rng)


@pytest.mark.parametrize("density_g_cm3", [0.3, 2.0, 3.5])
def test_nearest_neighbours_are_those_of_ase(density_g_cm3: float) -> None:
    """In skewed cells, dense and thin, down to one atom that sees only images of itself."""
    for seed, n_atoms in ((1, 20), (2, 3), (3, 1)):
        atoms = some_cell(seed, n_atoms, density_g_cm3)
        i, j, lengths = neighbor_list("ijd", atoms, FAR_A)
        found, numbers = nearest(atoms)
        for atom in range(n_atoms):
            order = np.argsort(lengths[i == atom])[:12]
            expected = np.full(12, FAR_A)
            expected[: len(order)] = lengths[i == atom][order]
            assert np.allclose(found[atom], expected, atol=1e-9)
            near = expected < FAR_A - 1e-9
            assert np.all(numbers[atom][~near] == -1)
            assert sorted(numbers[atom][near]) == sorted(j[i == atom][order])


def test_fingerprint_of_diamond_is_its_shells() -> None:
    """4 neighbours at sqrt(3)/4 a, 12 at a/sqrt(2), of which the first 8 count."""
    prints = fingerprints([bulk("C", "diamond", a=3.567)])
    expected = np.repeat([3.567 * np.sqrt(3) / 4] * 4 + [3.567 / np.sqrt(2)] * 8, 16)
    assert np.allclose(prints[0], expected, atol=1e-5)


def test_fingerprint_of_a_molecule_pads_with_far() -> None:
    methane = molecule("CH4")
    prints = fingerprints([methane]).reshape(12, 16)
    assert np.all(prints[4:] == FAR_A)
    assert np.all(prints[:4] < 2.0)


def test_fingerprints_do_not_see_orientation_order_or_repetition() -> None:
    atoms = some_cell(1)
    turned = atoms.copy()
    turned.rotate(50, (1, 1, 0), rotate_cell=True)
    shuffled = atoms[np.random.default_rng(1).permutation(len(atoms))]
    shifted = atoms.copy()
    shifted.translate((1.3, 2.2, -4.0))
    same = fingerprints([atoms, turned, shuffled, shifted])
    assert same.shape == (4, LENGTH)
    assert np.abs(same - same[0]).max() < 1e-5
    # quantiles interpolate between atoms, and twice the atoms lie at other levels
    doubled = fingerprints([atoms.repeat((1, 2, 1))])[0]
    ordered = np.sort(nearest(atoms)[0], axis=0)
    widest = np.diff(ordered, axis=0).max(axis=0).repeat(16)
    assert np.all(np.abs(doubled - same[0]) <= widest / 2 + 1e-5)


def test_decorations_of_one_lattice_differ() -> None:
    ordered = bulk("SiC", "zincblende", a=4.36, cubic=True).repeat(2)
    mixed = ordered.copy()
    mixed.numbers = np.random.default_rng(1).permutation(mixed.numbers)
    assert near_duplicates([ordered, mixed, ordered]).tolist() == [2]


def test_near_duplicates_are_those_of_all_pairs() -> None:
    """Against the plain rule: drop what is near to an earlier one that was kept."""
    rng = np.random.default_rng(7)
    seeds = rng.normal(2.0, 0.05, size=(40, LENGTH))
    prints = seeds[rng.integers(40, size=300)] + rng.normal(0, 0.006, size=(300, LENGTH))
    prints = prints.astype(np.float32)
    names = rng.choice(["C", "Si"], size=300).tolist()
    kept: list[int] = []
    for row in range(300):
        near = [
            np.sqrt(np.mean((prints[row].astype(float) - prints[one]) ** 2)) < 0.0085
            for one in kept
            if names[one] == names[row]
        ]
        if not any(near):
            kept.append(row)
    expected = sorted(set(range(300)) - set(kept))
    assert 50 < len(expected) < 250
    assert near_duplicates(prints, names, 0.0085).tolist() == expected


def test_rattled_copies_are_told_by_the_tolerance() -> None:
    atoms = some_cell(3, 40)
    moved = atoms.copy()
    moved.rattle(0.05, seed=2)
    difference = fingerprints([atoms, moved])
    rms_A = float(np.sqrt(np.mean((difference[0] - difference[1]) ** 2)))
    for tolerance_A, dropped in ((0.99 * rms_A, []), (1.01 * rms_A, [1]), (0.0, [])):
        assert near_duplicates([atoms, moved], tolerance_A=tolerance_A).tolist() == dropped


def test_periodic_and_free_structures_are_never_duplicates() -> None:
    free = molecule("C60")
    boxed = free.copy()
    boxed.center(vacuum=10.0)
    boxed.pbc = True
    assert near_duplicates([free, boxed, free]).tolist() == [2]


def test_faults_are_named() -> None:
    good = some_cell(1)
    assert fault_of(good, 0.6, driven=True) is None
    near = good.copy()
    near.positions[1] = near.positions[0] + (0.9, 0, 0)
    assert fault_of(near, 0.6, driven=True) == "overlapping atoms"
    lost = good.copy()
    lost.positions[3, 1] = np.nan
    assert fault_of(lost, 0.6, driven=True) == "positions not finite"
    gas = bulk("C", "sc", a=4.0).repeat(3)
    assert "exploded" in fault_of(gas, 0.6, driven=True)
    assert fault_of(gas, 0.6, driven=False) is None


def crystals_and_balls() -> list[Atoms]:
    frames = []
    for number in range(6):
        diamond = bulk("C", "diamond", a=3.567, cubic=True)
        diamond.info = {"kind": "crystal", "structure": "diamond", "trajectory": f"d{number // 2}"}
        frames.append(diamond)
    ball = molecule("C60")
    ball.info = {"kind": "fullerene", "structure": "C60", "trajectory": "ball"}
    return [*frames, ball]


def test_page_counts_what_there_is() -> None:
    counts, density, bonds, the_map = survey_sections(crystals_and_balls())
    assert counts.tables[0].rows == [
        ["crystal", "6", "48", "8", "1", "3"],
        ["fullerene", "1", "60", "60", "1", "1"],
    ]
    assert counts.text == "7 frames, 108 atoms."
    # diamond has 3.51 g/cm3; a molecule has no density
    shown = [(trace["x"], trace["y"]) for trace in density.figures[0].data]
    assert shown == [([3.5], [6]), ([], [])]
    shares = {trace["name"]: trace["y"] for trace in bonds.figures[0].data}
    assert shares["crystal"] == [0, 0, 0, 0, 100, 0, 0, 0, 0]
    assert shares["fullerene"] == [0, 0, 0, 100, 0, 0, 0, 0, 0]
    points = {trace["name"]: trace for trace in the_map.figures[0].data}
    assert len(points["crystal"]["x"]) == 6
    assert len(set(points["crystal"]["x"])) == 1


def test_distances_of_the_page_integrate_to_neighbours() -> None:
    bonds = survey_sections(crystals_and_balls()[:6])[2]
    near, pairs = (figure.data[0] for figure in bonds.figures[1:])
    assert sum(near["y"]) * 0.02 == pytest.approx(1.0, rel=1e-4)
    x, y = np.array(pairs["x"]), np.array(pairs["y"])
    for reach_A, neighbours in ((1.7, 4), (2.7, 16), (3.3, 28)):
        assert y[x < reach_A].sum() * 0.05 == pytest.approx(neighbours, rel=1e-4)


def test_a_long_set_is_sampled_and_the_page_says_so() -> None:
    survey = Survey(sample=20)
    for number in range(200):
        atoms = bulk("C", "diamond", a=3.4 + 0.002 * number)
        atoms.info = {"kind": "a" if number < 100 else "b"}
        survey.add(atoms)
    sections = survey.sections()
    assert "20 frames drawn at random" in sections[0].text
    assert sections[0].tables[0].rows[1][:3] == ["b", "100", "200"]
    drawn = [len(trace["x"]) for trace in sections[3].figures[0].data]
    assert sum(drawn) == 20
    assert min(drawn) >= 3  # binomial: less in one of 5,000


def test_page_is_written_once(tmp_path: Path) -> None:
    write(tmp_path / "set.extxyz", crystals_and_balls())
    page = write_survey(tmp_path / "set.extxyz", {"overlapping atoms (tube)": 3}, {"sha256": "ab"})
    assert page == tmp_path / "set.html"
    text = page.read_text()
    assert "overlapping atoms (tube)" in text
    assert "Map of environments" in text
    before = page.stat().st_mtime_ns
    write_survey(tmp_path / "set.extxyz", {}, {})
    assert page.stat().st_mtime_ns == before


def test_an_empty_set_has_a_page() -> None:
    assert survey_sections([])[0].text == "There are none."
