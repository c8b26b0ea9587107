"""Atoms per second and memory of `tempermd label`; run: python tests/bench/label_scale.py lcbop."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from tempermd import labels

DENSITIES_G_CM3 = (1.0, 3.5)


def cell(number: int, n_atoms: int) -> Atoms:
    """Return a rattled diamond lattice with vacancies, at one of many densities, 200 atoms."""
    from ase.build import bulk

    rng = np.random.default_rng(number)
    crystal = bulk("C", "diamond", a=3.57, cubic=True).repeat(3)
    atoms = crystal[np.sort(rng.permutation(len(crystal))[:n_atoms])]
    volume_A3 = n_atoms * 12.011 / 0.602214 / rng.uniform(*DENSITIES_G_CM3)
    atoms.set_cell(atoms.cell * (volume_A3 / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.1, (n_atoms, 3))
    atoms.info |= {"kind": "rattled", "trajectory": f"r{number}"}
    return atoms


def bare_rate(spec: labels.SourceSpec, n_atoms: int, seconds: float) -> float:
    """Return atoms per processor second of the calculator in a plain loop in this process."""
    calculator = labels.open_source(spec)[1]
    frames = [cell(number, n_atoms) for number in range(60)]
    labels.compute(frames[0], calculator)
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        atoms = frames[done % len(frames)].copy()
        atoms.calc = calculator
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        done += 1
    return done * n_atoms / (time.process_time() - start)


def memory_of_tree(pid: int) -> int:
    """Return the resident bytes of a process and all below it, shared pages shared out (PSS)."""
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int(path.name) == pid or _below(int(path.name), pid):
                text = (path / "smaps_rollup").read_text()
                total += 1024 * int(text.split("Pss:")[1].split()[0])
        except (OSError, IndexError, ValueError):
            continue
    return total


def _below(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return pid == ancestor


def watched(command: list[str], folder: Path) -> tuple[float, int]:
    """Run a command and return its seconds and the peak memory of its processes."""
    peak, start = 0, time.perf_counter()
    process = subprocess.Popen(command, cwd=folder)
    ended = threading.Event()
    threading.Thread(target=lambda: (process.wait(), ended.set()), daemon=True).start()
    while not ended.wait(0.3):
        peak = max(peak, memory_of_tree(process.pid))
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - start, peak


def main() -> None:
    """Make structures, label them by the command, and say what it costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--atoms", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    spec = labels.SourceSpec(name=given.source)
    rate = bare_rate(spec, given.atoms, 5.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = (cell(number, given.atoms) for number in range(given.number))
        write(folder / "in.extxyz", list(frames))
        code = "from tempermd.cli import main; main()"
        command = [sys.executable, "-c", code, "label", "in.extxyz", "--source", given.source]
        command += ["-o", "out.extxyz", "-j", str(given.workers), "--accept-failures", "1"]
        seconds, peak = watched(command, folder)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        record = json.loads((folder / "out.extxyz.json").read_text())
    atoms = record["atoms"]
    print(f"{given.source}: {record['labelled']} of {record['frames']} structures, {atoms} atoms")
    more_s = usage.ru_utime + usage.ru_stime - record["core_seconds"]
    print(f"bare calculator        {rate:12,.0f} atoms per processor second")
    print(f"in the workers         {record['atoms_per_core_second']:12,.0f}, the same")
    print(f"the whole command      {atoms / seconds:12,.0f} atoms/s with {given.workers} workers")
    more_ms = 1e3 * more_s / record["frames"]
    print(f"beside the calculator  {more_ms:12.2f} ms per structure, with the start")
    print(f"peak memory            {peak / 1e6:12,.0f} MB, all processes")


if __name__ == "__main__":
    main()
