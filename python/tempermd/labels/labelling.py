"""Labelling: many structures by one source, in parallel, resumed where it was stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from ase import Atoms

from tempermd.engine import run_tasks
from tempermd.labels import convergence
from tempermd.labels.convergence import GATE_LIMIT_EV_PER_A
from tempermd.labels.sources import Source, SourceSpec, calculator_of, compute, open_source
from tempermd.records import UserError, atomic_write, sha256_json


def label(
    frames: list[Atoms],
    spec: SourceSpec,
    output: Path,
    *,
    workers: int | None = None,
    gate_limit_eV_per_A: float = GATE_LIMIT_EV_PER_A,
) -> Path:
    """Label structures and write them as extxyz, resuming what an earlier call left.

    Parameters
    ----------
    frames
        Structures; their ``info`` is kept.
    spec
        The source of the labels.
    output
        The extxyz to write; finished labels wait in ``<output>.parts`` until all are there.
    gate_limit_eV_per_A
        Limit of the convergence gate for sources that sample the Gamma point only.

    Returns
    -------
    Path
        The extxyz: energy (eV), forces (N, 3) (eV/Angstrom), stress (eV/Angstrom^3) where all
        axes are periodic, and ``source``, ``source_version``, ``source_settings`` per frame.

    Raises
    ------
    UserError
        For a source that cannot be opened, and for labels that fail the gate: these frames
        are written to ``<output>.refused.extxyz``, the good ones to ``output``.
    """
    if not frames:
        raise UserError("no structures to label")
    source, _ = open_source(spec)
    parts = output.with_name(output.name + ".parts")
    parts.mkdir(parents=True, exist_ok=True)
    if source.gamma_only:
        convergence.measure(frames, spec, source, parts, workers)
    labelled = _label_all(frames, spec, source, parts, workers)
    refused = [a for a in labelled if a.info.get("convergence_eV_per_A", 0) > gate_limit_eV_per_A]
    good = [a for a in labelled if a.info.get("convergence_eV_per_A", 0) <= gate_limit_eV_per_A]
    _write(output, good)
    _write(_refused_path(output), refused)
    if refused:
        worst = max(a.info["convergence_eV_per_A"] for a in refused)
        raise UserError(
            f"{len(refused)} of {len(labelled)} labels fail the convergence gate: forces change "
            f"by up to {worst:.3f} eV/A (limit {gate_limit_eV_per_A}) when the periodic axes are "
            f"doubled; use longer cells or a higher electronic temperature. They are in "
            f"{_refused_path(output)}, the others in {output if good else 'no file'}"
        )
    shutil.rmtree(parts)
    return output


def _label_all(
    frames: list[Atoms], spec: SourceSpec, source: Source, parts: Path, workers: int | None
) -> list[Atoms]:
    """Label what has no part yet, and return all labels in the order of the frames."""
    from ase.io import read

    files = [parts / f"{_key(frame, source)}.extxyz" for frame in frames]
    missing = [
        (frame, spec, source, str(file))
        for frame, file in zip(frames, files, strict=True)
        if not file.exists()
    ]
    for _ in run_tasks(_label_one, missing, workers=workers, title=f"labels by {source.name}"):
        pass
    labelled = [read(file) for file in files]
    if source.gamma_only:
        for atoms in labelled:
            key = convergence.cell_key(atoms, source)
            atoms.info["convergence_eV_per_A"] = convergence.read_figure(parts, key)
    return labelled


def _write(path: Path, frames: list[Atoms]) -> None:
    from ase.io import write

    if frames:
        with atomic_write(path) as temporary:
            write(temporary, frames, format="extxyz")


def _refused_path(output: Path) -> Path:
    return output.with_name(output.stem + ".refused" + output.suffix)


def _key(atoms: Atoms, source: Source) -> str:
    """Name a label by the content of its structure and its source."""
    content = [
        atoms.numbers.tolist(),
        atoms.positions.tolist(),
        atoms.cell.array.tolist(),
        atoms.pbc.tolist(),
        {key: str(value) for key, value in atoms.info.items()},
        source.model_dump(mode="json"),
    ]
    return sha256_json(content)[:24]


def _label_one(task: tuple[Atoms, SourceSpec, Source, str]) -> None:
    """Label one structure and leave it as a file of its own."""
    from ase.io import write

    atoms, spec, source, path = task
    labelled = compute(atoms, calculator_of(spec))
    labelled.info["source"] = source.name
    labelled.info["source_version"] = source.version
    labelled.info["source_settings"] = json.dumps(source.settings, sort_keys=True)
    with atomic_write(path) as temporary:
        write(temporary, labelled, format="extxyz")


def compare(truth: list[Atoms], specs: list[SourceSpec], workers: int | None = None) -> str:
    """Measure label sources against labelled frames and return a table.

    Energies are compared per atom after each source's mean offset is taken out (sources differ
    by their zero of energy); forces by their rms over all components.
    """
    rows = [f"{'source':<14}{'forces eV/A':>14}{'energy meV/atom':>18}"]
    for spec in specs:
        open_source(spec)
        tasks = [(atoms, spec) for atoms in truth]
        errors = dict(run_tasks(_error_one, tasks, workers=workers, title=f"errors of {spec.name}"))
        forces = np.concatenate([errors[index][0] for index in range(len(truth))])
        energies = np.array([errors[index][1] for index in range(len(truth))])
        force_rmse = np.sqrt(np.mean(forces**2))
        rows.append(f"{spec.name:<14}{force_rmse:>14.3f}{1000 * energies.std():>18.1f}")
    magnitude = np.sqrt(np.mean(np.concatenate([a.get_forces() for a in truth]) ** 2))
    rows.append(f"{len(truth)} frames; rms of the true forces {magnitude:.3f} eV/A")
    return "\n".join(rows)


def _error_one(task: tuple[Atoms, SourceSpec]) -> tuple[np.ndarray, float]:
    """Return the force error (N, 3) (eV/A) and the energy error (eV/atom) of one frame."""
    atoms, spec = task
    labelled = compute(atoms, calculator_of(spec))
    energy = labelled.get_potential_energy() - atoms.get_potential_energy()
    return labelled.get_forces() - atoms.get_forces(), energy / len(atoms)
