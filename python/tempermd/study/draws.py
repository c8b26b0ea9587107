"""Draws: which frames of a pool a model is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tempermd.records import UserError


def draw(given: dict[str, Any], output: Path) -> dict[str, Any]:
    """Write the frames that a draw takes, in the order of the pool.

    Parameters
    ----------
    given
        ``pool`` (a file), ``n`` (all for None), ``seed``, ``selection``, the ``checkpoint`` that
        a selection by features needs, and ``extra``: further frames with their own ``n``.

    Returns
    -------
    dict
        ``frames``, ``atoms``, and the ``indices`` of the frames in the pool.
    """
    from tempermd import dataset
    from tempermd.dataset.writing import new_file, open_writer

    pool = dataset.read_labelled(given["pool"])
    chosen = _chosen(given, pool)
    frames = [pool[i] for i in chosen]
    if given["extra"] is not None:
        extra = dataset.read_labelled(given["extra"]["file"])
        wanted = given["extra"]["n"]
        at = random_draw(len(extra), wanted, given["seed"], given["extra"]["file"])
        frames += [extra[i] for i in at]
    stress = all("stress" in atoms.calc.results for atoms in frames)
    energies = all("energies" in atoms.calc.results for atoms in frames)
    with (
        new_file(output) as temporary,
        open_writer(temporary, stress=stress, energies=energies) as writer,
    ):
        for atoms in frames:
            writer.add(atoms)
    return {
        "frames": len(frames),
        "atoms": sum(map(len, frames)),
        "indices": [int(i) for i in chosen],
    }


def _chosen(given: dict[str, Any], pool: list[Any]) -> list[int]:
    if given["selection"] == "random":
        return random_draw(len(pool), given["n"], given["seed"], given["pool"])
    from tempermd import training

    if given["n"] > len(pool):
        raise UserError(_too_few(given["pool"], given["n"], len(pool)))
    found = training.select_farthest(
        Path(given["checkpoint"]), pool, given["n"], seed=given["seed"]
    )
    return sorted(int(i) for i in found)


def random_draw(n_pool: int, n: int | None, seed: int, origin: str) -> list[int]:
    """Draw ``n`` numbers below ``n_pool`` without replacement, ascending; all for None.

    The first ``n`` of one permutation per seed: draws of unlike seeds are independent, a
    smaller draw of one seed lies within the larger one.
    """
    if n is None:
        return list(range(n_pool))
    if n > n_pool:
        raise UserError(_too_few(origin, n, n_pool))
    return sorted(np.random.default_rng([seed, n_pool]).permutation(n_pool)[:n].tolist())


def _too_few(origin: str, n: int, n_pool: int) -> str:
    return f"{origin}: {n} frames are to be drawn, but there are {n_pool}; ask for fewer"
