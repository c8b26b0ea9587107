"""Training steps compiled by torch: the same mathematics, with the loops over edges fused.

An eager step of a small model on a CPU is hundreds of passes over arrays of edges, each read from
and written to memory; inductor makes a few of them.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from nequip.data import AtomicDataDict
from nequip.nn.compile import ListInputOutputStateDictWrapper
from nequip.utils.fx import _nequip_make_fx, fx_duck_shape

from tempermd.records import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tempermd.training.data import Frames

    Tensors = dict[str, torch.Tensor]

# compiling costs what eager steps over about this many atoms cost
PAYS_FROM_ATOM_STEPS = 1_000_000
N_TRACED_FRAMES = 7
PER_FRAME = ("total_energy",)
OUTPUTS = (*PER_FRAME, "forces")


class CompiledForward:
    """Stands in for the ``forward`` of nequip's ``GraphModel``; gives energy and forces.

    Parameters
    ----------
    example
        A batch from which the graph is traced. Sizes are symbols in it, but which loops are fused
        may depend on them: take the same batch whenever a training is resumed.
    """

    def __init__(self, model: Any, example: Tensors, backend: str = "inductor") -> None:
        self.inputs = sorted(example.keys() & set(model.model_input_fields))
        self.state = dict(model.model.named_parameters()) | dict(model.model.named_buffers())
        flat = ListInputOutputStateDictWrapper(model.model, self.inputs, OUTPUTS, list(self.state))
        values = [example[name] for name in self.inputs] + list(self.state.values())
        # nequip traces a second time to compare (13 core-s); `compile_steps` compares numbers
        graph = _nequip_make_fx(flat, values)
        self._run = torch.compile(graph, dynamic=True, backend=backend)

    def __call__(self, data: Tensors) -> Tensors:
        """Return the batch with the model's ``total_energy`` (frames, 1) and ``forces`` (N, 3)."""
        n_frames = AtomicDataDict.num_frames(data)
        full = data if n_frames > 1 else _with_empty_frame(data)
        found = self._run(*(full[name] for name in self.inputs), *self.state.values())
        outputs = dict(zip(OUTPUTS, found, strict=True))
        return data | outputs | {name: outputs[name][:n_frames] for name in PER_FRAME}


def _with_empty_frame(data: Tensors) -> Tensors:
    """Add a structure of no atoms: torch compiles for one or for any number from two up."""
    n_atoms = data["num_atoms"]
    return data | {
        "cell": torch.cat([data["cell"], data["cell"]]),
        "num_atoms": torch.cat([n_atoms, torch.zeros_like(n_atoms)]),
        "batch": data["batch"].contiguous(),  # nequip expands it from one element
    }


def pays(n_steps: int, atoms_per_step: float) -> bool:
    """Tell whether a training is long enough for compiling to pay, and there is a compiler."""
    return n_steps * atoms_per_step >= PAYS_FROM_ATOM_STEPS and has_compiler()


def has_compiler() -> bool:
    """Tell whether inductor will find a C++ compiler."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def compile_steps(
    module: Any, frames: Frames, *, progress: bool, backend: str = "inductor"
) -> None:
    """Compile the model of a Lightning module, forward and backward; its state stays as it is.

    Raises
    ------
    UserError
        There is no compiler, or the compiled model's forces are not the eager one's.
    """
    if not has_compiler():
        raise UserError(
            "training.compile = true needs a C++ compiler: install g++, name another one by the "
            "environment variable CXX, or set compile = false"
        )
    if progress:
        print("compiling the training step: a minute or two", file=sys.stderr, flush=True)
    (model,) = module.model.values()
    with _noise_explained(), fx_duck_shape(False), torch.enable_grad():
        expected = [model(batch)["forces"] for batch in _examples(frames)]
        model.forward = CompiledForward(model, next(_examples(frames)), backend)
        for batch, right in zip(_examples(frames), expected, strict=True):
            found = model(batch)
            (found["total_energy"].sum() + found["forces"].square().sum()).backward()
            # two ways to sum in single precision; a wrong graph is wrong by far more
            if not torch.allclose(found["forces"], right, rtol=1e-3, atol=1e-4):
                raise UserError(
                    "the compiled training step gives other forces than the eager one; set "
                    "training.compile = false and report the versions of torch and nequip"
                )
    module.zero_grad(set_to_none=True)


def _examples(frames: Frames) -> Iterator[Tensors]:
    """Yield the batch to trace, one of another size, and one of a single structure."""
    for first, n_frames in ((0, N_TRACED_FRAMES), (3, 2), (1, 1)):
        numbers = [(first + step) % len(frames) for step in range(n_frames)]
        yield AtomicDataDict.batched_from_list([frames[number] for number in numbers])


@contextmanager
def _noise_explained() -> Iterator[None]:
    """Hide warnings that torch gives about its own tracing."""
    reasons = {
        # fake tensors are described with all their attributes
        r"The .grad attribute of a Tensor that is not a leaf": UserWarning,
        # modules of torch and e3nn that use TorchScript, imported on the way
        r"`torch.jit.\w+` is deprecated": DeprecationWarning,
    }
    with warnings.catch_warnings():
        for message, category in reasons.items():
            warnings.filterwarnings("ignore", message=message, category=category)
        yield
