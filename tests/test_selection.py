"""Selecting structures to label: against brute force, constructed clusters and symmetries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tempermd.cli import app
from tempermd.dataset import read_structures, write_structures
from tempermd.records import UserError
from tempermd.training import select_farthest, select_random
from tempermd.training.selection import atom_features, farthest_points
from training_cases import morse_frames, write_case


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tempermd.training import train

    folder = tmp_path_factory.mktemp("model")
    return train(write_case(folder, max_epochs=1), folder / "out", progress=False)


def unlabelled(n_frames: int, seed: int) -> list:
    frames = morse_frames(n_frames, seed)
    for atoms in frames:
        atoms.calc = None
    return frames


def brute_force(groups: list[np.ndarray], n: int, first: int) -> list[int]:
    """Return the same selection by its definition, every distance computed anew."""
    chosen = [first]
    while len(chosen) < n:
        distances = []
        for number, group in enumerate(groups):
            nearest = [
                min(np.linalg.norm(point - other) for one in chosen for other in groups[one])
                for point in group
            ]
            distances.append(-1.0 if number in chosen else max(nearest))
        chosen.append(int(np.argmax(distances)))
    return chosen


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_farthest_points_equal_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = [random.normal(size=(random.integers(1, 6), 3)) for _ in range(15)]
    assert farthest_points(groups, 8, seed) == brute_force(groups, 8, seed)


def test_one_of_each_cluster_is_chosen() -> None:
    """Oracle: ten clusters, far apart and of unlike sizes: ten choices meet each of them."""
    random = np.random.default_rng(0)
    cluster = np.repeat(np.arange(10), [30, 1, 2, 5, 1, 20, 3, 1, 8, 9])
    centres = 10 * np.array([[i, (7 * i) % 10, (3 * i) % 10] for i in range(10)])
    groups = [centres[one] + random.normal(scale=0.1, size=(4, 3)) for one in cluster]
    chosen = farthest_points(groups, 10, 0)
    assert sorted(cluster[chosen]) == list(range(10))


def test_one_unusual_atom_is_found() -> None:
    """The mean over atoms hides it: there another group is farther."""
    usual = np.zeros((50, 2))
    odd_atom, moved = usual.copy(), usual + 0.2
    odd_atom[17] = [3.0, 0.0]
    groups = [usual, moved, odd_atom]
    means = [np.linalg.norm(one.mean(axis=0)) for one in groups]
    assert means[1] > means[2]
    assert farthest_points(groups, 2, 0) == [0, 2]


def test_order_of_the_pool_does_not_matter() -> None:
    random = np.random.default_rng(4)
    groups = [random.normal(size=(3, 4)) for _ in range(20)]
    order = random.permutation(20)
    places = np.argsort(order)
    chosen = farthest_points(groups, 6, 5)
    shuffled = farthest_points([groups[i] for i in order], 6, int(places[5]))
    assert [int(order[i]) for i in shuffled] == chosen


def test_copies_come_last() -> None:
    """Equal structures add nothing: they are chosen only when nothing else is left, once each."""
    groups = [np.full((2, 2), float(one)) for one in (0, 0, 4, 4, 9)]
    chosen = farthest_points(groups, 5, 0)
    assert chosen[:3] == [0, 4, 2]
    assert sorted(chosen) == [0, 1, 2, 3, 4]


def test_features_give_the_energy(checkpoint: Path) -> None:
    """Oracle: the model itself: a linear readout of the features, scaled and shifted."""
    from tempermd.training import load_checkpoint
    from tempermd.training.graphs import build_graph, predict
    from tempermd.training.models import energy_only

    atoms = unlabelled(1, 3)[0]
    model = load_checkpoint(checkpoint)
    (features,) = atom_features(checkpoint, [atoms])
    state = {name.removeprefix("model.func."): one for name, one in model.state_dict().items()}
    readout = state["per_atom_energy_readout.mlp_module.mlp.0.weight"].double().numpy()
    scale, shift = (
        float(state[f"per_type_energy_scale_shift.{one}"]) for one in ("scales", "shifts")
    )
    energies = scale * (features @ readout / np.sqrt(len(readout)))[:, 0] + shift
    found = predict(energy_only(model), build_graph(atoms, ["C"], 2.6)).atomic_energies_eV
    np.testing.assert_allclose(energies, found, atol=1e-5)


def test_features_ignore_rotations_and_labels(checkpoint: Path) -> None:
    """Oracle: the symmetry of the model; atoms numbered otherwise give the same rows."""
    atoms = morse_frames(1, 3)[0]
    (reference,) = atom_features(checkpoint, [atoms])
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    (found,) = atom_features(checkpoint, [turned])
    np.testing.assert_allclose(found, reference, atol=2e-5)
    assert np.ptp(reference, axis=0).max() > 1e-3
    (reversed_rows,) = atom_features(checkpoint, [atoms[::-1]])
    np.testing.assert_allclose(reversed_rows[::-1], reference, atol=2e-5)


def test_selects_what_is_unlike_the_rest(checkpoint: Path) -> None:
    """Ten cells a little rattled and one with a close pair: second, whatever is first."""
    frames = [unlabelled(1, 5)[0] for _ in range(10)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.01, seed=number)
    odd = frames[4].copy()
    odd.positions[0] += 0.5 * (odd.positions[1] - odd.positions[0])
    frames.append(odd)
    features = atom_features(checkpoint, frames)
    for first in range(10):
        assert farthest_points(features, 2, first)[1] == 10
    chosen = {seed: select_farthest(checkpoint, frames, 3, seed) for seed in (0, 1)}
    for one in chosen.values():
        assert 10 in one[:2]
        assert one == farthest_points(features, 3, one[0])
    assert chosen[0][0] != chosen[1][0]


def test_refuses_more_than_there_are(checkpoint: Path) -> None:
    for select in (
        lambda: select_farthest(checkpoint, unlabelled(2, 1), 3),
        lambda: select_random(2, 3),
    ):
        with pytest.raises(UserError, match="3 structures are to be selected, but there are 2"):
            select()


@pytest.mark.parametrize("method", ["farthest", "random"])
def test_command(checkpoint: Path, tmp_path: Path, method: str) -> None:
    """Frames keep their number in the pool, by which they are the pool's."""
    from typer.testing import CliRunner

    frames = unlabelled(6, 2)
    write_structures(tmp_path / "pool.extxyz", frames)
    arguments = ["select", str(tmp_path / "pool.extxyz"), "-n", "3", "--method", method]
    arguments += ["--from", str(checkpoint), "-o", str(tmp_path / "chosen.extxyz")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(tmp_path / "chosen.extxyz")
    chosen = read_structures(tmp_path / "chosen.extxyz")
    numbers = [atoms.info["pool_frame"] for atoms in chosen]
    expected = select_random(6, 3) if method == "random" else None
    assert numbers == (expected or select_farthest(checkpoint, frames, 3))
    for atoms, number in zip(chosen, numbers, strict=True):
        np.testing.assert_allclose(atoms.positions, frames[number].positions, atol=1e-7)


def test_command_needs_a_model_for_features(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    write_structures(tmp_path / "pool.extxyz", unlabelled(2, 2))
    arguments = ["select", str(tmp_path / "pool.extxyz"), "-n", "1", "-o", "x.extxyz"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert "needs the model" in str(result.exception) + result.output
