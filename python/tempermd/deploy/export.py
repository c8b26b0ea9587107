"""Checkpoints to models that LAMMPS runs, each checked against the model it came from.

Opening a checkpoint runs code that it contains (it is a pickle): open only those you trust.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tempermd.deploy.aotinductor import write_aotinductor
from tempermd.deploy.check import (
    check_structures,
    differences,
    eager_reference,
    force_tolerance_eV_A,
    format_configuration,
)
from tempermd.deploy.files import FORMAT_VERSION, checked_output
from tempermd.deploy.load import checked_device, open_deployed
from tempermd.deploy.operators import (
    OPERATOR_PACKAGES,
    checked_modifiers,
    modified,
    operator_packages,
)
from tempermd.deploy.torchscript import write_torchscript
from tempermd.records import Record, UserError, atomic_write, sha256_file
from tempermd.training.graphs import build_graph
from tempermd.training.models import load_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class Deployed(Record):
    """A deployed model: its file, and how far it is from the model that it came from."""

    format_name: ClassVar[str] = "tempermd-deployed"

    path: str
    sha256: str
    checkpoint_sha256: str
    device: str
    model_dtype: str
    type_names: list[str]
    cutoff_A: float
    num_layers: int
    max_energy_difference_eV_per_atom: float
    max_force_difference_eV_per_A: float
    max_stress_difference_eV_per_A3: float
    splines: str
    """What the native engine's splines are worth, or why it cannot run the model; in words."""

    def __str__(self) -> str:
        return (
            f"{self.path}: within {self.max_force_difference_eV_per_A:.2g} eV/Å of the checkpoint; "
            f"{self.splines}"
        )


def deploy(
    checkpoint: Path | str,
    output: Path | str,
    device: str = "cpu",
    file_format: str | None = None,
    modifiers: Sequence[str] = (),
) -> Deployed:
    """Write the EMA weights of a checkpoint for LAMMPS, and check the file.

    The checkpoint is a pickle: opening it runs code that it contains.

    Parameters
    ----------
    checkpoint
        A nequip checkpoint (``best.ckpt`` of a training, or any other of nequip 0.19).
    output
        The file to write; its name must end in ``.nequip.pth`` or ``.nequip.pt2``.
    device
        ``cpu`` or ``cuda``: where the model will run.
    file_format
        ``torchscript`` or ``aotinductor`` (a C++ compiler is needed, and minutes); what the
        name of the output says if not given.
    modifiers
        Names of nequip's modifiers that speed a model up, e.g. ``enable_OpenEquivariance``.
    """
    output, file_format = checked_output(output, file_format)
    checked_device(device)
    checkpoint_sha256 = sha256_file(checkpoint)
    model = load_checkpoint(checkpoint)
    return deploy_model(
        model, output, device=device, checkpoint_sha256=checkpoint_sha256, modifiers=modifiers
    )


def deploy_model(
    model: torch.nn.Module,
    output: Path | str,
    *,
    device: str = "cpu",
    checkpoint_sha256: str = "",
    modifiers: Sequence[str] = (),
) -> Deployed:
    """Write an eager nequip model for LAMMPS; the model itself becomes energy-only.

    The name of the output says the format. ``modifiers`` are nequip's, by name.
    """
    output, file_format = checked_output(output)
    checked_modifiers(model, modifiers, device, file_format)
    model.eval().to(device)
    described = _describe(model, device, checkpoint_sha256)
    type_names = described["type_names"].split()
    cutoff_A = float(described["r_max"])
    structures = check_structures(type_names)
    references = [
        eager_reference(model, atoms, type_names, cutoff_A, device) for atoms in structures
    ]
    tolerance = force_tolerance_eV_A(described["model_dtype"], references)
    graphs = [build_graph(atoms, type_names, cutoff_A) for atoms in structures]
    described["test_configuration"] = format_configuration(graphs[0], references[0], tolerance)

    network = _network(model, type_names, described, modifiers)
    native, splines = "", "AOTInductor: not for the native engine"
    if file_format == "torchscript":
        native, splines = _description(model, network, described)
    with atomic_write(output) as temporary:
        if file_format == "aotinductor":
            write_aotinductor(network, described, temporary, device, graphs)
        else:
            write_torchscript(network, described, temporary, device, native)
        compiled, info = open_deployed(temporary, device)
        found = differences(compiled, info, structures, references, device)
        # one number bounds all three: energies per atom and stresses are smaller than forces
        if not all(one <= tolerance for one in found):
            numbers = ", ".join(f"{one:.2g}" for one in found)
            raise UserError(
                f"{output}: not written, since the {file_format} model differs from the "
                f"checkpoint by {numbers} (eV/atom, eV/Å, eV/Å³; allowed: {tolerance:.2g}); "
                "deploy with the torch and nequip versions of constraints.txt"
            )
    return Deployed(
        path=str(output),
        sha256=sha256_file(output),
        checkpoint_sha256=checkpoint_sha256,
        device=device,
        model_dtype=described["model_dtype"],
        type_names=type_names,
        cutoff_A=cutoff_A,
        num_layers=int(described["num_layers"]),
        max_energy_difference_eV_per_atom=found[0],
        max_force_difference_eV_per_A=found[1],
        max_stress_difference_eV_per_A3=found[2],
        splines=splines,
    )


