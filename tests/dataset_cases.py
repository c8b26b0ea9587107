"""Frames with known labels for the tests of datasets: Morse clusters and cells."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

DEPTH_EV, WIDTH, BOND_A = 2.0, 1.9, 1.45


def morse(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Return energy (eV) and forces (N, 3) (eV/A) of a Morse potential between all pairs."""
    i, j = np.triu_indices(len(atoms), 1)
    vectors = atoms.positions[j] - atoms.positions[i]
    r = np.linalg.norm(vectors, axis=1)
    decay = np.exp(-WIDTH * (r - BOND_A))
    energy = float(np.sum(DEPTH_EV * (decay**2 - 2 * decay)))
    slope = DEPTH_EV * 2 * WIDTH * (decay - decay**2)  # dE/dr
    pull = (slope / r)[:, None] * vectors
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    return energy, forces


def cluster(seed: int, spread_A: float = 0.05, symbols: str = "C8") -> Atoms:
    """Return a shaken cube of eight atoms with Morse labels."""
    random = np.random.default_rng(seed)
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3)
    positions = corners * BOND_A + random.normal(0, spread_A, (8, 3))
    return labelled(Atoms(symbols, positions))


def labelled(atoms: Atoms, **more: object) -> Atoms:
    """Return the atoms with Morse labels."""
    energy, forces = morse(atoms)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, **more)
    return atoms


def trajectory(name: str, n_frames: int, seed: int, **info: object) -> list[Atoms]:
    """Return frames of free motion, 1 fs apart at about 1500 K, under the Morse potential."""
    random = np.random.default_rng(seed)
    atoms = cluster(seed, 0.0)
    step = random.normal(0, 0.012, (8, 3))  # A per fs
    frames = []
    for _ in range(n_frames):
        atoms = Atoms(atoms.numbers, atoms.positions + step)
        atoms.info |= {"trajectory": name, "source": "morse", **info}
        frames.append(labelled(atoms))
        step = step + 8.04e-4 * frames[-1].calc.results["forces"]  # fs^2 eV/A/(12 amu) in A
    return frames


def crystal(seed: int, repeat: int = 2, energies: bool = True) -> Atoms:
    """Return a shaken periodic cell with made-up labels of every kind."""
    from ase.build import bulk

    random = np.random.default_rng(seed)
    atoms = bulk("C", "diamond", 3.57, cubic=True) * (repeat, 1, 1)
    atoms.positions += random.normal(0, 0.05, (len(atoms), 3))
    parts = random.normal(-7, 0.3, len(atoms))
    results = {
        "energy": float(parts.sum()),
        "forces": random.normal(size=(len(atoms), 3)),
        "stress": random.normal(size=6),
    }
    if energies:
        results["energies"] = parts
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info |= {"kind": "crystal", "source": "made", "trajectory": f"c{seed}", "number": seed}
    return atoms


def same(one: Atoms, other: Atoms, labels: bool = True) -> bool:
    """Tell whether two frames have the same atoms and labels (to 1e-7)."""
    if not (one.numbers == other.numbers).all() or not (one.pbc == other.pbc).all():
        return False
    close = np.allclose(one.positions, other.positions, atol=1e-7)
    close &= np.allclose(one.cell.array, other.cell.array, atol=1e-7)
    if labels:
        mine, theirs = one.calc.results, other.calc.results
        close &= {k for k in mine if k != "free_energy"} == {
            k for k in theirs if k != "free_energy"
        }
        close &= all(np.allclose(v, theirs[k], atol=1e-7) for k, v in mine.items() if k in theirs)
    return bool(close)
