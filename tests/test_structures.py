"""Structures: geometry of nanotubes, densities of cells, seeds that repeat."""

from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from ase.neighborlist import neighbor_list

from tempermd.records import UserError
from tempermd.structures import (
    AmorphousSpec,
    StructureSpec,
    TubeSpec,
    make,
    nanotube,
    random_cell,
    write_data,
)


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


SMALL = StructureSpec(
    seed=3,
    tubes=[TubeSpec(n=5, m=0, length_A=4, temperatures_K=[900], trajectories=2, frames=2)],
    amorphous=[AmorphousSpec(atoms=16, densities_g_cm3=[2.0], cells=1, frames=3)],
)


def test_sampled_structures_repeat_whatever_the_workers() -> None:
    once, twice = make(SMALL, workers=1), make(SMALL, workers=2)
    assert len(once) == 2 * 2 + 3
    for first, second in zip(once, twice, strict=True):
        assert np.array_equal(first.positions, second.positions)
        assert first.info == second.info


def test_sampled_tubes_are_hot_and_whole() -> None:
    """At 900 K atoms have left their places, and every one still has its three bonds."""
    frames = [atoms for atoms in make(SMALL, workers=2) if atoms.info["kind"] == "tube"]
    ideal = nanotube(5, 0, 4.0)
    for atoms in frames:
        shift = atoms.positions - ideal.positions
        shift[:, 2] -= np.round(shift[:, 2] / ideal.cell[2, 2]) * ideal.cell[2, 2]
        assert 0.02 < np.sqrt(np.mean(shift**2)) < 1.0
        assert np.all(np.bincount(neighbor_list("i", atoms, 2.0)) == 3)
    assert len({atoms.info["trajectory"] for atoms in frames}) == 2


def test_empty_spec_is_refused() -> None:
    with pytest.raises(UserError, match="no tubes and no amorphous cells"):
        make(StructureSpec())


def test_finished_trajectories_are_not_made_again(tmp_path: Path) -> None:
    """Take away one of three parts: the second call makes that one anew and no other."""
    first = make(SMALL, workers=2, parts=tmp_path)
    parts = sorted(tmp_path.iterdir(), key=lambda path: path.name)
    assert len(parts) == 3
    parts[0].unlink()
    before = {path: path.stat().st_mtime_ns for path in parts[1:]}
    second = make(SMALL, workers=2, parts=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.positions, other.positions)
