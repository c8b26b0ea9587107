"""Model cards: calibration of known committees, errors by type by hand, lineage, the page."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from browser import BROWSER, NO_BROWSER, open_in_browser
from tempermd.cards import Card, CardOptions, calibration, find_card, write_card
from tempermd.cards.card import read_curve
from tempermd.cards.committees import inside, miscalibration_area
from tempermd.dataset import read_labelled
from tempermd.records import UserError, read_record, sha256_file, write_record
from tempermd.training import Training, alchemy_spec, evaluate, finetune, train, transmute
from tempermd.training.graphs import build_graph, predict
from tempermd.training.models import energy_only, load_checkpoint
from training_cases import morse_frames, residuals_eV_per_atom, shifted, write_case

KINDS = ("crystal", "crystal", "melt", "crystal", "melt")


def synthetic(factor: float, n: int = 40000) -> tuple[np.ndarray, np.ndarray]:
    """Return normal errors whose true spreads are ``factor`` times the stated ones."""
    random = np.random.default_rng(3)
    spreads = np.exp(random.normal(-2.0, 0.7, n))
    return factor * spreads * random.normal(size=n), spreads


def area_of(factor: float) -> float:
    """Return the closed form of the area where z has the standard deviation ``factor``."""

    def gap(p: float) -> float:
        return abs(2 * norm.cdf(norm.ppf((1 + p) / 2) / factor) - 1 - p)

    return quad(gap, 0, 1)[0]


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.5])
def test_calibration_of_known_committees(factor: float) -> None:
    """Oracles: the factor itself, closed forms of area and likelihood, the bins' ratio."""
    errors, spreads = synthetic(factor)
    found = calibration(errors, spreads, ["a", "b"])
    assert found.factor == pytest.approx(factor, rel=0.01)
    assert found.miscalibration_area == pytest.approx(area_of(factor), abs=0.006)
    assert found.scaled_miscalibration_area == pytest.approx(0.0, abs=0.006)
    likelihood = 0.5 * (np.log(2 * np.pi * spreads**2).mean() + factor**2)
    assert found.negative_log_likelihood == pytest.approx(likelihood, abs=0.02 * factor**2)
    scaled = 0.5 * (np.log(2 * np.pi * (factor * spreads) ** 2).mean() + 1)
    assert found.scaled_negative_log_likelihood == pytest.approx(scaled, abs=0.02)
    assert found.calibration_error == pytest.approx(abs(1 - factor), abs=0.02)
    for one in found.bins:
        assert one.error / one.spread == pytest.approx(factor, rel=0.08)


def test_area_of_extremes() -> None:
    """All errors zero: every interval holds all; all huge: none. Half the square either way."""
    assert miscalibration_area(np.zeros(100)) == pytest.approx(0.5, abs=1e-3)
    assert miscalibration_area(np.full(100, 1e9)) == pytest.approx(0.5, abs=2e-3)
    assert inside(np.array([0.5, 1.5, 2.5]), np.array([0.6827])) == pytest.approx(1 / 3)


