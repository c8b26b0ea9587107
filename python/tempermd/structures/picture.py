"""A picture of a set of structures: how many of each kind, densities, bonds, distances, a map."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tempermd.pages import Figure, Section, Table, write_page
from tempermd.structures.cells import density_g_cm3
from tempermd.structures.defects import BOND_FACTOR, bond_radii_A
from tempermd.structures.fingerprints import (
    FAR_A,
    fingerprint,
    nearest,
    projected,
    with_images,
)

SAMPLE = 2000
"""Frames that are looked at closely: for coordination, distances and the map."""

MOST_BONDS = 8
NEAREST_EDGES_A = np.arange(0.6, 4.0001, 0.02)
PAIR_EDGES_A = np.arange(0.0, 6.0001, 0.05)
DENSITY_STEP_G_CM3 = 0.05


@dataclass(frozen=True)
class _Look:
    """What one frame shows."""

    kind: str
    name: str
    fingerprint: np.ndarray  # (192,)
    bonds: np.ndarray  # (MOST_BONDS + 1,) atoms with so many bonds, the last: or more
    nearest: np.ndarray  # atoms by distance to their nearest neighbour
    pairs: np.ndarray  # pairs by distance
    atoms: int


class Survey:
    """Gathers what a page shows, frame by frame, in little memory."""

    def __init__(self, sample: int = SAMPLE, seed: int = 0) -> None:
        self.sample = sample
        self.rng = np.random.default_rng(seed)
        self.frames: Counter[str] = Counter()
        self.atoms: Counter[str] = Counter()
        self.sizes: dict[str, list[int]] = {}
        self.names: dict[str, set[str]] = defaultdict(set)
        self.groups: dict[str, set[str]] = defaultdict(set)
        self.densities: dict[str, Counter[int]] = defaultdict(Counter)
        self.looks: list[_Look] = []

    def add(self, atoms: Atoms) -> None:
        """Count a frame, and look at it closely if it is drawn for the sample."""
        kind = str(atoms.info.get("kind", atoms.info.get("config_type", "unnamed")))
        self.frames[kind] += 1
        self.atoms[kind] += len(atoms)
        low, high = self.sizes.setdefault(kind, [len(atoms), len(atoms)])
        self.sizes[kind] = [min(low, len(atoms)), max(high, len(atoms))]
        self.names[kind].add(str(atoms.info.get("structure", "")))
        self.groups[kind].add(str(atoms.info.get("trajectory", self.frames.total())))
        if atoms.pbc.all():
            self.densities[kind][round(density_g_cm3(atoms) / DENSITY_STEP_G_CM3)] += 1
        # reservoir sampling: every frame has the same chance, however many there are
        if len(self.looks) < self.sample:
            self.looks.append(_look(atoms, kind))
        elif (place := int(self.rng.integers(self.frames.total()))) < self.sample:
            self.looks[place] = _look(atoms, kind)

    def sections(self) -> list[Section]:
        """Return the sections of the page."""
        if not self.frames:
            return [Section(title="Structures", text="There are none.")]
        total = f"{self.frames.total()} frames, {self.atoms.total()} atoms."
        text = total
        if len(self.looks) < self.frames.total():
            text += (
                f" Bonds, distances and the map show {len(self.looks)} frames drawn at random; "
                "the table and the densities all."
            )
        drawn = {
            "Density": self._density(),
            "Bonds and distances": self._distances(),
            "Map of environments": [self._map()],
        }
        return [
            Section(title="Structures", text=text, tables=[self._table()]),
            *(Section(title=title, figures=figures) for title, figures in drawn.items() if figures),
        ]

    def _table(self) -> Table:
        rows = []
        for kind in sorted(self.frames):
            low, high = self.sizes[kind]
            rows.append(
                [
                    kind,
                    str(self.frames[kind]),
                    str(self.atoms[kind]),
                    str(low) if low == high else f"{low} to {high}",
                    str(len(self.names[kind])),
                    str(len(self.groups[kind])),
                ]
            )
        head = ["kind", "frames", "atoms", "atoms per frame", "structures", "trajectories"]
        return Table(title="What there is", head=head, rows=rows)

    def _density(self) -> list[Figure]:
        if not self.densities:
            return []
        traces = []
        # kinds without a density too, so that a kind has one colour in all figures
        for kind in sorted(self.frames):
            counts = self.densities.get(kind, Counter())
            places = [round(step * DENSITY_STEP_G_CM3, 6) for step in sorted(counts)]
            traces.append(_bars(kind, places, [counts[step] for step in sorted(counts)]))
        layout = _axes("density (g/cm³)", "frames") | {"barmode": "stack"}
        note = "Cells that are periodic in all directions."
        return [Figure(title="Frames by density", data=traces, layout=layout, note=note)]

    def _distances(self) -> list[Figure]:
        by_kind: dict[str, list[_Look]] = {kind: [] for kind in sorted(self.frames)}
        for look in self.looks:
            by_kind[look.kind].append(look)
        bonds, close, pairs = [], [], []
        numbers = [*map(str, range(MOST_BONDS)), f"{MOST_BONDS}+"]
        for kind, looks in by_kind.items():
            n_atoms = max(1, sum(look.atoms for look in looks))
            share = 100 * _sum(looks, "bonds", MOST_BONDS + 1) / n_atoms
            bonds.append(_bars(kind, numbers, np.round(share, 3).tolist()))
            near = (
                _sum(looks, "nearest", len(NEAREST_EDGES_A) - 1)
                / n_atoms
                / np.diff(NEAREST_EDGES_A)
            )
            close.append(_line(kind, NEAREST_EDGES_A, near))
            pair = _sum(looks, "pairs", len(PAIR_EDGES_A) - 1) / n_atoms / np.diff(PAIR_EDGES_A)
            pairs.append(_line(kind, PAIR_EDGES_A, pair))
        bond_note = (
            f"Two atoms are bonded below {BOND_FACTOR:.3f} times the sum of their covalent radii "
            "(C-C: 1.85 Å)."
        )
        return [
            Figure(
                title="Coordination numbers",
                data=bonds,
                layout=_axes("bonds of an atom", "atoms (%)") | {"barmode": "group"},
                note=bond_note,
            ),
            Figure(
                title="Distance to the nearest neighbour",
                data=close,
                layout=_axes("distance (Å)", "atoms per Å"),
            ),
            Figure(
                title="Pair distances",
                data=pairs,
                layout=_axes("distance (Å)", "neighbours per atom and Å"),
            ),
        ]

    def _map(self) -> Figure:
        prints = np.array([look.fingerprint for look in self.looks])
        places = projected(prints, 2)
        spread = ((prints - prints.mean(axis=0)) ** 2).sum()
        part = 100 * (places**2).sum(axis=0) / spread if spread > 0 else np.zeros(2)
        traces = []
        for kind in sorted(self.frames):
            members = [number for number, look in enumerate(self.looks) if look.kind == kind]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": kind,
                    "x": np.round(places[members, 0], 4).tolist(),
                    "y": np.round(places[members, 1], 4).tolist(),
                    "text": [self.looks[number].name for number in members],
                    "marker": {"size": 5, "opacity": 0.6},
                }
            )
        labels = [f"axis {axis + 1} (Å): {part[axis]:.0f} % of the spread" for axis in range(2)]
        note = (
            "Each point is a frame: its fingerprint (16 quantiles over the atoms of each of the "
            "first 12 neighbour distances) on the first two principal axes of all."
        )
        return Figure(title="Map", data=traces, layout=_axes(*labels), note=note)


def survey_sections(frames: Iterable[Atoms]) -> list[Section]:
    """Return the sections of a page that shows a set of structures.

    Parameters
    ----------
    frames
        Any iterable; frames are looked at once and not kept.
    """
    survey = Survey()
    for atoms in frames:
        survey.add(atoms)
    return survey.sections()


def write_survey(output: Path | str, dropped: dict[str, int], facts: dict[str, str]) -> Path:
    """Write the page of a file of structures beside it, if it is not there already.

    Parameters
    ----------
    output
        The extxyz that was made.
    dropped
        Frames that were dropped, by reason.
    facts
        For the end of the page: versions, hashes.
    """
    output = Path(output)
    page = output.with_suffix(".html")
    if page.is_file() and page.stat().st_mtime_ns > output.stat().st_mtime_ns:
        return page
    from ase.io import iread
    from rich.console import Console
    from rich.progress import track

    frames = track(iread(output, ":"), "picture", console=Console(stderr=True), transient=True)
    sections = survey_sections(frames)
    if dropped:
        rows = [[reason, str(count)] for reason, count in dropped.items()]
        table = Table(title="Dropped frames", head=["reason", "frames"], rows=rows)
        first = sections[0]
        sections[0] = first.model_copy(update={"tables": [*first.tables, table]})
    return write_page(page, f"Structures: {output.name}", sections, facts)


def _look(atoms: Atoms, kind: str) -> _Look:
    from scipy.spatial import cKDTree

    distances, neighbours = nearest(atoms)
    radii = bond_radii_A(atoms)
    bonded = (distances < radii[:, None] + radii[neighbours]) & (distances < FAR_A)
    counts = np.minimum(bonded.sum(axis=1), MOST_BONDS)
    points, _ = with_images(atoms)
    reached = cKDTree(points[: len(atoms)]).count_neighbors(cKDTree(points), PAIR_EDGES_A)
    pairs = np.diff(reached - len(atoms)).astype(float)
    return _Look(
        kind=kind,
        name=str(atoms.info.get("structure", "")),
        fingerprint=fingerprint(atoms),
        bonds=np.bincount(counts, minlength=MOST_BONDS + 1),
        nearest=np.histogram(distances[:, 0], NEAREST_EDGES_A)[0],
        pairs=pairs,
        atoms=len(atoms),
    )


def _sum(looks: list[_Look], name: str, length: int) -> np.ndarray:
    return sum((getattr(look, name) for look in looks), np.zeros(length))


def _bars(name: str, x: list[Any], y: list[float]) -> dict[str, Any]:
    return {"type": "bar", "name": name, "x": x, "y": y}


def _line(name: str, edges: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    centres = np.round((edges[:-1] + edges[1:]) / 2, 4).tolist()
    line = {"type": "scatter", "mode": "lines", "name": name}
    return line | {"x": centres, "y": np.round(y, 5).tolist()}


def _axes(x: str, y: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
