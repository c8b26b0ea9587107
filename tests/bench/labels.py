"""Speed of every label source on one core: python tests/bench/labels.py [--nep FILE ...]."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from ase import Atoms
from ase.build import bulk

from source_cases import nep_file
from tempermd import labels
from tempermd.labels import SourceSpec
from tempermd.records import UserError

LAMMPS = ["tersoff", "edip", "lcbop", "rebo", "airebo", "snap"]


def frames(count: int, n_atoms: int = 216) -> list[Atoms]:
    """Return rattled carbon crystals, 1.5 to 3.5 g/cm³, each in a box of its own."""
    made = []
    for seed in range(count):
        density = 1.5 + 2.0 * seed / max(count - 1, 1)
        edge_A = 3.567 * (3.515 / density) ** (1 / 3)
        atoms = bulk("C", "diamond", a=edge_A, cubic=True).repeat(3)[:n_atoms]
        atoms.rattle(0.1, seed=seed)
        made.append(atoms)
    return made


def rates(structures: list[Atoms], *ways: Callable[[Atoms], object]) -> list[float]:
    """Return atoms per CPU second of each way to label, taken in turns, after one to warm up.

    On an idle core these are atoms per second; other work on the machine changes them little.
    """
    seconds = [0.0] * len(ways)
    for way in ways:
        way(structures[0])
    for atoms in structures:
        for i, way in enumerate(ways):
            start = time.process_time()
            way(atoms)
            seconds[i] += time.process_time() - start
    return [sum(map(len, structures)) / one for one in seconds]


def calorine_loop(file: str) -> Callable[[Atoms], object]:
    """Return calorine's calculator as its own users call it."""
    from calorine.calculators import CPUNEP

    calculator = CPUNEP(file)

    def label(atoms: Atoms) -> None:
        copy = atoms.copy()
        copy.calc = calculator
        copy.get_potential_energy()
        copy.get_forces()
        copy.get_stress()

    return label


def show(name: str, structures: list[Atoms]) -> None:
    """Print the rate of one source, of NEP also calorine's; or why it cannot be opened."""
    try:
        calculator = labels.open_source(SourceSpec(name=name))[1]
    except UserError as error:
        print(f"{name:<26} {error}")
        return
    ways = [lambda atoms: labels.compute(atoms, calculator)]
    if name.startswith("nep:"):
        ways.append(calorine_loop(name.removeprefix("nep:")))
    ours, *theirs = rates(structures, *ways)
    print(f"{name.split('/')[-1]:<26}{ours:>10,.0f} atoms/s", end="")
    print(
        *[f"  calorine's own loop {one:,.0f}: {ours / one:.2f} of it" for one in theirs], flush=True
    )


def main() -> None:
    """Print atoms/s of each source, and of NEP the ratio to calorine's loop, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nep", nargs="*", default=[], help="NEP files beside the random one")
    parser.add_argument(
        "--slow", action="store_true", help="also xtb and SevenNet, clusters of 40 atoms"
    )
    parser.add_argument("--count", type=int, default=40, help="structures of 216 atoms")
    arguments = parser.parse_args()
    structures = frames(arguments.count)
    for name in LAMMPS:
        show(name, structures)
    with tempfile.TemporaryDirectory() as folder:
        for file in [str(nep_file(Path(folder) / "random_nep.txt")), *arguments.nep]:
            show(f"nep:{file}", structures)
    if arguments.slow:
        for name in ("xtb", "sevennet-0", "sevennet:7net-l3i5"):
            show(name, [atoms[:40] for atoms in structures[:3]])


if __name__ == "__main__":
    main()
