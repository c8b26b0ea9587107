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
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from nequip.data import AtomicDataDict
from nequip.nn.compile import ListInputOutputStateDictWrapper
from nequip.utils.fx import _nequip_make_fx, fx_duck_shape

from tempermd.records import UserError, sha256_json
from tempermd.training.data import to_labelled, to_nequip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Tensors = dict[str, torch.Tensor]

# compiling costs what eager steps over about this many atoms cost
PAYS_FROM_ATOM_STEPS = 1_000_000
N_TRACED_FRAMES = 7
PER_FRAME = ("total_energy",)
OUTPUTS = (*PER_FRAME, "forces")


class CompiledForward:
    """Stands in for the ``forward`` of nequip's ``GraphModel``; gives energy and forces.

    Weights and buffers go into the compiled graph as arguments, so that models which differ in
    nothing else share one graph: a process that trains many of them compiles once.

    Parameters
    ----------
    config
        The model's builder arguments.
    """

    _graphs: ClassVar[dict[str, Any]] = {}

    def __init__(self, model: Any, config: Mapping[str, Any], backend: str = "inductor") -> None:
        # sizes are symbols in the graph, but which loops are fused may depend on them: always
        # the same example, or a resumed training would differ in its last digits
        example = example_batch(config["type_names"], float(config["r_max"]))
        self.inputs = sorted(example.keys() & set(model.model_input_fields))
        self.state = dict(model.model.named_parameters()) | dict(model.model.named_buffers())
        key = _graph_key(self.state, config) + backend
        if key not in self._graphs:
            flat = ListInputOutputStateDictWrapper(
                model.model, self.inputs, OUTPUTS, list(self.state)
            )
            values = [example[name] for name in self.inputs] + list(self.state.values())
            # nequip's public function traces twice to compare; `compile_steps` compares numbers
            graph = _nequip_make_fx(flat, values)
            self._graphs[key] = torch.compile(graph, dynamic=True, backend=backend)
        self._run = self._graphs[key]

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
    module: Any, config: Mapping[str, Any], *, progress: bool, backend: str = "inductor"
) -> None:
    """Compile the model of a Lightning module, forward and backward; its state stays as it is.

    Parameters
    ----------
    config
        The model's builder arguments.

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
    examples = [
        example_batch(config["type_names"], float(config["r_max"]), n_frames)
        for n_frames in (N_TRACED_FRAMES, 2, 1)
    ]
    with _noise_explained(), fx_duck_shape(False), torch.enable_grad():
        expected = [model(batch)["forces"].detach() for batch in examples]
        model.forward = CompiledForward(model, config, backend)
        for batch, right in zip(examples, expected, strict=True):
            found = model(batch)
            (found["total_energy"].sum() + found["forces"].square().sum()).backward()
            # two ways to sum in single precision; a wrong graph is wrong by far more
            scale = float(right.abs().max()) + 1e-6
            if not torch.allclose(found["forces"], right, rtol=1e-3, atol=1e-3 * scale):
                raise UserError(
                    "the compiled training step gives other forces than the eager one; set "
                    "training.compile = false and report the versions of torch and nequip"
                )
    module.zero_grad(set_to_none=True)


IN_THE_STATE = ("seed", "avg_num_neighbors", "per_type_energy_scales", "per_type_energy_shifts")
"""Builder arguments that are values of weights and buffers, not of the graph."""


def _graph_key(state: Tensors, config: Mapping[str, Any]) -> str:
    """Return what two models must share to share a graph."""
    rest = {name: value for name, value in config.items() if name not in IN_THE_STATE}
    kinds = [
        (name, list(one.shape), str(one.dtype), one.requires_grad) for name, one in state.items()
    ]
    return sha256_json([rest, kinds])


def example_batch(
    type_names: Sequence[str], cutoff_A: float, n_frames: int = N_TRACED_FRAMES
) -> Tensors:
    """Return a batch that depends on the types and the cutoff alone: rattled cubic crystals."""
    from ase.build import bulk, make_supercell

    frames = []
    for number in range(n_frames):
        atoms = make_supercell(bulk("C", "sc", a=cutoff_A / 2.2), 3 * np.eye(3))
        atoms.rattle(0.05 * cutoff_A, seed=number)
        atoms.symbols = [type_names[(number + i) % len(type_names)] for i in range(len(atoms))]
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
        frames.append(to_nequip(to_labelled(atoms, type_names, cutoff_A)))
    return AtomicDataDict.batched_from_list(frames)


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
