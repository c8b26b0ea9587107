"""Early stopping: closed-form boundaries, error rates by enumeration, order, censoring."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from tempermd.campaign import EarlyStopping
from tempermd.campaign.settling import boundaries, cells_of, settle, skipped_runs
from tempermd.md import Case
from tempermd.records import UserError, parse_spec

RULES = [
    EarlyStopping(),
    EarlyStopping(survival_good=0.95, survival_bad=0.8, error=0.01),
    EarlyStopping(survival_good=0.6, survival_bad=0.2, error=0.1),
    EarlyStopping(survival_good=0.99, survival_bad=0.3, error=0.2),
]


def chances(rule: EarlyStopping, survival: float, runs: int) -> dict[str, float]:
    """Return the exact chance of each verdict within so many runs, by counts of failures.

    Independent of `settle`: the ratio after k failures of n is written out as Wald does.
    """
    good, bad = rule.survival_good, rule.survival_bad
    open_ones, found = {0: 1.0}, {"loser": 0.0, "survives": 0.0}
    for n in range(1, runs + 1):
        after: dict[int, float] = {}
        for failed, chance in open_ones.items():
            for more, p in ((1, 1 - survival), (0, survival)):
                k = failed + more
                ratio = ((1 - bad) / (1 - good)) ** k * (bad / good) ** (n - k)
                if ratio >= (1 / rule.error) * (1 - 1e-9):
                    found["loser"] += chance * p
                elif ratio <= rule.error * (1 + 1e-9):
                    found["survives"] += chance * p
                else:
                    after[k] = after.get(k, 0.0) + chance * p
        open_ones = after
    return found | {"open": sum(open_ones.values())}


@pytest.mark.parametrize("rule", RULES)
def test_steps_and_ends_are_walds(rule: EarlyStopping) -> None:
    steps = boundaries(rule)
    good, bad = rule.survival_good, rule.survival_bad
    assert steps.failure == pytest.approx(math.log((1 - bad) / (1 - good)))
    assert steps.survivor == pytest.approx(math.log(bad / good))
    assert (steps.loser, steps.survives) == pytest.approx(
        (math.log(1 / rule.error), math.log(rule.error))
    )
    # the least number of failures in a row, in closed form
    least = math.ceil(math.log(1 / rule.error) / math.log((1 - bad) / (1 - good)) - 1e-9)
    assert settle(["failed"] * 50, rule) == ("loser", least, least, 0)
    assert settle(["failed"] * (least - 1), rule).verdict == "open"
    most = math.ceil(math.log(rule.error) / math.log(bad / good) - 1e-9)
    assert settle(["survived"] * 500, rule) == ("survives", most, 0, 0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("better", [0.0, 0.3, 0.9])
def test_a_good_model_is_stopped_no_more_often_than_stated(
    rule: EarlyStopping, better: float
) -> None:
    survival = rule.survival_good + better * (1 - rule.survival_good)
    found = chances(rule, survival, 400)
    assert found["loser"] <= rule.error
    assert found["loser"] + found["survives"] + found["open"] == pytest.approx(1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("worse", [0.0, 0.5])
def test_a_bad_model_passes_no_more_often_than_stated(rule: EarlyStopping, worse: float) -> None:
    found = chances(rule, rule.survival_bad * (1 - worse), 400)
    assert found["survives"] <= rule.error
    assert found["loser"] >= 1 - rule.error - found["open"]


@pytest.mark.parametrize("rule", RULES)
def test_settle_decides_as_enumeration_does(rule: EarlyStopping) -> None:
    """All 2^10 courses of ten runs: the summed chances are those of the counts."""
    survival = 0.7
    found = {"loser": 0.0, "survives": 0.0, "open": 0.0}
    for fates in itertools.product(("survived", "failed"), repeat=10):
        chance = math.prod(survival if fate == "survived" else 1 - survival for fate in fates)
        found[settle(fates, rule).verdict] += chance
    assert found == pytest.approx(chances(rule, survival, 10), abs=1e-12)


def test_a_decision_stands_whatever_comes_later() -> None:
    rule, draw = EarlyStopping(), random.Random(1)
    for _ in range(200):
        fates = [draw.choice(("survived", "failed", "censored")) for _ in range(20)]
        settled = settle(fates, rule)
        if settled.verdict != "open":
            assert settle(fates[: settled.after], rule) == settled
            assert settle(fates[: settled.after] + ["survived"] * 30, rule) == settled


def test_what_ended_out_of_order_does_not_decide() -> None:
    rule = EarlyStopping()
    assert settle([None, "failed", "failed", "failed"], rule) == ("open", 0, 0, 0)
    assert settle(["failed", None, "failed", "failed"], rule) == ("open", 1, 1, 0)
    assert settle(["failed", "failed", None], rule).verdict == "loser"


def test_a_censored_run_hastens_nothing() -> None:
    """Whatever a censored run would have been, the decision holds: all fillings agree with it."""
    rule, draw = EarlyStopping(), random.Random(2)
    seen = set()
    for _ in range(300):
        fates = [draw.choice(("survived", "failed", "censored", "failed")) for _ in range(7)]
        settled = settle(fates, rule)
        if settled.verdict == "open":
            continue
        seen.add(settled.verdict)
        holes = [place for place, fate in enumerate(fates) if fate == "censored"]
        for filling in itertools.product(("survived", "failed"), repeat=len(holes)):
            filled = list(fates)
            for place, fate in zip(holes, filling, strict=True):
                filled[place] = fate
            decided = settle(filled, rule)
            # it may have fallen earlier, and then a run more could have gone either way
            assert decided.after <= settled.after
            if decided.after == settled.after:
                assert decided.verdict == settled.verdict
    assert seen == {"loser"}


def case(model: str, seed: int, temperature_K: float = 300.0) -> Case:
    return Case(
        potential="lcbop",
        model_name=model,
        structure="tube.data",
        structure_sha256="0" * 64,
        structure_name="tube",
        temperature_K=temperature_K,
        ramp_steps=0,
        hold_steps=10,
        seed=seed,
    )


def test_only_a_losers_cell_is_skipped_and_only_what_follows() -> None:
    cases = [
        case(model, seed, kelvin)
        for seed in range(1, 7)
        for kelvin in (300.0, 3000.0)
        for model in ("a", "b")
    ]
    by_id = {f"{one.model_name}{one.seed}@{one.temperature_K:g}": one for one in cases}
    assert len(cells_of(by_id)) == 4
    fates = dict.fromkeys(by_id, "survived")
    fates |= {"a1@3000": "failed", "a2@3000": "failed", "a3@3000": "survived"}
    skipped = skipped_runs(by_id, fates, EarlyStopping())
    assert sorted(skipped) == ["a3@3000", "a4@3000", "a5@3000", "a6@3000"]
    assert {(one.after, one.failed) for one in skipped.values()} == {(2, 2)}
    assert skipped_runs(by_id, fates, None) == {}


def test_the_order_of_the_plan_counts_not_that_of_the_rows() -> None:
    by_id = {f"a{seed}": case("a", seed) for seed in range(1, 9)}
    fates = {f"a{seed}": "failed" if seed % 3 else "survived" for seed in range(1, 9)}
    names = list(fates)
    expected = skipped_runs(by_id, fates, EarlyStopping())
    for seed in range(20):
        random.Random(seed).shuffle(names)
        assert skipped_runs(by_id, {n: fates[n] for n in names}, EarlyStopping()) == expected


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"survival_good": 0.5, "survival_bad": 0.5}, "must be smaller"),
        ({"error": 0.5}, "less than 0.5"),
        ({"survival_good": 1.0}, "less than 1"),
    ],
)
def test_faults_of_a_rule_are_named(raw: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_spec(raw, EarlyStopping, "options")
