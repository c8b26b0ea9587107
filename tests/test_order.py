"""The order of structures: batches by number and by atoms, budgets, going on at any step."""

from __future__ import annotations

import numpy as np
import pytest

from tempermd.training import TrainingSpec
from tempermd.training.order import EpochBatches, Order, packed


class Sized:
    """Stands in for frames: all that an order asks of them."""

    def __init__(self, sizes: list[int]) -> None:
        self.n_atoms = np.array(sizes)
        self.n_per_epoch = len(sizes)

    def __len__(self) -> int:
        return len(self.n_atoms)

    def epoch_numbers(self, generator) -> list[int]:
        return list(range(len(self)))


SIZES = np.random.default_rng(1).integers(2, 60, size=40).tolist() + [500]


def order_of(n_shares: int = 1, sizes: list[int] = SIZES, **settings) -> Order:
    return Order(Sized(sizes), TrainingSpec(**settings), n_shares)


def test_packing_by_hand() -> None:
    sizes = np.array([3, 3, 4, 20, 1, 9, 1])
    assert packed([0, 1, 2, 3, 4, 5, 6], sizes, 10) == [[0, 1, 2], [3], [4, 5], [6]]
    assert packed([3, 0], sizes, 2) == [[3], [0]]


def test_batches_by_atoms_are_bounded_and_complete() -> None:
    """Every structure once an epoch; no batch above the bound but one structure alone."""
    order = order_of(max_epochs=5, batch_atoms=100)
    for epoch in range(5):
        batches = order.batches(epoch)
        assert sorted(number for batch in batches for number in batch) == list(range(41))
        sums = [sum(SIZES[number] for number in batch) for batch in batches]
        assert all(n <= 100 or len(batch) == 1 for n, batch in zip(sums, batches, strict=True))
        # greedy: no batch could have taken the first structure of the next
        for n_atoms, after in zip(sums, batches[1:], strict=False):
            assert n_atoms + SIZES[after[0]] > 100
    assert len({len(order.batches(epoch)) for epoch in range(5)}) > 1
    assert order.batches(0) != order.batches(1)


@pytest.mark.parametrize("batch", [{"batch_size": 4}, {"batch_atoms": 100}, {}])
def test_a_budget_of_steps_is_exact(batch: dict) -> None:
    """Oracle: counting the batches of all epochs."""
    order = order_of(max_steps=31, **batch)
    counts = [len(order.batches(epoch)) for epoch in range(order.n_epochs)]
    assert sum(counts) == order.n_steps == 31
    assert all(counts)
    whole = order_of(max_epochs=3, **batch)
    assert whole.n_steps == sum(len(whole.batches(epoch)) for epoch in range(3))
    assert whole.batches(0) == order.batches(0)


@pytest.mark.parametrize("batch", [{"batch_size": 4}, {"batch_atoms": 100}])
def test_goes_on_at_any_step(batch: dict) -> None:
    """Oracle: the list of all steps' batches."""
    order = order_of(max_steps=31, seed=5, **batch)
    steps = [batch for epoch in range(order.n_epochs) for batch in order.batches(epoch)]
    again = order_of(max_steps=31, seed=5, **batch)
    for step in range(31):
        rest = EpochBatches(again, step)
        found = list(rest)
        assert found == steps[step : step + len(found)]
        assert step + len(found) in (np.cumsum([len(order.batches(e)) for e in range(9)]))
        assert len(rest) == again.n_batches(rest.epoch)
    assert order_of(max_steps=31, seed=6, **batch).batches(0) != order.batches(0)


@pytest.mark.parametrize("batch", [{"batch_size": 4}, {"batch_atoms": 100}])
def test_processes_share_every_batch(batch: dict) -> None:
    """Oracle: one process; three take a part each of the same batches, none of them empty."""
    order = order_of(3, max_epochs=2, **batch)
    assert order.n_steps == len(order.batches(0)) + len(order.batches(1))
    shares = [list(EpochBatches(order, 0, (number, 3))) for number in range(3)]
    for step, parts in enumerate(zip(*shares, strict=True)):
        assert all(parts)
        assert sorted(number for part in parts for number in part) == sorted(order.batches(0)[step])


def test_refuses_two_kinds_of_batches() -> None:
    from pydantic import ValidationError

    assert TrainingSpec(max_steps=1).batch_size == 4
    assert TrainingSpec(max_steps=1, batch_atoms=50).batch_size is None
    with pytest.raises(ValidationError, match="only one of batch_size and batch_atoms"):
        TrainingSpec(max_steps=1, batch_size=4, batch_atoms=50)
    with pytest.raises(ValidationError, match="shared by devices = 3"):
        TrainingSpec(max_steps=1, batch_size=2, devices=3)
