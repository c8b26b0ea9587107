"""Reading dumps and logs: against ASE, and against files whose content is known."""

from __future__ import annotations

import gzip
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard

from made_trajectories import (
    dump_text,
    frame_of,
    log_text,
    tube_atoms,
)
from tempermd import lmp
from tempermd.records import UserError
from tempermd.trajectory import iter_frames, read_thermo

pytest_plugins = ("hot_tube",)

TRICLINIC = """
units metal
atom_style atomic
lattice fcc 4.0
region cell prism 0 3 0 3 0 3 0.7 -0.6 0.4
create_box 1 cell
create_atoms 1 box
mass 1 39.9
pair_style lj/cut 6.0
pair_coeff 1 1 0.01 3.0
velocity all create 300 7 loop geom
fix 1 all nve
dump plain all custom 10 plain.dump id type x y z vx vy vz fx fy fz
dump scaled all custom 10 scaled.dump.gz id type xs ys zs
dump unwrapped all custom 10 unwrapped.dump id xu yu zu
dump fractional all custom 10 fractional.dump id type element xsu ysu zsu
dump_modify fractional element Ar
run 20
"""


@pytest.fixture(scope="module")
def triclinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dumps of one tilted crystal in four column styles, unsorted."""
    folder = tmp_path_factory.mktemp("triclinic")
    (folder / "in.lammps").write_text(TRICLINIC)
    result = lmp.run_process(["-in", "in.lammps"], cwd=folder)
    assert result.exit_code == 0, result.stdout_tail
    return folder


def made_frames(count: int = 5):
    atoms = tube_atoms()
    rng = np.random.default_rng(3)
    return [
        frame_of(atoms, number, atoms.positions + rng.normal(0, 0.05, atoms.positions.shape))
        for number in range(count)
    ]


def test_same_as_ase_on_a_real_run(hot_tube: Path) -> None:
    from ase import units
    from ase.io import read

    dump = hot_tube / "attempt-001" / "trajectory.lammpstrj"
    ours = list(iter_frames(dump))
    theirs = read(dump, index=":", format="lammps-dump-text", units="metal")
    assert len(ours) == len(theirs) == 48
    for frame, atoms in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-10)
        np.testing.assert_allclose(frame.cell, atoms.cell[:], atol=1e-10)
        ase_velocities = atoms.get_velocities() * (1000 * units.fs)
        np.testing.assert_allclose(frame.velocities, ase_velocities, rtol=1e-9, atol=1e-12)
    assert [frame.step for frame in ours] == list(range(0, 4800, 100))
    assert ours[-1].time_ps == pytest.approx(4700 * 0.0005)


def test_triclinic_cell_and_all_position_columns_agree(triclinic: Path) -> None:
    from ase.geometry import find_mic
    from ase.io import read

    plain = list(iter_frames(triclinic / "plain.dump"))
    theirs = read(triclinic / "plain.dump", index=":", format="lammps-dump-text")
    for frame, atoms in zip(plain, theirs, strict=True):
        np.testing.assert_allclose(frame.cell, atoms.cell[:], atol=1e-10)
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-9)
        assert frame.forces is not None
        np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-9)
    for name in ("scaled.dump.gz", "unwrapped.dump", "fractional.dump"):
        others = list(iter_frames(triclinic / name))
        assert len(others) == len(plain) == 3
        for one, other in zip(plain, others, strict=True):
            assert np.array_equal(one.ids, other.ids)
            apart = find_mic(one.positions - other.positions, one.cell)[1]
            assert apart.max() < 1e-4  # LAMMPS' default is six digits
    assert set(others[0].elements) == {"Ar"}
    assert others[0].velocities is None


def test_atoms_may_change_order_and_number(tmp_path: Path) -> None:
    frames = made_frames(3)
    shuffled = np.random.default_rng(1).permutation(128)
    fewer = replace(
        frames[2],
        ids=np.delete(frames[2].ids, 6),
        positions=np.delete(frames[2].positions, 6, axis=0),
        velocities=np.delete(frames[2].velocities, 6, axis=0),
    )
    path = tmp_path / "dump"
    path.write_text(
        dump_text(frames[:1]) + dump_text(frames[1:2], order=shuffled) + dump_text([fewer])
    )
    read = list(iter_frames(path))
    assert [len(frame.ids) for frame in read] == [128, 128, 127]
    np.testing.assert_allclose(read[1].positions, frames[1].positions, atol=1e-8)
    assert 7 not in read[2].ids


def test_nan_and_inf_are_read_as_such(tmp_path: Path) -> None:
    frame = made_frames(1)[0]
    frame.positions[4, 1] = np.nan
    frame.velocities[5, 2] = -np.inf
    path = tmp_path / "dump"
    path.write_text(dump_text([frame]).replace(" nan ", " -nan "))
    read = next(iter_frames(path))
    assert np.argwhere(np.isnan(read.positions)).tolist() == [[4, 1]]
    assert read.velocities[5, 2] == -np.inf


@pytest.mark.parametrize("kept", [5, 30, 90, 140, 0.5, -40, -1])
def test_cut_file_gives_its_whole_frames(tmp_path: Path, kept: float) -> None:
    frames = made_frames(3)
    last = dump_text(frames[2:])
    path = tmp_path / "dump"
    path.write_text(dump_text(frames[:2]) + last[: int(kept if kept != 0.5 else len(last) / 2)])
    reader = iter_frames(path)
    n_whole = len(list(reader))
    assert reader.truncated
    assert n_whole == 2


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_cut_compressed_file_gives_its_whole_frames(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"dump{suffix}"
    whole = packed(dump_text(made_frames(200)), suffix)
    path.write_bytes(whole)
    reader = iter_frames(path)
    assert len(list(reader)) == 200
    assert not reader.truncated
    path.write_bytes(whole[: len(whole) // 2])
    reader = iter_frames(path)
    assert 50 < len(list(reader)) < 150
    assert reader.truncated


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_log_is_read_and_a_cut_one_told(tmp_path: Path, suffix: str) -> None:
    steps = np.arange(9000) * 10
    text = log_text(steps, np.random.default_rng(1).normal(3000, 50, 9000), np.zeros(9000))
    path = tmp_path / f"log{suffix}"
    path.write_bytes(packed(text, suffix))
    assert read_thermo(path).column("Temp").shape == (9000,)
    path.write_bytes(packed(text, suffix)[:-20_000])
    thermo = read_thermo(path)
    assert thermo.truncated
    assert 1000 < len(thermo.column("Temp")) < 9000


def packed(text: str, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(text.encode())
    return zstandard.ZstdCompressor(level=1).compress(text.encode())


def test_real_units_become_metal(tmp_path: Path) -> None:
    frame = made_frames(2)[1]
    frame.velocities[:] = 0.002  # Å/fs
    path = tmp_path / "dump"
    path.write_text(dump_text([frame]).replace("metal", "real").replace("TIME\n0.05", "TIME\n50"))
    read = next(iter_frames(path))
    assert read.time_ps == pytest.approx(0.05)
    np.testing.assert_allclose(read.velocities, 2.0)


def test_units_that_a_dump_does_not_name_are_the_caller_s(tmp_path: Path) -> None:
    frame = made_frames(2)[1]
    frame.velocities[:] = 0.002  # Å/fs, or Å/ps
    text, named = tmp_path / "text", tmp_path / "named"
    named.write_text(dump_text([frame]))
    text.write_text(dump_text([frame]).replace("ITEM: UNITS\nmetal\n", ""))
    for path, units, velocity, known in (
        (text, None, 0.002, False),
        (text, "real", 2.0, True),
        (named, "real", 0.002, True),
    ):
        reader = iter_frames(path, units)
        np.testing.assert_allclose(next(reader).velocities, velocity)
        assert reader.units_known == known


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "it is empty"),
        ("not a dump\n", "ITEM"),
        ("ITEM: TIMESTEP\nzero\n", "numbers, not 'zero'"),
        ("ITEM: UNITS\nlj\n", "metal or real"),
        ("ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n9\n", "only frame is cut off"),
        (dump_text(made_frames(1)).replace("ATOMS id", "ATOMS mol"), "'id' column"),
        (dump_text(made_frames(1)).replace("x y z vx", "a b c vx"), "x y z"),
        (dump_text(made_frames(1)).replace("vx vy vz", "vx vy"), "7 values per atom"),
    ],
)
def test_bad_dump_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "dump"
    path.write_text(text)
    with pytest.raises(UserError, match=expected) as caught:
        list(iter_frames(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("form", ["%.17g", "%.9g", "%g", "%.6f", "%.16e"])
@pytest.mark.parametrize("end", ["\n", " \n"])
def test_numbers_are_those_of_python(form: str, end: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    raw = rng.integers(0, 2**63, 3000).view(float)  # all exponents
    values = np.where(np.isfinite(raw) & (abs(raw) < 1e300), raw, 0.25).reshape(-1, 3)
    values[::2] = rng.normal(0, 10, values[::2].shape)
    head, _ = dump_text(made_frames(1)).split("ITEM: ATOMS")
    head = head.replace("\n128\n", f"\n{len(values)}\n")
    rows = [" ".join(form % x for x in row) for row in values]
    text = "".join(f"{n} {row}{end}" for n, row in enumerate(rows, 1))
    (tmp_path / "dump").write_text(f"{head}ITEM: ATOMS id x y z\n{text}")
    expected = [[float(word) for word in row.split()] for row in rows]
    assert next(iter_frames(tmp_path / "dump")).positions.tolist() == expected


@pytest.mark.parametrize(
    ("old", "new", "read"),
    [(" 1 ", " 1. ", 1.0), (" 1 ", " +1 ", 1.0), (" 1 ", "   1\t", 1.0), (" 1 ", " NaN ", np.nan)],
)
def test_other_ways_to_write_numbers(old: str, new: str, read: float, tmp_path: Path) -> None:
    head, _ = dump_text(made_frames(1)).split("ITEM: ATOMS")
    text = head.replace("\n128\n", "\n2\n") + "ITEM: ATOMS id x y z\n1 1 2 3\n2 1 2 3\n"
    (tmp_path / "dump").write_text(text.replace(f"2{old}2", f"2{new}2"))
    places = next(iter_frames(tmp_path / "dump")).positions
    np.testing.assert_array_equal(places, [[1, 2, 3], [read, 2, 3]])


@pytest.mark.parametrize(
    "rows", ["1 1 2 3 4\n2 1 2\n", "1 1 2 3\n2 1 2 null\n", "1 1 2 3\n2 1 2 true\n"]
)
def test_rows_that_are_no_table(rows: str, tmp_path: Path) -> None:
    head, _ = dump_text(made_frames(1)).split("ITEM: ATOMS")
    text = head.replace("\n128\n", "\n2\n") + f"ITEM: ATOMS id x y z\n{rows}"
    (tmp_path / "dump").write_text(text)
    with pytest.raises(UserError, match=r"4 values per atom|expected numbers"):
        next(iter_frames(tmp_path / "dump"))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such dump file"):
        iter_frames(tmp_path / "absent")
    with pytest.raises(UserError, match="no such log file"):
        read_thermo(tmp_path / "absent")
    for suffix, name in ((".gz", "gzip"), (".zst", "zstd")):
        for read in (iter_frames, read_thermo):
            (tmp_path / f"file{suffix}").write_text("ITEM: TIMESTEP\n")
            with pytest.raises(UserError, match=f"not a readable {name} file"):
                next(iter(read(tmp_path / f"file{suffix}")))


def test_thermo_of_a_real_run(hot_tube: Path) -> None:
    thermo = read_thermo(hot_tube / "attempt-001" / "log.lammps")
    assert [run.thermostat for run in thermo.runs] == [(300, 3000, 0.1), (3000, 3000, 0.1)]
    assert thermo.error is None
    assert not thermo.truncated
    table = thermo.table(["Temp", "KinEng", "Time"])
    assert table[:, 0].tolist() == list(range(0, 4710, 10))  # the common step once
    boltzmann = 8.617333262e-5  # eV/K; that of LAMMPS is older
    kinetic = 1.5 * 127 * boltzmann * table[:, 1]  # 3N - 3 degrees of freedom
    np.testing.assert_allclose(table[:, 2], kinetic, rtol=5e-6)
    np.testing.assert_allclose(table[:, 3], table[:, 0] * 0.0005, atol=1e-9)


def test_thermo_with_warnings_nan_error_and_two_runs(tmp_path: Path) -> None:
    log = tmp_path / "log.lammps"
    steps = np.arange(0, 50, 10)
    first = log_text(steps, np.full(5, 300.0), np.arange(5.0)).splitlines()
    first.insert(8, "WARNING: Inconsistent image flags (src/domain.cpp:1051)")
    second = log_text(steps + 40, np.full(5, np.nan), np.arange(5.0)).replace("nan", "-nan")
    broken = [*second.splitlines()[:-2], "ERROR: Lost atoms: original 128 current 127"]
    log.write_text("\n".join([*first, *broken]) + "\n")
    thermo = read_thermo(log)
    assert [len(run.columns["Step"]) for run in thermo.runs] == [5, 4]
    assert [run.finished for run in thermo.runs] == [True, False]
    assert thermo.column("Temp")[:4].tolist() == [300.0] * 4
    assert np.isnan(thermo.column("Temp")[4:]).all()  # at step 40 the later run counts
    assert thermo.error == "ERROR: Lost atoms: original 128 current 127"
    assert len(thermo.warnings) == 1
    assert not thermo.truncated
    assert thermo.runs[0].timestep_fs == 0.5


def test_log_falls_into_parts_where_steps_begin_anew(tmp_path: Path) -> None:
    flat = np.full(5, 300.0), np.zeros(5)
    steps = np.arange(0, 50, 10)
    firsts = [0, 40, 20, 0, 40]  # a run, what follows, a restart's repeat, anew, what follows
    text = "".join(log_text(steps + first, *flat) for first in firsts)
    (tmp_path / "log").write_text(text)
    parts = read_thermo(tmp_path / "log").parts()
    assert [len(part.runs) for part in parts] == [3, 2]


BEFORE = "units metal\nrun 20\nPer MPI rank memory allocation (min/avg/max) = 3 | 3 | 3 Mbytes\n"


def columns_of(tmp_path: Path, text: str) -> dict[str, list[float]]:
    (tmp_path / "log").write_text(text)
    (run,) = read_thermo(tmp_path / "log").runs
    return {name: column.tolist() for name, column in run.columns.items()}


@pytest.mark.parametrize(
    "block",
    [
        "   Temp   Step c_hot[1]\n 300 0 0.5\n 310 10 -nan\n",
        "Step Temp c_hot[1]\n0 300 0.5\nno row, but text\n10 310 nan\n",
        "---\nkeywords: ['Temp', 'Step', 'c_hot[1]', ]\ndata:\n  - [300, 0, 0.5, ]\n"
        "  - [310, 10, -nan, ]\n...\n",
    ],
    ids=["Step second", "Step first", "YAML"],
)
def test_thermo_in_any_order_of_columns(tmp_path: Path, block: str) -> None:
    columns = columns_of(tmp_path, BEFORE + block + "Loop time of 1 on 1 procs\n")
    assert columns.keys() == {"Step", "Temp", "c_hot[1]"}
    assert (columns["Step"], columns["Temp"]) == ([0, 10], [300, 310])
    assert columns["c_hot[1]"][0] == 0.5
    assert np.isnan(columns["c_hot[1]"][1])


def test_text_with_the_word_step_is_no_header(tmp_path: Path) -> None:
    text = BEFORE.replace("Per MPI", "Step 7 of 9\nPer MPI") + "Temp Step\n300 0\n310 10\nhot\n"
    assert columns_of(tmp_path, text) == {"Temp": [300, 310], "Step": [0, 10]}


def test_thermo_without_steps_is_told(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(BEFORE + "Temp PotEng\n300 -9\nLoop time of 1 on 1 procs\n")
    thermo = read_thermo(tmp_path / "log")
    assert (thermo.runs, thermo.undated) == ((), True)


def test_log_takes_no_more_memory_than_its_numbers(tmp_path: Path) -> None:
    n_lines = 60_000
    steps = np.arange(n_lines)
    (tmp_path / "log").write_text(log_text(steps, steps + 300.0, steps * 0.1))
    tracemalloc.start()
    thermo = read_thermo(tmp_path / "log")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert thermo.n_runs() == 1
    assert peak_bytes < 1.5 * n_lines * 4 * 8 + 2e6  # a buffer of the file is among it


FREE = ["fix 1 all nve"]
BATH = "temp/csvr 300 300 0.1 5"


@pytest.mark.parametrize(
    ("commands", "thermostat", "unaccounted"),
    [
        ([], None, "does not echo"),
        (["fix 1 all print 10 hello"], None, "does not echo"),
        (FREE, None, ""),
        (["fix 1 all nve/kk/device", "fix 2 all ave/time 1 1 1 c_x"], None, ""),
        ([*FREE, "fix 2 all momentum 100 linear 1 1 1"], None, "fix momentum may"),
        ([*FREE, "fix 2 all temp/rescale 10 300 300 20 1"], None, "fix temp/rescale may"),
        ([*FREE, "fix 2 all langevin 300 300 0.1 5"], 300, "without 'tally yes'"),
        ([*FREE, "fix 2 all langevin 300 300 0.1 5 # tally yes"], 300, "without 'tally yes'"),
        ([*FREE, "fix 2 all langevin/kk 300 300 0.1 5 zero yes tally yes"], 300, ""),
        ([*FREE, "fix 2 all langevin v_T 300 0.1 5 tally yes"], None, "follows a variable"),
        ([*FREE, "fix 2 all temp/csvr ${T} 300 0.1 5", f"fix 2 all {BATH}"], 300, ""),
        ([*FREE, f"fix 2 all {BATH}", "unfix 2"], None, ""),
        ([*FREE, f"fix 2 hot {BATH}", "fix 3 cold temp/csvr 30 30 0.1 5"], None, "different"),
        ([*FREE, f"fix 2 all {BATH}", "clear"], None, "does not echo"),
        ([*FREE, f"fix 2 all {BATH}", "LAMMPS (22 Jul 2025)"], None, "does not echo"),
        (["fix 1 all nvt/intel temp 300 300 0.1"], 300, ""),
        (["fix 1 all nvt/sllod temp 300 300 0.1"], None, "fix nvt/sllod may"),
        (["fix 1 all npt/omp temp 300 300 0.1 iso 0 0 1"], 300, ""),
    ],
)
def test_fixes_tell_whether_energy_is_conserved(
    tmp_path: Path, commands: list[str], thermostat: float | None, unaccounted: str
) -> None:
    text = "\n".join(["units metal", *commands, "run 10", "Step Temp", "0 300", "10 300"])
    (tmp_path / "log").write_text(text + "\nLoop time of 1 on 1 procs\n")
    (run,) = read_thermo(tmp_path / "log").runs
    assert run.thermostat == (thermostat and (thermostat, thermostat, 0.1))
    assert unaccounted in run.unaccounted
    assert bool(run.unaccounted) == bool(unaccounted)


def test_units_of_a_log_are_told_and_unknown_ones_refused(tmp_path: Path) -> None:
    text = log_text(np.arange(0, 50, 10), np.full(5, 300.0), np.zeros(5))
    for name, units in (("metal", "metal"), ("real", "real"), (None, None)):
        line = "" if name is None else f"units {name}"
        (tmp_path / "log").write_text(text.replace("units metal", line))
        assert read_thermo(tmp_path / "log").units == units
    (tmp_path / "log").write_text(text.replace("units metal", "units lj"))
    with pytest.raises(UserError, match="expected units metal or real, the log is in 'lj'"):
        read_thermo(tmp_path / "log")


def test_cut_log_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log.lammps"
    text = log_text(np.arange(0, 50, 10), np.full(5, 300.0), np.arange(5.0))
    log.write_text(text[: text.index("Loop") - 4])
    thermo = read_thermo(log)
    assert thermo.truncated
    assert thermo.column("Step").tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("line", ["one", "yaml"])
def test_columns_with_brackets_are_read_from_lammps(line: str, tmp_path: Path) -> None:
    script = TRICLINIC[: TRICLINIC.index("dump plain")]
    script += "compute moved all msd\nthermo_style custom step temp c_moved[1] c_moved[4]\n"
    script += f"thermo_modify line {line}\nthermo 5\nrun 10\n"
    (tmp_path / "in.lammps").write_text(script)
    result = lmp.run_process(["-in", "in.lammps"], cwd=tmp_path)
    assert result.exit_code == 0, result.stdout_tail
    table = read_thermo(tmp_path / "log.lammps").table(["c_moved[1]", "c_moved[4]"])
    assert table[:, 0].tolist() == [0, 5, 10]
    assert table[0, 1:] == pytest.approx([0, 0], abs=1e-12)
    assert (table[1:, 2] > table[1:, 1]).all()  # all axes together, and the first
    assert (table[1:, 1] > 0).all()


def test_yaml_thermo_and_minimize_are_read_from_lammps(tmp_path: Path) -> None:
    script = TRICLINIC[: TRICLINIC.index("dump plain")]
    script += "thermo_style yaml\nthermo 5\nminimize 1e-3 1e-3 5 5\nrun 10\n"
    (tmp_path / "in.lammps").write_text(script)
    result = lmp.run_process(["-in", "in.lammps"], cwd=tmp_path)
    assert result.exit_code == 0, result.stdout_tail
    thermo = read_thermo(tmp_path / "log.lammps")
    assert [run.minimised for run in thermo.runs] == [True, False]
    n_rows = len(thermo.runs[1].columns["Step"])
    assert n_rows == 3
    assert len(thermo.column("Temp")) == n_rows  # the minimisation is no dynamics
