"""Energies of isolated atoms, where a source has something to say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ase import Atoms

from tempermd.labels.failures import LabelFailureError
from tempermd.labels.sources import SourceSpec, calculator_of, compute

BOX_A = 20.0
"""Edge of the cell around the atom; it is not periodic, but plane-wave codes take it so."""

EXTRAPOLATING = {
    "nep": "a NEP model has seen no isolated atom: its energy of one is an extrapolation",
    "nequip": "a NequIP model has seen no isolated atom: its energy of one is an extrapolation",
    "snap": "SNAP for carbon has seen no isolated atom: its energy of one is an extrapolation",
    "sevennet": "SevenNet has seen no isolated atom: its energy of one is an extrapolation",
    "sevennet-0": "SevenNet has seen no isolated atom: its energy of one is an extrapolation",
}


@dataclass(frozen=True)
class IsolatedAtoms:
    """Energies (eV) of isolated atoms by symbol, or the reason why there are none."""

    energies_eV: dict[str, float] | None
    reason: str = ""


def isolated_energies(spec: SourceSpec, symbols: Sequence[str]) -> dict[str, float] | None:
    """Return symbol -> energy (eV) of one atom alone, or None where the source has none."""
    return isolated_atoms(spec, symbols).energies_eV


def isolated_atoms(spec: SourceSpec, symbols: Sequence[str]) -> IsolatedAtoms:
    """Compute one atom of each element alone, in an open cell of 20 Angstrom.

    Sources that were fitted to bulk data only are not asked (see ``EXTRAPOLATING``). What
    each source understands by an isolated atom is its own: see docs/labels.md.
    """
    if spec.kind in EXTRAPOLATING:
        return IsolatedAtoms(None, EXTRAPOLATING[spec.kind])
    calculator = calculator_of(spec)
    energies = {}
    for symbol in sorted(set(symbols)):
        atom = Atoms(symbol, cell=[BOX_A] * 3, positions=[[BOX_A / 2] * 3], pbc=False)
        try:
            energies[symbol] = float(compute(atom, calculator).get_potential_energy())
        except LabelFailureError as error:
            return IsolatedAtoms(None, str(error))
    return IsolatedAtoms(energies)
