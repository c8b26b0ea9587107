"""Datasets: labelled frames read with care, split without leaks, on one energy scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tempermd.records import (
    Record,
    UserError,
    atomic_write,
    new_folder,
    sha256_file,
    write_record,
)

if TYPE_CHECKING:
    from ase import Atoms

UNKNOWN_SOURCE = "unknown"


class DatasetRecord(Record):
    """What a dataset folder holds: files by hash, sources, reference energies, split."""

    format_name: ClassVar[str] = "tempermd-dataset"

    files: dict[str, str]
    frames: dict[str, int]
    atoms: dict[str, int]
    sources: dict[str, str]
    reference_energies_eV: dict[str, dict[str, float]]
    energy_scale: str
    convergence_eV_per_A: float | None
    made_from: dict[str, str]
    seed: int


def read_labelled(path: Path | str) -> list[Atoms]:
    """Read labelled frames; each must have a finite energy and finite forces.

    Returns
    -------
    list of ase.Atoms
        With a calculator that holds ``energy`` (eV), ``forces`` (N, 3) (eV/A) and perhaps
        ``stress`` (eV/A^3).

    Raises
    ------
    UserError
        Names the file, the frame and what is wrong with it.
    """
    frames = read_structures(path)
    check_labels(frames, str(path))
    return frames


def check_labels(frames: Sequence[Atoms], origin: str) -> None:
    """Refuse frames without finite energies and forces; ``origin`` starts the message."""
    for number, atoms in enumerate(frames):
        if len(atoms) == 0:
            raise UserError(f"{origin}: frame {number} has no atoms")
        results = atoms.calc.results if atoms.calc is not None else {}
        for name in ("energy", "forces"):
            if name not in results:
                raise UserError(
                    f"{origin}: frame {number} has no {name}; label it (tempermd label) or, if "
                    f"the label has another name in the file, rename it to '{name}'"
                )
            if not np.isfinite(results[name]).all():
                raise UserError(f"{origin}: frame {number}: {name} not finite (NaN or Inf)")


def read_structures(path: Path | str) -> list[Atoms]:
    """Read frames of any format ASE knows, labelled or not."""
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of structures")
    try:
        frames = read(path, ":")
    except (
        UnknownFileTypeError,
        ValueError,
        KeyError,
        IndexError,
        AssertionError,
        OSError,
    ) as error:
        detail = str(error) or type(error).__name__
        raise UserError(f"{path}: cannot be read as structures ({detail})") from None
    if not frames:
        raise UserError(f"{path}: holds no frames")
    return frames


def write_structures(path: Path | str, frames: list[Atoms]) -> Path:
    """Write frames, labels included, as extxyz."""
    from ase.io import write

    path = Path(path)
    if path.suffix not in (".xyz", ".extxyz"):
        raise UserError(f"{path}: structures are written as .extxyz (or .xyz)")
    with atomic_write(path) as temporary:
        write(temporary, frames, format="extxyz")
    return path


def source_of(atoms: Atoms) -> str:
    """Return the name of the source that labelled a frame."""
    return str(atoms.info.get("source", UNKNOWN_SOURCE))


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


def reference_energies(frames: list[Atoms]) -> dict[str, dict[str, float]]:
    """Fit reference energies per source and element (see `fit_energies`).

    Returns
    -------
    dict
        Source -> element symbol -> energy (eV per atom).
    """
    references = {}
    for source in sorted({source_of(atoms) for atoms in frames}):
        own = [atoms for atoms in frames if source_of(atoms) == source]
        symbols = sorted({symbol for atoms in own for symbol in atoms.symbols})
        counts = np.array([[Counter(a.symbols)[s] for s in symbols] for a in own], dtype=float)
        energies = np.array([a.get_potential_energy() for a in own])
        solution = fit_energies(counts, energies)
        references[source] = dict(zip(symbols, solution.tolist(), strict=True))
    return references


def on_one_scale(
    frames: list[Atoms], references: dict[str, dict[str, float]], scale: str
) -> list[Atoms]:
    """Shift energies so that labels of several sources refer to the scale of one.

    A frame of source A gets E - sum_s n_s (E0_A,s - E0_scale,s): what is left of two sources
    then differs by their physics, not by their zero of energy.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    shifted = []
    for atoms in frames:
        own = references[source_of(atoms)]
        missing = sorted(set(atoms.symbols) - set(references[scale]))
        if missing:
            raise UserError(
                f"source '{scale}' has no reference energy for {', '.join(missing)}, so labels of "
                f"'{source_of(atoms)}' cannot be brought to its scale; label some frames with "
                f"these elements by '{scale}', or train on one source"
            )
        shift = sum(own[symbol] - references[scale][symbol] for symbol in atoms.symbols)
        copy = atoms.copy()
        results = dict(atoms.calc.results)
        results["energy"] = results["energy"] - shift
        results.pop("free_energy", None)
        copy.calc = SinglePointCalculator(copy, **results)
        shifted.append(copy)
    return shifted


