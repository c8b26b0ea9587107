"""Tables of studies whose answers are known: made-up laws, and a published clinical trial."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from study_cases import (
    DIRECT,
    EXPONENT,
    NEP,
    REPLAY,
    SEEDS,
    SHORT,
    SIZES,
    TERSOFF,
    errors,
    power_law,
    row,
    study,
    whole_study,
)
from tempermd.findings.contrasts import SOURCE, START, contrasts, forgetting, negative_transfer
from tempermd.findings.costs import ALL, costs
from tempermd.findings.curves import diverged, factors, learning_curves
from tempermd.findings.page import write_tables
from tempermd.findings.rows import Arm, Cost, Fate, Row, Study
from tempermd.findings.survival import fates, lives_of
from tempermd.report import clopper_pearson, log_rank


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def exact_study(**gains: float) -> Study:
    """Return a study without noise: direct, and an arm on nep with a gain."""
    rows = [
        row(arm, n, seed, power_law(n, gain))
        for arm, gain in ((DIRECT, 1.0), (NEP, gains["nep"]))
        for n in SIZES
        for seed in SEEDS
    ]
    return study(rows)


def test_curves_and_factors_give_the_law_back() -> None:
    made = exact_study(nep=4.0)
    points = [p for p in learning_curves(made) if p.arm == NEP.name and p.quantity == "energy"]
    assert [p.n_train for p in points] == list(SIZES)
    assert [p.estimate.mean for p in points] == pytest.approx(
        [100 * power_law(n, 4.0) for n in SIZES]
    )
    found = {p.n_train: p.factor for p in factors(made) if p.quantity == "forces"}
    assert [found[n].factor for n in SIZES] == pytest.approx([4, 4, 4, 2, 1])
    assert [found[n].censored for n in SIZES] == ["no", "no", "no", "above", "above"]


def test_a_base_made_anew_at_each_size_is_one_arm(tmp_path: Path) -> None:
    """The control that is pre-trained on the target's own structures has a curve like others."""
    rows = list(exact_study(nep=4.0).rows)
    for n in SIZES:
        same = Arm(strategy="finetuned", base="same", n_pretrain=n)
        rows += [row(same, n, seed, power_law(n, 2.0)) for seed in SEEDS]
    write_tables(study(rows), tmp_path)
    found = [
        float(line["factor"])
        for line in read_csv(tmp_path / "factors.csv")
        if (line["arm"], line["quantity"]) == ("finetuned same", "forces")
    ]
    assert found == pytest.approx([2, 2, 2, 2, 1])
    kept = {r["n_pretrain"] for r in read_csv(tmp_path / "rows.csv") if r["base"] == "same"}
    assert kept == {str(n) for n in SIZES}


def test_no_reference_no_factors() -> None:
    made = exact_study(nep=4.0)
    only = made.model_copy(update={"rows": [r for r in made.rows if r.arm == NEP]})
    assert factors(only) == []
    assert contrasts(only) == []
    assert [one for one in negative_transfer(only) if one.contrast.against != START] == []


def test_a_diverged_seed_is_told_and_in_no_mean(tmp_path: Path) -> None:
    made = exact_study(nep=4.0)
    lost = row(NEP, 20, 3, math.nan)
    rows = [lost if (r.arm, r.n_train, r.seed) == (NEP, 20, 3) else r for r in made.rows]
    broken = study(rows)
    assert diverged(broken) == [lost]
    write_tables(broken, tmp_path)
    (told,) = [
        line
        for line in read_csv(tmp_path / "curves.csv")
        if (line["arm"], line["n_train"], line["quantity"]) == (NEP.name, "20", "forces")
    ]
    assert (told["rmse_seeds"], told["rmse_diverged_seeds"]) == ("4", "1")
    assert float(told["rmse"]) == pytest.approx(power_law(20, 4.0), rel=1e-5)


