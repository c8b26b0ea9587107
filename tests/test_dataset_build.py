"""Dataset folders: both formats, reference energies by kind, locks, and bad input by name."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from dataset_cases import crystal, labelled, same, trajectory
from tempermd import dataset
from tempermd.dataset import BuildSpec, LmdbFrames, building
from tempermd.records import UserError

FRACTIONS = {"train": 0.75, "val": 0.25}


@pytest.fixture
def frames(tmp_path: Path) -> list[Atoms]:
    """Eight trajectories of two kinds, written to in.extxyz."""
    made = [
        atoms
        for number in range(8)
        for atoms in trajectory(f"t{number}", 3, number, kind="hot" if number < 4 else "cold")
    ]
    write(tmp_path / "in.extxyz", made)
    return made


def build(folder: Path, name: str = "set", **options: object) -> Path:
    spec = BuildSpec(**({"fractions": FRACTIONS} | options))
    return dataset.build_dataset([folder / "in.extxyz"], folder / name, spec, [])


def test_both_formats_hold_the_same_frames(tmp_path: Path, frames: list[Atoms]) -> None:
    text, binary = build(tmp_path, "a"), build(tmp_path, "b", file_format="lmdb")
    expected = {one.positions.tobytes(): one for one in frames}
    found = 0
    for part in ("train", "val"):
        one = dataset.read_labelled(text / f"{part}.extxyz")
        other = dataset.read_labelled(binary / f"{part}.lmdb")
        assert len(one) == len(other) == len(LmdbFrames(binary / f"{part}.lmdb"))
        assert {atoms.info["kind"] for atoms in one} == {"hot", "cold"}
        for a, b in zip(one, other, strict=True):
            assert same(a, b)
            assert a.info == b.info
            found += 1
    assert found == len(expected)
    record = dataset.read_dataset_record(binary)
    assert record.frames == {"train": 18, "val": 6}
    assert record.strata == {"train": {"cold": 9, "hot": 9}, "val": {"cold": 3, "hot": 3}}
    assert sorted(record.files) == sorted(
        path.name for path in binary.iterdir() if path.name != "dataset.json"
    )
    with gzip.open(binary / "val.index.jsonl.gz", "rt") as stream:
        assert json.loads(stream.readline())["source"] == "morse"


def test_large_sets_become_lmdb(
    tmp_path: Path, frames: list[Atoms], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "LARGE_ATOMS", 8 * 24 - 1)
    assert dataset.read_dataset_record(build(tmp_path, "a")).file_format == "lmdb"
    monkeypatch.setattr(building, "LARGE_ATOMS", 8 * 24)
    assert dataset.read_dataset_record(build(tmp_path, "b")).file_format == "extxyz"


def test_a_finished_build_is_left_and_another_refused(tmp_path: Path, frames: list[Atoms]) -> None:
    folder = build(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert build(tmp_path) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    with pytest.raises(UserError, match="exists already"):
        build(tmp_path, seed=2)


def test_stratify_by_any_info(tmp_path: Path, frames: list[Atoms]) -> None:
    for number, atoms in enumerate(frames):
        atoms.info["oven"] = "left" if number % 6 < 3 else "right"
    write(tmp_path / "in.extxyz", frames)
    record = dataset.read_dataset_record(build(tmp_path, stratify="oven"))
    assert record.strata["val"] == {"left": 3, "right": 3}
    with pytest.raises(UserError, match=r"no info 'owen' to stratify by; it has .*oven"):
        build(tmp_path, "other", stratify="owen")


def test_a_second_process_at_one_output_is_refused(tmp_path: Path, frames: list[Atoms]) -> None:
    code = (
        "import sys; from pathlib import Path; from tempermd.records import only_one\n"
        f"with only_one(Path({str(tmp_path / 'set')!r})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=r"process \d+ on .* is writing it"):
        build(tmp_path)
    other.communicate("")
    assert build(tmp_path).is_dir()
    assert not list(tmp_path.glob(".set*"))


def test_what_a_killed_build_left_is_taken_away(tmp_path: Path, frames: list[Atoms]) -> None:
    """The process ends without a word in the middle of writing, as by SIGKILL."""
    code = (
        "import os; from pathlib import Path; from tempermd import dataset\n"
        "from tempermd.dataset import building\n"
        "building._describe = lambda *_: os._exit(9)\n"
        "fractions = {'train': .5, 'val': .5}\n"
        "dataset.build([Path('in.extxyz')], Path('set'), fractions=fractions, seed=1)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == 9
    assert not (tmp_path / "set").exists()
    assert len(list(tmp_path.glob(".set.partial-*"))) == 1
    assert dataset.read_dataset_record(build(tmp_path)).frames == {"train": 18, "val": 6}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.extxyz", "set"]


def test_a_structure_in_the_test_file_and_in_the_inputs_is_a_leak(
    tmp_path: Path, frames: list[Atoms]
) -> None:
    copy = frames[4].copy()
    copy.calc = frames[4].calc
    copy.info["trajectory"] = "new name"
    write(tmp_path / "test.extxyz", copy)
    spec = BuildSpec(fractions=FRACTIONS)
    inputs = [tmp_path / "in.extxyz"], tmp_path / "set"
    with pytest.raises(UserError, match=r"a structure of new name \(in test\) is also in"):
        dataset.build_dataset(*inputs, spec, [tmp_path / "test.extxyz"])
    assert not (tmp_path / "set").exists()


def molecule(formula: str, source: str, zero_eV: dict[str, float], **info: object) -> Atoms:
    """Return a Morse cluster whose atoms have a zero of energy of their own."""
    symbols = Atoms(formula).symbols
    grid = np.stack(np.meshgrid(*[range(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    seed = sum(ord(c) * 7**i for i, c in enumerate(formula + source))
    shake = np.random.default_rng(seed).normal(0, 0.05, (len(symbols), 3))
    atoms = labelled(Atoms(symbols, 1.45 * grid[: len(symbols)] + shake))
    energy = atoms.calc.results["energy"] + sum(zero_eV[s] for s in symbols)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=atoms.get_forces())
    atoms.info |= {"source": source, "trajectory": formula + source, **info}
    return atoms


ZERO = {"a": {"C": -150.0, "H": -13.0}, "b": {"C": -1000.0, "H": -15.0}}
FORMULAS = ["C4H4", "C6H2", "C2H6", "C5H4", "C3H3", "C7H2"]


def above(atoms: Atoms, source: str) -> float:
    """Return what is left of an energy above a source's isolated atoms (eV)."""
    return atoms.calc.results["energy"] - sum(ZERO[source][s] for s in atoms.symbols)


