"""A short run with the truth itself (GFN1-xTB) on a small tube, for the detectors to find clean.

    python studies/xtb_control.py -o xtb_control
    tempermd analyse xtb_control/trajectory.lammpstrj xtb_control/log.lammps -o xtb_report

ASE drives it, with the thermostat of our inputs (Bussi's), 1 fs steps, a ramp from 300 K and a
hold; dump and log are written as LAMMPS writes them. A (5,5) tube of four periods, 80 atoms, at the
zone centre only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase import units
from ase.md.bussi import Bussi

from tempermd.labels import SourceSpec, open_source
from tempermd.structures import nanotube

TIMESTEP_PS = 0.001
DAMPING_PS = 0.1
TO_A_PER_PS = 1000 * units.fs


def frame_text(atoms, step: int) -> str:
    """Return a frame of ``dump custom`` with velocities and forces."""
    lines = ["ITEM: UNITS", "metal", "ITEM: TIME", f"{step * TIMESTEP_PS:.9g}", "ITEM: TIMESTEP"]
    lines += [str(step), "ITEM: NUMBER OF ATOMS", str(len(atoms)), "ITEM: BOX BOUNDS pp pp pp"]
    lines += [f"0.0 {length:.9g}" for length in np.diag(atoms.cell)]
    lines.append("ITEM: ATOMS id type x y z vx vy vz fx fy fz")
    table = np.hstack([atoms.positions, atoms.get_velocities() * TO_A_PER_PS, atoms.get_forces()])
    for number, row in enumerate(table, 1):
        lines.append(f"{number} 1 " + " ".join(f"{value:.9g}" for value in row))
    return "\n".join(lines) + "\n"


def stage(atoms, dump, log, first: int, steps: int, kelvin: tuple[float, float], rng) -> None:
    """Run a ramp or a hold, a frame every 20 steps, thermo in every step."""
    log.write(f"fix bath all temp/csvr {kelvin[0]:g} {kelvin[1]:g} {DAMPING_PS:g} 1\n")
    log.write(f"run {steps}\nPer MPI rank memory allocation (min/avg/max) = 0 | 0 | 0 Mbytes\n")
    log.write("   Step          Temp          PotEng        Econserve\n")
    dynamics = Bussi(
        atoms,
        timestep=TIMESTEP_PS * 1000 * units.fs,
        temperature_K=kelvin[0],
        taut=DAMPING_PS * 1000 * units.fs,
        rng=rng,
    )
    for number in range(steps + 1):
        if number:
            share = number / steps
            now_K = (1 - share) * kelvin[0] + share * kelvin[1]
            dynamics.target_kinetic_energy = 0.5 * units.kB * now_K * dynamics.ndof
            dynamics.run(1)
        conserved_eV = atoms.get_total_energy() - dynamics.transferred_energy
        numbers = atoms.get_temperature(), atoms.get_potential_energy(), conserved_eV
        log.write(f"{first + number:10d} " + " ".join(f"{x:.12g}" for x in numbers) + "\n")
        if (first + number) % 20 == 0 and (number or not first):
            dump.write(frame_text(atoms, first + number))
            for stream in (dump, log):
                stream.flush()
    log.write(f"Loop time of 1.0 on 1 procs for {steps} steps with {len(atoms)} atoms\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--kelvin", type=float, default=3000.0)
    parser.add_argument("--ramp", type=int, default=500, help="steps of 1 fs")
    parser.add_argument("--hold", type=int, default=1500)
    options = parser.parse_args()
    options.output.mkdir()
    atoms = nanotube(5, 5, 9.0)
    atoms.center(vacuum=6.0, axis=(0, 1))
    atoms.pbc = True
    atoms.calc = open_source(SourceSpec(name="xtb"))[1]
    rng = np.random.default_rng(1)
    velocities = rng.standard_normal((len(atoms), 3))
    velocities *= np.sqrt(units.kB * 2 * 300.0 / atoms.get_masses())[:, None]
    atoms.set_velocities(velocities - velocities.mean(axis=0))
    files = (options.output / name for name in ("trajectory.lammpstrj", "log.lammps"))
    with next(files).open("w") as dump, next(files).open("w") as log:
        log.write(f"units metal\ntimestep {TIMESTEP_PS}\n")
        stage(atoms, dump, log, 0, options.ramp, (300.0, options.kelvin), rng)
        stage(atoms, dump, log, options.ramp, options.hold, (options.kelvin,) * 2, rng)


if __name__ == "__main__":
    main()
