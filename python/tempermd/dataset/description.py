"""Description of a dataset: what it holds, in which ranges, what stands out, what is double."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tempermd.dataset.building import DatasetRecord, read_dataset_record
from tempermd.dataset.duplicates import Copies
from tempermd.dataset.energies import References, gather_one, reference_of
from tempermd.dataset.frames import (
    check_frame_labels,
    close_pairs,
    iter_structures,
    source_of,
)
from tempermd.dataset.plain import labels_of
from tempermd.engine import Meter
from tempermd.records import UserError

if TYPE_CHECKING:
    from ase import Atoms

    from tempermd.dataset.energies import SourceEnergies

PARTS = ("train", "val", "test")
UNUSUAL = 6.0
"""Frames whose robust z-score is beyond this stand out."""
FAR_A = 4.0
"""Nearest neighbors are searched up to here."""
AMU_A3_TO_G_CM3 = 1.66053906660
"""CODATA 2018."""

Visit = Callable[["Atoms"], None]


@dataclass(frozen=True)
class Outlier:
    """A frame that stands out: where it is, by which quantity, by how much."""

    part: str
    frame: int
    quantity: str
    value: float
    score: float
    trajectory: str


@dataclass
class Description:
    """What `describe` found.

    Attributes
    ----------
    quantities
        Name with unit -> one value per frame, shape (F,), NaN where a frame has none.
    parts, kinds, sources, trajectories
        One entry per frame.
    duplicates, near_duplicates
        Groups of frames (part, number) with the same structure; turned, mirrored or reordered.
    """

    path: Path
    record: DatasetRecord | None
    elements: Counter[str] = field(default_factory=Counter)
    parts: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    trajectories: list[str] = field(default_factory=list)
    n_atoms: list[int] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    quantities: dict[str, np.ndarray] = field(default_factory=dict)
    references: References = field(default_factory=dict)
    reference_kinds: dict[str, str] = field(default_factory=dict)
    outliers: list[Outlier] = field(default_factory=list)
    duplicates: list[list[tuple[str, int]]] = field(default_factory=list)
    near_duplicates: list[list[tuple[str, int]]] = field(default_factory=list)

    @property
    def straddling(self) -> list[list[tuple[str, int]]]:
        """Duplicates that are in more than one part: leaks."""
        groups = self.duplicates + self.near_duplicates
        return [group for group in groups if len({part for part, _ in group}) > 1]


ENERGY = "energy above reference (eV/atom)"
LARGEST_FORCE = "largest force (eV/A)"
FORCE = "rms force (eV/A)"
DENSITY = "density (g/cm3)"
SHORTEST = "shortest distance (A)"
QUANTITIES = (ENERGY, FORCE, LARGEST_FORCE, DENSITY, SHORTEST)


def describe(path: Path | str, visit: Visit | None = None) -> Description:
    """Go through a dataset folder or a file of frames once and tell what it holds.

    Parameters
    ----------
    visit
        Called with every frame, in order.

    Raises
    ------
    UserError
        When there is nothing to read or a labelled frame is damaged.
    """
    path = Path(path)
    found = Description(path, _record(path))
    copies = Copies()
    energies: dict[str, SourceEnergies] = {}
    rows: list[dict[str, float]] = []
    for part, number, atoms in _metered(_frames(path)):
        labels = labels_of(atoms)
        if {"energy", "forces"} <= set(labels):
            check_frame_labels(atoms, f"{part}: frame {number}")
            gather_one(energies, atoms)
        _note(found, part, number, atoms)
        rows.append(_measure(atoms))
        copies.add(atoms)
        if visit is not None:
            visit(atoms)
    found.references, found.reference_kinds = _references(found.record, energies)
    found.quantities = _quantities(found, rows)
    found.duplicates = _groups(found, copies.contents)
    exact = {place for group in found.duplicates for place in group[1:]}
    near = [[one for one in group if one not in exact] for group in _groups(found, copies.labels())]
    found.near_duplicates = [group for group in near if len(group) > 1]
    found.outliers = _outliers(found)
    return found


def _groups(found: Description, labels: Sequence[Hashable]) -> list[list[tuple[str, int]]]:
    """Return the places (part, number) of frames that share a label."""
    groups: dict[Hashable, list[tuple[str, int]]] = defaultdict(list)
    for place, label in zip(zip(found.parts, found.numbers, strict=True), labels, strict=True):
        if label is not None:
            groups[label].append(place)
    return [group for group in groups.values() if len(group) > 1]


def _record(path: Path) -> DatasetRecord | None:
    return read_dataset_record(path) if path.is_dir() else None


def _frames(path: Path) -> Iterator[tuple[str, int, Atoms]]:
    """Yield part (or file name), number and frame."""
    for part, file in dataset_files(path):
        for number, atoms in enumerate(iter_structures(file)):
            yield part, number, atoms


def _metered(frames: Iterator[tuple[str, int, Atoms]]) -> Iterator[tuple[str, int, Atoms]]:
    """Show on stderr how far the reading is."""
    meter = Meter("reading", None, "frames")
    with meter.shown():
        for part, number, atoms in frames:
            yield part, number, atoms
            meter.advance({"frames": 1, "atoms": len(atoms)})


def dataset_files(path: Path) -> list[tuple[str, Path]]:
    """Return the parts of a dataset folder and their files; a file stands for itself."""
    if not path.is_dir():
        return [(path.name, path)]
    files = [(name, path / f"{name}{end}") for name in PARTS for end in (".extxyz", ".lmdb")]
    present = [(name, file) for name, file in files if file.is_file()]
    if not present:
        raise UserError(f"{path}: holds no part of a dataset (train, val, test)")
    return present


def _note(found: Description, part: str, number: int, atoms: Atoms) -> None:
    found.parts.append(part)
    found.numbers.append(number)
    found.elements.update(atoms.symbols)
    found.kinds.append(str(atoms.info.get("kind", atoms.info.get("config_type", "none"))))
    found.sources.append(source_of(atoms))
    found.trajectories.append(str(atoms.info.get("trajectory", "")))
    found.n_atoms.append(len(atoms))
    found.labels.update(labels_of(atoms).keys())


def _measure(atoms: Atoms) -> dict[str, float]:
    """Return what one frame shows; the energy is total, its reference comes later."""
    labels = labels_of(atoms)
    row = {"energy": float(labels["energy"]) if "energy" in labels else np.nan}
    if "forces" in labels:
        sizes = np.linalg.norm(labels["forces"], axis=1)
        row[LARGEST_FORCE] = float(sizes.max())
        row[FORCE] = float(np.sqrt(np.mean(sizes**2) / 3))
    if atoms.pbc.all():
        row[DENSITY] = float(atoms.get_masses().sum() / atoms.get_volume() * AMU_A3_TO_G_CM3)
    distances = close_pairs(atoms, FAR_A)[2]
    if len(distances):
        row[SHORTEST] = float(distances.min())
    row.update({f"n_{s}": float(n) for s, n in Counter(atoms.symbols).items()})
    return row


def _references(
    record: DatasetRecord | None, energies: dict[str, SourceEnergies]
) -> tuple[References, dict[str, str]]:
    """Return the references that frames are measured from: the folder's, else the frames' own."""
    if record is not None:
        scale = record.reference_energies_eV[record.energy_scale]
        kind = record.reference_kinds.get(record.energy_scale, "fitted")
        return dict.fromkeys(energies, scale), dict.fromkeys(energies, kind)
    chosen = {name: reference_of(one) for name, one in energies.items()}
    return {n: r for n, (r, _) in chosen.items()}, {n: kind for n, (_, kind) in chosen.items()}


def _quantities(found: Description, rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    columns = {name: np.array([row.get(name, np.nan) for row in rows]) for name in QUANTITIES[1:]}
    above = np.full(len(rows), np.nan)
    for i, (row, source) in enumerate(zip(rows, found.sources, strict=True)):
        reference = found.references.get(source)
        if reference is not None and np.isfinite(row["energy"]):
            zero = sum(n * reference.get(k[2:], np.nan) for k, n in row.items() if k[:2] == "n_")
            above[i] = (row["energy"] - zero) / found.n_atoms[i]
    return {ENERGY: above} | columns


def _outliers(found: Description) -> list[Outlier]:
    """List frames far from the median of their kind, the farthest first.

    The score is (x - median) / (1.4826 MAD), which is a z-score where x is normal; forces and
    distances are scored by their logarithm, and only from the dangerous side.
    """
    outliers = []
    kinds = np.array(found.kinds)
    for quantity, sign in ((ENERGY, 0), (LARGEST_FORCE, 1), (SHORTEST, -1)):
        values = found.quantities[quantity]
        scale = np.log(np.maximum(values, 1e-12)) if sign else values
        for kind in sorted(set(found.kinds)):
            members = np.flatnonzero((kinds == kind) & np.isfinite(values))
            scores = robust_scores(scale[members])
            far = np.abs(scores) if sign == 0 else sign * scores
            for i, score in zip(members[far > UNUSUAL], scores[far > UNUSUAL], strict=True):
                place = (found.parts[i], found.numbers[i], quantity, float(values[i]))
                outliers.append(Outlier(*place, float(score), found.trajectories[i]))
    return sorted(outliers, key=lambda one: -abs(one.score))


def robust_scores(values: np.ndarray) -> np.ndarray:
    """Return (x - median) / (1.4826 MAD), shape (F,); zeros where nothing varies.

    Where more than half of the values are equal, the mean deviation stands for the MAD.
    """
    if len(values) < 5:
        return np.zeros(len(values))
    deviations = values - np.median(values)
    spread = 1.4826 * float(np.median(np.abs(deviations)))
    if spread == 0:
        spread = 1.2533 * float(np.mean(np.abs(deviations)))
    return deviations / spread if spread > 0 else np.zeros(len(values))
