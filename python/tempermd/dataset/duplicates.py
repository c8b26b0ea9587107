"""Duplicates: a frame's content as a short key, the same for every copy of a structure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

DECIMALS = 3
"""Positions and cells are rounded to this many decimals (A): file formats differ in digits."""


def content_key(atoms: Atoms) -> bytes | None:
    """Return a key that copies of a structure share; None for a single atom, which is no copy.

    Elements, positions relative to the first atom and the cell count; labels and info do not, so
    one structure labelled by two sources has one key. A rotated or reordered copy has another.
    """
    if len(atoms) < 2:
        return None
    relative = atoms.positions - atoms.positions[0]
    numbers = np.concatenate([relative.ravel(), atoms.cell.array.ravel()])
    rounded = np.round(numbers * 10**DECIMALS).astype(np.int64)
    digest = hashlib.blake2b(digest_size=12)
    for part in (atoms.numbers.astype(np.int64), rounded, atoms.pbc.astype(np.int64)):
        digest.update(part.tobytes())
    return digest.digest()
