"""Eager against compiled training steps, interleaved: python tests/bench/train_step.py [SIZES].

The data are random jittered cells of 200 atoms; 3 layers of 16 features, l = 1, single precision,
one thread. SIZES are structures per step (1 and 4). Prints core-milliseconds per step.
"""

from __future__ import annotations

import sys
import time

import numpy as np


def cells(n_frames: int, n_atoms: int = 200) -> list:
    """Return jittered grids, about as dense as amorphous carbon, with random labels."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    random = np.random.default_rng(0)
    side = round(np.ceil(n_atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*3 * [np.arange(side)]), -1).reshape(-1, 3)
    length_A = (n_atoms / 0.12) ** (1 / 3)
    made = []
    for _ in range(n_frames):
        sites = grid[random.permutation(len(grid))[:n_atoms]]
        positions = (sites + 0.15 * random.normal(size=sites.shape)) * length_A / side
        atoms = Atoms(f"C{n_atoms}", positions, cell=3 * [length_A], pbc=True)
        labels = {"energy": -7.0 * n_atoms, "forces": random.normal(size=(n_atoms, 3))}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        made.append(atoms)
    return made


def main() -> None:
    """Step both models on the same batches in turn."""
    import torch
    from nequip.data import AtomicDataDict

    from tempermd.training import DataSpec, ModelSpec, TrainingSpec, TrainSpec
    from tempermd.training.compiled import compile_steps
    from tempermd.training.data import FramesInMemory
    from tempermd.training.products import speed_up
    from tempermd.training.start import Start, build_module

    torch.set_num_threads(1)
    frames = FramesInMemory(cells(16), ["C"], 4.0)
    runs = []
    for compiled in (False, True):
        start = Start(ModelSpec(type_names=["C"]), None, None)
        asked = TrainSpec(data=DataSpec(train="", val=""), training=TrainingSpec(max_epochs=1))
        config, module = build_module(start, asked, frames, progress=False)
        module.log_dict = lambda *_: None
        speed_up(module.model)
        start_s = time.process_time()
        if compiled:
            compile_steps(module, config, progress=True)
            print(f"compiling: {time.process_time() - start_s:.0f} core-s in this process")
        module.optimizer_config["fused"] = compiled
        runs.append((module, module.configure_optimizers()))

    def step(number: int, batch: dict) -> float:
        module, optimizer = runs[number]
        start_s = time.process_time()
        loss = module.training_step(dict(batch), 0)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimizer.step()
        module.ema.update_parameters(module.model)
        return 1000 * (time.process_time() - start_s)

    for size in [int(one) for one in sys.argv[1:]] or [1, 4]:
        numbers = [[(size * k + j) % 16 for j in range(size)] for k in range(4)]
        batches = [AtomicDataDict.batched_from_list([frames[i] for i in one]) for one in numbers]
        times = np.array([[step(i, one) for i in (0, 1)] for one in 4 * batches])[4:]
        eager_ms, compiled_ms = np.median(times, axis=0)
        print(
            f"{200 * size} atoms: {eager_ms:.1f} ms eager, {compiled_ms:.1f} ms compiled, "
            f"ratio {eager_ms / compiled_ms:.2f}"
        )


if __name__ == "__main__":
    main()
