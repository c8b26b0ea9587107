"""Atoms that come too close to another, are too fast, or are pulled too hard."""

from __future__ import annotations

import numpy as np

from tempermd.events.limits import ContactLimits, ForceLimits, HotAtomLimits
from tempermd.events.products import Event, Severity
from tempermd.events.protocol import Protocol, follow
from tempermd.events.snapshot import Snapshot
from tempermd.events.spells import Spike, Spikes
from tempermd.trajectory import Frame

BOLTZMANN_eV_K = 8.617333262e-5
MVV_eV = 1.0364269e-4
"""1 g/mol (Å/ps)² in eV."""
DRAWN_AT = 2.0
"""Velocities are drawn at so many targets for a structure at rest: half goes to its bonds."""


class CloseContact:
    """Pairs nearer than atoms can come; one event for each time a pair does so."""

    def __init__(self, limits: ContactLimits) -> None:
        self._limits = limits
        self._spikes = Spikes(limits.pause_ps, least=True)

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        if shot.pairs is None:
            return
        near = shot.pairs[shot.pairs.distance < self._limits.warn_A]
        ids = shot.frame.ids
        pairs = zip(ids[near.first].tolist(), ids[near.second].tolist(), strict=True)
        found = zip(pairs, near.distance.tolist(), strict=True)
        self._spikes.update(found, shot.time_ps, shot.frame.step)

    def finish(self) -> list[Event]:
        """Return what was found."""
        return [self._event(pair, spike) for pair, spike in self._spikes.finish()]

    def _event(self, pair: tuple[int, int], spike: Spike) -> Event:
        severe = spike.worst < self._limits.severe_A
        lasted_ps = spike.last_ps - spike.time_ps
        length = f", again and again for {lasted_ps:.2f} ps" if lasted_ps > 0 else ""
        return _spike_event(
            "close_contact",
            "severe" if severe else "warn",
            spike,
            list(pair),
            self._limits.severe_A if severe else self._limits.warn_A,
            "Å",
            f"atoms {pair[0]} and {pair[1]} {spike.worst:.2f} Å apart{length}",
        )


class HotAtom:
    """An atom with more kinetic energy than chance allows at the target temperature.

    In equilibrium the probability of more than 25 kT is erfc(5) + 10 exp(-25) / sqrt(pi) = 8e-11
    for an atom and a moment (Maxwell's distribution). Atoms follow a target that falls with a lag,
    and begin at `DRAWN_AT` times the first one. One event per atom and spell.
    """

    def __init__(
        self, limits: HotAtomLimits, protocol: Protocol, elements: dict[int, str] | None = None
    ) -> None:
        self._limits = limits
        self._protocol = protocol
        self._elements = elements or {}
        self.hottest_kT = np.nan
        self._spikes = Spikes(limits.pause_ps)
        self._masses_of: np.ndarray | None = None
        self._masses: np.ndarray | float = 0.0
        self._lagged_K = np.nan
        self._before: tuple[float, float] | None = None

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        frame = shot.frame
        target_K = self._protocol.target_K(frame.step)
        if frame.velocities is None or target_K is None or target_K <= 0:
            return
        kinetic_eV = 0.5 * self._mass(frame) * MVV_eV * np.sum(frame.velocities**2, axis=1)
        times = kinetic_eV / (BOLTZMANN_eV_K * self._hottest_K(target_K, shot.time_ps))
        times = np.where(np.isfinite(frame.velocities).all(axis=1), times, 0.0)  # told elsewhere
        self.hottest_kT = np.fmax(self.hottest_kT, times.max(initial=0.0))
        hot = times > self._limits.kT
        found = zip(frame.ids[hot].tolist(), times[hot].tolist(), strict=True)
        self._spikes.update(found, shot.time_ps, frame.step)

    def _hottest_K(self, target_K: float, time_ps: float) -> float:
        """Return the target, or the lagged one where that is higher."""
        if self._before is None:
            self._lagged_K = DRAWN_AT * target_K
        else:
            before_ps, before_K = self._before
            elapsed = (time_ps - before_ps) / self._limits.lag_ps
            self._lagged_K = follow(self._lagged_K, before_K, target_K, elapsed)
        self._before = time_ps, target_K
        return max(target_K, self._lagged_K)

    def _mass(self, frame: Frame) -> np.ndarray | float:
        """Return masses in g/mol, by element, by type, or carbon's; frames share their arrays."""
        labels = frame.types if frame.elements is None else frame.elements
        if labels is None or labels is not self._masses_of:
            self._masses, self._masses_of = self._masses_by(frame), labels
        return self._masses

    def _masses_by(self, frame: Frame) -> np.ndarray | float:
        from ase.data import atomic_masses, atomic_numbers

        symbols = frame.elements
        if symbols is None and frame.types is not None:
            symbols = np.array([self._elements.get(kind, "C") for kind in frame.types])
        if symbols is None:
            return atomic_masses[atomic_numbers["C"]]
        names, rows = np.unique(symbols, return_inverse=True)
        return np.array([atomic_masses[atomic_numbers[name]] for name in names])[rows]

    def finish(self) -> list[Event]:
        """Return what was found."""
        return [
            _spike_event(
                "hot_atom",
                "warn",
                spike,
                [atom_id],
                self._limits.kT,
                "kT",
                f"atom {atom_id} has {spike.worst:.0f} kT of kinetic energy",
            )
            for atom_id, spike in self._spikes.finish()
        ]


class ForceSpike:
    """A force on an atom that no healthy tube has; one event per atom and spell."""

    def __init__(self, limits: ForceLimits) -> None:
        self._limits = limits
        self._spikes = Spikes(limits.pause_ps)

    def update(self, shot: Snapshot) -> None:
        """Look at one frame."""
        if shot.frame.forces is None:
            return
        squares = np.einsum("ij,ij->i", shot.frame.forces, shot.frame.forces)
        beyond = squares > self._limits.warn_eV_per_A**2
        if beyond.any():
            beyond &= np.isfinite(shot.frame.forces).all(axis=1)  # what is not is told elsewhere
        size = np.sqrt(squares[beyond])
        found = zip(shot.frame.ids[beyond].tolist(), size.tolist(), strict=True)
        self._spikes.update(found, shot.time_ps, shot.frame.step)

    def finish(self) -> list[Event]:
        """Return what was found."""
        events = []
        for atom_id, spike in self._spikes.finish():
            severe = spike.worst > self._limits.severe_eV_per_A
            limit = self._limits.severe_eV_per_A if severe else self._limits.warn_eV_per_A
            message = f"a force of {spike.worst:.0f} eV/Å on atom {atom_id}"
            severity: Severity = "severe" if severe else "warn"
            events.append(
                _spike_event("force_spike", severity, spike, [atom_id], limit, "eV/Å", message)
            )
        return events


def _spike_event(
    kind: str,
    severity: Severity,
    spike: Spike,
    atom_ids: list[int],
    limit: float,
    unit: str,
    message: str,
) -> Event:
    return Event(
        kind=kind,
        severity=severity,
        step=spike.step,
        time_ps=spike.time_ps,
        atom_ids=atom_ids,
        value=spike.worst,
        limit=limit,
        unit=unit,
        message=message,
        shown_step=spike.worst_step,
    )
