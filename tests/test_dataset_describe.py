"""Descriptions: made sets whose composition, ranges, outliers and copies are known."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from dataset_cases import cluster, crystal, trajectory
from tempermd import dataset
from tempermd.dataset.description import (
    DENSITY,
    ENERGY,
    LARGEST_FORCE,
    SHORTEST,
    robust_scores,
)
from tempermd.dataset.duplicates import Copies
from tempermd.records import UserError


def test_numbers_are_those_of_the_frames(tmp_path: Path) -> None:
    frames = [crystal(seed) for seed in range(6)]
    write(tmp_path / "in.extxyz", frames)
    found = dataset.describe(tmp_path / "in.extxyz")
    assert found.elements == {"C": 96}
    assert set(found.kinds) == {"crystal"}
    # eight atoms of 12.011 u in a cube of 3.57 A
    assert found.quantities[DENSITY] == pytest.approx(8 * 12.011 * 1.66054 / 3.57**3, rel=1e-4)
    largest = [np.linalg.norm(a.get_forces(), axis=1).max() for a in frames]
    assert found.quantities[LARGEST_FORCE] == pytest.approx(largest, abs=1e-6)
    shortest = [
        min(a.get_distances(i, range(i), mic=True).min() for i in range(1, 16)) for a in frames
    ]
    assert found.quantities[SHORTEST] == pytest.approx(shortest, abs=1e-6)
    energies = np.array([a.get_potential_energy() / 16 for a in frames])
    assert found.quantities[ENERGY] == pytest.approx(energies - energies.mean(), abs=1e-6)


def spoilt(number: int, change: str) -> list[Atoms]:
    frames = [atoms for t in range(10) for atoms in trajectory(f"t{t}", 4, t, kind="x")]
    atoms = frames[number]
    results = dict(atoms.calc.results)
    if change == "energy":
        results["energy"] -= 40.0
    elif change == "force":
        results["forces"] = results["forces"].copy()
        results["forces"][0] = [0, 0, 300.0]
    else:
        atoms = Atoms(atoms.numbers, atoms.positions, info=atoms.info)
        atoms.positions[0] += 0.55 * (atoms.positions[1] - atoms.positions[0])
    atoms.calc = SinglePointCalculator(atoms, **results)
    frames[number] = atoms
    return frames


@pytest.mark.parametrize(
    ("change", "quantity"), [("energy", ENERGY), ("force", LARGEST_FORCE), ("contact", SHORTEST)]
)
def test_the_spoilt_frame_stands_out_first(tmp_path: Path, change: str, quantity: str) -> None:
    write(tmp_path / "in.extxyz", spoilt(17, change))
    found = dataset.describe(tmp_path / "in.extxyz")
    assert (found.outliers[0].frame, found.outliers[0].quantity) == (17, quantity)
    assert f"in.extxyz  17     {quantity}" in dataset.description_text(found)


def test_robust_scores_of_a_normal_sample_are_its_z_scores() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 20000)
    assert robust_scores(values) == pytest.approx((values - 3.0) / 2.0, abs=0.15)
    assert robust_scores(np.ones(9)).tolist() == [0.0] * 9
    assert robust_scores(np.array([0.0] * 8 + [5.0]))[8] > 5


def disguised(atoms: Atoms, seed: int) -> Atoms:
    """Return the structure turned, mirrored and with its atoms in another order."""
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    order = random.permutation(len(atoms))
    copy = Atoms(
        atoms.numbers[order],
        (atoms.positions @ rotation)[order] + 1.0,
        cell=atoms.cell.array @ rotation,
        pbc=atoms.pbc,
    )
    forces = (atoms.calc.results["forces"] @ rotation)[order]
    copy.calc = SinglePointCalculator(copy, energy=atoms.calc.results["energy"], forces=forces)
    return copy


def test_copies_are_found_in_any_disguise(tmp_path: Path) -> None:
    frames = [cluster(seed) for seed in range(6)]
    frames += [cluster(2), disguised(frames[4], 1), crystal(1), disguised(crystal(1), 2)]
    write(tmp_path / "in.extxyz", frames)
    found = dataset.describe(tmp_path / "in.extxyz")
    places = [[number for _, number in group] for group in found.duplicates]
    near = [[number for _, number in group] for group in found.near_duplicates]
    assert places == [[2, 6]]
    assert near == [[4, 7], [8, 9]]


@pytest.mark.parametrize("kind", ["cluster", "crystal"])
def test_independent_shakes_are_no_copies(kind: str) -> None:
    copies = Copies()
    for seed in range(60):
        copies.add(cluster(seed) if kind == "cluster" else crystal(seed, 4))
    assert len(set(copies.labels())) == 60


def test_a_leak_of_a_folder_is_told(tmp_path: Path) -> None:
    frames = [atoms for t in range(6) for atoms in trajectory(f"t{t}", 2, t)]
    write(tmp_path / "in.extxyz", frames)
    spec = dataset.BuildSpec(fractions={"train": 0.7, "val": 0.3}, file_format="lmdb")
    folder = dataset.build_dataset([tmp_path / "in.extxyz"], tmp_path / "set", spec, [])
    clean = dataset.describe(folder)
    assert clean.straddling == []
    assert set(clean.parts) == {"train", "val"}
    stolen = dataset.LmdbFrames(folder / "train.lmdb")[1]
    with dataset.LmdbWriter(tmp_path / "test.lmdb", stress=False, energies=False) as writer:
        writer.add(stolen)
    (tmp_path / "test.lmdb").rename(folder / "test.lmdb")
    leaky = dataset.describe(folder)
    assert leaky.straddling == [[("train", 1), ("test", 0)]]
    assert "1 of them in more than one part: a leak" in dataset.description_text(leaky)


def test_files_without_labels_are_described(tmp_path: Path) -> None:
    write(tmp_path / "in.xyz", [Atoms("CO", [[0, 0, 0], [0, 0, 1.1 + 0.1 * i]]) for i in range(6)])
    text = dataset.description_text(dataset.describe(tmp_path / "in.xyz"))
    assert re.search(r"unknown +6 +no labels", text)
    assert re.search(r"shortest distance \(A\) +1\.100 .* 1\.600", text)


def test_the_page_shows_the_text_and_the_structures(tmp_path: Path) -> None:
    write(tmp_path / "in.extxyz", [crystal(seed) for seed in range(6)])
    page = dataset.describe_on_page(tmp_path / "in.extxyz", tmp_path / "page.html")
    text = page.read_text()
    for part in ("Composition", "Ranges over frames", "Energies and forces", "Map of environments"):
        assert part in text
    with pytest.raises(UserError, match=r"a page is written as \.html"):
        dataset.describe_on_page(tmp_path / "in.extxyz", tmp_path / "page.pdf")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no such tempermd-dataset file"):
        dataset.describe(tmp_path / "empty")
