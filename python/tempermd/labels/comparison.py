"""Comparing label sources: the error of each against a truth, and what each costs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tempermd.labels.cache import Label, LabelCache
from tempermd.labels.comparison_record import ComparisonRecord, Judged, SourceResult
from tempermd.labels.content import Fault, content_key, content_of
from tempermd.labels.errors import Errors
from tempermd.labels.filling import fill
from tempermd.labels.frames import Frames, count_frames, made_from
from tempermd.labels.sources import open_source
from tempermd.labels.specs import Source, SourceSpec
from tempermd.records import UserError, only_one

PLOT_POINTS = 3000
"""About so many force components, and energies, of each source are in its plots."""

IN_FILE = "labels"
"""Name of the truth that is in the file already."""

RECORD_NAME = "comparison.json"
CACHE_NAME = "labels.sqlite"


Truth = Callable[[int, Atoms, bytes], Label | Fault]


@dataclass
class _Study:
    """What all sources of one comparison share."""

    frames: Frames
    total: int
    cache_path: Path
    workers: int | None
    truths: list[dict[str, Any]]

    def filled(self, spec: SourceSpec, source: Source) -> LabelCache:
        """Return the cache with a label or a fault of this source for every frame."""
        cache = LabelCache(self.cache_path, source)
        fill(self.frames, spec, cache, total=self.total, engine={"workers": self.workers})
        return cache

    def judge(self, spec: SourceSpec, source: Source, truth: Truth) -> Judged:
        """Measure one source against the truth."""
        errors, set_aside = Errors(-(-PLOT_POINTS // self.total)), Counter()
        with closing(self.filled(spec, source)) as cache:
            for number, frame in enumerate(self.frames):
                key = content_key(content_of(frame))
                pair = truth(number, frame, key), cache.find(key)
                faults = [found for found in pair if isinstance(found, Fault)]
                if faults:
                    set_aside[faults[0].kind] += 1
                else:
                    errors.add(frame, *pair)
        if not errors.kinds:
            raise UserError(
                f"label source '{spec.name}' and the truth have no labelled frame in common: "
                + ", ".join(f"{number} {kind}" for kind, number in set_aside.items())
            )
        result = SourceResult(
            source=source.model_dump(mode="json"),
            all=errors.over(np.ones(len(errors.kinds), dtype=bool)),
            kinds=errors.by_kind(),
            set_aside=dict(set_aside),
            ms_per_atom=1000 * float(np.median(errors.seconds_per_atom)),
            note=dependence(source.model_dump(mode="json"), self.truths),
        )
        return Judged(result, errors)


def compare(
    frames: Frames,
    specs: Sequence[SourceSpec],
    output: Path,
    *,
    truth: SourceSpec | None = None,
    cache: Path | None = None,
    workers: int | None = None,
) -> Path:
    """Measure label sources against a truth and write a report.

    Energies are compared per atom after each source's own zero of energy is taken out (one
    energy per element by least squares, see `errors.Errors.shifted_energy_errors`), forces
    component by component. Labels are kept in ``<output>/labels.sqlite`` (or ``cache``), so a
    stopped comparison, or one with a further source, goes on from there.

    Parameters
    ----------
    frames
        Frames with labels, or any frames if ``truth`` names the source that labels them.
    output
        The folder of the report.

    Returns
    -------
    Path
        The page; beside it stand ``comparison.json``, ``comparison.csv``, ``comparison.md``.

    Raises
    ------
    UserError
        For a source that cannot be opened, frames without labels, a folder of something else.
    """
    from tempermd.labels.comparison_page import write_report

    total = count_frames(frames)
    if not total:
        raise UserError("no frames to compare label sources on")
    opened = [(spec, open_source(spec)[0]) for spec in specs]
    truth_source = open_source(truth)[0] if truth else None
    truths = [truth_source.model_dump(mode="json")] if truth else check_labels(frames)
    _refuse_foreign(output)
    with only_one(output / RECORD_NAME):
        study = _Study(frames, total, cache or output / CACHE_NAME, workers, truths)
        if truth is None:
            judged = [study.judge(spec, source, label_in) for spec, source in opened]
        else:
            with closing(study.filled(truth, truth_source)) as true_labels:
                judged = [
                    study.judge(spec, source, lambda number, frame, key: true_labels.find(key))
                    for spec, source in opened
                ]
        return write_report(_record(study, judged), judged, output)


def _record(study: _Study, judged: list[Judged]) -> ComparisonRecord:
    largest = max(judged, key=lambda one: len(one.errors.kinds)).errors
    return ComparisonRecord(
        truth=study.truths,
        frames=study.total,
        atoms=sum(counts.total() for counts in largest.compositions),
        true_force_rms_eV_per_A=largest.true_force_rms(),
        results=[one.result for one in judged],
        made_from=made_from(study.frames),
    )


def label_in(number: int, atoms: Atoms, key: bytes = b"") -> Label:
    """Return the label that a frame carries."""
    results = atoms.calc.results if atoms.calc is not None else {}
    for name in ("energy", "forces"):
        if name not in results:
            raise UserError(
                f"frame {number} has no {name} to be the truth; name the source that is the "
                "truth (--truth NAME), or label the frames first (tempermd label)"
            )
        if not np.isfinite(results[name]).all():
            raise UserError(f"frame {number}: {name} not finite (NaN or Inf)")
    return Label(float(results["energy"]), results["forces"], None, None, 0.0)


def check_labels(frames: Frames) -> list[dict[str, Any]]:
    """Check that every frame has a label, and return the sources of these labels."""
    found = {}
    for number, atoms in enumerate(frames):
        label_in(number, atoms)
        names = {"source": "name", "source_version": "version"}
        source = {ours: str(atoms.info.get(name, "unknown")) for name, ours in names.items()}
        for name, ours in {"source_settings": "settings", "source_files": "files"}.items():
            source[ours] = _parsed(atoms.info.get(name, "{}"))
        found[json.dumps(source, sort_keys=True)] = source
    return list(found.values())


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


def dependence(source: dict[str, Any], truths: list[dict[str, Any]]) -> str:
    """Say in how far a source and the truth are not independent, as far as can be told."""
    asked = ("name", "settings", "files")
    if any(all((source.get(k) or {}) == (truth.get(k) or {}) for k in asked) for truth in truths):
        return "is the truth itself"
    files = set((source.get("files") or {}).values())
    if any(files & set((truth.get("files") or {}).values()) for truth in truths):
        return "not independent: shares a parameter file with the truth"
    kind = source["name"].split(":")[0]
    if kind != "ase" and any(truth["name"].split(":")[0] == kind for truth in truths):
        return "not independent: the truth's kind with other settings"
    return ""


def _refuse_foreign(output: Path) -> None:
    """Refuse a folder that holds something else than an earlier comparison."""
    known = [output / RECORD_NAME, output / CACHE_NAME, output / f".{RECORD_NAME}.lock"]
    used = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if used and not any(path.exists() for path in known):
        raise UserError(f"{output}: exists already; name another output or remove it first")
