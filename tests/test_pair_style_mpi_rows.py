"""What users combine with several MPI ranks: the same input on one rank and on two."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from test_pair_style import small_box, triclinic, tube
from test_pair_style_mpi import (
    MODEL,
    TWO_ELEMENT_MODEL,
    mpirun_lmp,
    random_cell,
    read_frames,
    write_data,
)

MODELS = {
    "model": MODEL,
    "wide": MODEL | {"layers": 2, "cutoff_A": 4.0},
    "one_layer": MODEL | {"layers": 1},
    "two_elements": TWO_ELEMENT_MODEL,
}


def chain() -> Atoms:
    """Return four atoms: the first on the lower rank, the last more than 9 Å away from it."""
    positions = [[x, 3.0, 3.0] for x in (14.95, 18.0, 20.55, 24.1)]
    return Atoms("C4", positions=positions, cell=[30.0, 6.0, 6.0], pbc=True)


def long_cell() -> Atoms:
    """Return a box wider than the ghost shell, its atoms at one end."""
    atoms = random_cell("C40", (10.0, 10.0, 10.0), 1.4)
    atoms.cell[0, 0] = 36.0
    return atoms


STRUCTURES = {
    "chain": chain,
    "long": long_cell,
    "tube": tube,
    "small": small_box,
    "mixed": triclinic,
}

HEAD = """
log {name}.log
units metal
{before}
read_data {structure}.data
{style}
timestep 0.0005
thermo_style custom step atoms pe vol
thermo_modify format float %.15g lost ignore
"""
DUMP = """
dump 1 all custom 5 {name}.dump id xu yu zu fx fy fz
dump_modify 1 sort id format float %.17g
"""
ALONE = "pair_style nequip\npair_coeff * * {%s} C"
EXTENDED = "pair_style nequip ghosts extended\npair_coeff * * {model} C"
# both ends come near, until the first atom feels the last one, without a new list
CHAIN = """
neighbor 2.0 bin
group low id 1
group high id 4
velocity low set 47 0 0
velocity high set -47 0 0
timestep 0.001
fix 1 all nve
run 20
"""
BALANCED = """
velocity all create 600 3
neighbor 0.5 bin
neigh_modify every 1 delay 0 check no
fix 1 all nve
fix 2 all balance 5 1.0 rcb
run 20
"""
EDITED = """
velocity all create 600 3
fix 1 all nve
run 5
group gone id 3 7
delete_atoms group gone compress no
create_atoms 1 single 6.5 6.5 0.3 units box
run 5
run 5 pre no
reset_atoms id sort yes
group runaway id 5
velocity runaway set 600 0 0
run 40
"""
SHRINKING = """
velocity all create 300 3
neigh_modify every 1 delay 0 check yes
fix 1 all npt temp 300 300 0.1 iso 5e5 5e5 0.02
run 20
"""
MINIMIZED = """
run 0
minimize 0.0 0.0 3 20
"""
# the run after it writes no dump, only how far ghosts reach: the style gives its cutoff back
REPLACED = """
run 0
undump 1
pair_style lj/cut 3.0
pair_coeff * * 0.01 1.5
run 0
"""
RERUN = """
fix 1 all nve
velocity all create 300 3
undump 1
dump 0 all custom 2 {name}.first id type x y z
dump_modify 0 format float %.17g
run 4
undump 0
dump 1 all custom 2 {name}.dump id xu yu zu fx fy fz
dump_modify 1 sort id format float %.17g
rerun {name}.first dump x y z
"""
OVERLAY = """pair_style hybrid/overlay lj/cut {lj_A} nequip {ghosts} nequip {ghosts}
pair_coeff * * lj/cut 0.01 1.5
pair_coeff * * nequip 1 {{model}} C
pair_coeff * * nequip 2 {{wide}} C"""
NULLS = """pair_style hybrid nequip zero 4.0
pair_coeff * * nequip {two_elements} C NULL
pair_coeff 1 2 zero
pair_coeff 2 2 zero"""

# name: (structure, before the box, style, body)
ROWS = {
    "chain": ("chain", "processors 2 * *", ALONE % "model", CHAIN),
    "balanced": ("long", "comm_style tiled", ALONE % "model", BALANCED),
    "edited": ("tube", "boundary f f s\nprocessors * * 2", ALONE % "model", EDITED),
    "shrinking": ("small", "newton off", ALONE % "model", SHRINKING),
    "one_layer": ("small", "", ALONE % "one_layer", MINIMIZED),
    "overlay_long": ("small", "", OVERLAY.format(lj_A=6.0, ghosts="ghosts extended"), MINIMIZED),
    "overlay_short": ("small", "newton off", OVERLAY.format(lj_A=2.0, ghosts=""), "run 0"),
    "nulls": ("mixed", "", NULLS, "run 0"),
    "rerun": ("tube", "newton off", ALONE % "model", RERUN),
    "replaced": ("small", "", EXTENDED, REPLACED),
    "minimized": ("mixed", "", "pair_style nequip\npair_coeff * * {two_elements} C H", MINIMIZED),
}
Outcome = tuple[list[np.ndarray], str]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, make_model) -> Callable[..., Outcome]:
    """Return ``outcome(row, n_ranks)``: frames of the dump, log; all rows run at the first call."""
    folders: dict[int, Path] = {}

    def run_all(n_ranks: int) -> None:
        folder = folders[n_ranks] = tmp_path_factory.mktemp("rows")
        for name, make in STRUCTURES.items():
            write_data(folder, name, make())
        models = {name: make_model(**arguments) for name, arguments in MODELS.items()}
        script = ""
        for name, (structure, before, style, body) in ROWS.items():
            if n_ranks == 1:
                before = re.sub("processors .*", "", before)
            words = {"name": name, "structure": structure, "before": before}
            script += HEAD.format(style=style.format(**models), **words)
            script += DUMP.format(**words) + body.format(**words) + "\nclear\n"
        mpirun_lmp(folder, script, n_ranks)

    def get(row: str, n_ranks: int) -> Outcome:
        if n_ranks not in folders:
            run_all(n_ranks)
        folder = folders[n_ranks]
        return read_frames(folder / f"{row}.dump"), (folder / f"{row}.log").read_text()

    return get


@pytest.mark.parametrize("row", ROWS)
def test_two_ranks_are_one(row: str, outcome):
    one, _ = outcome(row, 1)
    two, log = outcome(row, 2)
    assert "on 2 procs" in log
    assert len(one) == len(two)
    for few, many in zip(one, two, strict=True):
        assert few.shape == many.shape
        assert many[:, :3] == pytest.approx(few[:, :3], abs=1e-9)
        assert many[:, 3:] == pytest.approx(few[:, 3:], abs=1e-8)
    assert max(np.abs(frame[:, 3:]).max() for frame in two) > 0.05, "nothing to see"


# what shows that a row was what its name says: a regular expression in the log of two ranks
SIGNS = {
    "balanced": r"Nlocal: +20 ave +20 max +20 min",
    "edited": r"\n +10 +31 [^$]*\n +55 +30 ",
    "shrinking": r"\n +0 +8 +\S+ +45\.\d+ *\n +20 +8 +\S+ +3\d\.",
    "overlay_long": r"ghost shell: 11 .* 3 layers[^$]*ghost shell: 10 .* 2 layers",
    "chain": r"Neighbor list builds = 0\n",
    "replaced": r"ghost atom cutoff = 11\n[^$]*ghost atom cutoff = 5\n",
}


@pytest.mark.parametrize("row", SIGNS)
def test_rows_are_what_they_claim(row: str, outcome):
    assert re.search(SIGNS[row], outcome(row, 2)[1])


def test_one_layer_needs_no_ghost_shell(outcome):
    assert "ghost shell" not in outcome("one_layer", 2)[1]
