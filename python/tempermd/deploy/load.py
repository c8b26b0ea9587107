"""Opening a deployed model: it replays its test configuration before anyone may use it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tempermd.deploy.aotinductor import open_aotinductor
from tempermd.deploy.check import WARM_UP_CALLS, parse_configuration
from tempermd.deploy.files import extra_files, model_info
from tempermd.deploy.operators import OPERATOR_PACKAGES, import_operators
from tempermd.deploy.torchscript import open_torchscript
from tempermd.records import UserError
from tempermd.training.graphs import predict

if TYPE_CHECKING:
    from tempermd.training.graphs import Model


def checked_device(device: str) -> None:
    """Refuse a device that this machine's torch cannot use."""
    import torch

    if device not in ("cpu", "cuda"):
        raise UserError(f"device '{device}' is unknown; choose cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device cuda was asked for, but torch {torch.__version__} sees no GPU; "
            "use --device cpu, or a machine and a torch build with CUDA"
        )


def load_deployed(path: Path | str, device: str = "cpu") -> tuple[Model, dict[str, Any]]:
    """Load a deployed model, warm it up and replay its test configuration.

    Returns
    -------
    tuple
        The model (energy only), scripted or compiled, and ``model_info(path)``.
    """
    checked_device(device)
    model, info = open_deployed(Path(path), device)
    text = extra_files(Path(path))["test_configuration"]
    graph, energy_eV, forces_eV_A, tolerance = parse_configuration(text)
    for _ in range(WARM_UP_CALLS):
        found = predict(model, graph, device)
    difference = float(np.abs(found.forces_eV_A - forces_eV_A).max())
    energy_difference = abs(found.energy_eV - energy_eV) / len(graph.types)
    # an energy error of tolerance x 1 Å per atom would be as odd as such a force error
    if not max(difference, energy_difference) <= tolerance:
        raise UserError(
            f"{path}: the model does not give its own test configuration's forces (off by "
            f"{difference:.2g} eV/Å, allowed {tolerance:.2g}); the file is damaged or was made "
            "for other versions: deploy the checkpoint anew"
        )
    return model, info


def open_deployed(path: Path, device: str) -> tuple[Model, dict[str, Any]]:
    """Load a deployed model as it is, unchecked."""
    info = model_info(path)
    import_operators(info.get(OPERATOR_PACKAGES, ""))
    if info["format"] == "aotinductor":
        return open_aotinductor(path, info, device), info
    return open_torchscript(path, device), info
