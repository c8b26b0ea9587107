"""Making a model's card from its training folder, its checkpoint and what else is known."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from tempermd.cards.committees import committee
from tempermd.cards.data import data_parts, is_same_file
from tempermd.cards.judged import Judged, judge, name_of
from tempermd.cards.page import card_page
from tempermd.cards.records import Card, Cost, Guard, Parity, Robustness
from tempermd.dataset import read_labelled
from tempermd.records import Spec, UserError, read_record, sha256_file, write_record
from tempermd.training import Training, TrainSpec, resolved_spec
from tempermd.training.alchemy import Transmutation
from tempermd.training.models import (
    config_of_checkpoint,
    energy_shifts,
    load_checkpoint,
    spec_of_config,
)

if TYPE_CHECKING:
    import torch

CURVE_POINTS = 300
PARITY_POINTS = 2000


class CardOptions(Spec):
    """What a card is to hold beside what the model's folder tells.

    ``parent`` is the checkpoint that a fine-tuned model started from (its card is looked for
    beside it), ``test`` labelled frames to judge on in place of the training's own,
    ``committee`` further models of the same kind, ``robustness`` a report's folder.
    """

    parent: Path | None = None
    test: Path | None = None
    committee: list[Path] = Field(default_factory=list)
    robustness: Path | None = None
    notes: str = ""


def write_card(
    target: Path | str, output: Path | str | None = None, options: CardOptions | None = None
) -> Path:
    """Write a model's card: ``X.json`` alone, or ``X.html`` with ``X.json`` beside it.

    Parameters
    ----------
    target
        A training folder or a checkpoint (a pickle: opening it runs code in it).
    output
        The page or the record to write; `card_path` of the checkpoint if not given.
    """
    checkpoint = checkpoint_of(target)
    output = card_path(checkpoint) if output is None else Path(output)
    if output.suffix not in (".json", ".html"):
        raise UserError(f"{output}: a card is written as .html (with .json beside it) or .json")
    card = make_card(checkpoint, options or CardOptions())
    write_record(output.with_suffix(".json"), card)
    return card_page(card, output) if output.suffix == ".html" else output


def checkpoint_of(target: Path | str) -> Path:
    """Return the checkpoint that a folder or a path names."""
    target = Path(target)
    checkpoint = target / "best.ckpt" if target.is_dir() else target
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such checkpoint; name a training folder or a .ckpt")
    return checkpoint


def card_path(checkpoint: Path) -> Path:
    """Return where a checkpoint's own card stands: ``card.json`` in a training folder."""
    if (checkpoint.parent / "training.json").is_file() and checkpoint.name == "best.ckpt":
        return checkpoint.parent / "card.json"
    return checkpoint.with_suffix(".card.json")


def find_card(checkpoint: Path | str) -> Card:
    """Return the card beside a checkpoint; make one of what is known where there is none."""
    found = _own_card(Path(checkpoint), sha256_file(checkpoint))
    return found or make_card(Path(checkpoint), CardOptions(), judged=False)


def _own_card(checkpoint: Path, digest: str) -> Card | None:
    """Return the card beside a checkpoint, unless it is another one's."""
    path = card_path(checkpoint)
    found = read_record(path, Card) if path.is_file() else None
    return found if found is not None and found.checkpoint_sha256 == digest else None


def make_card(checkpoint: Path, options: CardOptions, *, judged: bool = True) -> Card:
    """Gather a card; ``judged`` false leaves out what the model must be run for."""
    model = load_checkpoint(checkpoint)
    facts = _facts_of_model(checkpoint, model)
    spec, record = _training_of(checkpoint, facts["checkpoint_sha256"])
    if record is not None and spec is not None:
        facts |= _facts_of_training(checkpoint.parent, spec, record)
    else:
        facts |= _facts_of_own_card(checkpoint, facts)
    facts |= _ancestry(checkpoint, facts, options)
    if judged:
        found = _facts_of_frames(checkpoint, model, spec, record, options)
        facts |= found | {"errors": facts.get("errors", {}) | found.get("errors", {})}
    if record is not None:
        facts["cost"] = _cost(record, facts.get("guard"), facts.get("parent"))
    if options.robustness is not None:
        facts["robustness"] = read_robustness(options.robustness)
    return Card(**(facts | ({"notes": options.notes} if options.notes else {})))


