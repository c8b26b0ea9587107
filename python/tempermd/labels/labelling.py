"""Labelling: any number of structures by one source, in parallel, going on after any kill."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from tempermd.engine import EngineOptions, EngineProfile, check_takes_tasks
from tempermd.labels import convergence
from tempermd.labels.cache import LabelCache
from tempermd.labels.convergence import GateSpec
from tempermd.labels.filling import fill
from tempermd.labels.frames import Frames, count_frames, made_from
from tempermd.labels.sources import open_source
from tempermd.labels.specs import Source, SourceSpec
from tempermd.labels.writing import Tally, Writer, folder_beside
from tempermd.records import (
    Record,
    Spec,
    UserError,
    only_one,
    read_record,
    sha256_file,
    write_record,
)


class LabelOptions(Spec):
    """How structures are labelled, beside by which source."""

    gate: GateSpec = GateSpec()
    accept_failures: float = Field(0.0, ge=0, le=1, description="fraction that may be set aside")
    retry_failed: bool = False
    cache: Path | None = Field(None, description="shared between commands; else removed when done")


class LabelRecord(Record):
    """What a labelling was made from, what it gave and what it cost."""

    format_name: ClassVar[str] = "tempermd-labels"

    source: dict[str, Any]
    gate: dict[str, Any]
    frames: int
    atoms: int
    labelled: int
    duplicates: int
    set_aside: dict[str, int]
    isolated_energies_eV: dict[str, float | None]
    convergence_eV_per_A: float | None
    core_seconds: float
    atoms_per_core_second: float | None
    made_from: dict[str, str]
    files: dict[str, str]
    versions: dict[str, str]


def label(
    frames: Frames,
    spec: SourceSpec,
    output: Path,
    options: LabelOptions | None = None,
    *,
    workers: int | None = None,
    profile: EngineProfile | None = None,
) -> Path:
    """Label structures and write them as extxyz, going on where an earlier call was stopped.

    Labels wait in a cache, ``<output>.labels.sqlite`` or the one of the options, until all are
    there; the output is then written in the order of the input. The same structure under
    another name is labelled once. Beside the output stands its record, ``<output>.json``.

    Parameters
    ----------
    frames
        Structures, a list or a file that is read as a stream; their ``info`` is kept.
    spec
        The source of the labels.
    output
        The extxyz to write.
    workers, profile
        Workers at a time, and where they are: on this machine if None. Only this process
        writes: nodes send their labels back to it.

    Returns
    -------
    Path
        The extxyz: energy (eV), forces (N, 3) (eV/A), stress (eV/A^3) where all axes are
        periodic, energies (N,) (eV) where the source has them; ``source``,
        ``source_version``, ``source_settings``, ``source_files`` per frame.

    Raises
    ------
    UserError
        For a source that cannot be opened, an output of something else, a full disk; and
        after all is written, when more were set aside (to ``<stem>.refused.extxyz``, each with
        its ``reason``) than the options accept.
    """
    options = options or LabelOptions()
    check_takes_tasks(profile)
    engine: EngineOptions = {
        "workers": workers,
        "profile": profile,
        "scratch": output.with_name(f".{output.name}.engine"),
    }
    total = count_frames(frames)
    if not total:
        raise UserError("no structures to label")
    source = open_source(spec)[0]
    job = _Job(frames, spec, source, output, options)
    with only_one(output):
        record = job.finished()
        if record is None:
            record = job.run(total, engine)
        job.clean(record)
    _judge(record, output, options)
    return output


@dataclass(frozen=True)
class _Job:
    """One labelling: what, by whom, to where."""

    frames: Frames
    spec: SourceSpec
    source: Source
    output: Path
    options: LabelOptions

    @property
    def cache_path(self) -> Path:
        own = self.output.with_name(self.output.name + ".labels.sqlite")
        return self.options.cache or own

    @property
    def gate(self) -> GateSpec:
        return self.options.gate.for_source(self.source)

    def finished(self) -> LabelRecord | None:
        """Return the record if the output is there and the same; refuse another's output."""
        if not self.output.exists():
            return None
        record_path = record_path_of(self.output)
        record = read_record(record_path, LabelRecord) if record_path.exists() else None
        if record is None or not self._same(record):
            raise UserError(
                f"{self.output}: exists already and was not made from these structures by this "
                "source and gate; name another output or remove it first"
            )
        whole = record.files.get(self.output.name) == sha256_file(self.output)
        again = self.options.retry_failed and record.set_aside
        return record if whole and not again else None

    def _same(self, record: LabelRecord) -> bool:
        asked = (self.source.model_dump(mode="json"), self.gate.model_dump(mode="json"))
        return (record.source, record.gate, record.made_from) == (*asked, made_from(self.frames))

    def run(self, total: int, engine: EngineOptions) -> LabelRecord:
        """Compute what is missing, then write everything."""
        cache = LabelCache(self.cache_path, self.source)
        try:
            if self.options.retry_failed:
                cache.forget_faults()
            gate = convergence.measure(self.frames, self.spec, self.gate, cache, engine)
            fill(
                self.frames,
                self.spec,
                cache,
                total=total,
                wanted=gate.passes,
                engine=engine,
            )
            record = self._publish(cache, gate)
        finally:
            cache.close()
        return record

    def clean(self, record: LabelRecord) -> None:
        """Remove the output's own cache when nothing is left to be tried again."""
        if self.options.cache is None and _accepted(record, self.options):
            self.cache_path.unlink(missing_ok=True)

    def _publish(self, cache: LabelCache, gate: convergence.Gate) -> LabelRecord:
        """Write labels, what is refused and the record; each appears when it is whole."""
        with folder_beside(self.output) as folder:
            good, bad = folder / "good.extxyz", folder / "bad.extxyz"
            writer = Writer(self.spec, self.source, cache, gate)
            tally = writer.write(self.frames, good, bad)
            made = {self.output: good, refused_path_of(self.output): bad}
            made = {path: part for path, part in made.items() if part.stat().st_size}
            files = {path.name: sha256_file(part) for path, part in made.items()}
            record = self._record(tally, files)
            write_record(record_path_of(self.output), record)
            for path in (self.output, refused_path_of(self.output)):
                if path in made:
                    made[path].replace(path)
                else:
                    path.unlink(missing_ok=True)
        return record

    def _record(self, tally: Tally, files: dict[str, str]) -> LabelRecord:
        packages = ("tempermd", "ase", "numpy")
        versions = {name: _version(name) for name in packages}
        return LabelRecord(
            source=self.source.model_dump(mode="json"),
            gate=self.gate.model_dump(mode="json"),
            frames=tally.frames,
            atoms=tally.atoms,
            labelled=tally.labelled,
            duplicates=tally.duplicates,
            set_aside=dict(tally.set_aside),
            isolated_energies_eV=tally.isolated_energies_eV,
            convergence_eV_per_A=tally.convergence_eV_per_A,
            core_seconds=tally.core_seconds,
            atoms_per_core_second=tally.atoms_per_core_second,
            made_from=made_from(self.frames),
            files=files,
            versions=versions | {"python": platform.python_version()},
        )


