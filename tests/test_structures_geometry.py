"""Geometry of structures: tubes, fullerenes, crystals, cells, and defects in them."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.neighborlist import neighbor_list

from tempermd.pair_styles import PotentialSpec
from tempermd.records import UserError
from tempermd.structures import (
    crystal,
    fullerene,
    nanotube,
    random_cell,
    with_stone_wales,
    with_vacancies,
    write_data,
)
from tempermd.structures.cells import spread_cell
from tempermd.structures.crystals import LATTICES
from tempermd.structures.defects import coordination, strained, stretched
from tempermd.structures.driver import relaxed
from tempermd.structures.tubes import fullerene_sizes


@pytest.mark.parametrize(("n", "m"), [(5, 5), (8, 0), (6, 3), (8, 8)])
def test_radius_is_that_of_the_rolled_sheet(n: int, m: int) -> None:
    """R = sqrt(3) b sqrt(n^2 + n m + m^2) / (2 pi), Saito et al., 1998, eq. 3.3."""
    tube = nanotube(n, m, 10.0)
    centre = tube.positions[:, :2].mean(axis=0)
    radius = np.linalg.norm(tube.positions[:, :2] - centre, axis=1)
    expected = np.sqrt(3) * 1.42 * np.sqrt(n * n + n * m + m * m) / (2 * np.pi)
    assert radius == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (8, 0), (6, 3)])
def test_every_atom_of_a_periodic_tube_has_three_bonds(n: int, m: int) -> None:
    tube = nanotube(n, m, 10.0)
    assert np.all(np.bincount(neighbor_list("i", tube, 1.7)) == 3)
    assert tube.cell[2, 2] >= 10.0


def test_open_tube_ends_in_vacuum() -> None:
    tube = nanotube(5, 5, 10.0, periodic=False)
    assert not tube.pbc.any()
    assert np.bincount(neighbor_list("i", tube, 1.7)).min() == 2
    assert tube.positions[:, 2].min() == pytest.approx(10.0)


def test_vacancies_are_removed_apart() -> None:
    whole, holed = nanotube(8, 8, 20.0), nanotube(8, 8, 20.0, vacancies=3, seed=5)
    assert len(whole) - len(holed) == 3
    # each vacancy takes three bonds from neighbours of its own
    assert np.sum(3 - np.bincount(neighbor_list("i", holed, 1.7))) == 9


@pytest.mark.parametrize(("n", "m"), [(3, 5), (0, 0), (-1, 0)])
def test_wrong_indices_are_refused(n: int, m: int) -> None:
    with pytest.raises(UserError, match="expected indices n >= m >= 0"):
        nanotube(n, m, 10.0)


def test_too_many_vacancies_are_refused() -> None:
    with pytest.raises(UserError, match="no room for 15 vacancies"):
        nanotube(5, 0, 4.0, vacancies=15)


def test_density_of_a_random_cell() -> None:
    cell = random_cell(40, 2.0, seed=1)
    grams = 40 * 12.011 * 1.66053907e-24
    assert grams / (cell.get_volume() * 1e-24) == pytest.approx(2.0, rel=1e-6)


def test_data_file_comes_back(tmp_path: Path) -> None:
    tube = nanotube(5, 5, 5.0)
    back = read(write_data(tmp_path / "tube.data", tube), format="lammps-data")
    assert np.allclose(back.positions, tube.positions)
    assert np.allclose(back.cell.lengths(), tube.cell.lengths())


def test_data_file_needs_its_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"written as \.data"):
        write_data(tmp_path / "tube.xyz", nanotube(5, 5, 5.0))


def rings(atoms: Atoms, bond_A: float = 1.75) -> dict[int, int]:
    """Count faces of a sheet by their number of corners: walk always to the next bond.

    At every atom the three bonds are ordered about the sheet's normal there, which leads away
    from the middle axis (tubes) or the middle (fullerenes).
    """
    i, j, vectors = neighbor_list("ijD", atoms, bond_A)
    middle = atoms.positions.mean(axis=0)
    steps: dict[int, list] = {}
    for atom in range(len(atoms)):
        outward = atoms.positions[atom] - middle
        if atoms.pbc[2]:
            outward[2] = 0.0
        outward /= np.linalg.norm(outward)
        bonds = np.flatnonzero(i == atom)
        one = np.cross(outward, [0.3, 0.5, 0.8])
        two = np.cross(outward, one)
        angles = [np.arctan2(vectors[bond] @ two, vectors[bond] @ one) for bond in bonds]
        steps[atom] = [bonds[place] for place in np.argsort(angles)]
    found: dict[int, int] = {}
    unused = set(range(len(i)))
    while unused:
        bond = first = unused.pop()
        corners = 1
        while True:
            back = next(
                b
                for b in steps[j[bond]]
                if j[b] == i[bond] and np.allclose(vectors[b], -vectors[bond])
            )
            around = steps[j[bond]]
            bond = around[(around.index(back) + 1) % len(around)]
            if bond == first:
                break
            unused.remove(bond)
            corners += 1
        found[corners] = found.get(corners, 0) + 1
    return found


def test_c60_has_twelve_pentagons() -> None:
    assert rings(fullerene(60)) == {5: 12, 6: 20}


@pytest.mark.parametrize("size", [20, 80, 180, 240, 320, 540])
def test_fullerenes_obey_euler(size: int) -> None:
    """Twelve pentagons and N / 2 - 10 hexagons close a cage of three-fold atoms."""
    ball = fullerene(size)
    assert len(ball) == size
    hexagons = {6: size // 2 - 10} if size > 20 else {}
    assert rings(ball, 1.85) == {5: 12} | hexagons
    distances = neighbor_list("d", ball, 1.85)
    assert distances.mean() == pytest.approx(1.42, rel=1e-6)
    assert distances.min() > 1.2


def test_the_construction_of_c60_is_that_of_ase() -> None:
    """Both are truncated icosahedra: sixty atoms at one distance from the middle."""
    from tempermd.structures.tubes import _on_a_sphere

    assert 60 in fullerene_sizes()
    ours = Atoms("C60", positions=_on_a_sphere(60, 1.42))
    assert rings(ours) == rings(fullerene(60))
    ratio = np.sort(ours.get_all_distances().ravel()) / 3.5
    other = np.sort(fullerene(60).get_all_distances().ravel()) / 3.5
    assert np.abs(ratio - other).max() < 0.05


@pytest.mark.parametrize(
    ("atoms", "before"),
    [
        (nanotube(6, 6, 12), {6: 60}),
        (nanotube(8, 0, 12), {6: 48}),
        (nanotube(5, 2, 16), {6: 52}),
        (fullerene(60), {5: 12, 6: 20}),
        (fullerene(180), {5: 12, 6: 80}),
    ],
    ids=lambda value: getattr(value, "info", {}).get("structure", ""),
)
def test_stone_wales_makes_two_pentagons_and_two_heptagons(atoms: Atoms, before: dict) -> None:
    """The rings at the bond's sides lose a corner, those at its ends gain one."""
    assert rings(atoms) == before
    for seed in range(4):
        turned, touched = with_stone_wales(atoms, 1, np.random.default_rng(seed))
        assert len(turned) == len(atoms)
        assert len(touched) == 6
        assert np.all(coordination(turned) == 3)
        after = rings(turned, 1.85)
        corners = sum(size * count for size, count in after.items())
        assert corners == 3 * len(atoms)
        assert sum(after.values()) == sum(before.values())
        if 5 not in before:
            assert after == {5: 2, 6: before[6] - 4, 7: 2}
        moved = np.flatnonzero(np.abs(turned.positions - atoms.positions).max(axis=1) > 0.01)
        assert len(moved) == 2
        first = atoms.get_distance(*moved, mic=True, vector=True)
        second = turned.get_distance(*moved, mic=True, vector=True)
        assert first @ second == pytest.approx(0.0, abs=1e-6)
        assert np.linalg.norm(second) == pytest.approx(np.linalg.norm(first), rel=1e-6)