def test_negative_transfer_is_found_where_it_was_put() -> None:
    worse, better = 1.1, 0.9
    rows = []
    for n in (10, 20):
        for seed in SEEDS:
            force = power_law(n) * (1 + 0.01 * seed)
            rows += [row(DIRECT, n, seed, force)]
            rows += [row(TERSOFF, n, seed, force * (worse if n == 20 else better))]
            rows += [row(NEP, n, seed, 0.5 * force, start_errors={"test": errors(0.1, 999.0)})]
    found = {
        (one.contrast.arm, one.contrast.n_train, one.contrast.quantity, one.contrast.against)
        for one in negative_transfer(study(rows))
        if one.told_apart == "yes"
    }
    assert found == {
        (TERSOFF.name, 20, "forces", "direct"),
        (TERSOFF.name, 20, "energy", "direct"),
        (NEP.name, 10, "forces", START),
        (NEP.name, 20, "forces", START),
    }


def test_worse_than_the_source_of_its_labels_is_negative_transfer() -> None:
    source = {"tersoff": errors(0.2, 40.0)}
    forces = {10: 0.3, 20: 0.1}  # energies are a hundred times as much
    rows = [
        row(TERSOFF, n, seed, force * (1 + 0.01 * seed), source_errors=source)
        for n, force in forces.items()
        for seed in SEEDS
    ]
    found = negative_transfer(study(rows))
    (one,) = found
    case = one.contrast
    assert (case.n_train, case.quantity, case.against) == (10, "forces", SOURCE)
    assert one.told_apart == "yes"
    assert case.ratio.ratio == pytest.approx(1.5 * 1.03, rel=1e-3)


def test_general_sets_of_different_bases_are_not_compared() -> None:
    pairs = {
        (one.arm, one.against) for one in contrasts(whole_study()) if one.error_set == "general"
    }
    assert (REPLAY.name, NEP.name) in pairs
    assert (SHORT.name, NEP.name) in pairs
    assert not any(TERSOFF.name in pair for pair in pairs)


def test_replay_and_base_stand_as_they_were_made() -> None:
    """Replay gains as much as plain fine-tuning here, the NEP five times what Tersoff does."""
    found = {
        (one.target, one.arm, one.against): one
        for one in contrasts(whole_study())
        if (one.n_train, one.quantity, one.error_set) == (10, "forces", "test")
    }
    for target in ("tubes", "broad"):
        assert found[target, REPLAY.name, NEP.name].intervals_overlap is True
        assert found[target, REPLAY.name, NEP.name].factors_apart is False
        clear = found[target, TERSOFF.name, NEP.name]
        assert (clear.ratio.verdict, clear.intervals_overlap) == ("worse", False)
        assert clear.ratio.low < (6.0 / 0.8) ** EXPONENT < clear.ratio.high


def test_forgetting_is_after_over_before() -> None:
    made = [
        row(
            NEP,
            10,
            seed,
            0.1,
            errors={"test": errors(0.1, 5.0), "general": errors(0.5 * (1 + 0.02 * seed), 9.0)},
            start_errors={"test": errors(0.4, 8.0), "general": errors(0.25, 3.0)},
        )
        for seed in SEEDS
    ]
    forces, energy = forgetting(study(made))
    mean = math.prod(1 + 0.02 * seed for seed in SEEDS) ** (1 / len(SEEDS))
    assert forces.ratio.ratio == pytest.approx(2 * mean)
    assert (forces.before.mean, forces.test_before.mean) == pytest.approx((0.25, 0.4))
    assert energy.ratio.ratio == pytest.approx(3.0)


def fates_of(text: str, **more: object) -> list[Fate]:
    return [
        Fate(
            case=str(k),
            structure="tube",
            temperature_K=3000.0,
            md_seed=k,
            outcome="finished",
            failed="+" not in word,
            survived="+" in word,
            time_ps=float(word.strip("+")),
            first_events=[] if "+" in word else ["close contact 1.25", "temperature 2.00"],
        ).model_copy(update=more)
        for k, word in enumerate(text.split())
    ]


