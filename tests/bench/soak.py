"""A long run that deletes, inserts, changes the box and rebuilds lists: does memory stay flat?

``python tests/bench/soak.py [--minutes 30] [--ranks 2] [--engine torch]`` runs the shipped model on
the shipped tube at 300 K. Each cycle deletes an atom and puts it back, inserts one on the axis,
runs NPT, deletes that one, and runs NVT and NVE. It prints a line now and then and, at the end, how
peak memory and the energy of the NVE parts moved.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tempermd import lmp as lmp_room

INPUT = """
units metal
atom_modify map yes
read_data {data}
pair_style nequip engine {engine}
pair_coeff * * {model} C
neighbor 0.5 bin
neigh_modify every 1 delay 0 check yes
velocity all create 600 1 mom yes rot yes
timestep 0.0005
thermo_style custom step temp pe etotal press lz atoms
thermo_modify format float %.10g lost error
thermo 100
run 0
variable cycle loop 1000000
label cycle
# the box holds every atom now, so the one that goes can come back to its place
run 0
variable hole equal 1+(37*v_cycle)%100
variable x equal x[${{hole}}]
variable y equal y[${{hole}}]
variable z equal z[${{hole}}]
variable px equal $(v_x)
variable py equal $(v_y)
variable pz equal $(v_z)
group hole id ${{hole}}
delete_atoms group hole compress yes
group hole delete
run 0
create_atoms 1 single ${{px}} ${{py}} ${{pz}} units box
# on the axis of the tube, beyond the cutoff from its wall
create_atoms 1 single $(xcm(all,x)) $(xcm(all,y)) $(xcm(all,z)) units box
velocity all zero linear
fix motion all npt temp 300 300 0.05 z 0 0 0.5
run 200
unfix motion
group guest id 129
delete_atoms group guest compress yes
group guest delete
fix motion all nvt temp 300 300 0.05
run 100
unfix motion
neigh_modify check no
fix motion all nvt temp 300 300 0.05
run 100
unfix motion
neigh_modify check yes
fix motion all nve
print "NVE of cycle ${{cycle}}"
run 200
unfix motion
if "$(is_file({stop}))" then "quit 0"
next cycle
jump SELF cycle
"""


def cycles(log: str) -> np.ndarray:
    """Return a row per finished cycle: peak memory (MiB), NVE drift (eV/atom/ps), pe (eV/atom)."""
    rows = []
    for part in log.split("NVE of cycle")[1:]:
        memory = re.search(r"peak memory (\d+) MiB", part)
        lines = re.findall(r"^ +\d+(?: +-?[\d.eE+-]+){6} *$", part, re.MULTILINE)
        if memory is None or len(lines) < 3:
            continue
        thermo = np.array([line.split() for line in lines[:3]], dtype=float)
        n_atoms, time_ps = thermo[0, 6], (thermo[2, 0] - thermo[0, 0]) * 0.0005
        drift = (thermo[2, 3] - thermo[0, 3]) / n_atoms / time_ps
        rows.append([float(memory[1]), drift, thermo[2, 2] / n_atoms, n_atoms, thermo[2, 1]])
    return np.array(rows)


def show(found: np.ndarray, minutes: float) -> None:
    """Print the last cycle."""
    memory_MiB, drift, energy_eV, n_atoms, temperature_K = found[-1]
    print(
        f"{minutes:5.1f} min, cycle {len(found)}: peak memory {memory_MiB:.0f} MiB per rank, "
        f"{n_atoms:.0f} atoms, {temperature_K:.0f} K, pe {energy_eV:.4f} eV/atom, "
        f"NVE drift {drift:.1e} eV/atom/ps",
        flush=True,
    )


def main() -> None:
    """Run for some minutes and print what moved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--engine", default="native", choices=["native", "torch"])
    arguments = parser.parse_args()
    shipped = lmp_room.potentials_folder()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = {"data": shipped / "tube_8_8.data", "model": shipped / "carbon_base.nequip.pth"}
        (folder / "in.soak").write_text(INPUT.format(stop="stop", engine=arguments.engine, **files))
        prefix = lmp_room.mpirun_command(arguments.ranks) if arguments.ranks > 1 else []
        command = [*prefix, *lmp_room.lmp_command(), "-in", "in.soak", "-screen", "none"]
        begin = time.monotonic()
        process = subprocess.Popen(command, cwd=folder)
        while process.poll() is None:
            time.sleep(20.0)
            minutes = (time.monotonic() - begin) / 60
            log = folder / "log.lammps"
            found = cycles(log.read_text()) if log.is_file() else np.empty(0)
            if len(found):
                show(found, minutes)
            if minutes > arguments.minutes:
                (folder / "stop").touch()
        log_text = (folder / "log.lammps").read_text()
    if process.returncode != 0:
        sys.exit(f"LAMMPS ended with {process.returncode}:\n{log_text[-3000:]}")
    found = cycles(log_text)
    tenth = max(len(found) // 10, 1)
    first, last = found[tenth : 2 * tenth], found[-tenth:]
    print(
        f"{len(found)} cycles; peak memory per rank {first[0, 0]:.0f} MiB after a tenth, "
        f"{last[-1, 0]:.0f} at the end; NVE drift {np.mean(found[:, 1]):.1e} +- "
        f"{np.std(found[:, 1]) / len(found) ** 0.5:.1e} eV/atom/ps; pe "
        f"{np.mean(first[:, 2]):.4f} in the second tenth, {np.mean(last[:, 2]):.4f} in the last"
    )


if __name__ == "__main__":
    main()
