"""Training steps as nequip does them, eager and compiled: python tests/bench/train_step.py [SIZES].

The data are random jittered cells of 200 atoms; 3 layers of 16 features, l = 1, single precision,
one thread, where no options say otherwise. Numbers as arguments are structures per step (1 and 4).
Prints core-milliseconds per step.

``--bound`` prints instead what any faster tensor product could bring to compiled steps: the same
steps with products that only add up the squares of what they are given: every input is read and
every gradient written, in both directions, with next to no arithmetic, and all else is as it was.
``--compiling`` prints the core-seconds of compiling, g++ included, with an empty cache of torch's
and with the one that this left: those of a process that compiles less those of one that does not.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

KINDS = ("nequip's own", "eager", "compiled")
BOUND = ("compiled", "compiled, free products")


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


def free_products(model: Any) -> None:
    """Let a model's tensor products do no more than add up the squares of what they are given."""
    import torch
    from nequip.nn.model_modifier_utils import replace_submodules

    from tempermd.training.products import ComponentwiseProduct

    class Free(torch.nn.Module):
        def __init__(self, product: ComponentwiseProduct) -> None:
            super().__init__()
            self.tp = product.tp
            self.width = product.tp.irreps_out.dim

        def forward(self, x, edge_attr, edge_weight, edge_dst, edge_src):
            one = x.square().sum(1, keepdim=True) + edge_attr.square().mean()
            return (one + edge_weight.square().mean()).expand(x.size(0), self.width)

    replace_submodules(model, ComponentwiseProduct, Free)


def module_of(kind: str, frames: Any, model: dict[str, int]) -> Any:
    """Return a Lightning module whose steps are of this kind."""
    from tempermd.training import DataSpec, ModelSpec, TrainingSpec, TrainSpec
    from tempermd.training.compiled import CompiledForward, compile_steps
    from tempermd.training.products import speed_up
    from tempermd.training.start import Start, build_module

    start = Start(ModelSpec(type_names=["C"], **model), None, None)
    asked = TrainSpec(data=DataSpec(train="", val=""), training=TrainingSpec(max_epochs=1))
    config, module = build_module(start, asked, frames, progress=False)
    module.log_dict = lambda *_: None
    if kind != "nequip's own":
        speed_up(module.model)
    if "free" in kind:
        free_products(module.model)
    if "compiled" in kind:
        CompiledForward._graphs.clear()  # those of other kinds have the same weights
        compile_steps(module, config, progress=True)
    module.optimizer_config["fused"] = "compiled" in kind
    return module


def step(module: Any, optimizer: Any, batch: dict) -> float:
    """Do a training step and return its core-milliseconds."""
    import torch

    start_s = time.process_time()
    loss = module.training_step(dict(batch), 0)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
    optimizer.step()
    module.ema.update_parameters(module.model)
    return 1000 * (time.process_time() - start_s)


def prepared(n_frames: int) -> Any:
    """Return frames with neighbor lists; torch takes one thread from here on."""
    import torch

    from tempermd.training.data import FramesInMemory

    torch.set_num_threads(1)
    return FramesInMemory(cells(n_frames), ["C"], 4.0)


def steps(sizes: list[int], kinds: tuple[str, ...], model: dict[str, int]) -> None:
    """Step modules of some kinds on the same batches in turn."""
    from nequip.data import AtomicDataDict

    frames = prepared(16)
    modules = [module_of(kind, frames, model) for kind in kinds]
    runs = [(module, module.configure_optimizers()) for module in modules]
    for size in sizes:
        numbers = [[(size * k + j) % 16 for j in range(size)] for k in range(4)]
        batches = [AtomicDataDict.batched_from_list([frames[i] for i in one]) for one in numbers]
        times = np.array([[step(*run, one) for run in runs] for one in 4 * batches])[4:]
        medians = np.median(times, axis=0)
        shown = [f"{ms:.1f} ms {kind}" for kind, ms in zip(kinds, medians, strict=True)]
        ratios = " and ".join(f"{ratio:.2f}" for ratio in medians[:-1] / medians[1:])
        print(f"{200 * size} atoms: {', '.join(shown)}; ratios {ratios}", flush=True)


def compiling(shape: dict[str, int]) -> None:
    """Print what compiling costs, from the processor time of ended children."""

    def core_s(kind: str, cache: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
        sizes = [f"--{name.replace('_', '-')}={value}" for name, value in shape.items()]
        command = [sys.executable, __file__, "--build", kind, *sizes]
        subprocess.run(command, env=environment, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    with tempfile.TemporaryDirectory() as cache:
        without = core_s("eager", cache)
        print(f"empty cache: {core_s('compiled', cache) - without:.0f} core-s", flush=True)
        print(f"the same cache: {core_s('compiled', cache) - without:.0f} core-s")


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--l-max", type=int, default=1)
    parser.add_argument("--num-features", type=int, default=16)
    parser.add_argument("--num-layers", type=int, default=3)
    parser.add_argument("--bound", action="store_true")
    parser.add_argument("--compiling", action="store_true")
    parser.add_argument("--build", help="for --compiling: build this kind, and end")
    options = parser.parse_args()
    shape = {name: getattr(options, name) for name in ("l_max", "num_features", "num_layers")}
    if options.compiling:
        compiling(shape)
    elif options.build:
        module_of(options.build, prepared(1), shape)
    else:
        steps(options.sizes, BOUND if options.bound else KINDS, shape)


if __name__ == "__main__":
    main()