def record_path_of(output: Path) -> Path:
    """Return where the record of a labelled file stands."""
    return output.with_name(output.name + ".json")


def refused_path_of(output: Path) -> Path:
    """Return where the structures without a label stand."""
    return output.with_name(output.stem + ".refused" + output.suffix)


def _accepted(record: LabelRecord, options: LabelOptions) -> bool:
    number = sum(record.set_aside.values())
    return record.labelled > 0 and number <= options.accept_failures * record.frames


def _judge(record: LabelRecord, output: Path, options: LabelOptions) -> None:
    """Say what was set aside, if that is more than is accepted."""
    if _accepted(record, options):
        return
    number = sum(record.set_aside.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(record.set_aside.items()))
    others = f"the other {record.labelled} are in {output}" if record.labelled else "none is left"
    hint = "".join(f"; {_HINTS[kind]}" for kind in record.set_aside if kind in _HINTS)
    raise UserError(
        f"{number} of {record.frames} structures were set aside ({kinds}) to "
        f"{refused_path_of(output)}, each with its reason; {others}{hint}; --retry-failed tries "
        "them again, --accept-failures FRACTION does without them"
    )


_HINTS = {
    "convergence gate": "use longer cells, more k-points or a higher electronic temperature",
    "overlapping atoms": "if most overlap, are the coordinates in Angstrom?",
}


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