def test_stone_wales_survives_relaxation() -> None:
    turned, _ = with_stone_wales(nanotube(6, 6, 12), 2, np.random.default_rng(5))
    rest = relaxed(turned, PotentialSpec(), [500])[0]
    assert rings(rest, 1.85) == {5: 4, 6: 52, 7: 4}


def test_too_many_stone_wales_are_refused() -> None:
    with pytest.raises(UserError, match="no room for 9 Stone-Wales"):
        with_stone_wales(nanotube(5, 5, 7), 9, np.random.default_rng(1))


def test_vacancies_keep_off_a_stone_wales_bond() -> None:
    tube = nanotube(6, 6, 7)
    turned, touched = with_stone_wales(tube, 1, np.random.default_rng(2))
    keep = turned.positions[sorted(touched)]
    for seed in range(5):
        holed = with_vacancies(turned, 3, seed, touched)
        assert all(np.abs(holed.positions - one).max(axis=1).min() < 1e-12 for one in keep)


def test_stretching_makes_bonds_along_z_longer() -> None:
    tube = nanotube(5, 5, 7)
    longer = stretched(tube, 0.1)
    assert longer.cell[2, 2] == pytest.approx(1.1 * tube.cell[2, 2])
    assert np.allclose(longer.positions[:, :2], tube.positions[:, :2])


