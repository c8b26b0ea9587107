"""Training from LMDB: the same to the bit as from memory, with one frame in memory at a time."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from tempermd.dataset import LmdbFrames, LmdbWriter, read_labelled
from tempermd.records import UserError, read_record
from tempermd.training import Training, evaluate, finetune, load_checkpoint, train
from tempermd.training.data import StreamedFrames, gather_statistics, read_frames
from training_cases import morse_frames, shifted, write_case

QUIET = {"progress": False}


def weights_of(checkpoint: Path) -> dict[str, np.ndarray]:
    return {name: one.numpy() for name, one in load_checkpoint(checkpoint).state_dict().items()}


def write_lmdb(path: Path, frames: list) -> Path:
    with LmdbWriter(path, stress=False, energies=False) as writer:
        for atoms in frames:
            writer.add(atoms)
    return path


def as_lmdb(spec: Path, parts: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """Write parts of a case as LMDB too; return a spec beside it that reads those."""
    text = spec.read_text()
    for name in parts:
        write_lmdb(spec.parent / f"{name}.lmdb", read_labelled(spec.parent / f"{name}.xyz"))
        text = text.replace(f"{name}.xyz", f"{name}.lmdb")
    path = spec.with_name("lmdb.toml")
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished training from extxyz and one from LMDB of the same 8 of 12 frames."""
    folder = tmp_path_factory.mktemp("both")
    spec = write_case(folder, max_epochs=2)
    spec.write_text(
        spec.read_text().replace('"test.xyz"', '"test.xyz"\nn_train = 8\nsubset_seed = 3')
    )
    memory = train(spec, folder / "memory", **QUIET)
    return memory, train(as_lmdb(spec), folder / "stream", **QUIET)


def test_streaming_changes_no_bit(both: tuple[Path, Path]) -> None:
    """Oracle: training from memory, weight for weight, and all its numbers."""
    memory, stream = both
    streamed = weights_of(stream)
    for name, value in weights_of(memory).items():
        np.testing.assert_array_equal(streamed[name], value)
    first, second = (read_record(one.parent / "training.json", Training) for one in both)
    assert first.n_train == second.n_train == 8
    for name in (
        "avg_num_neighbors",
        "energy_scales_eV",
        "reference_energies_eV",
        "val",
        "test",
        "n_steps",
    ):
        assert getattr(first, name) == getattr(second, name), name


def test_finetuning_streams_too(both: tuple[Path, Path], tmp_path: Path) -> None:
    """Oracle: fine-tuning from memory; the parent's energies enter the new references."""
    sets = tuple(shifted(morse_frames(*one), -2.0) for one in ((6, 4), (2, 5), (2, 6)))
    spec = write_case(tmp_path, sets, max_epochs=1)
    memory = weights_of(finetune(both[0], spec, tmp_path / "memory", **QUIET))
    stream = weights_of(finetune(both[1], as_lmdb(spec), tmp_path / "stream", **QUIET))
    for name, value in memory.items():
        np.testing.assert_array_equal(stream[name], value)


def test_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: an unbroken run, after a stop in the middle of an epoch."""
    from tempermd.training.callbacks import Interruptible

    spec = as_lmdb(write_case(tmp_path, max_epochs=3), ("train", "val"))
    whole = weights_of(train(spec, tmp_path / "whole", **QUIET))
    with monkeypatch.context() as patch:
        patch.setattr(Interruptible, "wanted", lambda _, done: done == 5)
        with pytest.raises(UserError, match="the same command continues it"):
            train(spec, tmp_path / "broken", **QUIET)
    resumed = weights_of(train(spec, tmp_path / "broken", **QUIET))
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value)


def test_frames_do_not_pile_up(tmp_path: Path) -> None:
    """Oracle: weak references; of 40 frames passed over, at most the last lives on."""
    path = write_lmdb(tmp_path / "train.lmdb", morse_frames(40, 1))
    frames = read_frames(str(path), ["C"], 2.6)
    assert isinstance(frames, StreamedFrames)
    seen = [weakref.ref(one.atoms) for one in frames.labelled()]
    assert len(seen) == 40
    assert sum(one() is not None for one in seen) <= 1


def test_statistics_of_a_file_that_nequip_wrote(tmp_path: Path) -> None:
    """Oracle: the labels themselves, and ASE's neighbor list."""
    from ase.neighborlist import neighbor_list
    from nequip.data import from_ase
    from nequip.data.dataset import NequIPLMDBDataset

    frames = morse_frames(7, 2)
    path = tmp_path / "nequip.lmdb"
    NequIPLMDBDataset.save_from_iterator(str(path), map(from_ase, frames), map_size=1 << 22)
    found = gather_statistics(read_frames(str(path), ["C"], 2.6), ["C"])
    n_edges = sum(len(neighbor_list("i", atoms, 2.6)) for atoms in frames)
    assert found.avg_num_neighbors == pytest.approx(n_edges / (7 * 8))
    forces = np.concatenate([atoms.calc.results["forces"] for atoms in frames])
    assert found.force_rms_eV_A == pytest.approx(np.sqrt((forces**2).mean()))
    mean = np.mean([atoms.calc.results["energy"] / len(atoms) for atoms in frames])
    assert found.energies_per_type(["C"])["C"] == pytest.approx(mean)


def test_evaluate_reads_lmdb(both: tuple[Path, Path], tmp_path: Path) -> None:
    frames = morse_frames(4, 9)
    path = write_lmdb(tmp_path / "test.lmdb", frames)
    assert evaluate(both[0], path) == evaluate(both[0], frames)


def test_faults_show_before_training(tmp_path: Path) -> None:
    """A bad label or element in any streamed part is named by file and frame at once."""
    spec = as_lmdb(write_case(tmp_path))
    bad = morse_frames(3, 2)
    bad[1].calc.results["forces"][5, 1] = np.nan
    strange = morse_frames(3, 2)
    strange[2].symbols[0] = "N"
    faults = (
        (bad, r"{}.lmdb: frame 1: forces not finite"),
        (strange, "C7N holds N, but the model knows C only"),
    )
    for name in ("train", "val", "test"):
        good = shutil.copy(tmp_path / f"{name}.lmdb", tmp_path / "good")
        for frames, named in faults:
            (tmp_path / f"{name}.lmdb").unlink()
            write_lmdb(tmp_path / f"{name}.lmdb", frames)
            with pytest.raises(UserError, match=named.format(name)):
                train(spec, tmp_path / f"out-{name}-{len(named)}", **QUIET)
        shutil.copy(good, tmp_path / f"{name}.lmdb")
    assert not list(tmp_path.glob("out-*/*.ckpt"))


def test_refuses_too_large_a_subset_and_an_empty_file(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "train.lmdb", morse_frames(3, 1))
    with pytest.raises(UserError, match=r"n_train = 4, but the file has 3 frames"):
        read_frames(str(path), ["C"], 2.6, n_frames=4)
    with pytest.raises(UserError, match="holds no frames"):
        read_frames(str(write_lmdb(tmp_path / "empty.lmdb", [])), ["C"], 2.6)


def test_subsets_are_the_same_frames_as_in_memory(tmp_path: Path) -> None:
    from tempermd.training.data import subset

    frames = morse_frames(9, 1)
    path = write_lmdb(tmp_path / "train.lmdb", frames)
    streamed = read_frames(str(path), ["C"], 2.6, n_frames=4, subset_seed=5)
    expected = [atoms.calc.results["energy"] for atoms in subset(frames, 4, 5, "x")]
    assert [atoms.calc.results["energy"] for atoms in streamed.structures()] == expected
    assert len(LmdbFrames(path)) == 9
