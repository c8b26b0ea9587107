"""The negative-transfer guard: is a fine-tuned model worth its pre-training?"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.cards.comparison import differences, resampled, sentence_of, verdict_of
from tempermd.cards.judged import Judged, judge, judge_source
from tempermd.cards.records import Card, Guard, GuardOptions, LabelSource, Rival
from tempermd.dataset import iter_labelled
from tempermd.labels import LabelFailureError, SourceSpec, open_source
from tempermd.labels.sources import compute
from tempermd.records import UserError, read_record, sha256_file, write_record
from tempermd.training import DivergedError, Training, TrainSpec, resolved_spec, train
from tempermd.training.data import gather_statistics, read_frames
from tempermd.training.models import (
    ModelSpec,
    config_of_checkpoint,
    energy_only,
    load_checkpoint,
    spec_of_config,
)

if TYPE_CHECKING:
    from ase import Atoms

CHEAP_S = 60.0
"""A source that the base's card names, but not the user, may take so long on all frames."""


@dataclass(frozen=True)
class _Tuned:
    """A finished fine-tuning: folder, resolved spec, record, parent and its hyperparameters."""

    folder: Path
    spec: TrainSpec
    record: Training
    parent: Path
    model: ModelSpec

    @property
    def judged_on(self) -> tuple[str, str]:
        """Return the part that judges, and its file."""
        data = self.spec.data
        return ("val", data.val) if data.test is None else ("test", data.test)


def guard(
    folder: Path | str,
    base: Path | str,
    options: GuardOptions | None = None,
    parent_card: Card | None = None,
    *,
    threads: int = 1,
    progress: bool = True,
) -> Guard:
    """Compare a fine-tuned model with direct training, its start and its label source.

    All are judged on the test frames, or on the validation frames where there is no test set.
    Direct training takes the same data, budget and settings from random weights, so it costs
    as much as the fine-tuning; it is kept in ``folder/direct``. The start is the parent with
    reference energies refitted to the training frames. A label source's energies are compared
    at the zero that fits the judging frames best, which favours it. The result is kept in
    ``folder/guard.json``, and found there the next time.

    Parameters
    ----------
    folder
        A finished fine-tuning.
    base
        The checkpoint that it started from (a pickle: opening it runs code in it).
    parent_card
        The base's card, whose label source is compared where it can be opened and is cheap.
    """
    options = options or GuardOptions()
    tuned = _finished(Path(folder), Path(base))
    asked = options.source or getattr(_named_source(parent_card), "name", None)
    known = _kept(tuned, options, asked)
    if known is not None:
        return known
    record = _compared(tuned, options, asked, parent_card, threads=threads, progress=progress)
    write_record(tuned.folder / "guard.json", record)
    return record


def _compared(
    tuned: _Tuned,
    options: GuardOptions,
    asked: str | None,
    parent_card: Card | None,
    *,
    threads: int,
    progress: bool,
) -> Guard:
    part, path = tuned.judged_on
    frames = list(iter_labelled(path))
    own = judge(tuned.folder / "best.ckpt", frames, list(tuned.model.type_names))
    rivals, skipped, direct = _direct_rival(
        tuned, frames, own, asked=options.train_direct, threads=threads, progress=progress
    )
    rivals += _other_rivals(tuned, frames, own, (options.source, parent_card), skipped)
    kind, groups = resampled(own.groups)
    errors = own.errors()
    return Guard(
        checkpoint_sha256=tuned.record.checkpoint_sha256,
        parent_sha256=str(tuned.record.inputs.parent_sha256),
        options=options,
        source_asked=asked,
        part="val" if part == "val" else "test",
        n_frames=len(frames),
        resampled=kind,
        n_resampled=int(groups.max()) + 1,
        errors=errors,
        rivals=rivals,
        not_compared=skipped,
        verdict=verdict_of(rivals),
        sentence=sentence_of(part, errors, rivals, skipped),
        direct_core_s=0.0 if direct is None else direct.core_s,
        direct_gpu_s=0.0 if direct is None else direct.gpu_s,
    )


def _finished(folder: Path, base: Path) -> _Tuned:
    record = read_record(folder / "training.json", Training)
    if record.inputs.parent_sha256 is None:
        raise UserError(f"{folder}: a training from nothing; only fine-tuned models are guarded")
    if record.inputs.parent_sha256 != sha256_file(base):
        raise UserError(f"{base}: not the checkpoint that {folder} was fine-tuned from")
    model = spec_of_config(config_of_checkpoint(base), str(base))
    return _Tuned(folder, resolved_spec(folder / "spec.toml"), record, base, model)


