"""Rings that were not there in the beginning, judged by whether heat could have made them."""

from __future__ import annotations

import math

import numpy as np

from tempermd.events.beginning import Beginning
from tempermd.events.limits import RingLimits
from tempermd.events.products import Event, Severity
from tempermd.events.protocol import Protocol
from tempermd.events.rings import MOST_BONDS, defect_name, groups_of, shortest_rings
from tempermd.events.snapshot import PerNetwork, Snapshot, ids_of_keys, pair_keys
from tempermd.events.spells import SLACK_PS

BOLTZMANN_eV_K = 8.617333262e-5
CROWDED_SHARE = 0.1
"""Where more of the atoms have more bonds than rings are looked for with, none are told."""


class SettledBonds:
    """A network in which a bond changes only after it has been different for long enough.

    What a hot tube breaks and mends again within a fraction of a picosecond is no change.
    """

    def __init__(self, keys: np.ndarray, lasting_ps: float) -> None:
        self.keys = np.sort(keys)
        self._lasting_ps = lasting_ps
        self._pending: dict[int, tuple[float, int]] = {}
        self._changed: dict[int, tuple[float, int]] = {}
        self._seen: np.ndarray | None = None
        self._different: list[int] = []
        self.last_change_ps = -math.inf

    def update(self, keys: np.ndarray, time_ps: float, step: int) -> None:
        """Take in the bonds of a frame."""
        if keys is not self._seen:
            self._different = np.setxor1d(self.keys, keys, assume_unique=True).tolist()
            self._seen = keys
        if not self._different and not self._pending:
            return
        different = self._different
        self._pending = {key: self._pending.get(key, (time_ps, step)) for key in different}
        due = [
            key
            for key, (since_ps, _) in self._pending.items()
            if time_ps - since_ps >= self._lasting_ps - SLACK_PS
        ]
        if not due:
            return
        self.last_change_ps = time_ps
        self._seen = None
        self.keys = np.setxor1d(self.keys, np.array(due, dtype=np.int64), assume_unique=True)
        for key in due:
            began = self._pending.pop(key)
            for atom_id in ids_of_keys(np.array([key]))[0].tolist():
                self._changed[atom_id] = began

    def restless(self) -> set[int]:
        """Return the ids of atoms at which a change is under way."""
        keys = np.array(list(self._pending), dtype=np.int64)
        return set(ids_of_keys(keys).ravel().tolist())

    def began(self, ids: set[int]) -> tuple[float, int]:
        """Return time (ps) and step at which the first change at any of these atoms began.

        A ring may be new though none of its own bonds is, where a shorter way round has gone: then
        of the newest change anywhere.
        """
        own = [self._changed[atom_id] for atom_id in ids if atom_id in self._changed]
        return min(own, default=max(self._changed.values()))


