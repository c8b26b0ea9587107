"""Reference energies: isolated atoms where the source gave them, else fits; one energy scale."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from tempermd.dataset.frames import UNKNOWN_SOURCE, source_of
from tempermd.records import UserError

if TYPE_CHECKING:
    from ase import Atoms

References = dict[str, dict[str, float]]
"""Source -> element symbol -> energy (eV per atom)."""

AGREEMENT_EV = 1e-3
"""Isolated energies that one source states in two frames may differ by this."""


def fit_energies(counts: np.ndarray, energies_eV: np.ndarray) -> np.ndarray:
    """Fit one energy per column of ``counts`` to energies per atom, by least squares.

    Minimises sum_f (E_f / N_f - sum_t x_ft e_t)^2 with fractions x_ft, so that the residuals
    per atom have zero mean. Where compositions do not tell types apart, the solution of least
    norm is taken, and absent types get zero.

    Parameters
    ----------
    counts
        Atoms of each type in each frame, shape (F, T).
    energies_eV
        One total energy per frame, shape (F,), eV.

    Returns
    -------
    numpy.ndarray
        Energy per atom of each type, shape (T,), eV.
    """
    n_atoms = counts.sum(axis=1)
    fractions = counts / n_atoms[:, None]
    return np.linalg.lstsq(fractions, np.asarray(energies_eV) / n_atoms, rcond=None)[0]


@dataclass
class SourceEnergies:
    """What the frames of one source tell about its zero of energy."""

    counts: list[tuple[tuple[str, int], ...]] = field(default_factory=list)
    energies_eV: list[float] = field(default_factory=list)
    isolated_eV: dict[str, float] | None = None
    all_isolated: bool = True

    def add(self, counts: Mapping[str, int], energy_eV: float, isolated: str | None) -> None:
        """Take in one frame: its composition, its energy, its ``isolated_energies_eV``."""
        self.counts.append(tuple(sorted(counts.items())))
        self.energies_eV.append(energy_eV)
        stated = _isolated(isolated, counts)
        if stated is None or not self._agrees(stated):
            self.all_isolated = False
        else:
            self.isolated_eV = (self.isolated_eV or {}) | stated

    def _agrees(self, stated: dict[str, float]) -> bool:
        known = self.isolated_eV or {}
        return all(abs(known.get(s, e) - e) <= AGREEMENT_EV for s, e in stated.items())

    @property
    def has_isolated(self) -> bool:
        """Tell whether every frame states isolated atoms for all its elements, and all agree."""
        return self.all_isolated and bool(self.isolated_eV)

    def fitted(self) -> tuple[dict[str, float], bool]:
        """Return energies by least squares, and whether compositions determine each of them."""
        symbols = sorted({symbol for counts in self.counts for symbol, _ in counts})
        table = np.array([[dict(c).get(s, 0) for s in symbols] for c in self.counts], dtype=float)
        solution = fit_energies(table, np.array(self.energies_eV))
        determined = np.linalg.matrix_rank(table) == len(symbols)
        return dict(zip(symbols, solution.tolist(), strict=True)), bool(determined)


def _isolated(text: str | None, counts: Mapping[str, int]) -> dict[str, float] | None:
    """Parse ``isolated_energies_eV``; None unless it covers the frame's elements."""
    if text is None:
        return None
    try:
        stated = json.loads(text) if isinstance(text, str) else dict(text)
        stated = {str(symbol): float(energy) for symbol, energy in stated.items()}
    except (ValueError, TypeError, AttributeError):
        raise UserError(
            f"isolated_energies_eV: expected JSON of symbol and energy, got {text!r}"
        ) from None
    return stated if set(counts) <= set(stated) else None


def reference_energies(frames: Sequence[Atoms]) -> References:
    """Fit reference energies per source and element (see `fit_energies`).

    Returns
    -------
    dict
        Source -> element symbol -> energy (eV per atom).
    """
    return {source: one.fitted()[0] for source, one in gather(frames).items()}


def gather(frames: Iterable[Atoms]) -> dict[str, SourceEnergies]:
    """Collect what frames tell about their sources' zeros of energy."""
    sources: dict[str, SourceEnergies] = {}
    for atoms in frames:
        gather_one(sources, atoms)
    return dict(sorted(sources.items()))


def gather_one(sources: dict[str, SourceEnergies], atoms: Atoms) -> None:
    """Add what one labelled frame tells to what is known of its source."""
    one = sources.setdefault(source_of(atoms), SourceEnergies())
    energy_eV = float(atoms.calc.results["energy"])
    one.add(Counter(atoms.symbols), energy_eV, atoms.info.get("isolated_energies_eV"))


