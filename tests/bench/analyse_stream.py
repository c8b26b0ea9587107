"""Speed and memory of `tempermd analyse` on a long trajectory, against a plain loop of ASE.

    python tests/bench/analyse_stream.py --mb 100 --mb 1000
    python tests/bench/analyse_stream.py --mb 10 --lines 0 --lines 400000 --turns 0

A hot (10,10) tube of 400 atoms with velocities and forces is written until the file is so long;
each analysis runs in a process of its own, whose peak of resident memory is reported. ASE's loop
reads the same frames and looks for close contacts, bonds, clusters and fast atoms, no more;
both take turns on the same frames, and the ratio is of their processor times. With ``--lines`` a
log of so many thermo lines lies beside the dump.
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


def write_log(path: Path, n_lines: int) -> None:
    """Write the log of a hold at 3000 K with this number of thermo lines."""
    rng = np.random.default_rng(2)
    with path.open("w") as stream:
        stream.write("units metal\ntimestep 0.0005\nfix 1 all nvt temp 3000 3000 0.1\n")
        stream.write("Per MPI rank memory allocation (min/avg/max) = 3.1 | 3.1 | 3.1 Mbytes\n")
        stream.write("Step Time Temp PotEng KinEng TotEng Econserve Press\n")
        for number in range(n_lines):
            kelvin, *energies = rng.normal([3000, -2800, 150, -2650], [120, 5, 6, 1]).tolist()
            row = (kelvin, *energies, -2650 + 0.01 * energies[0], 100 * energies[1])
            words = " ".join(f"{value:.12g}" for value in row)
            stream.write(f"{10 * number:10d} {0.005 * number:.6g} {words}\n")
        stream.write("Loop time of 1 on 1 procs for 1 steps with 400 atoms\n")


def analyse(path: Path, log: Path | None) -> None:
    """Analyse in this process and print what it took."""
    from tempermd.events import analyse_trajectory

    start_s = time.perf_counter()
    found = analyse_trajectory(path, log, timestep_fs=0.5)
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
    parser.add_argument("--lines", type=int, action="append", help="of a log; 0: without one")
    parser.add_argument("--frames", type=int, default=DIFFERENT)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--analyse", type=Path, nargs="+")
    options = parser.parse_args()
    if options.analyse:
        analyse(*options.analyse, *[None] * (2 - len(options.analyse)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in options.mb or [100.0, 1000.0]:
            path = Path(folder) / "long.lammpstrj"
            write_dump(path, megabytes)
            for n_lines in options.lines or [0]:
                report(path, n_lines)
        if options.turns:
            ratio, rate = paired(path, options.frames, options.turns)
            speed = f"{rate:.0f} frames/s of processor time"
            print(f"ASE's loop takes {ratio:.1f} times as long ({speed})")


def report(path: Path, n_lines: int) -> None:
    """Analyse a dump in a process of its own, with a log of so many lines, and print the cost."""
    log = path.with_suffix(".log")
    given = [path, log] if n_lines else [path]
    if n_lines:
        write_log(log, n_lines)
    command = [sys.executable, __file__, "--analyse", *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    rate = found["frames"] / found["seconds"]
    size = f"{path.stat().st_size / 1e6:.0f} MB, {found['frames']} frames"
    if n_lines:
        size += f", {n_lines} lines of log ({log.stat().st_size / 1e6:.0f} MB)"
    print(f"{size}: {rate:.0f} frames/s, peak {found['peak_mb']:.0f} MB")


if __name__ == "__main__":
    main()