def _facts_of_model(checkpoint: Path, model: torch.nn.Module) -> dict[str, Any]:
    return {
        "name": name_of(checkpoint),
        "checkpoint_sha256": sha256_file(checkpoint),
        "made_by": "unknown",
        "model": spec_of_config(config_of_checkpoint(checkpoint), str(checkpoint)),
        "n_parameters": sum(one.numel() for one in model.parameters()),
        "reference_energies_eV": energy_shifts(model),
    }


def _training_of(checkpoint: Path, digest: str) -> tuple[TrainSpec | None, Training | None]:
    """Return spec and record of the training that made a checkpoint, where they are beside it."""
    path = checkpoint.parent / "training.json"
    if not path.is_file():
        return None, None
    record = read_record(path, Training)
    if record.checkpoint_sha256 != digest:
        return None, None
    return resolved_spec(checkpoint.parent / "spec.toml"), record


def _facts_of_training(folder: Path, spec: TrainSpec, record: Training) -> dict[str, Any]:
    errors = {"val": record.val} | ({} if record.test is None else {"test": record.test})
    parent = record.inputs.parent_sha256
    facts: dict[str, Any] = {
        "made_by": "training" if parent is None else "fine-tuning",
        "n_parameters": record.n_parameters,
        "data": data_parts(spec.data, record),
        "spec": spec.model_dump(mode="json", exclude={"data"}, exclude_none=True),
        "seed": record.seed,
        "parent_sha256": parent,
        "curve": read_curve(folder / "metrics.csv"),
        "errors": errors,
        "versions": record.versions,
    }
    if (folder / "guard.json").is_file():
        guard = read_record(folder / "guard.json", Guard)
        if guard.checkpoint_sha256 == record.checkpoint_sha256:
            facts["guard"] = guard
    return facts


