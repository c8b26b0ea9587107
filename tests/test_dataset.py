"""Datasets: splits without leaks, one energy scale, and bad files refused by name."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from tempermd import dataset
from tempermd.records import UserError, read_record

NUMBERS = itertools.count()


def frame(n_carbon: int, n_hydrogen: int, energy: float, **info: str) -> Atoms:
    """Return a labelled frame of given composition; no two have the same positions."""
    count = n_carbon + n_hydrogen
    shake = np.random.default_rng(next(NUMBERS)).normal(0, 0.1, (count, 3))
    positions = 0.9 * np.arange(3 * count).reshape(-1, 3) / 3 + shake
    atoms = Atoms(f"C{n_carbon}H{n_hydrogen}", positions=positions)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((count, 3)))
    atoms.info.update(info)
    return atoms


@pytest.fixture
def labelled() -> list[Atoms]:
    """Ten trajectories of three frames from source a; energies -7 per C, -3 per H."""
    return [
        frame(2 + t % 3, 1 + k, -7.0 * (2 + t % 3) - 3.0 * (1 + k), source="a", trajectory=f"t{t}")
        for t in range(10)
        for k in range(3)
    ]


def test_reference_energies_are_those_put_in(labelled: list[Atoms]) -> None:
    other = [frame(n, m, -50.0 * n - 13.0 * m, source="b") for n, m in [(1, 2), (3, 1), (2, 2)]]
    references = dataset.reference_energies(labelled + other)
    assert references["a"] == pytest.approx({"C": -7.0, "H": -3.0})
    assert references["b"] == pytest.approx({"C": -50.0, "H": -13.0})


def test_two_sources_meet_on_one_scale(labelled: list[Atoms]) -> None:
    """What is left of a label of b, beyond b's references, is what stands on a's scale."""
    other = [
        frame(n, m, -50.0 * n - 13.0 * m + extra, source="b")
        for n, m, extra in [(1, 2, 0.1), (3, 1, -0.1), (2, 2, 0.0), (2, 1, 0.05)]
    ]
    frames = labelled + other
    references = dataset.reference_energies(frames)
    shifted = dataset.on_one_scale(frames, references, "a")
    for before, after in zip(frames, shifted, strict=True):
        own = references[before.info["source"]]
        left = before.get_potential_energy() - sum(own[s] for s in before.symbols)
        there = sum(references["a"][s] for s in before.symbols)
        assert after.get_potential_energy() == pytest.approx(there + left)
    again = dataset.reference_energies(shifted)
    assert again["b"] == pytest.approx(references["a"])


def test_element_without_reference_on_the_scale_is_refused() -> None:
    frames = [frame(2, 0, -14.0, source="a"), frame(1, 1, -63.0, source="b")]
    with pytest.raises(UserError, match="'a' has no reference energy for H"):
        dataset.on_one_scale(frames, dataset.reference_energies(frames), "a")


@pytest.mark.parametrize("seed", range(5))
def test_split_keeps_trajectories_together(labelled: list[Atoms], seed: int) -> None:
    parts = dataset.split(labelled, {"train": 0.6, "test": 0.2, "val": 0.2}, seed)
    owners = [{a.info["trajectory"] for a in part} for part in parts.values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 10
    assert [len(part) for part in parts.values()] == [18, 6, 6]


def test_split_depends_on_the_seed_only(labelled: list[Atoms]) -> None:
    fractions = {"train": 0.5, "val": 0.5}
    names = [
        [a.info["trajectory"] for a in dataset.split(labelled, fractions, seed)["train"]]
        for seed in (1, 1, 2)
    ]
    assert names[0] == names[1] != names[2]


def test_split_needs_enough_trajectories(labelled: list[Atoms]) -> None:
    with pytest.raises(UserError, match="1 trajectories cannot make 2 parts"):
        dataset.split(labelled[:3], {"train": 0.5, "val": 0.5}, 0)


def test_build_writes_what_it_records(labelled: list[Atoms], tmp_path: Path) -> None:
    write(tmp_path / "in.extxyz", labelled)
    unseen = [frame(4, 1, -31.0, source="a", trajectory="unseen")]
    write(tmp_path / "unseen.extxyz", unseen)
    folder = dataset.build(
        [tmp_path / "in.extxyz"],
        tmp_path / "set",
        fractions={"train": 0.8, "val": 0.2},
        seed=1,
        test_inputs=[tmp_path / "unseen.extxyz"],
    )
    record = read_record(folder / "dataset.json", dataset.DatasetRecord)
    for name, count in record.frames.items():
        assert len(read(folder / f"{name}.extxyz", ":")) == count
    assert record.frames == {"train": 24, "val": 6, "test": 1}
    assert record.reference_energies_eV["a"] == pytest.approx({"C": -7.0, "H": -3.0})


def test_build_refuses_a_leak(labelled: list[Atoms], tmp_path: Path) -> None:
    write(tmp_path / "in.extxyz", labelled)
    write(tmp_path / "leak.extxyz", labelled[:1])
    with pytest.raises(UserError, match="trajectory t0 is in both"):
        dataset.build(
            [tmp_path / "in.extxyz"],
            tmp_path / "set",
            fractions={"train": 0.8, "val": 0.2},
            seed=1,
            test_inputs=[tmp_path / "leak.extxyz"],
        )
    assert not (tmp_path / "set").exists()


def test_two_sources_need_a_scale(labelled: list[Atoms], tmp_path: Path) -> None:
    others = [frame(1, 1, -63.0, source="b"), frame(2, 1, -113.0, source="b")]
    write(tmp_path / "in.extxyz", [*labelled, *others])
    with pytest.raises(UserError, match="labels come from a, b; say whose zero"):
        dataset.build(
            [tmp_path / "in.extxyz"], tmp_path / "set", fractions={"train": 0.8, "val": 0.2}, seed=1
        )


def test_unlabelled_and_nan_frames_are_named(tmp_path: Path) -> None:
    write(tmp_path / "bare.extxyz", [frame(1, 1, -1.0), Atoms("C")])
    with pytest.raises(UserError, match=r"bare\.extxyz: frame 1 has no energy"):
        dataset.read_labelled(tmp_path / "bare.extxyz")
    write(tmp_path / "nan.extxyz", [frame(1, 1, float("nan"))])
    with pytest.raises(UserError, match="frame 0: energy not finite"):
        dataset.read_labelled(tmp_path / "nan.extxyz")


@pytest.mark.parametrize("content", ["", "not a structure", "3\n\nC 0 0 0\n"])
def test_unreadable_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.extxyz").write_text(content)
    with pytest.raises(UserError, match=r"bad\.extxyz"):
        dataset.read_structures(tmp_path / "bad.extxyz")