def test_spread_that_says_nothing() -> None:
    """Errors drawn without regard to the spreads: no rank correlation; ordered ones: one."""
    errors, spreads = synthetic(1.0)
    shuffled = np.random.default_rng(0).permutation(errors)
    assert abs(calibration(shuffled, spreads, []).rank_correlation) < 0.02
    assert calibration(3 * spreads, spreads, []).rank_correlation == pytest.approx(1.0)
    assert calibration(3 * spreads, spreads, []).correlation == pytest.approx(1.0)
    with pytest.raises(UserError, match="only 0 force components have a spread"):
        calibration(errors, 0 * spreads, [])


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A base with its card, a fine-tuned model of two kinds of frames, and a second member."""
    folder = tmp_path_factory.mktemp("line")
    parts = tuple(labelled_by("cheap", morse_frames(n, s)) for n, s in ((6, 1), (2, 2), (2, 3)))
    base = train(write_case(folder / "b", parts, max_epochs=4), folder / "base", progress=False)
    write_card(base, options=CardOptions(notes="a base"))
    parts = tuple(labelled_by("dear", morse_frames(5, seed)) for seed in (4, 5, 6))
    spec = write_case(folder / "t", parts, max_epochs=2)
    tuned = finetune(base, spec, folder / "tuned", progress=False)
    other = write_case(folder / "t2", parts, max_epochs=2, seed=5)
    second = train(other, folder / "second", progress=False)
    write_card(tuned, options=CardOptions(parent=base))
    return base, tuned, second


def labelled_by(source: str, frames: list) -> list:
    for number, atoms in enumerate(frames):
        atoms.info |= {"kind": KINDS[number % 5], "source": source, "source_version": f"{source} 1"}
        atoms.info |= {"source_settings": '{"k": 2}', "source_files": '{"p.txt": "abc"}'}
        atoms.info["trajectory"] = f"run {number % 3}"
    return frames


def test_card_of_a_training(line: tuple[Path, Path, Path]) -> None:
    base, tuned, _ = line
    card = read_record(tuned.parent / "card.json", Card)
    assert (card.name, card.made_by) == ("tuned", "fine-tuning")
    assert card.checkpoint_sha256 == sha256_file(tuned)
    train_part = card.data[0]
    assert (train_part.n_frames, train_part.n_atoms, train_part.n_trajectories) == (5, 40, 3)
    assert train_part.kinds == {"crystal": 3, "melt": 2}
    (source,) = train_part.sources
    assert (source.name, source.version, source.n_frames) == ("dear", "dear 1", 5)
    assert (source.settings, source.files) == ({"k": 2}, {"p.txt": "abc"})
    assert [row["epoch"] for row in card.curve] == [1.0, 2.0]
    assert card.judged_on == "test"
    assert card.errors["test"] == evaluate(tuned, tuned.parents[1] / "t" / "test.xyz")
    parent = card.parent
    assert parent is not None
    assert parent.checkpoint_sha256 == card.parent_sha256 == sha256_file(base)
    assert (parent.label_sources(), parent.notes) == (["cheap"], "a base")
    assert card.cost is not None
    assert parent.cost is not None
    assert card.cost.ancestors_core_s == parent.cost.training_core_s > 0


def test_errors_by_type_by_hand(line: tuple[Path, Path, Path]) -> None:
    """Oracle: forces and energies of each frame by the model, summed here."""
    _, tuned, _ = line
    card = read_record(tuned.parent / "card.json", Card)
    model = load_checkpoint(tuned)
    frames = labelled_by("dear", morse_frames(5, 6))
    by_kind: dict[str, list] = {"crystal": [], "melt": []}
    for atoms in frames:
        found = predict(energy_only(model), build_graph(atoms, ["C"], 2.6))
        energy = 1000 * (found.energy_eV - atoms.calc.results["energy"]) / len(atoms)
        error = found.forces_eV_A - atoms.calc.results["forces"]
        by_kind[atoms.info["kind"]].append((energy, error))
    assert [one.kind for one in card.by_type] == ["crystal", "melt"]
    for one in card.by_type:
        energies = np.array([energy for energy, _ in by_kind[one.kind]])
        forces = np.concatenate([error for _, error in by_kind[one.kind]])
        assert one.n_frames == len(energies)
        # the file holds positions to 8 decimals
        assert one.force_rmse_eV_per_A == pytest.approx(np.sqrt((forces**2).mean()), rel=1e-4)
        assert one.force_mae_eV_per_A == pytest.approx(np.abs(forces).mean(), rel=1e-4)
        assert one.energy_rmse_meV_per_atom == pytest.approx(
            np.sqrt((energies**2).mean()), rel=1e-4
        )
    largest = max(np.abs(error).max() for pairs in by_kind.values() for _, error in pairs)
    assert card.parity is not None
    assert card.parity.force_percentiles["100"] == pytest.approx(largest, rel=1e-4)


def test_committee_of_two_by_hand(line: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The spread of two is |a - b|/sqrt 2, the error that of their mean."""
    _, tuned, second = line
    path = write_card(tuned, tmp_path / "card.json", CardOptions(committee=[second]))
    found = read_record(path, Card).calibration
    assert found is not None
    pair, true = [], []
    for checkpoint in (tuned, second):
        model = energy_only(load_checkpoint(checkpoint))
        frames = morse_frames(5, 6)
        graphs = [build_graph(atoms, ["C"], 2.6) for atoms in frames]
        pair.append(np.concatenate([predict(model, one).forces_eV_A for one in graphs]))
        true = np.concatenate([atoms.calc.results["forces"] for atoms in frames])
    spread = np.abs(pair[0] - pair[1]) / np.sqrt(2)
    error = (pair[0] + pair[1]) / 2 - true
    assert found.rms_spread_eV_per_A == pytest.approx(np.sqrt((spread**2).mean()), rel=1e-4)
    assert found.rms_error_eV_per_A == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
    assert found.n_components == error.size
    with pytest.raises(UserError, match="at least two different checkpoints"):
        write_card(tuned, tmp_path / "x.json", CardOptions(committee=[tuned]))


