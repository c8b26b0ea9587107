"""How near a run came to its limits: the largest and smallest of what the detectors look at."""

from __future__ import annotations

import numpy as np

from tempermd.events.beginning import Beginning
from tempermd.events.snapshot import Network, Snapshot


class Extremes:
    """Running extremes of a trajectory; what was never measured is left out.

    ``found`` has shortest_A (any pair), longest_bond_A, fewer_bonds_share and fourfold_share (of
    all atoms, against the first frame), force_eV_per_A and, by the detectors that measure them,
    ellipticity, radius_share and kT.
    """

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self._seen: Network | None = None

    def take(self, name: str, value: float, *, least: bool = False) -> None:
        """Take in a value, if it is a number."""
        if not np.isfinite(value):
            return
        old = self.found.get(name, value)
        self.found[name] = float(min(old, value) if least else max(old, value))

    def update(self, shot: Snapshot, start: Beginning | None) -> None:
        """Look at one frame."""
        if shot.frame.forces is not None and len(shot.frame.forces):
            squares = np.einsum("ij,ij->i", shot.frame.forces, shot.frame.forces)
            self.take("force_eV_per_A", float(np.sqrt(squares.max())))
        if shot.pairs is None or start is None:
            return
        if len(shot.pairs.distance):
            self.take("shortest_A", float(shot.pairs.distance.min()), least=True)
        if shot.bonded.any():
            self.take("longest_bond_A", float(shot.pairs.distance[shot.bonded].max()))
        if shot.network is self._seen:
            return
        self._seen = shot.network
        known = shot.rows >= 0
        now, then = shot.network.coordination[known], start.coordination[shot.rows[known]]
        self.take("fewer_bonds_share", float(np.mean((now < 3) & (now < then))))
        self.take("fourfold_share", float(np.mean((now >= 4) & (now > then))))