def _facts_of_own_card(checkpoint: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the card beside a checkpoint says, where the training's folder is not there."""
    card = _own_card(checkpoint, facts["checkpoint_sha256"])
    if card is None:
        return {}
    known = facts.keys() - {"made_by"}
    return {name: getattr(card, name) for name in Card.model_fields.keys() - known}


def read_curve(path: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.csv, about 300 of them, those with a validation first of all."""
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
    validated = [row for row in rows if "val_force_rmse_eV_per_A" in row] or rows
    step = -(-len(validated) // CURVE_POINTS) or 1
    return validated[::step]


def _ancestry(checkpoint: Path, facts: dict[str, Any], options: CardOptions) -> dict[str, Any]:
    """Return the transmutation that made a checkpoint, and its parent's card, plots left out."""
    sidecar = checkpoint.with_suffix(".json")
    found: dict[str, Any] = {}
    if sidecar.is_file() and _format_of(sidecar) == Transmutation.format_name:
        record = read_record(sidecar, Transmutation)
        if record.checkpoint_sha256 == facts["checkpoint_sha256"]:
            found = {"transmutation": record, "made_by": "transmutation"}
            found["parent_sha256"] = record.parent_sha256
    wanted = found.get("parent_sha256") or facts.get("parent_sha256")
    if wanted is None:
        return found
    if options.parent is not None:
        parent = find_card(checkpoint_of(options.parent))
        if parent.checkpoint_sha256 != wanted:
            raise UserError(
                f"{options.parent}: not the parent of {checkpoint} (sha256 "
                f"{parent.checkpoint_sha256[:12]}, expected {wanted[:12]}); name the checkpoint "
                "that it was made from"
            )
        found["parent"] = parent.model_copy(update={"parity": None, "curve": []})
    else:
        found["parent"] = _parent_of_old_card(card_path(checkpoint), wanted)
    return found


def _parent_of_old_card(path: Path, wanted: str) -> Card | None:
    """Return the parent's card from the card that an earlier command wrote."""
    if not path.is_file():
        return None
    parent = read_record(path, Card).parent
    return parent if parent is not None and parent.checkpoint_sha256 == wanted else None


def _format_of(path: Path) -> Any:
    try:
        raw = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return raw.get("format") if isinstance(raw, dict) else None


def _facts_of_frames(
    checkpoint: Path,
    model: torch.nn.Module,
    spec: TrainSpec | None,
    record: Training | None,
    options: CardOptions,
) -> dict[str, Any]:
    """Judge the model on its test frames, else on validation: by type, parity, committee."""
    name, path = _judging_frames(spec, record, options)
    if path is None:
        if options.committee:
            raise UserError(
                f"{checkpoint}: its test and validation files are not there any more, so a "
                "committee cannot be judged; name labelled frames by --test"
            )
        return {}
    elements = list(model.type_names)
    found, zero = judge(model, path, elements), None
    if options.test is not None and found.has_another_zero():
        zero = dict(zip(elements, found.best_zero().tolist(), strict=True))
        found = found.at_best_zero()
    facts: dict[str, Any] = {
        "judged_on": name,
        "zero_shift_eV": zero,
        "by_type": found.by_type(),
        "parity": parity_of(found),
        "calibration": None,
    }
    if options.test is not None:
        facts["errors"] = {name: found.errors()}
    if options.committee:
        members = [checkpoint, *(checkpoint_of(one) for one in options.committee)]
        facts["calibration"] = committee(members, read_labelled(path), elements)
    return facts


def _judging_frames(
    spec: TrainSpec | None, record: Training | None, options: CardOptions
) -> tuple[str, Path | None]:
    if options.test is not None:
        return options.test.name, options.test
    if spec is None or record is None:
        return "", None
    parts = (
        ("test", spec.data.test, record.inputs.test_sha256),
        ("val", spec.data.val, record.inputs.val_sha256),
    )
    for name, file, digest in parts:
        if file is not None and digest is not None and is_same_file(file, digest):
            return name, Path(file)
    return "", None


def parity_of(found: Judged) -> Parity:
    """Return a sample of force components and energies, and percentiles over all of them."""
    true, forces = (np.concatenate(one).ravel() for one in (found.true_forces, found.forces))
    random = np.random.default_rng(0)
    size = min(PARITY_POINTS, len(true))
    chosen = np.sort(random.choice(len(true), size, replace=False))
    n_atoms = found.n_atoms
    true_energies, energies = found.true_energies / n_atoms, found.energies / n_atoms
    zero = true_energies.mean()
    return Parity(
        true_forces=np.round(true[chosen], 4).tolist(),
        forces=np.round(forces[chosen], 4).tolist(),
        true_energies=np.round(true_energies - zero, 5)[:PARITY_POINTS].tolist(),
        energies=np.round(energies - zero, 5)[:PARITY_POINTS].tolist(),
        force_percentiles=_percentiles(np.abs(forces - true)),
        energy_percentiles=_percentiles(np.abs(found.energy_errors)),
    )


def _percentiles(errors: np.ndarray) -> dict[str, float]:
    return {str(p): float(np.percentile(errors, p)) for p in (50, 90, 95, 99, 100)}


def _cost(record: Training, guard: Guard | None, parent: Card | None) -> Cost:
    ancestors = [] if parent is None else [one.cost for one in parent.line() if one.cost]
    return Cost(
        training_core_s=record.core_s,
        guard_core_s=0.0 if guard is None else guard.direct_core_s,
        ancestors_core_s=sum(one.training_core_s for one in ancestors),
        wall_s=record.wall_s,
        n_steps=record.n_steps,
        ms_per_step=record.ms_per_step,
        training_gpu_s=record.gpu_s,
        guard_gpu_s=0.0 if guard is None else guard.direct_gpu_s,
        ancestors_gpu_s=sum(one.training_gpu_s for one in ancestors),
    )


def read_robustness(folder: Path) -> Robustness:
    """Read a robustness report's ``summary.json``, written by a station after this one."""
    path = folder / "summary.json" if folder.is_dir() else folder
    digest = sha256_file(path)
    if _format_of(path) != "tempermd-summary":
        raise UserError(f"{path}: expected the summary.json of a robustness report")
    raw = json.loads(path.read_text())
    return Robustness(
        summary_sha256=digest,
        verdict=raw["verdict"],
        n_runs=raw["n_runs"],
        total_ps=raw["total_ps"],
        sentences={
            one["name"] + (" (control)" if one["control"] else ""): (
                f"{one['verdict']}: {one['sentence']}"
            )
            for one in raw["models"]
        },
    )
