"""LMDB parts: nequip reads what we write, we read what nequip writes, strangers run nothing."""

import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from ase.io import write

from dataset_cases import cluster, crystal, same
from tempermd import dataset
from tempermd.dataset import LmdbFrames, LmdbWriter, safe_pickle
from tempermd.dataset.lmdb_files import index_path
from tempermd.records import UserError


@pytest.fixture
def frames() -> list:
    return [crystal(seed, 1 + seed % 2) for seed in range(5)]


def written(path: Path, frames: list, **keys: bool) -> Path:
    with LmdbWriter(path, **({"stress": True, "energies": True} | keys)) as writer:
        for atoms in frames:
            writer.add(atoms)
    return path


def test_nequip_reads_our_files_as_its_own(tmp_path: Path, frames: list) -> None:
    """The oracle is nequip's own conversion from ASE, tensor by tensor."""
    from nequip.data.ase import from_ase
    from nequip.data.dataset import NequIPLMDBDataset
    from nequip.utils.global_state import set_global_state

    set_global_state()
    path = written(tmp_path / "a.lmdb", frames)
    theirs = NequIPLMDBDataset(str(path))
    assert len(theirs) == len(frames)
    assert list(theirs.get_metadata("num_atoms_per_entry")) == [len(a) for a in frames]
    for number, atoms in enumerate(frames):
        expected = from_ase(atoms)
        found = theirs[number]
        shared = set(found) & set(expected)
        assert shared >= {"pos", "cell", "pbc", "atomic_numbers", "total_energy", "forces"}
        assert shared >= {"stress", "atomic_energy"}
        for key in shared:
            assert found[key].dtype == expected[key].dtype, key
            assert torch.equal(found[key], expected[key]), key


def test_we_read_what_nequip_writes(tmp_path: Path, frames: list) -> None:
    from nequip.data.ase import from_ase
    from nequip.data.dataset import NequIPLMDBDataset
    from nequip.utils.global_state import set_global_state

    set_global_state()
    path = tmp_path / "theirs.lmdb"
    NequIPLMDBDataset.save_from_iterator(str(path), map(from_ase, frames), map_size=1 << 24)
    found = LmdbFrames(path)
    assert len(found) == 5
    assert all(same(one, other) for one, other in zip(found, frames, strict=True))


def test_frames_come_back_with_labels_and_info(tmp_path: Path, frames: list) -> None:
    path = written(tmp_path / "a.lmdb", frames)
    found = LmdbFrames(path)
    assert found.n_atoms.tolist() == [len(a) for a in frames]
    for number in (3, 0, -1):
        assert same(found[number], frames[number])
        assert found[number].info == frames[number].info
    with pytest.raises(IndexError):
        found[5]
    assert all(same(a, b) for a, b in zip(dataset.iter_labelled(path), frames, strict=True))
    assert LmdbFrames(path, info=False)[0].info == {}


def test_files_grow_with_the_data(tmp_path: Path) -> None:
    """More than the first map holds; the file has no more than its entries need."""
    atoms = crystal(1, 40)
    count = (1 << 24) // (len(atoms) * 64) + 200
    path = written(tmp_path / "a.lmdb", [atoms] * count)
    size = path.stat().st_size
    assert size > 1 << 24
    held = sum(len(v) for _, v in lmdb_items(path))
    assert size < 1.3 * held
    assert same(LmdbFrames(path)[count - 1], atoms)


def lmdb_items(path: Path) -> list[tuple[bytes, bytes]]:
    opened = lmdb.open(str(path), subdir=False, readonly=True, lock=False)
    with opened as environment, environment.begin() as transaction:
        return list(transaction.cursor())