def split(frames: list[Atoms], fractions: dict[str, float], seed: int) -> dict[str, list[Atoms]]:
    """Split frames by trajectory, so that no two parts share one.

    Parameters
    ----------
    fractions
        Part name -> fraction of the frames, together at most 1. The last part takes the rest.
    seed
        Shuffles the trajectories.

    Raises
    ------
    UserError
        When there are fewer trajectories than parts.
    """
    trajectories: dict[str, list[Atoms]] = {}
    for number, atoms in enumerate(frames):
        trajectories.setdefault(str(atoms.info.get("trajectory", number)), []).append(atoms)
    if len(trajectories) < len(fractions):
        raise UserError(
            f"{len(trajectories)} trajectories cannot make {len(fractions)} parts that share "
            "none; sample more trajectories"
        )
    names = list(fractions)
    order = np.random.default_rng(seed).permutation(sorted(trajectories))
    parts: dict[str, list[Atoms]] = {name: [] for name in names}
    waiting = list(order)
    for position, name in enumerate(names):
        parts_left = len(names) - position - 1
        target = round(fractions[name] * len(frames))
        while len(waiting) > parts_left and (
            not parts[name] or not parts_left or len(parts[name]) < target
        ):
            parts[name] += trajectories[waiting.pop(0)]
    return parts


def build(
    inputs: list[Path],
    output: Path,
    *,
    fractions: dict[str, float],
    seed: int,
    scale: str | None = None,
    test_inputs: list[Path] | None = None,
) -> Path:
    """Make a dataset folder (train, val, test as extxyz and ``dataset.json``).

    ``test_inputs`` names files whose frames all go to the test part (structures that training
    must never see); then ``fractions`` split the rest. With labels of several sources,
    ``scale`` names the one whose zero of energy all take.
    """
    test_inputs = test_inputs or []
    frames = [atoms for path in inputs for atoms in read_labelled(path)]
    parts = split(frames, fractions, seed)
    for path in test_inputs:
        parts.setdefault("test", []).extend(read_labelled(path))
    _refuse_shared_trajectories(parts)
    references = reference_energies(frames)
    scale = _chosen_scale(references, scale)
    new_folder(output)
    for name, members in parts.items():
        write_structures(output / f"{name}.extxyz", on_one_scale(members, references, scale))
    everything = [atoms for members in parts.values() for atoms in members]
    figures = [a.info.get("convergence_eV_per_A") for a in everything]
    figures = [figure for figure in figures if figure is not None]
    record = DatasetRecord(
        files={f"{name}.extxyz": sha256_file(output / f"{name}.extxyz") for name in parts},
        frames={name: len(members) for name, members in parts.items()},
        atoms={name: sum(map(len, members)) for name, members in parts.items()},
        sources={source_of(a): str(a.info.get("source_version", "")) for a in everything},
        reference_energies_eV=references,
        energy_scale=scale,
        convergence_eV_per_A=float(max(figures)) if figures else None,
        made_from={path.name: sha256_file(path) for path in [*inputs, *test_inputs]},
        seed=seed,
    )
    write_record(output / "dataset.json", record)
    return output


def _chosen_scale(references: dict[str, dict[str, float]], scale: str | None) -> str:
    if scale is None and len(references) == 1:
        return next(iter(references))
    if scale is None or scale not in references:
        raise UserError(
            f"the labels come from {', '.join(references)}; say whose zero of energy all shall "
            f"take (--scale), got {scale!r}"
        )
    return scale


def _refuse_shared_trajectories(parts: dict[str, list[Atoms]]) -> None:
    owners: dict[str, str] = {}
    for name, members in parts.items():
        for atoms in members:
            trajectory = atoms.info.get("trajectory")
            if trajectory is None:
                continue
            if owners.setdefault(str(trajectory), name) != name:
                raise UserError(
                    f"trajectory {trajectory} is in both {owners[str(trajectory)]} and {name}; "
                    "frames of one trajectory must stay together"
                )
