"""TorchScript files: written without traces of the machine, and opened again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tempermd.records import UserError
from tempermd.training.models import first_line

if TYPE_CHECKING:
    import torch

# where the pair style looks for the network in plain numbers
DESCRIPTION_RECORD = "tempermd/network.txt"


def write_torchscript(
    model: torch.nn.Module,
    metadata: dict[str, str],
    path: Path,
    device: str,
    description: str = "",
) -> None:
    """Write an energy-only model and its metadata (ASCII) as a TorchScript archive.

    ``description`` is the network in plain numbers, if there is one, for the native engine.
    """
    from nequip.model.inference_models.torchscript import save_torchscript_model

    with torchscript_deprecation_known():
        save_torchscript_model(model, metadata, str(path), device)
    _rewrite(path, {DESCRIPTION_RECORD: description.encode()} if description else {})


def open_torchscript(path: Path, device: str) -> torch.nn.Module:
    """Load a TorchScript archive for evaluation on a device."""
    import torch

    try:
        with torchscript_deprecation_known():
            # a frozen model warms up ten times faster than a loaded one, and runs alike
            return torch.jit.freeze(torch.jit.load(str(path), map_location=device))
    except RuntimeError as error:
        raise UserError(f"{path}: torch cannot read the model ({first_line(error)})") from None


def _rewrite(path: Path, added: dict[str, bytes]) -> None:
    """Rewrite an archive without debug records, under a fixed inner name, with further records.

    Debug records hold source lines and absolute paths of the machine that deployed; no one who
    runs the model needs them.
    """
    import io

    import torch

    written_by_torch = ("version", "byteorder", ".data/serialization_id")
    reader = torch._C.PyTorchFileReader(str(path))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in written_by_torch:
            content = reader.get_record(name)
            writer.write_record(name, content, len(content))
    for name, content in added.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    path.write_bytes(buffer.getvalue())


@contextmanager
def torchscript_deprecation_known() -> Iterator[None]:
    """Hide torch's notice that TorchScript is deprecated, once per submodule.

    We know: AOTInductor, its successor, is the other format that we write.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"`torch\.jit\.\w+` is deprecated", category=DeprecationWarning
        )
        yield
