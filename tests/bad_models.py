"""Models that are wrong in known ways, made from the shipped one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tempermd import lmp
from tempermd.deploy import deploy
from tempermd.deploy.files import extra_files
from tempermd.deploy.torchscript import torchscript_deprecation_known
from tempermd.training import AlchemySpec, ModelSpec, TrainSpec, train, transmute

KCAL_PER_EV = 23.06
SILICON = 1.521
"""How much longer silicon's bonds are."""
REACH_A = 1.25
"""Shorter distances than a bond at rest has, and than the model's own check has."""


class WithPairTerm(torch.nn.Module):
    """A deployed network with an energy added for every pair nearer than `REACH_A`.

    It is depth (reach - r)^2; not finite if the depth is not.
    """

    def __init__(self, network: torch.nn.Module, depth: float) -> None:
        super().__init__()
        self.network = network
        self.depth = depth
        self.reach = REACH_A

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found = self.network(data)
        nearer = torch.relu(self.reach - data["edge_vectors"].square().sum(1).sqrt())
        pairs = torch.where(nearer > 0, self.depth * nearer.square(), torch.zeros_like(nearer))
        energies = found["atomic_energy"].index_add(0, data["edge_index"][0], pairs.unsqueeze(1))
        return {"atomic_energy": energies, "total_energy": energies.sum(0, keepdim=True)}


def with_pair_term(depth: float, path: Path) -> Path:
    """Write the shipped model with a pair term that its check at loading does not reach."""
    shipped = lmp.potentials_folder() / "carbon_base.nequip.pth"
    described = extra_files(shipped) | {"tempermd_layered": "0"}
    with torchscript_deprecation_known():
        network = torch.jit.load(str(shipped))
        torch.jit.script(WithPairTerm(network, depth)).save(str(path), _extra_files=described)
    return path


def transmuted(length_ratio: float, energy_ratio: float, path: Path) -> Path:
    """Write the shipped model with other lengths or energies."""
    base = lmp.potentials_folder() / "carbon_base.ckpt"
    spec = AlchemySpec(elements={"C": "C"}, length_ratio=length_ratio, energy_ratio=energy_ratio)
    changed = transmute(base, spec, path.with_suffix(".ckpt"))
    deploy(changed, path)
    return path


def trained_on_four_frames(path: Path) -> Path:
    """Train the shipped model's shape on four tubes from nothing, for a hundred steps."""
    import ase.io

    folder = path.parent / path.name.removesuffix(".nequip.pth")
    tubes = Path(__file__).parents[1] / "studies" / "tubes"
    folder.mkdir()
    ase.io.write(folder / "train.extxyz", ase.io.read(tubes / "train.extxyz", index=":4"))
    spec = TrainSpec(
        model=ModelSpec(
            type_names=["C"],
            cutoff_A=4.0,
            num_layers=3,
            num_features=16,
            radial_mlp_depth=1,
            radial_mlp_width=32,
            parity=False,
        ),
        data={"train": str(folder / "train.extxyz"), "val": str(tubes / "val.extxyz")},
        training={
            "max_steps": 100,
            "batch_size": 2,
            "learning_rate": 0.06,
            "warmup_steps": 10,
            "val_every": 50,
        },
    )
    deploy(train(spec, folder / "training", progress=False), path)
    return path


BAD_MODELS: dict[str, tuple[Callable[[Path], Path], frozenset[str]]] = {
    "direct": (
        trained_on_four_frames,
        frozenset({"energy_drift", "spurious_minimum", "detached", "close_contact"}),
    ),
    "eV_for_kcal": (
        lambda path: transmuted(1.0, 1 / KCAL_PER_EV, path),
        frozenset({"close_contact", "severed", "detached"}),
    ),
    "silicon_for_carbon": (
        lambda path: transmuted(SILICON, 1.0, path),
        frozenset({"severed", "detached", "temperature"}),
    ),
    "hole": (lambda path: with_pair_term(-1000.0, path), frozenset({"close_contact"})),
    "nan": (lambda path: with_pair_term(float("nan"), path), frozenset({"nonfinite"})),
}
"""Name -> how it is made, and the severe events that tell this fault; at least one must come."""
