"""What a frame carries, in plain types: its labels and its info."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


def labels_of(atoms: Atoms) -> dict[str, Any]:
    """Return a frame's labels by ASE's names; empty if it has none."""
    return dict(atoms.calc.results) if atoms.calc is not None else {}


def plain(info: dict[str, Any]) -> dict[str, Any]:
    """Return a frame's info as JSON can hold it."""
    return {str(key): _plain(value) for key, value in info.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
