"""A tube in free motion: frames by which one potential is held against another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.records import UserError
from tempermd.trajectory import Frame

if TYPE_CHECKING:
    from ase import Atoms

FREE_K = 300.0
TIMESTEP_FS = 1.0
EVERY = 4
SETTLING_PS = 0.3
LENGTH_PS = 1.5
HOTTEST = 5.0
"""Times the temperature: no motion about a minimum gets there."""


@dataclass(frozen=True)
class Motion:
    """Frames of a run at constant energy, evenly spaced.

    Attributes
    ----------
    frames : list of Frame
        With velocities in Å/ps.
    snapshots : list of Atoms
        The same instants, for labels.
    masses : (n,) array, u
    spacing_ps : float
    """

    frames: list[Frame]
    snapshots: list[Atoms]
    masses: np.ndarray
    spacing_ps: float

    @property
    def velocities(self) -> np.ndarray:
        """(T, n, 3) array, Å/ps."""
        return np.array([frame.velocities for frame in self.frames])


def free_motion(
    atoms: Atoms, calculator: Any, temperature_K: float = FREE_K, seed: int = 1
) -> Motion:
    """Let a relaxed structure move at constant energy (velocity Verlet, 1 fs).

    Velocities are drawn at twice the temperature, since half of the kinetic energy goes into the
    bonds; the first 0.3 ps are left out, 1.5 ps are kept, a frame every 4 fs.

    Raises
    ------
    UserError
        When numbers stop being finite, or it heats itself to five times the temperature.
    """
    from ase import units
    from ase.md.verlet import VelocityVerlet

    moving = atoms.copy()
    moving.calc = calculator
    moving.set_velocities(_drawn_velocities(moving.get_masses(), 2 * temperature_K, seed))
    dynamics = VelocityVerlet(moving, timestep=TIMESTEP_FS * units.fs)
    dynamics.run(round(SETTLING_PS * 1000 / TIMESTEP_FS))
    frames, snapshots = [], []
    for number in range(round(LENGTH_PS * 1000 / TIMESTEP_FS / EVERY)):
        dynamics.run(EVERY)
        found_K = moving.get_temperature()
        if not found_K < HOTTEST * temperature_K:
            raise UserError(
                f"a tube in free motion: expected about {temperature_K:g} K, found {found_K:.4g} K "
                f"after {SETTLING_PS + number * EVERY * TIMESTEP_FS / 1000:.2g} ps; it falls apart"
            )
        frames.append(_frame(moving, number))
        snapshots.append(moving.copy())
    return Motion(frames, snapshots, moving.get_masses(), EVERY * TIMESTEP_FS / 1000)


def _drawn_velocities(masses: np.ndarray, temperature_K: float, seed: int) -> np.ndarray:
    """Draw velocities of exactly a temperature, without a common drift, (n, 3), ASE's units."""
    from ase import units

    drawn = np.random.default_rng(seed).standard_normal((len(masses), 3)) / np.sqrt(masses)[:, None]
    drawn -= np.average(drawn, axis=0, weights=masses)
    doubled_eV = 3 * (len(masses) - 1) * units.kB * temperature_K
    return drawn * np.sqrt(doubled_eV / np.sum(masses[:, None] * drawn**2))


def _frame(atoms: Atoms, number: int) -> Frame:
    from ase import units

    return Frame(
        step=number,
        time_ps=None,
        ids=np.arange(1, len(atoms) + 1),
        positions=atoms.positions.copy(),
        velocities=atoms.get_velocities() * 1000 * units.fs,
        forces=None,
        cell=atoms.cell[:].copy(),
        origin=np.zeros(3),
        pbc=atoms.pbc.copy(),
    )
