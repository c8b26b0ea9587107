"""What potentials that are trusted give in the physics checks: by this their bands are set.

    python tests/bench/physics_bands.py

prints for each potential the checks on the tube that suites take, its likeness to LCBOP with other
seeds and on other tubes, the radii of tubes over those of their indices, and what LCBOP shares with
itself made longer or stiffer. Six minutes on one core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from tempermd import lmp
from tempermd.labels import SourceSpec, open_source
from tempermd.physics import check_physics, free_motion, overlaps, relax_tube
from tempermd.physics.bands import radius_band
from tempermd.records import UserError
from tempermd.structures import nanotube

POTENTIALS = {
    "LCBOP": "lcbop",
    "AIREBO": "airebo",
    "REBO": "rebo",
    "SNAP": "snap",
    "Tersoff": "tersoff",
    "base": f"nequip:{lmp.potentials_folder() / 'carbon_base.nequip.pth'}",
}
MOVED = ("LCBOP", "AIREBO", "REBO", "base")
"""Those whose tubes are at rest without an unstable mode."""
TUBES = [(3, 3), (5, 0), (4, 2), (4, 4), (8, 0), (5, 5), (6, 4), (8, 8)]
LENGTHS, STIFFNESSES = (1.01, 1.02, 1.05, 1.1), (0.2, 0.4, 2.5, 5.0, 23.0)


class Changed:
    """LCBOP for bonds so many times as long, with energies so many times as large."""

    def __init__(self, calculator: Any, length: float = 1.0, energy: float = 1.0) -> None:
        self._calculator, self._length, self._energy = calculator, length, energy

    def get_potential_energy(self, atoms: Atoms, force_consistent: bool = False) -> float:
        return self._energy * self._calculator.get_potential_energy(scaled(atoms, 1 / self._length))

    def get_forces(self, atoms: Atoms) -> np.ndarray:
        forces = self._calculator.get_forces(scaled(atoms, 1 / self._length))
        return self._energy / self._length * forces


def scaled(atoms: Atoms, factor: float) -> Atoms:
    copy = atoms.copy()
    copy.set_cell(atoms.cell[:] * factor, scale_atoms=True)
    return copy


def tube(n: int, m: int) -> Atoms:
    atoms = nanotube(n, m, 7.0)
    atoms.center(vacuum=8.0, axis=(0, 1))
    atoms.pbc = True
    return atoms


def say(what: str, shares: dict[str, float]) -> None:
    print(what, *(f"{name} {value:.3f}" for name, value in shares.items()), flush=True)


def main() -> None:
    calculators = {name: open_source(SourceSpec(name=of))[1] for name, of in POTENTIALS.items()}
    lcbop = calculators["LCBOP"]
    for name, calculator in calculators.items():
        record = check_physics(
            tube(5, 5), calculator, (name, "tube 5,5"), ("LCBOP", lcbop), indices=(5, 5)
        )
        print(record.sentence)
        say(f"{name}:", {check.name: check.value for check in record.checks})
    for n, m in ((5, 5), (8, 0), (4, 4), (8, 8)):
        at_rest = relax_tube(tube(n, m), lcbop).atoms
        motion = free_motion(at_rest, lcbop)
        for name in MOVED:
            own = relax_tube(tube(n, m), calculators[name]).atoms
            for seed in (1, 2, 3):
                found = overlaps(free_motion(own, calculators[name], seed=seed), motion)
                say(f"({n},{m}) {name} seed {seed}:", found)
        if (n, m) == (5, 5):
            for length in LENGTHS:
                longer = free_motion(scaled(at_rest, length), Changed(lcbop, length))
                say(f"{length:g} times as long:", overlaps(longer, motion))
            for energy in STIFFNESSES:
                stiffer = free_motion(at_rest, Changed(lcbop, energy=energy))
                say(f"energies {energy:g} times as large:", overlaps(stiffer, motion))
    for n, m in TUBES:
        band = radius_band(n, m)
        for name in MOVED:
            try:
                radius_A = relax_tube(tube(n, m), calculators[name]).radius_A
            except UserError as error:
                print(f"({n},{m}) {name}: {error}")
                continue
            say(f"({n},{m}) {name} radius:", {"A": radius_A, "low": band.low, "high": band.high})


if __name__ == "__main__":
    main()
