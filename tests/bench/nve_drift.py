"""Drift of the total energy in NVE, by engine: python tests/bench/nve_drift.py [--steps 20000].

The shipped model on the shipped tube from 600 K, which settles near 300 K, in steps of 0.5 fs, each
engine from the same start. Prints the slope of the total energy by time and its standard error,
from the scatter of the slopes of ten parts of the run.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from tempermd import lmp as lmp_room

STYLES = {
    "native, splines": "engine native radial spline",
    "native, radial networks": "engine native radial network",
    "TorchScript": "engine torch",
}
EVERY, PARTS, STEP_PS = 20, 10, 0.0005

INPUT = """
units metal
read_data {data}
pair_style nequip {style}
pair_coeff * * {model} C
velocity all create 600 1 mom yes rot yes
timestep {step_ps}
fix 1 all nve
thermo_style custom step etotal
thermo_modify format float %.12g
thermo {every}
run 2000
run {steps}
"""


def drift(style: str, steps: int) -> tuple[float, float]:
    """Return the drift in eV/atom/ps and its standard error."""
    shipped = lmp_room.potentials_folder()
    data = shipped / "tube_8_8.data"
    files = {"data": data, "model": shipped / "carbon_base.nequip.pth"}
    with tempfile.TemporaryDirectory() as folder:
        text = INPUT.format(style=style, steps=steps, every=EVERY, step_ps=STEP_PS, **files)
        (Path(folder) / "in.nve").write_text(text)
        done = lmp_room.run_process(["-in", "in.nve", "-screen", "none"], folder)
        log = (Path(folder) / "log.lammps").read_text()
    if done.exit_code != 0:
        sys.exit(f"LAMMPS ended with {done.exit_code}:\n{log[-3000:]}")
    rows = re.findall(r"^ +(\d+) +(-?[\d.]+) *$", log, re.MULTILINE)[-(steps // EVERY) :]
    step, energy_eV = np.array(rows, dtype=float).T
    n_atoms = int(re.search(r"(\d+) atoms", data.read_text())[1])
    parts = zip(np.array_split(step, PARTS), np.array_split(energy_eV, PARTS), strict=True)
    slopes = [np.polyfit(STEP_PS * one, other, 1)[0] / n_atoms for one, other in parts]
    whole = np.polyfit(STEP_PS * step, energy_eV, 1)[0] / n_atoms
    return float(whole), float(np.std(slopes, ddof=1) / PARTS**0.5)


def main() -> None:
    """Print a line for each engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    options = parser.parse_args()
    for name, style in STYLES.items():
        slope, error = drift(style, options.steps)
        print(f"{name}: ({1e6 * slope:.2f} +- {1e6 * error:.2f})e-6 eV/atom/ps", flush=True)


if __name__ == "__main__":
    main()