def test_fates_of_arms() -> None:
    runs = {DIRECT: "2 3 4", NEP: "9+ 9+ 9+"}
    rows = [
        row(arm, 20, seed, 0.1, fates=fates_of(text))
        for arm, text in runs.items()
        for seed in (1, 2)
    ]
    ended = fates_of("1+", outcome="infrastructure_failure", survived=False)
    rows.append(row(NEP, 20, 3, 0.1, fates=ended))
    direct, nep = fates(study(rows))
    assert (direct.runs, direct.survived, direct.models, direct.models_whole) == (6, 0, 2, 0)
    assert (nep.runs, nep.survived, nep.set_aside, nep.models, nep.models_whole) == (6, 6, 1, 2, 2)
    assert direct.first_events == {"close contact": 6}
    assert (nep.survival, nep.low, nep.high) == (1.0, *clopper_pearson(6, 6))
    assert (direct.survival, direct.low, direct.high) == (0.0, *clopper_pearson(0, 6))
    assert direct.p_against is None
    others = [fate for r in rows[:2] for fate in r.fates]
    own = [fate for r in rows[2:] for fate in r.fates]
    assert nep.p_against == log_rank(lives_of(own), lives_of(others)).p < 0.01


def costly(arm: Arm, seed: int, tuning_s: float) -> Row:
    cost = Cost(
        training_core_s=3600.0,
        tuning_core_s=tuning_s,
        pretraining_core_s=7200.0 if arm in (NEP, REPLAY) else 0.0,
        labels_core_s=1800.0 if arm in (NEP, REPLAY) else 0.0,
        gpu_s=36.0,
        pretraining_gpu_s=72.0 if arm in (NEP, REPLAY) else 0.0,
    )
    return row(arm, 10, seed, 0.1, cost=cost)


def test_what_is_shared_counts_once() -> None:
    rows = [costly(arm, s, 3600.0 * (s == 1)) for arm in (DIRECT, NEP, REPLAY) for s in (1, 2)]
    found = {one.arm: one for one in costs(study(rows))}
    assert [found[a].core_h for a in ("direct", NEP.name, ALL)] == pytest.approx([3, 5.5, 11.5])
    assert [found[a].gpu_h for a in ("direct", NEP.name, ALL)] == pytest.approx([0.02, 0.04, 0.08])


def test_tables_are_the_same_bytes_and_read_back(tmp_path: Path) -> None:
    made = whole_study()
    first, again = write_tables(made, tmp_path / "a"), write_tables(made, tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert {p.stem for p in first} == {
        *("rows", "curves", "factors", "contrasts", "negative_transfer", "forgetting"),
        *("survival", "survival_curves", "costs"),
    }
    rows = read_csv(tmp_path / "a" / "rows.csv")
    assert len(rows) == len(made.rows)
    assert [float(line["test_force_rmse_eV_per_A"]) for line in rows] == [
        r.error("forces") for r in made.rows
    ]
    curves = json.loads((tmp_path / "a" / "curves.json").read_text())
    assert "stand-in truth C_2024_NEP4" in curves["title"]
    assert len(curves["rows"]) == len(read_csv(tmp_path / "a" / "curves.csv"))


def test_only_costs_tell_time(tmp_path: Path) -> None:
    """A study that was killed and went on took other times, and has the same results."""
    made = whole_study()
    dearer = [
        r.model_copy(update={"cost": r.cost.model_copy(update={"training_core_s": 1.5})})
        for r in made.rows
    ]
    first = write_tables(made, tmp_path / "a")
    again = write_tables(made.model_copy(update={"rows": dearer}), tmp_path / "b")
    changed = {
        one.stem
        for one, other in zip(first, again, strict=True)
        if one.read_bytes() != other.read_bytes()
    }
    assert changed == {"rows", "costs"}


def test_json_stays_json_when_a_training_diverged(tmp_path: Path) -> None:
    paths = write_tables(study([row(DIRECT, 16, 1, math.nan), row(NEP, 16, 1, 0.1)]), tmp_path)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    for path in paths:
        if path.suffix == ".json":
            json.loads(path.read_text(), parse_constant=refuse)
    assert read_csv(tmp_path / "rows.csv")[0]["test_force_rmse_eV_per_A"] == "NaN"


def test_a_study_of_one_size_and_seed_has_tables_without_curves(tmp_path: Path) -> None:
    paths = write_tables(study([row(DIRECT, 16, 1, 0.2), row(NEP, 16, 1, 0.1)]), tmp_path)
    assert {path.stem for path in paths} == {"rows", "curves", "contrasts", "costs"}
    (one,) = [r for r in read_csv(tmp_path / "contrasts.csv") if r["quantity"] == "forces"]
    assert (one["ratio"], one["ratio_low"], one["verdict"]) == ("0.5", "", "one seed")