class Evil:
    """A pickle that would make a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: {"pos": e}, lambda e: np.array([e])])
def test_a_strangers_pickle_is_refused_unopened(tmp_path: Path, wrap) -> None:
    path = tmp_path / "strange.lmdb"
    opened = lmdb.open(str(path), subdir=False, lock=False)
    with opened as environment, environment.begin(write=True) as transaction:
        transaction.put(b"0", pickle.dumps(wrap(Evil(tmp_path / "hacked"))))
    with pytest.raises(UserError, match=r"strange\.lmdb: frame 0: the entry is a pickle that asks"):
        list(dataset.iter_structures(path))
    assert not (tmp_path / "hacked").exists()


def test_nothing_of_this_program_can_be_changed_by_a_pickle() -> None:
    """BUILD with slots sets attributes of what it is given; here that is refused."""
    data = b"cnumpy\ndtype\n(N}X\x09\x00\x00\x00_functionK\x01stb."
    with pytest.raises(UserError, match=r"a change of this program|damaged"):
        safe_pickle.load(data, "x")
    assert safe_pickle.load(pickle.dumps(np.arange(3)), "x").tolist() == [0, 1, 2]


def test_safe_reading_gives_what_pickle_gives() -> None:
    value = {
        "a": torch.arange(6.0).reshape(2, 3).t(),
        "b": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "c": np.array([True, False]),
        "d": [1, "x", None, 2.5, np.float64(3), np.arange(3, dtype=">i4")],
    }
    for protocol in (2, 4, 5):
        found = safe_pickle.load(pickle.dumps(value, protocol=protocol), "x")
        assert torch.equal(found["a"], value["a"])
        assert np.array_equal(found["b"], value["b"])
        assert found["c"].tolist() == [True, False]
        assert found["d"][:5] == value["d"][:5]
        assert found["d"][5].tolist() == [0, 1, 2]


@pytest.mark.parametrize("cut", [10, 100, 1000])
def test_damaged_files_end_in_one_sentence(tmp_path: Path, frames: list, cut: int) -> None:
    data = pickle.dumps({"pos": np.zeros((30, 3))})
    with pytest.raises(UserError, match="damaged"):
        safe_pickle.load(data[: min(cut, len(data) - 1)], "x")
    (tmp_path / "b.lmdb").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"b\.lmdb: cannot be opened as LMDB"):
        LmdbFrames(tmp_path / "b.lmdb")


def test_an_index_of_another_file_is_refused(tmp_path: Path, frames: list) -> None:
    path = written(tmp_path / "a.lmdb", frames)
    other = written(tmp_path / "b.lmdb", frames[:2])
    index_path(other).replace(index_path(path))
    with pytest.raises(UserError, match=r"2 lines, but a\.lmdb has 5 frames"):
        LmdbFrames(path)


def _energy(frames: LmdbFrames) -> float:
    return frames[2].get_potential_energy()


# the fork runs nothing but the reader, so the threads that it lacks do not matter
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_readers_share_a_file_and_go_to_other_processes(tmp_path: Path, frames: list) -> None:
    found = LmdbFrames(written(tmp_path / "a.lmdb", frames))
    again = LmdbFrames(found.path)
    expected = frames[2].get_potential_energy()
    assert _energy(found) == _energy(again) == pytest.approx(expected)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_energy, [found]) == [pytest.approx(expected)]
    child = os.fork()
    if child == 0:
        os._exit(0 if abs(_energy(found) - expected) < 1e-9 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


FULL_DISK = """
import resource, sys
from pathlib import Path
from tempermd import dataset
from tempermd.records import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    if sys.argv[1] == "set":
        spec = dataset.BuildSpec(fractions={"train": 0.8, "val": 0.2}, file_format="lmdb")
        dataset.build_dataset([Path("in.extxyz")], Path("set"), spec, [])
    else:
        dataset.convert("in.extxyz", sys.argv[1])
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("target", ["out.lmdb", "out.extxyz", "out.db", "set"])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path, target: str) -> None:
    """A limit of file size stands for the disk: both make a write fail."""
    write(tmp_path / "in.extxyz", [crystal(seed, 4) for seed in range(40)])
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, target], cwd=tmp_path, capture_output=True, text=True
    )
    assert "the disk is full" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.extxyz"]


def test_labels_that_not_all_frames_have_are_left_out(tmp_path: Path) -> None:
    mixed = [crystal(0), crystal(1, energies=False), cluster(2)]
    write(tmp_path / "in.extxyz", mixed)
    dataset.convert(tmp_path / "in.extxyz", tmp_path / "out.lmdb")
    for one, other in zip(LmdbFrames(tmp_path / "out.lmdb"), mixed, strict=True):
        assert set(one.calc.results) == {"energy", "forces"}
        assert np.allclose(one.calc.results["forces"], other.calc.results["forces"])


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Ten thousand frames of 50 MB pass through while the peak rises by far less."""
    atoms = crystal(1, 8)
    with LmdbWriter(tmp_path / "a.lmdb", stress=True, energies=True) as writer:
        for _ in range(1500):
            writer.add(atoms)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(8500):
            writer.add(atoms)
    grown_kB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    size = (tmp_path / "a.lmdb").stat().st_size
    assert size > 40e6
    assert grown_kB * 1024 < 0.5 * size