def _network(
    model: torch.nn.Module,
    type_names: list[str],
    described: dict[str, str],
    modifiers: Sequence[str],
) -> torch.nn.Module:
    """Return the energy-only network to write.

    Adds to ``described`` whether it is laid out by layers, and whose operators it calls.
    """
    from tempermd.deploy.blocks import NotLayeredError
    from tempermd.deploy.layers import layered

    energy_only = modified(model, ["disable_ForceStressOutput", *modifiers])
    if packages := operator_packages(energy_only):
        described |= {OPERATOR_PACKAGES: packages, "tempermd_layered": "0"}
        return energy_only  # which keeps its operators
    energy_only = energy_only.to("cpu")
    try:
        network, described["tempermd_layered"] = layered(energy_only, type_names), "1"
    except NotLayeredError:
        network, described["tempermd_layered"] = energy_only, "0"
    return network


def _description(
    model: torch.nn.Module, network: torch.nn.Module, described: dict[str, str]
) -> tuple[str, str]:
    """Return the network in words and numbers for the native engine, and what to say of it.

    The text is empty where the network has parts that this engine does not know. Adds to
    ``described`` what the splines are worth.
    """
    from tempermd.deploy.blocks import NotLayeredError
    from tempermd.deploy.description import describe_network
    from tempermd.deploy.layers import network_of
    from tempermd.deploy.splines import choose_knots

    dtype, cutoff_A = described["model_dtype"], float(described["r_max"])
    if described["tempermd_layered"] == "0":
        return "", "not for the native engine: the network has parts that it does not know"
    try:
        type_names = described["type_names"].split()
        knots, difference, bound = choose_knots(network, type_names, cutoff_A, dtype)
        text = describe_network(network_of(model), network, dtype, knots)
    except NotLayeredError as error:
        return "", f"not for the native engine: {error}"
    described["spline_difference"] = f"{difference:.3g}"
    described["spline_bound"] = f"{bound:.3g}"
    return text, f"splines of {knots} knots off by {difference:.2g} eV/Å, bound {bound:.2g}"


def _describe(model: torch.nn.Module, device: str, checkpoint_sha256: str) -> dict[str, str]:
    """Collect nequip's metadata and ours, all ASCII."""
    from nequip.utils.global_state import get_latest_global_state

    described = dict(model.metadata)
    state = get_latest_global_state(only_metadata_related=True)
    described |= {key: str(int(value)) for key, value in state.items()}
    layers = [name for name, _ in model.named_modules() if name.endswith("_convnet")]
    if not layers:
        raise UserError("the checkpoint's model has no NequIP layers; only NequIP models deploy")
    return described | {
        "tempermd_format": FORMAT_VERSION,
        "num_layers": str(len(layers)),
        "units": "metal",
        "versions": json.dumps(_versions()),
        "checkpoint_sha256": checkpoint_sha256,
        "device": device,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in ("tempermd", "torch", "nequip", "e3nn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from the source tree
            found[package] = "source"
    return found