def mixture(*stating: str) -> list[Atoms]:
    """Return frames of two sources; those named state their isolated atoms."""
    return [
        molecule(
            formula,
            source,
            ZERO[source],
            **({"isolated_energies_eV": json.dumps(ZERO[source])} if source in stating else {}),
        )
        for source in "ab"
        for formula in FORMULAS
    ]


def test_isolated_atoms_bring_sources_to_one_scale(tmp_path: Path) -> None:
    """What is left above the isolated atoms is the Morse energy, whichever source it was."""
    frames = mixture("a", "b")
    write(tmp_path / "in.extxyz", frames)
    folder = build(tmp_path, scale="a")
    record = dataset.read_dataset_record(folder)
    assert record.reference_kinds == {"a": "isolated", "b": "isolated"}
    assert record.reference_energies_eV == ZERO
    expected = {atoms.info["trajectory"]: above(atoms, atoms.info["source"]) for atoms in frames}
    for part in ("train", "val"):
        for atoms in dataset.read_labelled(folder / f"{part}.extxyz"):
            left = expected[atoms.info["trajectory"]]
            assert above(atoms, "a") == pytest.approx(left, abs=1e-6)
            assert json.loads(atoms.info["isolated_energies_eV"]) == ZERO["a"]


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (mixture("a"), {}, "a state isolated atoms, b do not"),
        (mixture("a"), {"references": "isolated"}, "labels of 'b' do not all state"),
        (mixture("a", "b"), {}, "labels come from a, b; say whose zero"),
        (
            mixture()[:6] + [molecule("C4H4", "b", ZERO["b"])],
            {"scale": "a"},
            "compositions of the frames of 'b' do not determine an energy for each of C, H",
        ),
        (
            mixture()[:6] + [molecule("C4H4", "unknown", ZERO["b"])],
            {"scale": "a"},
            "1 frames do not say which source labelled them",
        ),
    ],
)
def test_sources_that_cannot_be_mixed_are_refused(
    tmp_path: Path, frames: list[Atoms], options: dict, message: str
) -> None:
    write(tmp_path / "in.extxyz", frames)
    with pytest.raises(UserError, match=message):
        build(tmp_path, **options)
    assert not (tmp_path / "set").exists()


