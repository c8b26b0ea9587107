"""Rates of LMDB and extxyz, and the memory they take.

Run: python tests/bench/dataset_files.py [frames]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tempermd import dataset
from tempermd.dataset import BuildSpec, LmdbFrames
from tempermd.dataset.writing import open_writer

N_ATOMS = 200


def frames(count: int) -> Iterator[Atoms]:
    """Yield labelled cells of 200 carbon atoms on a shaken lattice, 2 g/cm3."""
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(range(5), range(5), range(8), indexing="ij"), -1).reshape(-1, 3)
    for number in range(count):
        positions = grid * 2.15 + random.uniform(-0.3, 0.3, (N_ATOMS, 3))
        atoms = Atoms("C" * N_ATOMS, positions, cell=np.array([5, 5, 8]) * 2.15, pbc=True)
        forces = random.normal(size=(N_ATOMS, 3))
        energies = random.normal(size=N_ATOMS)
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=float(energies.sum()),
            forces=forces,
            energies=energies,
            stress=random.normal(size=6),
        )
        atoms.info |= {"kind": "melt-quench", "trajectory": f"t{number // 100}", "source": "x"}
        yield atoms


@contextmanager
def rate(what: str, n_atoms: int) -> Iterator[None]:
    """Print atoms per second of one core (process time) and the peak memory so far."""
    start = time.process_time()
    yield
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{what:<42}{n_atoms / seconds:>12,.0f} atoms/s   peak {peak:.2f} GB", flush=True)


def main(count: int, folder: Path) -> None:
    """Measure one thing after another."""
    import torch  # noqa: F401  (its second of loading is no part of a rate)

    n_atoms = count * N_ATOMS
    with rate("making the frames", n_atoms):
        for _ in frames(count):
            pass
    for suffix in (".extxyz", ".lmdb"):
        path = folder / f"all{suffix}"
        writer = open_writer(path, stress=True, energies=True)
        with rate(f"writing {suffix} (making included)", n_atoms), writer:
            for atoms in frames(count):
                writer.add(atoms)
        with rate(f"reading {suffix} in order", n_atoms):
            for _ in dataset.iter_labelled(path):
                pass
        print(f"{path.name}: {path.stat().st_size / n_atoms:.0f} bytes per atom")
    order = np.random.default_rng(1).permutation(count)
    stored = LmdbFrames(folder / "all.lmdb", info=False)
    with rate("reading .lmdb shuffled, as Atoms", n_atoms):
        for number in order:
            stored[int(number)]
    with rate("reading .lmdb shuffled, as tensors", n_atoms):
        for number in order:
            stored.entry(int(number))
    stored.close()
    from nequip.data.dataset import NequIPLMDBDataset

    theirs = NequIPLMDBDataset(str(folder / "all.lmdb"))
    with rate("reading .lmdb shuffled, by nequip", n_atoms):
        for number in order:
            theirs[int(number)]
    spec = BuildSpec(fractions={"train": 0.9, "val": 0.1}, file_format="lmdb")
    with rate("dataset build, extxyz to lmdb", n_atoms):
        dataset.build_dataset([folder / "all.extxyz"], folder / "set", spec, [])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, Path(temporary))
