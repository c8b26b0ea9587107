"""Studies made up from a known law, so that every table has an answer to be held against."""

from __future__ import annotations

import math

import numpy as np

from tempermd.findings.rows import Arm, Cost, Fate, Row, Study
from tempermd.training import Errors

SIZES = (10, 20, 40, 80, 160)
SEEDS = (1, 2, 3, 4, 5)
EXPONENT = 0.3
VERSIONS = {"tempermd": "0", "torch": "2"}


def errors(force: float, energy: float) -> Errors:
    """Return errors with these RMSEs."""
    return Errors(
        n_frames=10,
        force_rmse_eV_per_A=force,
        force_mae_eV_per_A=0.8 * force,
        energy_rmse_meV_per_atom=energy,
        energy_mae_meV_per_atom=0.8 * energy,
    )


def row(arm: Arm, n: int, seed: int, force: float, **more: object) -> Row:
    """Return a row of target ``tubes`` whose energy error is a hundred times its force error."""
    settings = {
        "target": "tubes",
        "arm": arm,
        "n_train": n,
        "seed": seed,
        "learning_rate": 0.01,
        "learning_rates_tried": [0.01, 0.03],
        "steps": 800,
        "best_step": 700,
        "val_force_rmse_eV_per_A": force,
        "errors": {"test": errors(force, 100 * force)},
        "cost": Cost(training_core_s=360.0),
        "checkpoint_sha256": f"{arm.name} {n} {seed}",
    }
    return Row(**(settings | more))


def study(rows: list[Row], **more: object) -> Study:
    """Return a study of these rows."""
    settings = {"title": "Made up", "spec_sha256": "0" * 64, "versions": VERSIONS}
    return Study(rows=rows, **(settings | more))


def power_law(n: float, gain: float = 1.0) -> float:
    """Return the error at n of an arm that needs ``gain`` times fewer structures."""
    return (n * gain) ** -EXPONENT


DIRECT = Arm(strategy="direct")
NEP = Arm(strategy="finetuned", base="nep", n_pretrain=1000)
SHORT = Arm(strategy="finetuned", base="nep", n_pretrain=100)
TERSOFF = Arm(strategy="finetuned", base="tersoff", n_pretrain=1000)
REPLAY = Arm(strategy="replay", base="nep", n_pretrain=1000)
GAINS = {DIRECT: 1.0, NEP: 6.0, SHORT: 3.0, TERSOFF: 0.8, REPLAY: 6.1}
PROTECTED = {REPLAY: 1.05}


def whole_study(spread: float = 0.03, seed: int = 1) -> Study:
    """Return a study with two targets, five arms, a general set, costs and runs in MD."""
    rng = np.random.default_rng(seed)
    rows = []
    for target, scale in (("tubes", 0.3), ("broad", 1.2)):
        for n in SIZES:
            shared = rng.normal(0, spread, len(SEEDS))
            for arm, gain in GAINS.items():
                noise = shared + rng.normal(0, spread, len(SEEDS))
                rows += [
                    _full_row(
                        arm, n, s, scale * power_law(n, gain) * math.exp(noise[s - 1]), rng
                    ).model_copy(update={"target": target})
                    for s in SEEDS
                ]
    notes = {"tubes": "GFN1-xTB, converged", "broad": "stand-in truth C_2024_NEP4"}
    return study(rows, notes=notes, title="Five arms on two targets")


def _full_row(arm: Arm, n: int, seed: int, force: float, rng: np.random.Generator) -> Row:
    more: dict[str, object] = {}
    if arm.base is not None:
        general = 0.25 * PROTECTED.get(arm, 1 + 0.1 * math.log(n)) * math.exp(rng.normal(0, 0.01))
        more["errors"] = {"test": errors(force, 100 * force), "general": errors(general, 30.0)}
        more["start_errors"] = {"test": errors(0.9, 60.0), "general": errors(0.25, 20.0)}
        more["cost"] = Cost(
            training_core_s=300.0,
            tuning_core_s=300.0 if seed == 1 else 0.0,
            pretraining_core_s=3600.0 * (arm.n_pretrain or 0) / 1000,
            labels_core_s=720.0 if arm.base == "nep" else 36.0,
        )
    if n == 20:
        more["fates"] = [fate(arm, s, rng) for s in (1, 2)]
    return row(arm, n, seed, force, **more)


def fate(arm: Arm, md_seed: int, rng: np.random.Generator) -> Fate:
    """Return a run of 20 ps that models from nothing do not survive."""
    mean_ps = {"direct": 4.0}.get(arm.strategy, 15.0 if arm.base == "tersoff" else 500.0)
    time_ps = float(round(rng.exponential(mean_ps), 3))
    failed = time_ps < 20.0
    return Fate(
        case="c",
        structure="(8,8)",
        temperature_K=3000.0,
        md_seed=md_seed,
        outcome="finished",
        failed=failed,
        survived=not failed,
        time_ps=min(time_ps, 20.0),
        first_events=["close_contact", "temperature"] if failed else [],
    )
