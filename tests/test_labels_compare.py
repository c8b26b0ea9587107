"""The source report: errors that were put in are the errors that are found."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

import made_sources
from tempermd import dataset, labels
from tempermd.labels import FrameFiles, SourceSpec
from tempermd.records import UserError

SPRING = SourceSpec(name="ase:made_sources:Spring")


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the made sources log what they are asked."""
    monkeypatch.setenv("MADE_SOURCES_LOG", str(tmp_path / "asked"))


def mixtures(number: int) -> list[Atoms]:
    """Return chains of carbon and hydrogen in several compositions, of two kinds."""
    rng = np.random.default_rng(8)
    frames = []
    for index in range(number):
        symbols = ["C"] * (2 + index % 3) + ["H"] * (1 + index % 4)
        positions = rng.uniform(-0.2, 0.2, (len(symbols), 3)).round(8)
        positions[:, 2] += 1.5 * np.arange(len(symbols))
        frames.append(Atoms(symbols, positions, info={"kind": ["dry", "wet"][index % 2]}))
    return frames


def with_truth(frames: list[Atoms], force_shift: float = 0.0, **info: str) -> list[Atoms]:
    """Return frames whose labels are a spring of 1 eV/A^2 with shifted forces in wet ones."""
    for atoms in frames:
        shift = force_shift if atoms.info["kind"] == "wet" else 0.0
        energy = np.sum(atoms.positions**2) / 2
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=shift - atoms.positions)
        atoms.info |= info
    return frames


def compared(folder: Path) -> dict:
    """Return the record of a comparison."""
    return json.loads((folder / "comparison.json").read_text())


def test_errors_put_in_are_found_by_kind(tmp_path: Path) -> None:
    frames = with_truth(mixtures(24), force_shift=0.3)
    page = labels.compare(frames, [SPRING], tmp_path / "report", workers=1)
    (result,) = compared(tmp_path / "report")["results"]
    wet, dry = result["kinds"]["wet"], result["kinds"]["dry"]
    assert wet["force_rmse_eV_per_A"] == pytest.approx(0.3)
    assert wet["force_mae_eV_per_A"] == pytest.approx(0.3)
    assert dry["force_rmse_eV_per_A"] == pytest.approx(0.0, abs=1e-12)
    wet_atoms = sum(len(a) for a in frames if a.info["kind"] == "wet")
    share = wet_atoms / sum(map(len, frames))
    assert result["all"]["force_rmse_eV_per_A"] == pytest.approx(0.3 * np.sqrt(share))
    assert result["all"]["energy_rmse_meV_per_atom"] == pytest.approx(0.0, abs=1e-9)
    assert 'src="http' not in page.read_text()


def test_the_zero_of_each_element_is_no_error(tmp_path: Path) -> None:
    """A source off by 3 eV per carbon and -2 per hydrogen errs in nothing but k."""
    shifted = SPRING.model_copy(update={"settings": {"shifts": {"C": 3.0, "H": -2.0}}})
    stiffer = SPRING.model_copy(update={"settings": {"k": 1.1}})
    frames = with_truth(mixtures(30))
    labels.compare(frames, [shifted, stiffer], tmp_path / "report", workers=2)
    first, second = compared(tmp_path / "report")["results"]
    assert first["all"]["energy_rmse_meV_per_atom"] == pytest.approx(0.0, abs=1e-8)
    rms = np.sqrt(np.mean(np.concatenate([a.positions for a in frames]) ** 2))
    assert second["all"]["force_rmse_eV_per_A"] == pytest.approx(0.1 * rms)
    fractions = np.array([[a.symbols.count(s) / len(a) for s in "CH"] for a in frames])
    errors = np.array([0.1 * a.get_potential_energy() / len(a) for a in frames])
    best = np.linalg.pinv(fractions) @ errors
    left = errors - fractions @ best
    rmse = 1000 * np.sqrt(np.mean(left**2))
    assert second["all"]["energy_rmse_meV_per_atom"] == pytest.approx(rmse)


def test_a_source_can_be_the_truth_and_nothing_is_computed_twice(tmp_path: Path) -> None:
    truth = SPRING.model_copy(update={"settings": {"k": 2.0}})
    frames = mixtures(10)
    for _ in range(2):
        labels.compare(frames, [SPRING, truth], tmp_path / "report", truth=truth, workers=1)
        assert len(made_sources.asked()) == 20
    record = compared(tmp_path / "report")
    first, second = record["results"]
    rms = np.sqrt(np.mean(np.concatenate([a.positions for a in frames]) ** 2))
    assert first["all"]["force_rmse_eV_per_A"] == pytest.approx(rms)
    assert record["true_force_rms_eV_per_A"] == pytest.approx(2 * rms)
    assert (first["note"], second["note"]) == ("", "is the truth itself")


def test_frames_without_a_label_are_counted(tmp_path: Path) -> None:
    frames = with_truth(mixtures(12))
    frames[3].symbols[0] = frames[7].symbols[0] = "He"
    labels.compare(frames, [SPRING], tmp_path / "report", workers=1)
    (result,) = compared(tmp_path / "report")["results"]
    assert (result["all"]["frames"], result["set_aside"]) == (10, {"not converged": 2})
    with (tmp_path / "report" / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    counts = {row["kind"]: row["frames"] for row in rows}
    assert counts == {"all": "10", "dry": "6", "wet": "4"}
    assert "2 set aside: not converged" in (tmp_path / "report" / "comparison.md").read_text()


def test_dependence_on_the_truth_is_told() -> None:
    from tempermd.labels.comparison import dependence

    nep = {"name": "nep:a.txt", "settings": {}, "files": {"a.txt": "1"}}
    assert dependence(nep, [nep]) == "is the truth itself"
    renamed = {"name": "nep:b.txt", "settings": {}, "files": {"b.txt": "1"}}
    assert "shares a parameter file" in dependence(renamed, [nep])
    other = {"name": "nep:c.txt", "settings": {}, "files": {"c.txt": "2"}}
    assert "kind with other settings" in dependence(other, [nep])
    assert dependence({"name": "lcbop", "settings": {}, "files": {}}, [nep, other]) == ""


def test_frames_without_labels_need_a_truth(tmp_path: Path) -> None:
    write(tmp_path / "in.extxyz", mixtures(3))
    frames = FrameFiles((tmp_path / "in.extxyz",), dataset.iter_structures)
    with pytest.raises(UserError, match=r"frame 0 has no energy to be the truth; name the source"):
        labels.compare(frames, [SPRING], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UserError, match="exists already; name another output"):
        labels.compare(with_truth(mixtures(2)), [SPRING], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
