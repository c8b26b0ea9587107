"""The guard: intervals of differences, the rivals' errors, the sentence and its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tempermd.cards import CardOptions, GuardOptions, find_card, guard, write_card
from tempermd.cards.comparison import differences, paired_interval, resampled
from tempermd.cards.judged import judge
from tempermd.records import UserError, read_record
from tempermd.training import (
    DivergedError,
    Errors,
    TrainSpec,
    evaluate,
    finetune,
    resolved_spec,
    train,
)
from tempermd.training.models import energy_shifts, load_checkpoint
from training_cases import morse_frames, shifted, write_case

SOURCE = "ase:ase.calculators.morse:MorsePotential"
SETTINGS = '{"epsilon": 2.5, "r0": 1.6, "rho0": 4.0, "rcut1": 2.0, "rcut2": 2.5}'


def named(frames: list, source: str, settings: str = "{}") -> list:
    """Return the frames with what `tempermd label` writes into their info."""
    for atoms in frames:
        atoms.info |= {"kind": "crystal", "source": source, "source_settings": settings}
        atoms.info |= {"source_version": "ase 0", "source_files": "{}"}
    return frames


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows the Morse crystal, with its card; all it says is 5 eV/atom too high."""
    folder = tmp_path_factory.mktemp("base")
    parts = tuple(
        named(shifted(morse_frames(n, seed), 5.0), SOURCE, SETTINGS)
        for n, seed in ((30, 11), (4, 12), (4, 13))
    )
    best = train(
        write_case(folder, parts, max_epochs=30, learning_rate=0.03),
        folder / "out",
        progress=False,
    )
    write_card(best)
    return best


def tuned(base: Path, folder: Path, **training) -> Path:
    """Fine-tune on eight frames of the same crystal; return the folder."""
    frames = tuple(named(morse_frames(n, seed), "truth") for n, seed in ((8, 21), (4, 22), (9, 23)))
    path = write_case(folder, frames, **training)
    finetune(base, path, folder / "out", progress=False)
    return folder / "out"