def reference_of(one: SourceEnergies) -> tuple[dict[str, float], str]:
    """Return a source's reference energies (eV) and their kind: isolated, else fitted."""
    if one.has_isolated:
        return dict(one.isolated_eV or {}), "isolated"
    return one.fitted()[0], "fitted"


ReferenceChoice = Literal["auto", "isolated", "fitted"]


def choose_references(
    sources: Mapping[str, SourceEnergies], choice: ReferenceChoice = "auto"
) -> tuple[References, dict[str, str]]:
    """Return reference energies and their kind (isolated or fitted) for each source.

    One source takes isolated atoms where all its frames state them, else a fit. Several sources
    must be known by name, have one kind of reference and determine each element's energy, or
    their labels cannot be brought to one scale.
    """
    kinds = {
        name: "isolated" if one.has_isolated and choice != "fitted" else "fitted"
        for name, one in sources.items()
    }
    if choice == "isolated":
        for name, kind in kinds.items():
            if kind == "fitted":
                raise UserError(
                    f"labels of '{name}' do not all state isolated_energies_eV, or do not agree; "
                    "label anew with isolated atoms, or use --references fitted"
                )
    if len(sources) > 1:
        _refuse_mixture(sources, kinds)
    references = {
        name: dict(one.isolated_eV or {}) if kinds[name] == "isolated" else one.fitted()[0]
        for name, one in sources.items()
    }
    return references, kinds


def _refuse_mixture(sources: Mapping[str, SourceEnergies], kinds: dict[str, str]) -> None:
    if UNKNOWN_SOURCE in sources:
        count = len(sources[UNKNOWN_SOURCE].energies_eV)
        others = ", ".join(name for name in sources if name != UNKNOWN_SOURCE)
        raise UserError(
            f"{count} frames do not say which source labelled them and others come from {others}; "
            "energies of unlike sources have unlike zeros, so give each frame info 'source' "
            "(--source when converting)"
        )
    if len(set(kinds.values())) > 1:
        with_atoms = ", ".join(name for name, kind in kinds.items() if kind == "isolated")
        without = ", ".join(name for name, kind in kinds.items() if kind == "fitted")
        raise UserError(
            f"{with_atoms} state isolated atoms, {without} do not, and the two kinds of reference "
            "cannot be mixed; label isolated atoms by all, or fit all (--references fitted)"
        )
    for name, one in sources.items():
        if kinds[name] == "fitted" and not one.fitted()[1]:
            symbols = sorted({symbol for counts in one.counts for symbol, _ in counts})
            raise UserError(
                f"the compositions of the frames of '{name}' do not determine an energy for each "
                f"of {', '.join(symbols)}, so its labels cannot be mixed with another source's; "
                "add frames of other compositions or isolated_energies_eV, or use one source"
            )


def choose_scale(references: References, scale: str | None) -> str:
    """Return the source whose zero of energy all labels shall take."""
    if scale is None and len(references) == 1:
        return next(iter(references))
    if scale is None or scale not in references:
        raise UserError(
            f"the labels come from {', '.join(references)}; say whose zero of energy all shall "
            f"take (--scale), got {scale!r}"
        )
    return scale


def on_one_scale(frames: Iterable[Atoms], references: References, scale: str) -> list[Atoms]:
    """Shift energies so that labels of several sources refer to the scale of one.

    A frame of source A gets E - sum_s n_s (E0_A,s - E0_scale,s): what is left of two sources
    then differs by their physics, not by their zero of energy.
    """
    return [shifted(atoms, references, scale) for atoms in frames]


def shifted(atoms: Atoms, references: References, scale: str) -> Atoms:
    """Return one frame with its energies on the scale of another source: `on_one_scale`."""
    from ase.calculators.singlepoint import SinglePointCalculator

    own, target = references[source_of(atoms)], references[scale]
    missing = sorted(set(atoms.symbols) - set(target))
    if missing:
        raise UserError(
            f"source '{scale}' has no reference energy for {', '.join(missing)}, so labels of "
            f"'{source_of(atoms)}' cannot be brought to its scale; label some frames with "
            f"these elements by '{scale}', or train on one source"
        )
    shifts_eV = np.array([own[symbol] - target[symbol] for symbol in atoms.symbols])  # (N,)
    copy = atoms.copy()
    results = dict(atoms.calc.results)
    results["energy"] = float(results["energy"]) - float(shifts_eV.sum())
    if "energies" in results:
        results["energies"] = np.asarray(results["energies"]) - shifts_eV
    results.pop("free_energy", None)
    if "isolated_energies_eV" in copy.info:
        stated = _isolated(copy.info["isolated_energies_eV"], {}) or {}
        moved = {s: e - own.get(s, 0.0) + target.get(s, 0.0) for s, e in stated.items()}
        copy.info["isolated_energies_eV"] = json.dumps(moved, sort_keys=True)
    copy.calc = SinglePointCalculator(copy, **results)
    return copy
