"""Structures: each kind from its spec, seeds that repeat, parts that are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.neighborlist import neighbor_list

from tempermd import lmp
from tempermd.pair_styles import PotentialSpec
from tempermd.records import UserError, only_one, parse_spec
from tempermd.structures import (
    CrystalSpec,
    FullereneSpec,
    MeltQuenchSpec,
    RandomSpec,
    RattleRelaxSpec,
    StructureSpec,
    TubeSpec,
    make,
    making,
    nanotube,
    random_cell,
    write_data,
)

SMALL = StructureSpec(
    seed=3,
    tubes=[TubeSpec(n=5, m=0, length_A=4, temperatures_K=[900], trajectories=2, frames=2)],
    melt_quench=[
        MeltQuenchSpec(
            atoms=16, densities_g_cm3=[2.0], anneal_K=[1000], frames=4, quench_ps=1, anneal_ps=0.5
        )
    ],
    random=[RandomSpec(atoms=8, densities_g_cm3=[1.5, 3.0], cells=30, relax_steps=[0, 20])],
    crystals=[CrystalSpec(names=["diamond"], atoms=8, cells=3)],
    rattle_relax=[RattleRelaxSpec(crystals=["diamond"], atoms=8, chains=2, rounds=3)],
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the small spec once."""
    output = tmp_path_factory.mktemp("small") / "small.extxyz"
    make(SMALL, output, workers=2)
    return output


def frames_of(path: Path, kind: str) -> list[Atoms]:
    return [atoms for atoms in read(path, ":") if atoms.info["kind"] == kind]


def test_structures_repeat_whatever_the_workers(small: Path, tmp_path: Path) -> None:
    made = make(SMALL, tmp_path / "one.extxyz", workers=1)
    assert (tmp_path / "one.extxyz").read_bytes() == small.read_bytes()
    assert made.frames == 2 * 2 + 4 + 120 + 3 + 6
    frames = read(small, ":")
    assert (made.frames, made.atoms) == (len(frames), sum(map(len, frames)))


def test_sampled_tubes_are_hot_and_whole(small: Path) -> None:
    """At 900 K atoms have left their places, and every one still has its three bonds."""
    frames = frames_of(small, "tube")
    ideal = nanotube(5, 0, 4.0)
    for atoms in frames:
        shift = atoms.positions - ideal.positions
        shift[:, 2] -= np.round(shift[:, 2] / ideal.cell[2, 2]) * ideal.cell[2, 2]
        assert 0.02 < np.sqrt(np.mean(shift**2)) < 1.0
        assert np.all(np.bincount(neighbor_list("i", atoms, 2.0)) == 3)
    assert len({atoms.info["trajectory"] for atoms in frames}) == 2
    assert [atoms.info["time_ps"] for atoms in frames] == [3.0, 4.0] * 2


def test_melts_cool_down_by_the_clock(small: Path) -> None:
    """Frames fill the last third of the melt (0.5 ps), the quench (1 ps), the anneal (0.5 ps)."""
    frames = frames_of(small, "melt_quench")
    assert [atoms.info["time_ps"] for atoms in frames] == [1.5, 2.0, 2.5, 3.0]
    assert [atoms.info["temperature_K"] for atoms in frames] == [6000, 3150, 300, 1000]
    for atoms in frames:
        grams = 16 * 12.011 * 1.66053907e-24
        assert grams / (atoms.get_volume() * 1e-24) == pytest.approx(2.0, rel=1e-5)
    assert len({atoms.info["trajectory"] for atoms in frames}) == 1


def tersoff_energy_eV(atoms: Atoms, folder: Path) -> float:
    """Return the energy by way of a data file, as a user of LAMMPS would get it."""
    lammps = lmp.lammps_instance()
    lammps.commands_list(
        [
            "units metal",
            "atom_modify map yes",
            f"read_data {write_data(folder / 'one.data', atoms)}",
            "pair_style tersoff",
            "pair_coeff * * SiC.tersoff C",
            "run 0",
        ]
    )
    energy_eV = lammps.get_thermo("pe")
    lammps.close()
    return energy_eV


