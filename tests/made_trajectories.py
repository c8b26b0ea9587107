"""Trajectories with known answers, made by construction."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tempermd.trajectory import Frame

TIMESTEP_FS = 0.5
STEPS_PER_FRAME = 100  # 0.05 ps


def tube_atoms():
    """Return a periodic (8,0) tube of 128 atoms along z with 1.42 Å bonds, as ase.Atoms."""
    from ase.build import nanotube

    atoms = nanotube(8, 0, length=4, bond=1.42)
    atoms.center(vacuum=8.0, axis=(0, 1))
    atoms.pbc = True
    return atoms


def frame_of(atoms, number: int = 0, positions: np.ndarray | None = None) -> Frame:
    """Return an ase.Atoms as the frame of that number, at rest, ids from 1."""
    places = atoms.positions if positions is None else positions
    return Frame(
        step=number * STEPS_PER_FRAME,
        time_ps=number * STEPS_PER_FRAME * TIMESTEP_FS / 1000,
        ids=np.arange(1, len(atoms) + 1),
        positions=places.copy(),
        velocities=np.zeros((len(atoms), 3)),
        forces=None,
        cell=np.array(atoms.cell),
        origin=np.zeros(3),
        pbc=np.array(atoms.pbc),
        types=np.ones(len(atoms), dtype=int),
    )


def dump_text(frames: Iterable[Frame], *, order: np.ndarray | None = None) -> str:
    """Return frames of an orthogonal cell at the origin as LAMMPS writes them."""
    lines = []
    for frame in frames:
        lines += ["ITEM: UNITS", "metal", "ITEM: TIME", f"{frame.time_ps:.16g}"]
        lines += ["ITEM: TIMESTEP", str(frame.step), "ITEM: NUMBER OF ATOMS", str(len(frame.ids))]
        lines += ["ITEM: BOX BOUNDS pp pp pp"]
        lines += [f"0.0 {length:.16g}" for length in np.diag(frame.cell)]
        lines += ["ITEM: ATOMS id type x y z vx vy vz"]
        rows = range(len(frame.ids)) if order is None else order
        for row in rows:
            numbers = (*frame.positions[row], *frame.velocities[row])
            lines.append(f"{frame.ids[row]} 1 " + " ".join(f"{x:.10g}" for x in numbers))
    return "\n".join(lines) + "\n"


def log_text(
    steps: np.ndarray,
    temperature: np.ndarray,
    conserved: np.ndarray,
    *,
    target_K: tuple[float, float] = (3000.0, 3000.0),
) -> str:
    """Return a log of one run under fix temp/csvr, with 100 fs damping and 0.5 fs steps."""
    lines = [
        "units metal",
        "timestep 0.0005",
        f"fix bath all temp/csvr {target_K[0]:g} {target_K[1]:g} 0.1 1",
        f"run {steps[-1] - steps[0]}",
        "Per MPI rank memory allocation (min/avg/max) = 3.1 | 3.1 | 3.1 Mbytes",
        "   Step          Temp          PotEng        Econserve",
    ]
    for step, kelvin, energy in zip(steps, temperature, conserved, strict=True):
        lines.append(f"{step:10d} {kelvin:14.8g} {-900.0:14.8g} {energy:.12g}")
    return "\n".join([*lines, "Loop time of 1.0 on 1 procs for 1 steps with 128 atoms"]) + "\n"
