"""Conversion of frames from one file format to another, in eV and A."""

from __future__ import annotations

from pathlib import Path

from tempermd.dataset.importing import ImportSpec, iter_imported
from tempermd.dataset.plain import labels_of
from tempermd.dataset.writing import SUFFIXES, new_file, open_writer
from tempermd.engine import Meter
from tempermd.records import UserError


def convert(source: Path | str, target: Path | str, spec: ImportSpec | None = None) -> Path:
    """Read frames of one format and write them in another, both by their suffix.

    Energies, forces and stresses go along in eV and A, and all info. For ``.lmdb`` all frames
    need labels. A frame at a time is in memory.

    Raises
    ------
    UserError
        For a frame that is damaged, labels that are not found under their names, units that look
        wrong, or a target that exists.
    """
    source, target = Path(source), Path(target)
    spec = spec or ImportSpec()
    if target.suffix not in SUFFIXES:
        raise UserError(f"{target}: expected an output that ends in {', '.join(SUFFIXES)}")
    if target.exists():
        raise UserError(f"{target}: exists already; name another output or remove it first")
    need = target.suffix == ".lmdb"
    labels = _common_labels(source, spec) if need else set()
    meter = Meter("converting", None, "frames")
    with (
        new_file(target) as temporary,
        open_writer(temporary, stress="stress" in labels, energies="energies" in labels) as writer,
        meter.shown(),
    ):
        for atoms in iter_imported(source, spec, need_labels=need):
            writer.add(atoms)
            meter.advance({"frames": 1, "atoms": len(atoms)})
    return target


def _common_labels(source: Path, spec: ImportSpec) -> set[str]:
    """Return the labels that all frames have."""
    common: set[str] | None = None
    for atoms in iter_imported(source, spec, need_labels=True, check=False):
        here = set(labels_of(atoms))
        common = here if common is None else common & here
    return common or set()
