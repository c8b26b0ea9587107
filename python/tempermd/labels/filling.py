"""Filling the cache: what has no label yet is computed in workers, in chunks of a few seconds."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ase import Atoms

from tempermd.engine import EngineOptions, Meter, stream_tasks
from tempermd.labels.cache import Finding, Label, LabelCache
from tempermd.labels.content import Fault, content_key, content_of, fault_of
from tempermd.labels.frames import Frames
from tempermd.labels.sources import compute, open_source
from tempermd.labels.specs import SourceSpec
from tempermd.records import UserError

CHUNK_S = 2.0
MAX_CHUNK_ATOMS = 50_000
MANY = 100
"""So many structures in the beginning without one label: then it is not the structures."""

DIED = "process died"
MAX_REASON = 500


@dataclass(frozen=True)
class Chunk:
    """Structures that one worker labels in one go: (key, content) each."""

    spec: SourceSpec
    structures: tuple[tuple[bytes, Atoms], ...]


@dataclass
class Filling:
    """One filling of a cache: what is under way, how fast it goes, what has failed."""

    spec: SourceSpec
    cache: LabelCache
    meter: Meter
    chunk_atoms: float = 1.0
    under_way: set[bytes] = field(default_factory=set)
    died: list[Chunk] = field(default_factory=list)
    labelled: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def chunks(self, frames: Iterable[Atoms], wanted: Callable[[Atoms], bool]) -> Iterator[Chunk]:
        """Yield what is to be computed, in chunks that take a few seconds each."""
        structures, n_atoms = [], 0
        for frame in frames:
            content = content_of(frame)
            key = content_key(content)
            if key in self.under_way or self.cache.knows(key) or not wanted(frame):
                self.meter.skip(1)
                continue
            self.under_way.add(key)
            structures.append((key, content))
            n_atoms += len(content)
            if n_atoms >= self.chunk_atoms:
                yield Chunk(self.spec, tuple(structures))
                structures, n_atoms = [], 0
        if structures:
            yield Chunk(self.spec, tuple(structures))

    def run(self, chunks: Iterable[Chunk], engine: EngineOptions) -> None:
        """Label chunks in workers and store what they find as it comes."""
        for result in stream_tasks(label_chunk, chunks, on_death=_after_death, **engine):
            if isinstance(result, Chunk):
                self.died.append(result)
            else:
                self._take(result)

    def _take(self, findings: list[Finding]) -> None:
        self.cache.store(findings)
        self.under_way.difference_update(finding.key for finding in findings)
        n_atoms = sum(finding.n_atoms for finding in findings)
        self.meter.advance({"labels": len(findings), "atoms": n_atoms})
        labels = [f for f in findings if isinstance(f.found, Label)]
        self.labelled += len(labels)
        self.faults.update(f.found.kind for f in findings if isinstance(f.found, Fault))
        self.learn(sum(f.n_atoms for f in labels), sum(f.elapsed_s for f in labels))
        self._give_up_on_the_hopeless(findings[-1].found)

    def learn(self, n_atoms: int, seconds: float) -> None:
        """Size the next chunks by the speed of this one, growing step by step."""
        if n_atoms:
            ideal = CHUNK_S * n_atoms / max(seconds, 1e-6)
            self.chunk_atoms = min(ideal, max(8 * n_atoms, self.chunk_atoms), MAX_CHUNK_ATOMS)

    def _give_up_on_the_hopeless(self, last: Label | Fault) -> None:
        total = self.faults.total()
        if isinstance(last, Fault) and (
            (not self.labelled and total >= MANY)
            or (self.faults[DIED] >= MANY / 5 and self.faults[DIED] > self.labelled / MANY)
        ):
            raise UserError(
                f"label source '{self.spec.name}': {total} structures failed and only "
                f"{self.labelled} were labelled, the last: {last.reason}; mend the source or the "
                "input and give the same command with --retry-failed, or without it to go on "
                "behind these"
            )


def fill(
    frames: Frames,
    spec: SourceSpec,
    cache: LabelCache,
    *,
    total: int,
    wanted: Callable[[Atoms], bool] = lambda atoms: True,
    engine: EngineOptions | None = None,
) -> None:
    """Bring a label or a fault of every wanted frame into the cache.

    A structure whose worker dies is found by labelling its chunk one by one.

    Parameters
    ----------
    total
        Number of frames, for the time left.
    wanted
        Tells which frames need a label.
    engine
        How many workers, and where they are.

    Raises
    ------
    UserError
        When the source cannot be opened, and when it fails on everything.
    """
    engine = engine or {}
    filling = Filling(spec, cache, Meter(f"labels by {spec.kind}", total, "labels"))
    with filling.meter.shown():
        filling.run(filling.chunks(frames, wanted), engine)
        singles = [one for chunk in filling.died for one in chunk.structures]
        filling.run((Chunk(spec, (one,)) for one in singles), engine)


def _after_death(chunk: Chunk) -> Chunk | list[Finding]:
    """Give back a chunk whose structures must be tried one by one, or the one that kills."""
    if len(chunk.structures) > 1:
        return chunk
    ((key, atoms),) = chunk.structures
    reason = "the process died while it labelled this structure"
    return [Finding(key, len(atoms), Fault(DIED, reason))]


_open: dict[str, Any] = {}


def label_chunk(chunk: Chunk) -> list[Finding]:
    """Label a chunk in a worker."""
    findings = []
    for key, atoms in chunk.structures:
        start_s = time.perf_counter()
        found = _label_or_fault(atoms, chunk.spec)
        findings.append(Finding(key, len(atoms), found, time.perf_counter() - start_s))
    return findings


def _label_or_fault(atoms: Atoms, spec: SourceSpec) -> Label | Fault:
    fault = fault_of(atoms)
    if fault is not None:
        return fault
    name = spec.model_dump_json()
    if name not in _open:
        _open[name] = open_source(spec)[1]
    start_s = processor_s()
    try:
        results = compute(atoms, _open[name]).calc.results
    except Exception as error:
        # any calculator may raise anything; the next structure gets a new one, since what a
        # failure leaves behind is unknown
        _open.pop(name)
        return _fault_of_source(error)
    return Label(
        energy=float(results["energy"]),
        forces=results["forces"],
        stress=results.get("stress"),
        energies=results.get("energies"),
        seconds=processor_s() - start_s,
    )


def processor_s() -> float:
    """Return the processor time of this process and of the programs that it ran, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _fault_of_source(error: Exception) -> Fault:
    """Sort a failure of a source into the kinds that are counted, with all it says on one line."""
    cause = error.__cause__ or error
    text = " ".join(str(cause).split())[:MAX_REASON]
    if not isinstance(cause, UserError):
        text = f"{type(cause).__name__}: {text}"
    if "non-finite" in text:
        return Fault("non-finite numbers", text)
    return Fault("not converged" if "converge" in text else "calculator error", text)