def test_random_cells_go_from_strained_to_relaxed(small: Path, tmp_path: Path) -> None:
    frames = frames_of(small, "random")
    assert [atoms.info["relax_steps"] for atoms in frames] == [0, 20] * 60
    for start, end in zip(frames[::10], frames[1::10], strict=True):
        assert np.array_equal(start.cell, end.cell)
        assert tersoff_energy_eV(end, tmp_path) < tersoff_energy_eV(start, tmp_path) - 0.1
    for atoms in frames[::2]:
        assert len(neighbor_list("i", atoms, 1.2)) == 0


def test_chains_stay_apart_and_count_their_rounds(small: Path) -> None:
    frames = frames_of(small, "rattle_relax")
    assert [atoms.info["round"] for atoms in frames] == [1, 2, 3] * 2
    assert len({atoms.info["trajectory"] for atoms in frames}) == 2


def test_chains_start_from_a_file_beside_the_spec(small: Path) -> None:
    raw = {"rattle_relax": [{"file": "small.extxyz", "max_starts": 2, "rounds": 2}]}
    spec = parse_spec(raw, StructureSpec, "spec").relative_to(small.parent)
    made = make(spec, small.parent / "chains.extxyz")
    assert made.frames == 4
    firsts = [read(small, number) for number in (0, 136)]
    for start, end in zip(firsts, read(small.parent / "chains.extxyz", "::2"), strict=True):
        assert end.get_chemical_formula() == start.get_chemical_formula()
        assert end.info["structure"] == start.info["structure"]


def test_fullerenes_with_defects_lose_an_atom_and_keep_their_bonds(tmp_path: Path) -> None:
    ball = FullereneSpec(
        atoms=60, vacancies=1, stone_wales=1, strains=[0.05], temperatures_K=[300], frames=1
    )
    make(StructureSpec(fullerenes=[ball]), tmp_path / "c.extxyz")
    atoms = read(tmp_path / "c.extxyz")
    assert len(atoms) == 59
    assert atoms.info["structure"] == "C60_v1_sw1_+0.05"
    bonds = len(neighbor_list("i", atoms, 1.85))
    assert 3 * 60 - 6 <= bonds <= 3 * 60 - 4  # three lost a bond; two of these may have met


def test_a_finished_output_is_left_as_it_is(small: Path) -> None:
    before = small.stat().st_mtime_ns
    make(SMALL, small)
    assert small.stat().st_mtime_ns == before
    assert not small.with_name("small.extxyz.parts").exists()
    assert not small.with_name(".small.extxyz.lock").exists()


def test_a_killed_run_goes_on_where_it_was(small: Path, tmp_path: Path) -> None:
    """Kill it when two parts are there: these are kept, and the file is that of an unbroken run."""
    output = tmp_path / "small.extxyz"
    (tmp_path / "spec.json").write_text(SMALL.model_dump_json())
    (tmp_path / "run.py").write_text(
        "from pathlib import Path\nfrom tempermd.structures import StructureSpec, make\n"
        "if __name__ == '__main__':\n"
        "    spec = StructureSpec.model_validate_json(Path('spec.json').read_text())\n"
        "    make(spec, Path('small.extxyz'), 1)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "run.py"], cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL
    )
    parts = tmp_path / "small.extxyz.parts"
    while process.poll() is None and len(list(parts.glob("[!.]*.extxyz"))) < 2:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("[!.]*.extxyz")}
    assert len(kept) >= 2
    assert _times_at_the_end(output, list(kept)) == kept
    assert output.read_bytes() == small.read_bytes()