def test_lineage_through_a_transmutation(line: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base = line[0]
    silicon = transmute(base, alchemy_spec(["C=Si"]), tmp_path / "si.ckpt")
    path = write_card(silicon, options=CardOptions(parent=base))
    assert path == tmp_path / "si.card.json"
    card = find_card(silicon)
    assert (card.made_by, card.parent_sha256) == ("transmutation", sha256_file(base))
    assert [one.label_sources() for one in card.line()] == [[], ["cheap"]]
    assert card.transmutation is not None
    assert card.transmutation.cutoff_A == pytest.approx(card.model.cutoff_A)


def test_what_is_gone_is_said(line: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Without its data and its parent a card still holds what the training wrote down."""
    import shutil

    _, tuned, _ = line
    folder = tmp_path / "moved"
    shutil.copytree(tuned.parent, folder)
    (folder / "card.json").unlink()
    card = read_record(write_card(folder), Card)
    assert card.parent is None
    assert card.parent_sha256 is not None
    assert [(one.n_frames, one.kinds) for one in card.data] == [(5, {})] * 3
    assert card.by_type == []
    assert card.errors["test"].n_frames == 5
    with pytest.raises(UserError, match="name labelled frames by --test"):
        write_card(folder, tmp_path / "c.json", CardOptions(committee=[line[2]]))
    test = tuned.parents[1] / "t" / "val.xyz"
    card = read_record(write_card(folder, options=CardOptions(test=test)), Card)
    assert card.judged_on == "val.xyz"
    assert card.errors["val.xyz"].force_rmse_eV_per_A == pytest.approx(
        card.errors["val"].force_rmse_eV_per_A
    )


def test_what_gpus_cost_is_told_apart(line: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A training's record says 90 s on GPUs, as one on a GPU does; the base's says none."""
    import shutil

    folder = tmp_path / "on_gpu"
    shutil.copytree(line[1].parent, folder)
    (folder / "card.json").unlink()
    record = read_record(folder / "training.json", Training)
    write_record(folder / "training.json", record.model_copy(update={"gpu_s": 90.0}))
    page = write_card(folder, tmp_path / "card.html", CardOptions(parent=line[0]))
    cost = read_record(page.with_suffix(".json"), Card).cost
    assert cost is not None
    assert (cost.training_gpu_s, cost.ancestors_gpu_s) == (90.0, 0.0)
    assert "training 1.5, ancestors 0.0, guard 0.0" in page.read_text()
    assert "GPU-minutes" not in write_card(line[1], tmp_path / "cpu.html").read_text()


def test_a_card_goes_with_its_checkpoint(line: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Moved away with its card alone, a checkpoint keeps what its training wrote."""
    import shutil

    _, tuned, _ = line
    first = read_record(tuned.parent / "card.json", Card)
    alone = shutil.copy(tuned, tmp_path / "alone.ckpt")
    shutil.copy(tuned.parent / "card.json", tmp_path / "alone.card.json")
    test = tuned.parents[1] / "t" / "train.xyz"
    card = read_record(write_card(alone, options=CardOptions(test=test)), Card)
    assert card.judged_on == "train.xyz"
    assert card.errors.keys() == {"val", "test", "train.xyz"}
    changed = {"name", "judged_on", "errors", "by_type", "parity"}
    assert card.model_dump(exclude=changed) == first.model_dump(exclude=changed)
    # a card of another checkpoint says nothing of this one
    shutil.copy(line[0], alone)
    assert find_card(alone).made_by == "unknown"


def test_labels_of_another_zero(line: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Oracle: numpy, from the model's own energies; a shift that may be an error is left."""
    _, tuned, _ = line
    frames = read_labelled(tuned.parents[1] / "t" / "val.xyz")
    residuals = residuals_eV_per_atom(load_checkpoint(tuned), frames)
    for shift_eV in (-20.0, -0.5):
        test = tmp_path / f"by_{-shift_eV:g}.extxyz"
        ase.io.write(test, shifted(frames, shift_eV))
        output = write_card(tuned, tmp_path / "card.html", CardOptions(test=test))
        card = read_record(output.with_suffix(".json"), Card)
        errors = residuals + shift_eV
        if shift_eV == -20.0:
            assert card.zero_shift_eV == {"C": pytest.approx(errors.mean(), abs=1e-4)}
            assert "from another zero: C -" in output.read_text()
            errors -= errors.mean()
        else:
            assert card.zero_shift_eV is None
        found = card.errors[test.name].energy_rmse_meV_per_atom
        assert found == pytest.approx(1000 * np.sqrt((errors**2).mean()), rel=1e-3)


def test_refusals(line: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, tuned, second = line
    with pytest.raises(UserError, match=r"written as \.html"):
        write_card(tuned, tmp_path / "card.pdf")
    with pytest.raises(UserError, match="not the parent of"):
        write_card(tuned, tmp_path / "card.json", CardOptions(parent=second))
    with pytest.raises(UserError, match="no such checkpoint"):
        write_card(tmp_path / "none", tmp_path / "card.json")
    (tmp_path / "summary.json").write_text('{"format": "something"}')
    with pytest.raises(UserError, match=r"expected the summary\.json"):
        write_card(tuned, tmp_path / "card.json", CardOptions(robustness=tmp_path))
    assert read_curve(tmp_path / "none.csv") == []
    assert base.is_file()


def summary(folder: Path) -> Path:
    folder.mkdir()
    model = {"name": "tuned", "control": False, "verdict": "PASS", "sentence": "2 of 2 survived."}
    raw = {"format": "tempermd-summary", "version": 1, "verdict": "PASS", "n_runs": 2}
    raw |= {"total_ps": 12.0, "models": [model], "survival": []}
    (folder / "summary.json").write_text(json.dumps(raw))
    return folder


def test_summary_is_what_the_report_writes(tmp_path: Path) -> None:
    """The keys that a card reads are those of the report's record."""
    from tempermd.report.summary import ModelVerdict, Summary

    raw = json.loads((summary(tmp_path / "r") / "summary.json").read_text())
    assert raw["format"] == Summary.format_name
    assert {"verdict", "models", "n_runs", "total_ps"} <= set(Summary.model_fields)
    assert {"name", "control", "verdict", "sentence"} <= set(ModelVerdict.model_fields)


@pytest.fixture
def page(line: tuple[Path, Path, Path], tmp_path: Path) -> Path:
    _, tuned, second = line
    options = CardOptions(
        committee=[second], robustness=summary(tmp_path / "r"), notes="Not for <metals>."
    )
    return write_card(tuned, tmp_path / "card.html", options)


def test_page_says_it(page: Path) -> None:
    text = page.read_text()
    for one in ("Model card: tuned", "Not for &lt;metals&gt;.", "cheap", "dear", "PASS", "melt"):
        assert one in text
    assert read_record(page.with_suffix(".json"), Card).parent is not None  # of the kept card


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_page_in_a_browser(page: Path, tmp_path: Path) -> None:
    console, requests, dom = open_in_browser(page, tmp_path / "browser")
    assert console == []
    assert requests == set()
    assert dom.count('data-drawn="yes"') == 7
