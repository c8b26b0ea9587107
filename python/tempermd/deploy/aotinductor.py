"""AOTInductor files: a model compiled for one kind of processor, exact where there are ghosts."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempermd.deploy.compiled import INPUTS, OUTPUTS, CompiledModel, gradient_module
from tempermd.records import UserError
from tempermd.training.graphs import Graph
from tempermd.training.models import first_line

if TYPE_CHECKING:
    import torch

# a model compiled for at least two of each also runs with less, but nobody vouches for it
SMALLEST_DIMENSION = 2

# of x86-64, by torch's name of what a processor can do; GCC 11 and clang 12 know these levels
MARCHES = {"AVX2": "x86-64-v3", "AVX512": "x86-64-v4"}
_ENOUGH = {"AVX2": ("AVX2", "AVX512"), "AVX512": ("AVX512",)}


def write_aotinductor(
    model: torch.nn.Module,
    metadata: dict[str, str],
    path: Path,
    device: str,
    examples: list[Graph],
) -> None:
    """Compile an energy-only model with its gradients, and write it with its metadata.

    Parameters
    ----------
    model
        An eager nequip model without forces.
    metadata
        What the file says of itself, ASCII.
    path
        The file to write.
    device
        ``cpu`` or ``cuda``; the compiler makes code for the device of this machine.
    examples
        Two graphs of different size, by which the model is traced.
    """
    import torch

    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UserError(
            f"AOTInductor needs a C++ compiler, and there is no {compiler} on PATH; install one "
            "(e.g. apt install g++) or name it by CXX, or deploy with --format torchscript"
        )
    keys = {"nequip_aoti_inputs": " ".join(INPUTS), "nequip_aoti_outputs": " ".join(OUTPUTS)}
    with tempfile.TemporaryDirectory() as folder, _elapsed_time_shown(), _torch_notices_known():
        package = Path(folder) / "model.pt2"
        try:
            torch._inductor.aoti_compile_and_package(
                _exported(model, device, examples),
                package_path=str(package),
                inductor_configs=_compiler_settings() | {"aot_inductor.metadata": metadata | keys},
            )
        except RuntimeError as error:
            raise UserError(f"AOTInductor could not compile the model: {_cause(error)}") from error
        _write_without_sources(package, path)


def open_aotinductor(path: Path, info: dict[str, Any], device: str) -> CompiledModel:
    """Load a model that ``write_aotinductor`` wrote."""
    import torch

    if info["AOTI_DEVICE_KEY"] != torch.device(device).type:
        raise UserError(
            f"{path}: compiled for {info['AOTI_DEVICE_KEY']}, it cannot run on {device}; "
            f"use that device, or deploy the checkpoint with --device {device}"
        )
    needed = (info["AOTI_CPU_ISA"].split() or [""])[0]
    if needed in MARCHES and _cpu_capability() not in _ENOUGH[needed]:
        raise UserError(
            f"{path}: compiled for processors with {needed}, which this one is not; "
            "deploy the checkpoint on this machine"
        )
    try:
        package = torch._inductor.aoti_load_package(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: torch cannot read the model ({first_line(error)})") from None
    return CompiledModel(package, info["cutoff_A"])


def _compiler_settings() -> dict[str, Any]:
    settings = {
        # Kernels for a number of threads that is known only at run time take twice as long,
        # since every sum over edges becomes atomic; ranks share the work instead.
        "cpp.threads": 1,
        # they would hold this machine's paths
        "aot_inductor.enable_line_tables": False,
    }
    march = MARCHES.get(_cpu_capability())
    # a level by name instead of `native`: metadata then names all that a processor must have
    return settings | ({"cpp.march": march} if march else {})


def _cpu_capability() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


def _exported(
    model: torch.nn.Module, device: str, examples: list[Graph]
) -> torch.export.ExportedProgram:
    """Trace energies and gradients, as nequip does, with free numbers of atoms and edges."""
    import torch
    from nequip.utils.compile import prepare_model_for_compile
    from nequip.utils.fx import fx_duck_shape, nequip_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    module = gradient_module(prepare_model_for_compile(model, device))
    inputs = [_inputs(graph, device) for graph in examples]
    traced = []
    for example in inputs:
        with fx_duck_shape(False):
            trace = make_fx(
                module,
                decomposition_table=nequip_decomp_table(),
                tracing_mode="symbolic",
                _allow_non_fake_inputs=True,
                _error_on_data_dependent_ops=True,
            )
            traced.append(trace(*example))
    if traced[0].code != traced[1].code:
        raise UserError(
            "the model's trace depends on the numbers of atoms and edges, so that it cannot be "
            "compiled ahead of time; deploy with --format torchscript"
        )
    atoms = torch.export.Dim("atoms", min=SMALLEST_DIMENSION)
    edges = torch.export.Dim("edges", min=SMALLEST_DIMENSION)
    shapes = ({1: edges}, {0: edges}, {0: atoms}, {0: atoms})
    return torch.export.export(traced[0], inputs[0], dynamic_shapes=shapes)


def _inputs(graph: Graph, device: str) -> tuple[torch.Tensor, ...]:
    import torch

    tensors = (
        torch.tensor(graph.edge_index),
        torch.tensor(graph.edge_vectors_A),
        torch.tensor(graph.types),
        torch.ones(len(graph.types), 1, dtype=torch.float64),
    )
    return tuple(tensor.to(device) for tensor in tensors)


def _cause(error: RuntimeError) -> str:
    """Return the line that names the cause: of a compiler's output, its first error."""
    lines = str(error).splitlines()
    errors = [line for line in lines if "error:" in line]
    return (errors or [first_line(error)])[0].strip()[:300]


def _write_without_sources(package: Path, path: Path) -> None:
    """Rewrite a package under a fixed inner name, without what only describes its making.

    The sources, which nobody compiles again, go. In the library remain the names of source
    files, for its error messages: the folders of this machine become dots.
    """
    import torch
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    folders = {Path(torch.__file__).parent.parent, Path(cache_dir()), package.parent}
    folders |= {folder.resolve() for folder in folders}
    written_by_torch = ("version", "byteorder", ".data/serialization_id", ".data/version")
    reader = torch._C.PyTorchFileReader(str(package))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name in reader.get_all_records():
        if name in written_by_torch or name.endswith((".cpp", ".kernel_metadata.json")):
            continue
        content = reader.get_record(name)
        for folder in sorted(folders, key=lambda one: -len(str(one))):
            known = str(folder).encode()
            content = content.replace(known, b"." * len(known))
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    path.write_bytes(buffer.getvalue())


@contextmanager
def _torch_notices_known() -> Iterator[None]:
    """Hide what torch's exporter says of torch's own older interfaces."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*LeafSpec", category=FutureWarning)
        yield


@contextmanager
def _elapsed_time_shown() -> Iterator[None]:
    """Show on stderr that the compiler is at work, and for how long."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr)
    text = "compiling with AOTInductor, which takes minutes"
    if not console.is_terminal:  # there nothing shows until the end
        print(text, file=sys.stderr, flush=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
    ) as progress:
        task = progress.add_task(text, total=1)
        yield
        progress.update(task, completed=1, description="compiled")