def _kept(tuned: _Tuned, options: GuardOptions, source: str | None) -> Guard | None:
    """Return what an earlier guard found of the same checkpoint and source, by the same options."""
    path = tuned.folder / "guard.json"
    if not path.is_file():
        return None
    found = read_record(path, Guard)
    same = found.checkpoint_sha256 == tuned.record.checkpoint_sha256
    same = same and (found.options, found.source_asked) == (options, source)
    return found if same else None


def _direct_rival(
    tuned: _Tuned, frames: list[Atoms], own: Judged, *, asked: bool, threads: int, progress: bool
) -> tuple[list[Rival], list[str], Training | None]:
    """Return direct training as a rival, why it is none, and its record."""
    if not asked:
        return [], ["direct training, by --no-guard"], None
    try:
        model, record = _direct(tuned, threads, progress=progress)
    except DivergedError:
        return [], ["direct training, which diverged at this learning rate"], None
    other = judge(model, frames, list(tuned.model.type_names))
    return [_rival("direct", "", own, other)], [], record


def _direct(tuned: _Tuned, threads: int, *, progress: bool) -> tuple[Path, Training]:
    """Train on the same data from nothing; return the checkpoint and the record."""
    if progress:
        print(
            f"guard: training directly on the same frames, about {tuned.record.wall_s:.0f} s "
            "(--no-guard goes without)",
            file=sys.stderr,
        )
    # tables of the spec that only fine-tuning has (they name the parent's layers and data)
    spec = TrainSpec(model=tuned.model, data=tuned.spec.data, training=tuned.spec.training)
    folder = tuned.folder / "direct"
    best = train(spec, folder, threads=threads, progress=progress)
    return best, read_record(folder / "training.json", Training)


def _other_rivals(
    tuned: _Tuned,
    frames: list[Atoms],
    own: Judged,
    source: tuple[str | None, Card | None],
    skipped: list[str],
) -> list[Rival]:
    """Return the start and the label source (named, or by the base's card) as rivals."""
    names = list(tuned.model.type_names)
    rivals = [_rival("start", tuned.parent.name, own, _start(tuned, frames, names))]
    try:
        found = _source(*source, frames, names)
        if found is not None:
            rivals.append(_rival("source", found[0], own, found[1]))
    except (UserError, LabelFailureError) as error:
        if source[0] is not None:
            raise
        skipped.append(str(error))
    return rivals


def _start(tuned: _Tuned, frames: list[Atoms], names: list[str]) -> Judged:
    """Return the parent's errors with reference energies refitted to the training frames."""
    data, model = tuned.spec.data, load_checkpoint(tuned.parent)
    training = read_frames(data.train, names, tuned.model.cutoff_A, data.n_train, data.subset_seed)
    change = gather_statistics(training, names, energy_only(model)).energies_per_type(names)
    return judge(model, frames, names).shifted(np.array([change[name] for name in names]))


def _rival(kind: Any, name: str, own: Judged, other: Judged) -> Rival:
    forces, energy = differences(own, other)
    return Rival(kind=kind, name=name, errors=other.errors(), forces=forces, energy=energy)


def _source(
    wanted: str | None, parent_card: Card | None, frames: list[Atoms], names: list[str]
) -> tuple[str, Judged] | None:
    """Return the label source's name and errors; None where none is named or it is the truth."""
    if wanted is not None:
        source, calculator = open_source(SourceSpec(name=wanted))
        return source.name, judge_source(calculator, frames, names)
    named = _named_source(parent_card)
    if named is None:
        return None
    source, calculator = open_source(SourceSpec(name=named.name, settings=named.settings))
    if source.files != named.files:
        raise UserError(f"{named.name}: its parameter files are not those of the base's labels")
    if {(source.name, source.version)} == {
        (str(one.info.get("source")), str(one.info.get("source_version"))) for one in frames
    }:
        return None
    started_s = time.monotonic()
    compute(frames[0], calculator)
    needed_s = (time.monotonic() - started_s) * len(frames)
    if needed_s > CHEAP_S:
        raise UserError(f"{named.name} would take {needed_s:.0f} s, --source {named.name} does it")
    return source.name, judge_source(calculator, frames, names)


def _named_source(card: Card | None) -> LabelSource | None:
    """Return the source that labelled most training frames of the line's first ancestor."""
    if card is None:
        return None
    for ancestor in reversed(card.line()):
        sources = [one for part in ancestor.data if part.part == "train" for one in part.sources]
        if sources:
            return max(sources, key=lambda one: one.n_frames)
    return None
