"""What goes wrong on several MPI ranks: one clear sentence on every rank, and no hang."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from ase import Atoms

from tempermd import lmp as lmp_room
from test_pair_style import nequip_calculator, small_box
from test_pair_style_mpi import MODEL, mpirun_lmp, random_cell, read_frames, write_data

TIMEOUT_S = 120

# Runs lists of commands on each rank and keeps the message of each; a later list may go on with
# the same LAMMPS, as a user does in Python. {rank} makes a command of one rank only.
DRIVER = """
import json, sys
from tempermd import lmp

cases = json.load(open("cases.json"))
messages, instance = {}, None
for name, commands in cases.items():
    if instance is None or not name.startswith("then "):
        if instance is not None:
            instance.close()
        instance = lmp.lammps_instance()
    rank = instance.extract_setting("world_rank")
    messages[name] = "no error"
    try:
        for command in commands:
            instance.command(command.replace("{rank}", str(rank)))
    except Exception as error:
        messages[name] = str(error)
json.dump(messages, open(f"messages{rank}.json", "w"))
instance.close()
"""


def stretched() -> Atoms:
    """Return a long box with two atoms on one place, far from the lower half."""
    atoms = random_cell("C12", (5.0, 5.0, 5.0), 1.4)
    far = atoms.copy()
    far.positions[:, 0] += 30.0
    far.positions[5] = far.positions[4]
    both = atoms + far
    both.cell[0, 0] = 60.0
    return both


def forget_format(model: Path, folder: Path) -> Path:
    """Write the model without tempermd's metadata, as nequip-compile would."""
    import torch

    path = folder / "upstream.nequip.pth"
    extra = dict.fromkeys(["r_max", "type_names", "num_types", "model_dtype"], "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(model), _extra_files=extra)
        torch.jit.save(module, str(path), _extra_files=extra)
    return path


START = "pair_style nequip ghosts extended"
COEFF = "pair_coeff * * model.nequip.pth C"
# name: (commands, what the message holds); "then" goes on with the same LAMMPS
CASES = {
    "missing file": (
        ["units metal", "read_data small.data", START, "pair_coeff * * nowhere.nequip.pth C"],
        r"Model file nowhere\.nequip\.pth does not exist or is not readable",
    ),
    "then missing on one rank": (
        ["pair_coeff * * only{rank}.nequip.pth C"],
        r"Model file only1\.nequip\.pth does not exist",
    ),
    "then damaged on one rank": (
        ["pair_coeff * * damaged{rank}.nequip.pth C"],
        r"damaged1\.nequip\.pth is refused: .*truncated or foreign",
    ),
    "then wrong element": (
        ["pair_coeff * * model.nequip.pth Si"],
        "Element Si is unknown to model .*, which knows: C",
    ),
    "then compiled by nequip": (
        ["pair_coeff * * upstream.nequip.pth C"],
        r"upstream\.nequip\.pth runs on one MPI rank only, got 2: .*'deploy-model CKPT",
    ),
    "then mode multi": (
        [COEFF, "neighbor 2.0 multi", "comm_modify mode multi", "run 0"],
        "remove 'comm_modify mode multi'",
    ),
    "tiled": (
        ["units metal", "comm_style tiled", "read_data small.data", START, COEFF, "run 0"],
        r"needs ghosts within 11 Angstrom .* wide in x \(3\.57\).*'comm_style brick'",
    ),
    # a LAMMPS of its own: one that goes from tiled back to brick frees what it never set
    "cutoff reduced": (
        [
            *("units metal", "read_data small.data", START, COEFF),
            "fix 1 all deform 1 x scale 0.99 remap x",
            "neigh_modify every 1 delay 0 check no",
            "run 2",
            "comm_modify cutoff 5.0",
            "run 2 pre no",
        ],
        r"needs ghosts within 11 Angstrom \(3 layers x 3 \+ skin 2\), got 5 in x",
    ),
    "then well again": (["run 2"], "^no error$"),
    "one rank not finite": (
        ["units metal", "processors 2 1 1", "read_data stretched.data", START, COEFF, "run 0"],
        "(potential energy|force) that is not finite for atom 1[78] at step 0",
    ),
    "ID twice": (
        ["units metal", "processors 2 1 1", "read_data twice.data", START, COEFF, "run 0"],
        "needs one atom for each atom ID, but 2 is there twice",
    ),
    "other units": (
        ["units lj", "read_data small.data", START, COEFF],
        "needs 'units metal' or 'units real', got 'units lj'",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_model) -> Path:
    """Return a folder with structures and with models whole, cut short and of another make."""
    folder = tmp_path_factory.mktemp("errors")
    write_data(folder, "small", small_box())
    write_data(folder, "stretched", stretched())
    text = (folder / "small.data").read_text()
    (folder / "twice.data").write_text(re.sub(r"(?m)^( +)4( +1 )", r"\g<1>2\2", text))
    model = make_model(**MODEL)
    for name in ("model", "only0", "damaged0"):
        shutil.copy(model, folder / f"{name}.nequip.pth")
    (folder / "damaged1.nequip.pth").write_bytes(model.read_bytes()[:20_000])
    forget_format(model, folder)
    return folder


@pytest.fixture(scope="module")
def messages(folder: Path) -> list[dict[str, str]]:
    """Return what each rank of one ``mpirun`` caught in each case."""
    (folder / "cases.json").write_text(json.dumps({name: one for name, (one, _) in CASES.items()}))
    (folder / "driver.py").write_text(DRIVER)
    command = [*lmp_room.mpirun_command(2), sys.executable, "driver.py"]
    subprocess.run(command, cwd=folder, timeout=TIMEOUT_S, check=True, stdin=subprocess.DEVNULL)
    return [json.loads((folder / f"messages{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_every_rank_gets_the_sentence(case: str, messages):
    for rank in range(2):
        assert re.search(CASES[case][1], messages[rank][case])


def test_lmp_says_it_on_the_screen_and_ends(folder: Path):
    commands, sentence = CASES["one rank not finite"]
    (folder / "in.lmp").write_text("\n".join(commands))
    result = lmp_room.run_process(
        ["-in", "in.lmp"], folder, timeout_s=TIMEOUT_S, prefix=lmp_room.mpirun_command(2)
    )
    assert not result.timed_out
    assert result.exit_code == 1
    assert len(re.findall(f"ERROR.*{sentence}", result.stdout_tail)) == 1


PARTITIONS = """
variable which world one two
variable sigma world 5.2 5.4
log ${which}.log
units metal
processors * * 2
read_data small.data
change_box all z final 0 ${sigma} remap units box
pair_style nequip
pair_coeff * * model.nequip.pth C
dump 1 all custom 1 ${which}.dump id x y z fx fy fz
dump_modify 1 sort id format float %.17g
run 0
"""


def test_partitions_know_nothing_of_each_other(folder: Path):
    """Two partitions of two ranks with different boxes, each against nequip's calculator."""
    mpirun_lmp(folder, PARTITIONS, 4, "-partition", "2x2")
    for which, height_A in (("one", 5.2), ("two", 5.4)):
        (frame,) = read_frames(folder / f"{which}.dump")
        cell = [3.57, 3.57, height_A]
        atoms = Atoms(f"C{len(frame)}", positions=frame[:, :3], cell=cell, pbc=True)
        atoms.calc = nequip_calculator("float64", ("C",), **MODEL)
        assert frame[:, 3:] == pytest.approx(atoms.get_forces(), abs=1e-8)