@pytest.fixture(scope="module")
def still(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning that hardly moved: its folder, beside its data."""
    return tuned(base, tmp_path_factory.mktemp("still"), max_epochs=1, learning_rate=1e-12)


def test_interval_of_two_constant_errors() -> None:
    """Every frame says 2 and 1: each draw says 1, so the interval is a point."""
    squares = np.array([[4.0] * 8, [1.0] * 8])
    found = paired_interval(squares, np.ones(8), np.arange(8))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.outcome == "worse"
    assert paired_interval(squares[::-1], np.ones(8), np.arange(8)).outcome == "better"
    same = paired_interval(squares[[0, 0]], np.ones(8), np.arange(8))
    assert (same.value, same.outcome) == (0.0, "not told apart")


def test_interval_has_the_width_of_theory() -> None:
    """For normal errors, var RMSE = sigma^2/2F; independent ones add up (delta method)."""
    random = np.random.default_rng(1)
    squares = random.normal(0, [[1.0], [1.5]], (2, 3000)) ** 2
    found = paired_interval(squares, np.ones(3000), np.arange(3000))
    expected = 2 * 1.96 * np.sqrt((1.0 + 1.5**2) / (2 * 3000))
    assert found.high - found.low == pytest.approx(expected, rel=0.08)
    assert found.value == pytest.approx(-0.5, abs=0.05)
    # frames of a trajectory that repeat each other tell no more than one of them
    repeated = paired_interval(np.repeat(squares, 4, 1), np.ones(12000), np.arange(12000) // 4)
    assert (repeated.low, repeated.high) == (pytest.approx(found.low), pytest.approx(found.high))


def test_pairing_cancels_what_frames_share() -> None:
    """Frames differ a hundredfold, the second model is 1 % worse on each: still told apart."""
    squares = np.random.default_rng(2).uniform(0.01, 1.0, 30) ** 2
    found = paired_interval(np.array([squares, 1.01**2 * squares]), np.ones(30), np.arange(30))
    assert found.outcome == "better"


def test_what_is_drawn() -> None:
    assert resampled(["frame 0", "frame 1"])[0] == "frames"
    six = [f"tube {i // 2}" for i in range(12)]
    kind, groups = resampled(six)
    assert (kind, groups.max()) == ("trajectories", 5)
    kind, groups = resampled(["a"] * 6 + ["b"] * 6)  # two trajectories: frames after all
    assert (kind, groups.max()) == ("frames", 11)
    few = paired_interval(np.ones((2, 3)), np.ones(3), np.arange(3))
    assert (few.low, few.outcome) == (None, "not told apart")


def test_almost_no_training_is_the_start(base: Path, still: Path) -> None:
    """Oracle: at a rate of 1e-12 the fine-tuned model is its start, energies refitted."""
    found = guard(still, base, progress=False)
    direct, start = found.rivals
    assert (direct.kind, start.kind) == ("direct", "start")
    assert start.errors.force_rmse_eV_per_A == pytest.approx(
        found.errors.force_rmse_eV_per_A, rel=1e-5
    )
    assert start.errors.energy_rmse_meV_per_atom == pytest.approx(
        found.errors.energy_rmse_meV_per_atom, rel=1e-3
    )
    # ... whose energies were 5 eV off before
    assert evaluate(base, still.parent / "test.xyz").energy_rmse_meV_per_atom > 4000
    # and the direct model, of random weights, is far worse than a pre-trained one
    assert direct.forces.outcome == "better"
    assert found.verdict == "better"
    assert found.sentence.startswith("guard: the fine-tuned model is better, on 9 test frames")


def test_direct_training_is_the_same_but_for_the_parent(base: Path, tmp_path: Path) -> None:
    folder = tuned(base, tmp_path, max_epochs=2)
    found = guard(folder, base, progress=False)
    own, direct = (resolved_spec(one / "spec.toml") for one in (folder, folder / "direct"))
    assert direct.training == own.training
    assert direct.data == own.data
    assert direct.model == own.model
    by_hand = train(
        TrainSpec(model=own.model, data=own.data, training=own.training),
        tmp_path / "by_hand",
        progress=False,
    )
    errors = evaluate(by_hand, tmp_path / "test.xyz")
    assert close(found.rivals[0].errors, errors)
    assert close(found.errors, evaluate(folder / "best.ckpt", tmp_path / "test.xyz"))
    difference = errors.force_rmse_eV_per_A - found.errors.force_rmse_eV_per_A
    assert found.rivals[0].forces.value == pytest.approx(-difference)
    assert found.direct_core_s > 0
    before = (folder / "guard.json").stat().st_mtime_ns
    assert guard(folder, base, progress=False) == found  # kept: nothing is done again
    assert (folder / "guard.json").stat().st_mtime_ns == before


def close(one: Errors, other: Errors) -> bool:
    return np.allclose(list(one.model_dump().values()), list(other.model_dump().values()))


def test_harm_is_the_command_s_last_line(base: Path, tmp_path: Path) -> None:
    """A rate of 3 destroys the base: the last line on stderr says so and what to do."""
    from typer.testing import CliRunner

    from tempermd.cli import app

    frames = morse_frames(8, 21), morse_frames(4, 22), morse_frames(9, 23)
    spec = write_case(tmp_path, frames, max_epochs=1, learning_rate=3.0, warmup_steps=0)
    out = tmp_path / "out"
    arguments = ["finetune", str(spec), "--from", str(base), "-o", str(out), "--no-guard"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.stderr
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("WARNING: the fine-tuned model is worse, on 9 test frames: against its")
    assert "lower the learning rate" in last
    assert "not compared: direct training, by --no-guard" in last
    assert found.stdout.strip() == str(out / "best.ckpt")
    assert not (out / "direct").exists()


def test_label_source_of_the_base_is_compared(base: Path, still: Path) -> None:
    """Oracle: the source's forces less the labels', by ASE; its energies at their best zero."""
    from ase.calculators.morse import MorsePotential

    options = GuardOptions(train_direct=False)
    found = guard(still, base, options, find_card(base), progress=False)
    (source,) = [one for one in found.rivals if one.kind == "source"]
    assert source.name == SOURCE
    frames = named(morse_frames(9, 23), "truth")
    forces, energies = [], []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = MorsePotential(epsilon=2.5, r0=1.6, rho0=4.0, rcut1=2.0, rcut2=2.5)
        forces.append(copy.get_forces() - atoms.calc.results["forces"])
        energies.append((copy.get_potential_energy() - atoms.calc.results["energy"]) / 8)
    rmse = np.sqrt((np.concatenate(forces) ** 2).mean())
    assert source.errors.force_rmse_eV_per_A == pytest.approx(rmse, rel=1e-5)
    assert source.errors.energy_rmse_meV_per_atom == pytest.approx(
        1000 * np.std(energies), rel=1e-5
    )


def test_source_that_cannot_be_opened(base: Path, still: Path) -> None:
    """Named by the card: a reason in the record. Named by the user: an error."""
    card = find_card(base)
    part = card.data[0]
    gone = part.sources[0].model_copy(update={"name": "nep:gone.txt", "settings": {}})
    part = part.model_copy(update={"sources": [gone]})
    card = card.model_copy(update={"data": [part]})
    found = guard(still, base, GuardOptions(train_direct=False), card, progress=False)
    assert "no such file; expected" in found.not_compared[1]
    options = GuardOptions(train_direct=False, source="nep:gone.txt")
    with pytest.raises(UserError, match="no such file"):
        guard(still, base, options, progress=False)


def test_direct_training_that_diverges(
    base: Path, still: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergedError("training diverged")

    monkeypatch.setattr("tempermd.cards.guarding.train", diverge)
    found = guard(still, base, GuardOptions(source=SOURCE), progress=False)
    assert found.not_compared == ["direct training, which diverged at this learning rate"]
    assert [one.kind for one in found.rivals] == ["start", "source"]


def test_start_is_the_parent_shifted(base: Path, still: Path) -> None:
    """Oracle: shifts of the written checkpoint, which fine-tuning refitted the same way."""
    change = energy_shifts(load_checkpoint(still / "best.ckpt"))["C"]
    change -= energy_shifts(load_checkpoint(base))["C"]
    assert change == pytest.approx(-5.0, abs=0.2)
    found = guard(still, base, GuardOptions(train_direct=False), progress=False)
    (start,) = found.rivals
    moved = judge(base, still.parent / "test.xyz", ["C"]).shifted(np.array([change]))
    assert start.errors.energy_rmse_meV_per_atom == pytest.approx(
        moved.errors().energy_rmse_meV_per_atom, rel=1e-6
    )
    assert differences(moved, moved)[0].value == 0


def test_refusals(base: Path, still: Path) -> None:
    with pytest.raises(UserError, match="a training from nothing"):
        guard(base.parent, base, progress=False)
    with pytest.raises(UserError, match="not the checkpoint that"):
        guard(still, still / "best.ckpt", progress=False)


def test_card_embeds_the_guard(base: Path, still: Path) -> None:
    from tempermd.cards import Card, Guard

    found = guard(still, base, GuardOptions(train_direct=False), progress=False)
    path = write_card(still, options=CardOptions(parent=base))
    assert read_record(path, Card).guard == found == read_record(still / "guard.json", Guard)
