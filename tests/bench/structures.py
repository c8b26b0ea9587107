"""Cost of near-duplicates and of one cell: ``python tests/bench/structures.py [COUNT]``."""

import resource
import sys
import time

import numpy as np

from tempermd.structures import fingerprints, near_duplicates, random_cell
from tempermd.structures.cells import spread_cell
from tempermd.structures.fingerprints import LENGTH


def made_up(count: int) -> np.ndarray:
    """Return fingerprints that spread over twelve axes, as melts do; a twentieth are copies."""
    rng = np.random.default_rng(1)
    axes = np.geomspace(0.5, 0.01, 12)
    prints = 3 + (rng.normal(size=(count, 12)) * axes) @ rng.normal(size=(12, LENGTH)) / 3
    prints += rng.normal(0, 0.01, size=prints.shape)
    prints[rng.integers(count, size=count // 20)] = prints[rng.integers(count, size=count // 20)]
    return prints.astype(np.float32)


def main() -> None:
    """Print seconds and memory."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    prints = made_up(count)
    start = time.perf_counter()
    dropped = near_duplicates(prints)
    seconds = time.perf_counter() - start
    peak_GB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{count} fingerprints: {len(dropped)} dropped in {seconds:.1f} s, peak {peak_GB:.2f} GB")
    for density in (1.0, 3.5):
        cells = [random_cell(200, density, seed) for seed in range(50)]
        start = time.perf_counter()
        fingerprints(cells)
        each_ms = 1000 * (time.perf_counter() - start) / len(cells)
        print(f"fingerprint of 200 atoms at {density} g/cm3: {each_ms:.1f} ms")
    start = time.perf_counter()
    for seed in range(20):
        spread_cell(["C"] * 200, 3.0, 1.2, cubic=False, rng=np.random.default_rng(seed))
    print(f"search cell of 200 atoms: {1000 * (time.perf_counter() - start) / 20:.1f} ms")


if __name__ == "__main__":
    main()
