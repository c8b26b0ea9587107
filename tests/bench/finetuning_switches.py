"""Switches of fine-tuning on tubes: `python tests/bench/finetuning_switches.py SET_FOLDER -o OUT`.

SET_FOLDER holds the shipped base's pre-training set (docs/model_card.md says how to make it):
its train.extxyz is replayed, 100 frames of its val.extxyz are the general test set.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tempermd.dataset import read_labelled
from tempermd.records import read_record
from tempermd.training import (
    DataSpec,
    FineTuningSpec,
    Training,
    TrainingSpec,
    TrainSpec,
    evaluate,
    finetune,
)
from tempermd.training.data import subset

ROOT = Path(__file__).parents[2]
BASE = ROOT / "python" / "tempermd" / "potentials" / "carbon_base.ckpt"
TUBES = ROOT / "studies" / "tubes"


def arms(replayed: Path) -> dict[str, FineTuningSpec]:
    """Return the switches to compare."""
    replay = {"file": str(replayed), "fraction": 0.5, "n_frames": 200}
    tables = {
        "plain": {},
        "replay": {"replay": replay},
        "replay, pseudo-labels": {"replay": replay | {"pseudo_labels": True}},
        "replay, weight 0.1": {"replay": replay | {"weight": 0.1}},
        "layer_rate_decay 0.5": {"layer_rate_decay": 0.5},
        "freeze embedding, layer0": {"freeze": ["embedding", "layer0"]},
    }
    return {name: FineTuningSpec.model_validate(table) for name, table in tables.items()}


def main() -> None:
    """Train each arm at each rate and print a row for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("set_folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.02, 0.06])
    parser.add_argument("--arms", nargs="+", help="names; all if not given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wide", action="store_true", help="twice the batch where there is replay")
    given = parser.parse_args()
    folder = given.set_folder.resolve()
    general = subset(read_labelled(folder / "val.extxyz"), 100, 1, "val.extxyz")
    print("| arm | rate | val | tubes eV/Å | tubes meV/atom | general eV/Å | core-s |")
    found, tubes = evaluate(BASE, general), evaluate(BASE, TUBES / "test.extxyz")
    print(f"| base | | | {tubes.force_rmse_eV_per_A:.3f} | | {found.force_rmse_eV_per_A:.3f} | |")
    for rate in given.rates:
        for name, switches in arms(folder / "train.extxyz").items():
            if given.arms and name not in given.arms:
                continue
            spec = TrainSpec(
                data=DataSpec(**{p: str(TUBES / f"{p}.extxyz") for p in ("train", "val", "test")}),
                training=TrainingSpec(
                    max_steps=given.steps,
                    # replayed frames beside as many new ones as without them
                    batch_size=4 if switches.replay and given.wide else 2,
                    learning_rate=rate,
                    seed=given.seed,
                    val_every=5,
                ),
                finetuning=switches,
            )
            out = given.output / f"{name.replace(' ', '_').replace(',', '')}-{rate}-{given.seed}"
            out = out.with_name(out.name + "-wide") if given.wide else out
            best = finetune(BASE, spec, out, progress=False)
            record = read_record(out / "training.json", Training)
            error = evaluate(best, general).force_rmse_eV_per_A
            val, test = record.val, record.test
            numbers = f"{val.force_rmse_eV_per_A:.4f} | {test.force_rmse_eV_per_A:.4f}"
            numbers += f" | {test.energy_rmse_meV_per_atom:.1f} | {error:.3f}"
            print(f"| {name} | {rate} | {numbers} | {record.core_s:.0f} |", flush=True)


if __name__ == "__main__":
    main()
