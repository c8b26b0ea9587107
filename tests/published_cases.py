"""State dictionaries as nequip 0.6 wrote them, made from a seed, and what 0.6.2 says of them."""

from __future__ import annotations

import json
from math import pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "reference"
RECORD = FOLDER / "nequip_062.json"


def case(name: str) -> dict[str, Any]:
    """Return the hyperparameters and tensor shapes of a case that was recorded."""
    return json.loads(RECORD.read_text())["cases"][name]


def reference_frames(name: str) -> list:
    """Return the structures of a case, with energies (eV) and forces (eV/Å) of nequip 0.6.2."""
    from ase.io import read

    return read(FOLDER / f"nequip_062_{name}.extxyz", ":")


def seeded_arrays(shapes: dict[str, list[int]], seed: int) -> dict[str, np.ndarray]:
    """Return arrays of these names and shapes, the same on every machine and version of numpy.

    Weights are uniform with variance 1; numpy promises the raw stream of PCG64 for ever.
    """
    raw = np.random.PCG64(seed)
    return {name: _seeded(name, tuple(shape), raw) for name, shape in shapes.items()}


def _seeded(name: str, shape: tuple[int, ...], raw: np.random.PCG64) -> np.ndarray:
    size = int(np.prod(shape))
    uniform = (raw.random_raw(size) >> np.uint64(11)) * 2.0**-53 if size else np.zeros(0)
    values = (sqrt(3) * (2 * uniform - 1)).reshape(shape)
    if name.endswith("output_mask"):
        values = np.ones(shape)
    elif name.endswith("_w3j_1_1_1"):
        values = levi_civita() / sqrt(6)
    elif name.endswith("bessel_weights"):
        values = pi * (np.arange(1, size + 1) + 0.1 * values)
    elif name.endswith("rescale.shifts"):
        values = -7.0 + 0.3 * values
    elif name.endswith(("rescale.scales", "scale_by")):
        values = 1.5 + 0.3 * values
    return values.astype(np.float32)


def levi_civita() -> np.ndarray:
    """Return the antisymmetric tensor of three dimensions."""
    tensor = np.zeros((3, 3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        tensor[i, j, k], tensor[i, k, j] = 1.0, -1.0
    return tensor


def write_state(path: Path, name: str, **changes: Any) -> Path:
    """Write a case's state dictionary; ``changes`` (None: leave out) replace tensors by name."""
    import torch

    one = case(name)
    arrays = seeded_arrays(one["shapes"], one["seed"])
    arrays |= {key: value for key, value in changes.items() if value is not None}
    state = {k: torch.tensor(v) for k, v in arrays.items() if changes.get(k, v) is not None}
    torch.save(state, path)
    return path