class RingChange:
    """New rings other than hexagons in a network of sp2 carbon, once for each group of them.

    Damage is severe where it lasts, and a warning where it heals or the run ends before. Pentagons
    and heptagons are what heat makes, but rarely: they are severe where an Arrhenius rate makes so
    many implausible, and a warning otherwise. At a defect of the beginning, a vacancy or an end,
    far less energy is needed: what comes of it is a warning.
    """

    def __init__(self, limits: RingLimits, start: Beginning, protocol: Protocol) -> None:
        self._limits = limits
        self._protocol = protocol
        self._rate = ExpectedChanges(limits, len(start.bonds.first))
        ids = start.frame.ids
        self._ids = ids
        keys = pair_keys(ids, start.bonds)
        self._bonds = SettledBonds(keys, limits.lasting_ps)
        self._first_rings = set(self._rings())
        self._first_defects = {atom_id for ring in self._first_rings for atom_id in ring}
        self._first_defects.update(ids[start.coordination != 3].tolist())
        self._told: dict[str, set[int]] = {}
        self._n_told = 0
        self._dirty = False
        self._keys = PerNetwork(self._known_keys)
        self._events: list[Event] = []
        self._open: dict[int, set[int]] = {}  # event -> atoms of damage that is still there

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        self._rate.update(shot.time_ps, self._protocol.target_K(shot.frame.step))
        keys = None if shot.network is None else self._keys(shot)
        if keys is None:
            return
        self._bonds.update(keys, shot.time_ps, shot.frame.step)
        if self._bonds.last_change_ps == shot.time_ps:
            self._dirty = True
        if self._dirty:
            self._census(shot)
        self._let_damage_ripen(shot.time_ps)

    def _known_keys(self, shot: Snapshot) -> np.ndarray | None:
        """Return the keys of all bonds, or None for a clump that has no rings."""
        network = shot.network
        if np.mean(network.coordination > MOST_BONDS) > CROWDED_SHARE:
            return None
        known = (shot.rows[network.first] >= 0) & (shot.rows[network.second] >= 0)
        return pair_keys(shot.frame.ids, network)[known]

    def _rings(self) -> list[tuple[int, ...]]:
        """Return all rings of the settled network that are no hexagons, as ids."""
        ends = np.searchsorted(self._ids, ids_of_keys(self._bonds.keys))
        rings = shortest_rings(ends[:, 0], ends[:, 1], len(self._ids))
        return [tuple(self._ids[list(ring)].tolist()) for ring in rings if len(ring) != 6]

    def _census(self, shot: Snapshot) -> None:
        """Tell of new groups of odd rings, unless a change is still under way in them."""
        restless = self._bonds.restless()
        self._dirty = False
        new = [ring for ring in self._rings() if ring not in self._first_rings]
        damaged: set[int] = set()
        for group in groups_of(new):
            atoms = {atom_id for ring in group for atom_id in ring}
            sizes = sorted(len(ring) for ring in group)
            name = defect_name(sizes)
            if name == "damage":
                damaged |= atoms
            if atoms & restless:
                self._dirty = True
                continue
            if atoms & self._told.get(name, set()):
                continue
            self._told.setdefault(name, set()).update(atoms)
            if name == "damage" and not atoms & self._first_defects:
                self._open[len(self._events)] = atoms
            self._tell(shot, name, sizes, atoms)
        self._open = {number: atoms for number, atoms in self._open.items() if atoms & damaged}

    def _let_damage_ripen(self, time_ps: float) -> None:
        """Make what has lasted severe."""
        for number in list(self._open):
            event = self._events[number]
            lasted_ps = time_ps - event.time_ps
            if lasted_ps >= self._limits.damage_ps - SLACK_PS:
                message = f"{event.message}, for {lasted_ps:.2g} ps"
                severe = event.model_copy(update={"severity": "severe", "message": message})
                self._events[number] = severe
                del self._open[number]

    def _tell(self, shot: Snapshot, name: str, sizes: list[int], atoms: set[int]) -> None:
        self._n_told += 1
        began_ps, began_step = self._bonds.began(atoms)
        chance = self._rate.chance_of(self._n_told)
        severity, judgement = self._judge(name, chance)
        if atoms & self._first_defects:
            severity, judgement = "warn", "at a defect of the beginning, which heat may change"
        ids = sorted(atoms)
        self._events.append(
            Event(
                kind="ring_change",
                severity=severity,
                step=began_step,
                time_ps=began_ps,
                atom_ids=ids,
                value=float(self._n_told),
                limit=self._rate.expected,
                unit="changes",
                message=f"{name}: rings of {', '.join(map(str, sizes))} atoms, {judgement}",
                shown_step=shot.frame.step,
            )
        )

    def _judge(self, name: str, chance: float | None) -> tuple[Severity, str]:
        if name == "damage":
            return "warn", "which heat seldom makes in a whole network"
        if chance is None:
            return "warn", "at an unknown temperature"
        times = f"{self._n_told} by now where heat makes {self._rate.expected:.1e}"
        if chance < self._limits.least_chance:
            return "severe", f"an implausible rate: {times}"
        return "warn", f"rare but possible: {times}"

    def finish(self) -> list[Event]:
        """Return what was found."""
        return self._events


class ExpectedChanges:
    """How many bond rotations heat makes: the rate of Arrhenius, summed over the run."""

    def __init__(self, limits: RingLimits, n_bonds: int) -> None:
        self._limits = limits
        self._n_bonds = n_bonds
        self._last_ps: float | None = None
        self._known = True
        self.expected = 0.0

    def update(self, time_ps: float, temperature_K: float | None) -> None:
        """Go on to a later moment at this temperature."""
        passed_ps = 0.0 if self._last_ps is None else time_ps - self._last_ps
        self._last_ps = time_ps
        if temperature_K is None:
            self._known = False
            return
        if temperature_K > 0:
            barrier = self._limits.barrier_eV / (BOLTZMANN_eV_K * temperature_K)
            rate = self._limits.prefactor_per_s * 1e-12 * math.exp(-barrier)  # per bond and ps
            self.expected += self._n_bonds * rate * passed_ps

    def chance_of(self, count: int) -> float | None:
        """Return the probability of so many or more (Poisson); None at unknown temperature."""
        from scipy.stats import poisson

        return float(poisson.sf(count - 1, self.expected)) if self._known else None
