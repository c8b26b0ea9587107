"""Splits: no trajectory or structure in two parts, every stratum in each, drawn by the seed."""

import itertools
from collections import Counter

import numpy as np
import pytest
from ase import Atoms

from dataset_cases import cluster
from tempermd.dataset.duplicates import content_key
from tempermd.dataset.splits import FrameKey, assign
from tempermd.records import UserError

FRACTIONS = {"train": 0.8, "test": 0.1, "val": 0.1}


def keys(strata: dict[str, tuple[int, int]]) -> list[FrameKey]:
    """Return keys for strata: name -> (trajectories, frames in each)."""
    return [
        FrameKey(f"{name}{t}", name)
        for name, (trajectories, frames) in strata.items()
        for t in range(trajectories)
        for _ in range(frames)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_every_part_gets_every_stratum(seed: int) -> None:
    """The shipped synthetic set: 84 melts of 6 frames, 15 tubes of 4; once val had no tube."""
    made = keys({"amorphous": (84, 6), "tube": (15, 4)})
    parts = assign(made, FRACTIONS, seed)
    for name, members in parts.items():
        counts = Counter(made[i].stratum for i in members)
        assert counts["tube"] >= 4, name
        assert counts["amorphous"] / len(members) == pytest.approx(504 / 564, abs=0.08)
        assert len(members) == pytest.approx(FRACTIONS[name] * 564, abs=4)


@pytest.mark.parametrize("seed", range(20))
def test_parts_are_a_partition_by_trajectory(seed: int) -> None:
    random = np.random.default_rng(seed)
    strata = {f"s{i}": (int(n), int(m)) for i, (n, m) in enumerate(random.integers(1, 9, (6, 2)))}
    made = keys(strata)
    parts = assign(made, FRACTIONS, seed)
    assert sorted(itertools.chain(*parts.values())) == list(range(len(made)))
    owners = [{made[i].trajectory for i in members} for members in parts.values()]
    assert sum(map(len, owners)) == len(set.union(*owners))
    assert all(parts.values())


def test_seeds_draw_anew_and_order_does_not_matter() -> None:
    made = keys({"a": (30, 2), "b": (20, 1)})
    chosen = [
        frozenset(made[i].trajectory for i in assign(made, FRACTIONS, s)["val"]) for s in (1, 1, 2)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    turned = made[::-1]
    assert {turned[i].trajectory for i in assign(turned, FRACTIONS, 1)["val"]} == chosen[0]


def test_trajectories_with_one_structure_stay_together() -> None:
    """t0 and t1 share a structure, t1 and t2 another: all three are in one part."""
    made = [FrameKey(f"t{i}", "s", content=i) for i in range(40)]
    made += [FrameKey("t1", "s", content=0), FrameKey("t2", "s", content=1)]
    for seed in range(10):
        parts = assign(made, FRACTIONS, seed)
        places = {made[i].trajectory: name for name, own in parts.items() for i in own}
        assert places["t0"] == places["t1"] == places["t2"]


def test_too_few_trajectories_and_wrong_fractions_are_refused() -> None:
    with pytest.raises(UserError, match="2 trajectories cannot make 3 parts"):
        assign(keys({"a": (2, 5)}), FRACTIONS, 1)
    with pytest.raises(UserError, match="sum to at most 1"):
        assign(keys({"a": (9, 1)}), {"train": 0.9, "val": 0.2}, 1)
    with pytest.raises(UserError, match="above 0"):
        assign(keys({"a": (9, 1)}), {"train": 1.0, "val": 0.0}, 1)


def test_content_key_knows_copies_and_only_copies() -> None:
    atoms = cluster(1)
    key = content_key(atoms)
    moved = atoms.copy()
    moved.positions += 3.21
    relabelled = atoms.copy()
    relabelled.info["source"] = "other"
    assert content_key(moved) == content_key(relabelled) == key
    shaken = atoms.copy()
    shaken.positions[3, 0] += 0.01
    assert content_key(shaken) != key
    other = Atoms("C7Si", atoms.positions)
    assert content_key(other) != key
    assert content_key(Atoms("C")) is None
