"""How far LAMMPS with the shipped model is from nequip's own calculator, in single precision.

``python tests/bench/exactness.py`` prints Markdown: the largest difference over the structures of
the pair style's tests, all of carbon, for the ways to evaluate the model.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.io import write

from tempermd import lmp
from tempermd.training.models import load_checkpoint

sys.path.insert(0, str(Path(__file__).parents[1]))
from pair_style_cases import STRUCTURES, forces_of, stress_of

WAYS = {
    "native, splines": "engine native radial spline",
    "native, radial networks": "engine native radial network",
    "TorchScript": "engine torch",
}


def shipped_calculator():
    """Return nequip's ASE calculator of the shipped checkpoint."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    model = load_checkpoint(lmp.potentials_folder() / "carbon_base.ckpt").eval()
    cutoff_A = float(model.metadata["r_max"])
    transforms = basic_transforms(model.metadata, cutoff_A, ["C"], {"C": "C"})
    return NequIPCalculator(model=model, device="cpu", transforms=transforms)


def differences(words: str, calculator, folder: Path) -> tuple[np.ndarray, float]:
    """Return largest differences (eV/Å, eV/atom, eV/Å³) and the largest force (eV/Å)."""
    found, largest = np.zeros(3), 0.0
    for make in STRUCTURES.values():
        atoms = make()
        atoms.symbols[:] = "C"
        atoms.calc = calculator
        data = folder / "structure.data"
        write(data, atoms, format="lammps-data", specorder=["C"], masses=True)
        instance = lmp.lammps_instance(["-log", "none", "-screen", "none"])
        model = lmp.potentials_folder() / "carbon_base.nequip.pth"
        instance.commands_list(
            [
                *("units metal", f"read_data {data}", f"pair_style nequip {words}"),
                f"pair_coeff * * {model} C",
                "thermo_style custom step pe pxx pyy pzz pxy pxz pyz",
                "run 0",
            ]
        )
        one = (
            np.abs(forces_of(instance) - atoms.get_forces()).max(),
            abs(instance.get_thermo("pe") - atoms.get_potential_energy()) / len(atoms),
            np.abs(stress_of(instance) - atoms.get_stress()).max(),
        )
        found = np.maximum(found, one)
        largest = max(largest, np.abs(atoms.get_forces()).max())
        instance.close()
    return found, largest


def main() -> None:
    """Print the table."""
    calculator = shipped_calculator()
    print("| | forces, eV/Å | energy, eV/atom | stress, eV/Å³ |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, words in WAYS.items():
            found, largest = differences(words, calculator, Path(folder))
            print(f"| {name} | {' | '.join(f'{one:.1e}' for one in found)} |")
    print(f"\nforces up to {largest:.0f} eV/Å")


if __name__ == "__main__":
    main()
