"""Writing labelled structures: a second stream over the input, with the labels of the cache."""

from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ase import Atoms

from tempermd.labels.cache import Label, LabelCache
from tempermd.labels.content import Fault, content_key, content_of
from tempermd.labels.convergence import Gate
from tempermd.labels.frames import Frames
from tempermd.labels.isolated import isolated_energies
from tempermd.labels.specs import Source, SourceSpec
from tempermd.records import UserError

_OURS = (
    "source",
    "source_version",
    "source_settings",
    "source_files",
    "isolated_energies_eV",
    "convergence_eV_per_A",
    "reason",
)


@dataclass
class Tally:
    """What was written: numbers of frames, and what the labels cost."""

    frames: int = 0
    atoms: int = 0
    labelled: int = 0
    duplicates: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    convergence_eV_per_A: float | None = None
    isolated_energies_eV: dict[str, float | None] = field(default_factory=dict)
    core_seconds: float = 0.0
    _atoms_paid: int = 0
    _seen: set[bytes] = field(default_factory=set)

    def add(self, key: bytes, atoms: Atoms, found: Label | Fault, figure: float | None) -> None:
        """Count one frame."""
        self.frames += 1
        self.atoms += len(atoms)
        if isinstance(found, Fault):
            self.set_aside[found.kind] += 1
            return
        self.labelled += 1
        if figure is not None:
            self.convergence_eV_per_A = max(figure, self.convergence_eV_per_A or 0.0)
        if key[:8] in self._seen:
            self.duplicates += 1
            return
        self._seen.add(key[:8])
        self.core_seconds += found.seconds
        self._atoms_paid += len(atoms)

    @property
    def atoms_per_core_second(self) -> float | None:
        """Atoms that one core labelled in a second."""
        return self._atoms_paid / self.core_seconds if self.core_seconds else None


@dataclass(frozen=True)
class Writer:
    """Turns frames into labelled ones, from what the cache and the gate know of them."""

    spec: SourceSpec
    source: Source
    cache: LabelCache
    gate: Gate

    def write(self, frames: Frames, good: Path, bad: Path) -> Tally:
        """Write labelled frames to ``good`` and those without a label to ``bad``, as extxyz."""
        from ase.io.extxyz import write_extxyz

        tally = Tally()
        with good.open("w") as good_file, bad.open("w") as bad_file:
            for frame in frames:
                key = content_key(content_of(frame))
                figure, refusal = self.gate.verdict(frame)
                found = refusal or self.cache.find(key)
                if found is None:
                    raise UserError("the structures changed while they were labelled; try again")
                tally.add(key, frame, found, figure)
                named = self._named(frame, found, figure, tally)
                write_extxyz(bad_file if isinstance(found, Fault) else good_file, [named])
        return tally

    def _named(
        self, frame: Atoms, found: Label | Fault, figure: float | None, tally: Tally
    ) -> Atoms:
        """Return the frame with its label, or its reason, and where they come from."""
        named = frame.copy()
        for name in _OURS:
            named.info.pop(name, None)
        named.info["source"] = self.source.name
        named.info["source_version"] = self.source.version
        named.info["source_settings"] = json.dumps(self.source.settings, sort_keys=True)
        named.info["source_files"] = json.dumps(self.source.files, sort_keys=True)
        if figure is not None:
            named.info["convergence_eV_per_A"] = figure
        if isinstance(found, Fault):
            named.info["reason"] = f"{found.kind}: {found.reason}"
            return named
        own = self._isolated(frame, tally)
        if own:
            named.info["isolated_energies_eV"] = json.dumps(own)
        return found.on(named)

    def _isolated(self, frame: Atoms, tally: Tally) -> dict[str, float]:
        """Return the energies of a frame's elements alone (eV), where the source has them."""
        symbols = sorted(set(frame.symbols))
        for symbol in symbols:
            if symbol not in tally.isolated_energies_eV:
                found = isolated_energies(self.spec, [symbol]) or {}
                tally.isolated_energies_eV[symbol] = found.get(symbol)
        known = {symbol: tally.isolated_energies_eV[symbol] for symbol in symbols}
        return {symbol: energy for symbol, energy in known.items() if energy is not None}


@contextmanager
def folder_beside(output: Path) -> Iterator[Path]:
    """Yield an empty folder beside an output for its parts; gone afterwards, also a dead one's."""
    folder = output.with_name(f".{output.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(
            f"{output}: the disk is full; make room and give the same command again: what is "
            "labelled is kept"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
