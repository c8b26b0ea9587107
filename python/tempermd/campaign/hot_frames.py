"""Frames of a model's own hot runs, for the truth to label."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from tempermd import md
from tempermd.campaign.table import place_of
from tempermd.events import Analysis, Thresholds, analyse_run
from tempermd.physics import FREE_K, OwnFrames
from tempermd.trajectory import Frame, iter_frames

if TYPE_CHECKING:
    from ase import Atoms

MOST_FRAMES = 5
EVERY = 5
"""Of the last frames of a run, each so manieth: a quarter of a picosecond apart by default."""


def hot_frames(runs: Path, model: str, limits: Thresholds) -> OwnFrames | None:
    """Return the last frames of a model's hottest runs, before their first event if they had one.

    Of the hottest temperature only runs on the smallest structure, five at most, and none with a
    severe event.

    Parameters
    ----------
    runs : Path
        Folder of run directories.
    model : str
        Its name in the campaign.
    limits : Thresholds

    Returns
    -------
    OwnFrames or None
        Five frames at most, evenly from the runs; None where no run is hot, or none is good.
    """
    chosen = _hottest(runs, model)
    found = [analyse_run(folder, limits) for folder in chosen]
    good = [one for one in found if one.survived and one.trajectory]
    each = -(-MOST_FRAMES // max(1, len(good)))
    snapshots = [atoms for one in good for atoms in _last(one, each)][:MOST_FRAMES]
    return OwnFrames(snapshots, good[0].label.temperature_K) if snapshots else None


def _hottest(runs: Path, model: str) -> list[Path]:
    """Return the run directories that may have frames to label."""
    folders = [path.parent for path in runs.glob("*/case.json")]
    cases = {folder: md.read_case(folder) for folder in folders}
    heated = {
        folder: case
        for folder, case in cases.items()
        if (case.model_name, case.protocol) == (model, "heat") and case.temperature_K > FREE_K
    }
    most_K = max((case.temperature_K for case in heated.values()), default=0.0)
    hot = {folder: case for folder, case in heated.items() if case.temperature_K == most_K}
    sizes = {one: md.count_atoms(one) for one in {case.structure for case in hot.values()}}
    smallest = [
        folder for folder, case in hot.items() if sizes[case.structure] == min(sizes.values())
    ]
    return sorted(smallest, key=lambda folder: place_of(cases[folder]))[:MOST_FRAMES]


def _last(analysis: Analysis, count: int) -> list[Atoms]:
    """Return the last few frames of a run before its first event."""
    end = min((event.step for event in analysis.events), default=None)
    last: deque[Frame] = deque(maxlen=count * EVERY)
    for frame in iter_frames(analysis.trajectory, analysis.units):
        if end is None or frame.step < end:
            last.append(frame)
    return [_atoms(frame, analysis) for frame in list(last)[::-EVERY]]


def _atoms(frame: Frame, analysis: Analysis) -> Atoms:
    from ase import Atoms

    symbols = [analysis.elements[kind] for kind in frame.types.tolist()]
    return Atoms(symbols, frame.positions - frame.origin, cell=frame.cell, pbc=frame.pbc)