def _times_at_the_end(output: Path, kept: list[Path]) -> dict[Path, int]:
    """Finish a run; return when the parts that were kept were written, seen just before the end."""
    seen: dict[Path, int] = {}
    join = making.join

    def watched(*arguments):
        seen.update({path: path.stat().st_mtime_ns for path in kept})
        return join(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "join", watched)
        make(SMALL, output)
    return seen


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with (
        only_one(tmp_path / "x.extxyz"),
        pytest.raises(UserError, match=r"process \d+ on .* is writing it"),
    ):
        make(SMALL, tmp_path / "x.extxyz")


def test_near_duplicates_are_dropped_and_counted(tmp_path: Path, capsys) -> None:
    """Crystals that are not disturbed are all the same one."""
    still = CrystalSpec(names=["diamond"], atoms=8, rattles_A=[0.0], strain=0.0, cells=4)
    made = make(StructureSpec(crystals=[still]), tmp_path / "d.extxyz")
    assert (made.frames, made.dropped) == (1, {"near-duplicates": 3})
    assert "dropped 3 near-duplicates" in capsys.readouterr().err


def test_overlaps_are_dropped_with_their_reason(tmp_path: Path) -> None:
    """Atoms 0.8 A apart are nearer than 0.6 times 1.52 A; at 0.4 times they may stay."""
    near = RandomSpec(atoms=2, densities_g_cm3=[8.0], cells=40, min_distance_A=0.8)
    made = make(StructureSpec(random=[near]), tmp_path / "r.extxyz")
    assert made.dropped["overlapping atoms (random)"] + made.frames == 40
    for atoms in read(tmp_path / "r.extxyz", ":"):
        assert len(neighbor_list("i", atoms, 0.6 * 1.52)) == 0
    made = make(StructureSpec(random=[near], closest=0.4), tmp_path / "s.extxyz")
    assert made.dropped == {}


def test_every_fault_leaves_no_output(tmp_path: Path) -> None:
    near = CrystalSpec(names=["diamond"], atoms=8, rattles_A=[1.0], cells=2)
    with pytest.raises(UserError, match="no frame is left; 2 overlapping atoms"):
        make(StructureSpec(crystals=[near], closest=0.99), tmp_path / "r.extxyz")
    assert not (tmp_path / "r.extxyz").exists()


