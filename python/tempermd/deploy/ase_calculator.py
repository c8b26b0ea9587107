"""A deployed model as an ASE calculator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tempermd.deploy.load import load_deployed
from tempermd.training.graphs import build_graph, predict

if TYPE_CHECKING:
    from ase import Atoms


def calculator(path: Path | str, device: str = "cpu") -> Any:
    """Return an ASE calculator of a deployed model: energy, energies, forces, stress.

    Example
    -------
    >>> atoms.calc = calculator("carbon.nequip.pth")
    >>> atoms.get_forces()  # (N, 3), eV/Å
    """
    from ase.calculators.calculator import Calculator, all_changes

    model, info = load_deployed(path, device)

    class DeployedCalculator(Calculator):
        """Energy and its derivatives from one deployed model."""

        implemented_properties: ClassVar[list[str]] = [
            "energy",
            "energies",
            "forces",
            "stress",
            "free_energy",
        ]

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: tuple[str, ...] = ("energy",),
            system_changes: list[str] = all_changes,
        ) -> None:
            super().calculate(atoms, list(properties), system_changes)
            graph = build_graph(self.atoms, info["type_names"], info["cutoff_A"])
            found = predict(model, graph, device)
            self.results = {
                "energy": found.energy_eV,
                "free_energy": found.energy_eV,
                "energies": found.atomic_energies_eV,
                "forces": found.forces_eV_A,
            }
            if self.atoms.cell.rank == 3:
                stress = -found.virial_eV / self.atoms.get_volume()
                self.results["stress"] = stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]

    return DeployedCalculator()
