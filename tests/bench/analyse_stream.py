"""Speed and memory of `tempermd analyse` on a long trajectory, against a plain loop of ASE.

    python tests/bench/analyse_stream.py --mb 100 --mb 1000

A hot (10,10) tube of 400 atoms with velocities and forces is written until the file is so long;
each analysis runs in a process of its own, whose peak of resident memory is reported. ASE's loop
reads the same frames and looks for close contacts, bonds, clusters and fast atoms, no more;
both take turns on the same frames, and the ratio is of their processor times.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIFFERENT = 400
"""Frames that differ; then they come again with later steps."""


def write_dump(path: Path, megabytes: float) -> int:
    """Write a dump of at least this length and return its number of frames."""
    from ase.build import nanotube

    atoms = nanotube(10, 10, length=10, bond=1.42)
    atoms.center(vacuum=8.0, axis=(0, 1))
    rng = np.random.default_rng(1)
    lengths = np.diag(atoms.cell)
    head = "ITEM: NUMBER OF ATOMS\n400\nITEM: BOX BOUNDS pp pp pp\n"
    head += "".join(f"0.0 {length:.9g}\n" for length in lengths)
    head += "ITEM: ATOMS id type x y z vx vy vz fx fy fz\n"
    # vibrations about the sites, as slow from frame to frame as in a tube
    amplitudes, phases = rng.normal(0, 0.06, (2, 400, 3)), rng.uniform(0, 6.28, (400, 3))
    bodies = []
    for number in range(DIFFERENT):
        swing = 2 * np.pi * number / DIFFERENT * 5 + phases
        places = atoms.positions + amplitudes[0] * np.sin(swing) + amplitudes[1] * np.cos(swing)
        rows = np.hstack(
            [places % lengths, rng.normal(0, 14, (400, 3)), rng.normal(0, 3, (400, 3))]
        )
        lines = [f"{n} 1 " + " ".join(f"{x:.9g}" for x in row) for n, row in enumerate(rows, 1)]
        bodies.append(head + "\n".join(lines) + "\n")
    count = 0
    with path.open("w") as stream:
        while stream.tell() < megabytes * 1e6:
            stream.write(f"ITEM: TIMESTEP\n{100 * count}\n" + bodies[count % DIFFERENT])
            count += 1
    return count


def analyse(path: Path) -> None:
    """Analyse in this process and print what it took."""
    from tempermd.events import analyse_trajectory

    start_s = time.perf_counter()
    found = analyse_trajectory(path, timestep_fs=0.5)
    seconds = time.perf_counter() - start_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"frames": found.n_frames, "seconds": seconds, "peak_mb": peak_mb}))


def ase_loop(path: Path, first: int, last: int) -> int:
    """Do the least of the same with ASE; return how many frames had a finding."""
    from ase.io import iread
    from ase.neighborlist import neighbor_list
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    findings = 0
    for atoms in iread(str(path), index=slice(first, last), format="lammps-dump-text"):
        i, j, d = neighbor_list("ijd", atoms, 2.1)
        graph = coo_array((np.ones(len(i)), (i, j)), shape=(len(atoms), len(atoms)))
        n_clusters = connected_components(graph, directed=False)[0]
        coordination = np.bincount(i, minlength=len(atoms))
        kinetic = 0.5 * atoms.get_masses() * np.sum(atoms.get_velocities() ** 2, axis=1)
        finite = np.isfinite(atoms.positions).all()
        findings += bool(
            d.min() < 1.0
            or n_clusters > 1
            or coordination.max() > 4
            or kinetic.max() > 25 * 0.2585
            or not finite
        )
    return findings


def paired(path: Path, frames: int, turns: int) -> tuple[float, float]:
    """Return the median of processor time by ASE over ours on the same frames, and our frames/s."""
    from tempermd.events import read_thresholds
    from tempermd.events.protocol import Protocol
    from tempermd.events.watch import FrameWatch
    from tempermd.trajectory import iter_frames

    ratios, rates = [], []
    for _ in range(turns):
        start_s = time.process_time()
        watch = FrameWatch(read_thresholds(), Protocol([]))
        for number, frame in enumerate(iter_frames(path)):
            if number == frames:
                break
            watch.take(frame, frame.step * 0.0005)
        watch.finish()
        ours_s = time.process_time() - start_s
        start_s = time.process_time()
        ase_loop(path, 0, frames)
        theirs_s = time.process_time() - start_s
        ratios.append(theirs_s / ours_s)
        rates.append(frames / ours_s)
    return statistics.median(ratios), statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, action="append")
    parser.add_argument("--frames", type=int, default=DIFFERENT)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--analyse", type=Path)
    options = parser.parse_args()
    if options.analyse:
        analyse(options.analyse)
        return
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in options.mb or [100.0, 1000.0]:
            path = Path(folder) / "long.lammpstrj"
            write_dump(path, megabytes)
            command = [sys.executable, __file__, "--analyse", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            rate = found["frames"] / found["seconds"]
            size = f"{path.stat().st_size / 1e6:.0f} MB, {found['frames']} frames"
            print(f"{size}: {rate:.0f} frames/s, peak {found['peak_mb']:.0f} MB")
        ratio, rate = paired(path, options.frames, options.turns)
        print(f"ASE's loop takes {ratio:.1f} times as long ({rate:.0f} frames/s of processor time)")


if __name__ == "__main__":
    main()