CHAINS = {"rattle_relax": [{"crystals": ["sc"]}]}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "names nothing to make"),
        ({"random": [{"formula": "Xy", "atoms": 4, "densities_g_cm3": [2]}]}, "Xy"),
        ({"random": [{"formula": "SiC", "atoms": 5, "densities_g_cm3": [2]}]}, "take 6"),
        (
            {"random": [{"atoms": 8, "densities_g_cm3": [3], "min_distance_A": 3}]},
            "leave no room for a distance of 3 A",
        ),
        ({"crystals": [{"names": ["quartz"]}]}, "crystal 'quartz' is unknown"),
        ({"crystals": [{"names": ["rocksalt"]}]}, "takes 2 element"),
        ({"fullerenes": [{"atoms": 61, "temperatures_K": [300]}]}, "no construction of C61"),
        ({"rattle_relax": [{"file": "no.extxyz"}]}, "no.extxyz: no such file of structures"),
        (
            {"melt_quench": [{"formula": "Cu", "atoms": 8, "densities_g_cm3": [8]}]},
            "knows Si, C, not Cu",
        ),
        (
            {"driver": {"name": "nequip", "file": "no.pth"}} | CHAINS,
            "no.pth: no such parameter file",
        ),
        (
            {"driver": {"name": "lammps", "commands": ["pair_style nonsense"]}} | CHAINS,
            "does not run in LAMMPS: ERROR: Unrecognized pair style 'nonsense'",
        ),
    ],
)
def test_what_cannot_be_made_is_said_in_a_sentence(raw, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make(parse_spec(raw, StructureSpec, "spec"), tmp_path / "x.extxyz")
    assert not (tmp_path / "x.extxyz").exists()
    assert not (tmp_path / ".x.extxyz.lock").exists()


def test_melt_quench_runs_by_hand_with_the_driver_it_comes_with(tmp_path: Path) -> None:
    """As its head says; frames are every 200 of the 1,000 steps after n_first."""
    write_data(tmp_path / "cell.data", random_cell(16, 2.0, seed=1))
    short = {"n_first": 200, "n_melt": 200, "n_quench": 600, "n_anneal": 200, "every": 200}
    arguments = ["-in", str(lmp.inputs_folder() / "melt_quench.in"), "-var", "data", "cell.data"]
    for name, value in short.items():
        arguments += ["-var", name, str(value)]
    process = lmp.run_process(arguments, cwd=tmp_path)
    assert process.exit_code == 0, process.stdout_tail
    steps = (tmp_path / "melt_quench.lammpstrj").read_text().split("ITEM: TIMESTEP\n")[1:]
    assert [int(frame.split()[0]) for frame in steps] == [0, 200, 400, 600, 800, 1000]


def test_a_deployed_model_drives(make_model, tmp_path: Path) -> None:
    """Relaxing with it lowers the energy that it has in ASE; MD with it gives hot frames."""
    from tempermd.deploy import calculator

    model = make_model(dtype="float64")
    spec = StructureSpec(
        driver=PotentialSpec(name="nequip", file=str(model)),
        closest=0.0,
        random=[RandomSpec(atoms=6, densities_g_cm3=[2.0], cells=3, relax_steps=[0, 4])],
        melt_quench=[
            MeltQuenchSpec(
                atoms=8,
                densities_g_cm3=[2.0],
                anneal_K=[300],
                frames=2,
                melt_ps=0.006,
                quench_ps=0.01,
                anneal_ps=0.01,
            )
        ],
    )
    make(spec, tmp_path / "n.extxyz", workers=1)
    frames = frames_of(tmp_path / "n.extxyz", "random")
    assert len(frames_of(tmp_path / "n.extxyz", "melt_quench")) == 2
    assert len(frames) == 6
    ase_calculator = calculator(model)
    for start, end in zip(frames[::2], frames[1::2], strict=True):
        before, after = (ase_calculator.get_potential_energy(one) for one in (start, end))
        assert after < before - 1e-3


def test_silicon_carbide_melts(tmp_path: Path) -> None:
    melt = MeltQuenchSpec(
        formula="SiC", atoms=16, densities_g_cm3=[3.0], anneal_K=[500], frames=2, melt_ps=0.1,
        quench_ps=0.2, anneal_ps=0.1,
    )  # fmt: skip
    make(StructureSpec(melt_quench=[melt]), tmp_path / "s.extxyz")
    for atoms in read(tmp_path / "s.extxyz", ":"):
        assert atoms.symbols.count("Si") == atoms.symbols.count("C") == 8
        grams = 8 * (12.011 + 28.085) * 1.66053907e-24
        assert grams / (atoms.get_volume() * 1e-24) == pytest.approx(3.0, rel=1e-5)


def test_atoms_that_lammps_loses_cost_a_frame_and_not_the_run(tmp_path: Path) -> None:
    """A driver without repulsion lets atoms fall into each other until LAMMPS gives up."""
    spec = StructureSpec(
        driver=PotentialSpec(
            name="lammps", commands=["pair_style lj/cut 6", "pair_coeff * * 9000 1.9"]
        ),
        tubes=[TubeSpec(n=5, m=0, length_A=4, temperatures_K=[3000], frames=1)],
        crystals=[CrystalSpec(names=["diamond"], atoms=8, cells=2)],
    )
    made = make(spec, tmp_path / "x.extxyz")
    assert made.frames == 2
    assert sum(made.dropped.values()) >= 1
    assert all("LAMMPS" in why or "tube" in why for why in made.dropped)