def test_fits_may_stand_for_isolated_atoms_where_asked(tmp_path: Path) -> None:
    write(tmp_path / "in.extxyz", mixture("a"))
    record = dataset.read_dataset_record(build(tmp_path, scale="a", references="fitted"))
    assert record.reference_kinds == {"a": "fitted", "b": "fitted"}
    difference = {
        s: record.reference_energies_eV["b"][s] - record.reference_energies_eV["a"][s] for s in "CH"
    }
    assert difference == pytest.approx({"C": -850.0, "H": -2.0}, abs=3.0)


def test_disagreeing_isolated_atoms_are_fitted(tmp_path: Path) -> None:
    frames = mixture("a")[:6]
    frames[3].info["isolated_energies_eV"] = json.dumps({"C": -149.0, "H": -13.0})
    write(tmp_path / "in.extxyz", frames)
    assert dataset.read_dataset_record(build(tmp_path)).reference_kinds == {"a": "fitted"}


def broken(change: str) -> list[Atoms]:
    """Return a few good frames, the second of them spoilt."""
    frames = trajectory("t", 4, 1)
    bad = frames[1]
    results = bad.calc.results
    if change == "overlap":
        bad.positions[3] = bad.positions[4] + 0.01
    elif change == "nan position":
        bad.positions[0, 0] = np.nan
    elif change == "nan force":
        results["forces"][2, 1] = np.inf
    elif change == "unlabelled":
        bad.calc = None
    elif change == "no forces":
        del results["forces"]
    elif change == "sum":
        results["energies"] = np.full(8, results["energy"] / 8 + 0.01)
    return frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("overlap", r"frame 1: atoms [34] .* are 0\.017 A apart.*--length-unit"),
        ("nan position", "frame 1: positions or cell are not finite"),
        ("nan force", "frame 1: forces not finite"),
        ("unlabelled", "frame 1 has no energy"),
        ("no forces", "frame 1 has no forces"),
        ("sum", "frame 1: the energies of its atoms sum to"),
    ],
)
def test_bad_frames_are_named(tmp_path: Path, change: str, message: str) -> None:
    write(tmp_path / "in.extxyz", broken(change))
    with pytest.raises(UserError, match=rf"in\.extxyz: {message}"):
        build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["in.extxyz"]


def test_labels_of_the_wrong_length_are_named() -> None:
    atoms = crystal(1)
    atoms.calc.results["forces"] = atoms.calc.results["forces"][:-1]
    with pytest.raises(
        UserError, match=r"x: frame 0: forces has shape \(15, 3\), expected \(16, 3\)"
    ):
        dataset.check_labels([atoms], "x")


def test_a_file_cut_short_is_named(tmp_path: Path, frames: list[Atoms]) -> None:
    text = (tmp_path / "in.extxyz").read_text()
    (tmp_path / "in.extxyz").write_text(text[: text.rindex("\n", 0, -300)])
    with pytest.raises(UserError, match=r"frame 23 is cut short: it promises 8 atoms"):
        build(tmp_path)
    (tmp_path / "in.extxyz").write_text(text.replace("C ", "Cq ", 1))
    with pytest.raises(UserError, match="frame 0: cannot be read as a structure"):
        build(tmp_path)


def test_two_inputs_of_one_name_are_refused(tmp_path: Path, frames: list[Atoms]) -> None:
    (tmp_path / "sub").mkdir()
    os.link(tmp_path / "in.extxyz", tmp_path / "sub" / "in.extxyz")
    files = [tmp_path / "in.extxyz", tmp_path / "sub" / "in.extxyz"]
    with pytest.raises(UserError, match="two inputs have this name"):
        dataset.build_dataset(files, tmp_path / "set", BuildSpec(fractions=FRACTIONS), [])


def test_compressed_files_are_read(tmp_path: Path, frames: list[Atoms]) -> None:
    with gzip.open(tmp_path / "in.extxyz.gz", "wt") as stream:
        stream.write((tmp_path / "in.extxyz").read_text())
    found = dataset.read_labelled(tmp_path / "in.extxyz.gz")
    expected = read(tmp_path / "in.extxyz", ":")
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))


def test_cell_vectors_after_the_atoms_are_no_frame(tmp_path: Path) -> None:
    """Old xyz files give the cell as lines VEC1 to VEC3 behind the atoms."""
    frame = "1\nremark\nC 0.5 0.0 0.0\nVEC1 4 0 0\nVEC2 0 5 0\nVEC3 0 0 6\n"
    (tmp_path / "old.xyz").write_text(frame + "\n" + frame)
    found = dataset.read_structures(tmp_path / "old.xyz")
    assert [atoms.cell.lengths().tolist() for atoms in found] == [[4, 5, 6]] * 2