def test_strain_leaves_axes_without_period_alone() -> None:
    tube = strained(nanotube(5, 5, 7), 0.1, np.random.default_rng(1))
    assert np.allclose(tube.positions[:, :2], nanotube(5, 5, 7).positions[:, :2])
    assert 0.9 < tube.cell[2, 2] / nanotube(5, 5, 7).cell[2, 2] < 1.1


SHELLS = {
    "diamond": (4, 12),
    "lonsdaleite": (4, 12),
    "graphite": (3, 6),
    "graphene": (3, 6),
    "sc": (6, 12),
    "bcc": (8, 6),
    "fcc": (12, 6),
    "hcp": (12, 6),
    "zincblende": (4, 12),
    "rocksalt": (6, 12),
    "cesiumchloride": (8, 6),
}


@pytest.mark.parametrize("name", LATTICES)
def test_crystals_have_their_shells(name: str) -> None:
    """Numbers of first and second neighbours, from any textbook."""
    formula = "SiC" if LATTICES[name].elements == 2 else "C"
    atoms = crystal(name, formula, 30)
    assert 30 <= len(atoms) <= 60
    distances = np.sort(neighbor_list("d", atoms, 6.0).reshape(-1))
    counts = [np.sum(np.abs(distances - d) < 0.01) / len(atoms) for d in shells(distances)]
    assert tuple(counts) == SHELLS[name]


def shells(distances: np.ndarray) -> list[float]:
    first = distances[0]
    return [first, distances[distances > first + 0.02][0]]


@pytest.mark.parametrize(
    ("name", "formula", "nearest_A"),
    [("diamond", "C", 1.546), ("graphite", "C", 1.42), ("fcc", "Cu", 2.553), ("bcc", "Fe", 2.485)],
)
def test_lattice_constants_are_near_the_measured(name, formula, nearest_A) -> None:
    distances = neighbor_list("d", crystal(name, formula, 8), 4.0)
    assert distances.min() == pytest.approx(nearest_A, rel=0.01)


@pytest.mark.parametrize("cubic", [True, False])
def test_spread_cells_keep_density_and_distance(cubic: bool) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        atoms = spread_cell(["C"] * 24, 3.5, 1.4, cubic=cubic, rng=rng)
        grams = 24 * 12.011 * 1.66053907e-24
        assert grams / (atoms.get_volume() * 1e-24) == pytest.approx(3.5, rel=1e-6)
        assert len(neighbor_list("i", atoms, 1.4)) == 0
        assert cubic == bool(np.allclose(atoms.cell.angles(), 90))


@pytest.mark.parametrize("turn", [0.0, 35.0])
def test_relaxing_brings_a_rattled_crystal_back(turn: float) -> None:
    """Rattled diamond returns to its lattice, in whatever orientation its cell is given."""
    atoms = crystal("diamond", "C", 64)
    atoms.set_cell(atoms.cell.array * (3.566 / atoms.cell[0, 0] * 2), scale_atoms=True)
    ideal = atoms.copy()
    atoms.rattle(0.08, seed=1)
    for one in (atoms, ideal):
        one.rotate(turn, (1, 2, 3), rotate_cell=True)
    start, end = relaxed(atoms, PotentialSpec(), [0, 300])
    assert np.allclose(start.positions, atoms.positions)
    shifts = end.positions - ideal.positions
    shifts = np.linalg.solve(ideal.cell.T, shifts.T).T
    shifts = (shifts - np.round(shifts)) @ ideal.cell.array
    shifts -= shifts.mean(axis=0)
    assert np.abs(shifts).max() < 0.005
