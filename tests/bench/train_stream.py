"""Memory and rates of a training that streams: python tests/bench/train_stream.py [FOLDER].

Makes an LMDB part of 5,000 cells of 200 atoms (labels are random: they do not matter here) and
trains one epoch on it in a process of its own, whose peak memory (VmHWM: everything, torch and
mapped file pages included) it prints. ``--features 32 --layers 4 --parity --n-train 500`` is
the paper's model on as many frames.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def make(folder: Path, name: str, n_frames: int, n_atoms: int) -> None:
    """Write a part of jittered grids, about as dense as amorphous carbon."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    from tempermd.dataset import LmdbWriter

    random = np.random.default_rng(n_frames)
    side = round(np.ceil(n_atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*3 * [np.arange(side)]), -1).reshape(-1, 3)
    length_A = (n_atoms / 0.12) ** (1 / 3)
    with LmdbWriter(folder / f"{name}.lmdb", stress=False, energies=False) as writer:
        for _ in range(n_frames):
            sites = grid[random.permutation(len(grid))[:n_atoms]]
            positions = (sites + 0.15 * random.normal(size=sites.shape)) * length_A / side
            atoms = Atoms(f"C{n_atoms}", positions, cell=3 * [length_A], pbc=True)
            labels = {"energy": -7.0 * n_atoms, "forces": random.normal(size=(n_atoms, 3))}
            atoms.calc = SinglePointCalculator(atoms, **labels)
            writer.add(atoms)


def load(folder: Path, n_frames: int) -> None:
    """Print the rate of reading frames in random order, neighbor lists and tensors included."""
    from tempermd.training.data import read_frames

    frames = read_frames(str(folder / "train.lmdb"), ["C"], 4.0)
    order = np.random.default_rng(0).permutation(len(frames))[:n_frames]
    start_s, start_core_s = time.perf_counter(), time.process_time()
    n_atoms = sum(len(frames[int(number)]["pos"]) for number in order)
    wall_s, core_s = time.perf_counter() - start_s, time.process_time() - start_core_s
    print(f"loading alone: {n_atoms / wall_s:.0f} atoms/s, {n_atoms / core_s:.0f} per core-second")
    print(f"peak memory of loading: {peak_MiB():.0f} MiB")


def train(folder: Path, options: argparse.Namespace) -> None:
    """Train one epoch, and print what it took."""
    from tempermd import training

    model = training.ModelSpec(
        type_names=["C"],
        num_layers=options.layers,
        num_features=options.features,
        radial_mlp_width=8,
        parity=options.parity,
    )
    parts = {name: str(folder / f"{name}.lmdb") for name in ("train", "val")}
    spec = training.TrainSpec(
        model=model,
        data=training.DataSpec(**parts, n_train=options.n_train),
        training=training.TrainingSpec(max_epochs=1, batch_size=options.batch, learning_rate=0.002),
    )
    start_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        training.train(spec, Path(out) / "out", threads=options.threads)
        record = json.loads((Path(out) / "out" / "training.json").read_text())
    wall_s, steps = time.perf_counter() - start_s, record["n_steps"]
    print(f"{record['n_train'] * options.atoms} atoms in {steps} steps, {wall_s:.0f} s in all")
    core_ms = 1000 * record["core_s"] / steps
    print(f"training: {record['ms_per_step']:.1f} ms/step, {core_ms:.1f} core-ms/step")
    print(f"peak memory of training: {peak_MiB():.0f} MiB")


def peak_MiB() -> float:
    """Return the peak memory of this process, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(one for one in lines if one.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    """Make the data where it is missing, then run each part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--part", choices=["load", "train"])
    for name, default in (("frames", 5000), ("atoms", 200), ("layers", 2), ("features", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("batch", 5), ("threads", 1), ("n-train", None)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--parity", action="store_true")
    options = parser.parse_args()
    if options.part == "load":
        return load(options.folder, min(1000, options.frames))
    if options.part == "train":
        return train(options.folder, options)
    folder = options.folder or Path(tempfile.mkdtemp())
    if not (folder / "train.lmdb").exists():
        folder.mkdir(parents=True, exist_ok=True)
        start_s = time.perf_counter()
        make(folder, "train", options.frames, options.atoms)
        size_MB = (folder / "train.lmdb").stat().st_size / 1e6
        print(f"made {size_MB:.0f} MB in {time.perf_counter() - start_s:.1f} s", flush=True)
        make(folder, "val", 50, options.atoms)
    rest = [one for one in sys.argv[1:] if one != str(options.folder)]
    for part in ("load", "train"):
        command = [sys.executable, __file__, str(folder), "--part", part, *rest]
        subprocess.run(command, check=True)
    return None


if __name__ == "__main__":
    main()
