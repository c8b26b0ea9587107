"""Whether energy drift is judged: healthy runs of LAMMPS, and made logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from made_trajectories import dump_text, frame_of, log_text, tube_atoms
from tempermd import lmp
from tempermd.events import Analysis, analyse_trajectory
from tempermd.events.settings import stages_from_log
from tempermd.trajectory import read_thermo

HOT = """
units metal
atom_style atomic
read_data tube.data
pair_style lcbop
pair_coeff * * C.lcbop C
variable T equal 3000
velocity all create 6000 3 mom yes rot yes
timestep 5e-4
{fixes}
thermo 20
thermo_style custom temp step pe etotal econserve
dump 1 all custom 100 dump id type x y z vx vy vz
run 2400
"""


def run_lammps(folder: Path, script: str) -> Path:
    """Run a script and return its saved screen output."""
    tube_atoms().write(folder / "tube.data", format="lammps-data", masses=True)
    (folder / "in.lammps").write_text(script)
    done = lmp.run_process(["-in", "in.lammps"], cwd=folder)
    assert done.exit_code == 0, done.stdout_tail
    (folder / "screen").write_text(done.stdout_tail)
    return folder / "screen"


def notes_on(analysis: Analysis) -> list[str]:
    """Return what was said about temperature and energy; a healthy run has no event."""
    assert analysis.events == []
    return [note for note in analysis.notes if "energy" in note or "temperature" in note]


def test_langevin_is_judged_with_its_tally_only(tmp_path: Path) -> None:
    """Without ``tally yes`` Econserve goes as the thermostat's work does, 0.02 eV/atom/ps."""
    bath = "fix 1 all nve\nfix 2 all &\n  langevin ${T} ${T} 0.1 5"
    for end, notes in (
        (
            "",
            [
                "energy drift was not judged in the hold from step 0: fix langevin is without "
                "'tally yes', so that Econserve does not count its work"
            ],
        ),
        (" tally yes", []),
    ):
        run_lammps(tmp_path, HOT.format(fixes=bath + end))
        assert notes_on(analyse_trajectory(tmp_path / "dump", tmp_path / "log.lammps")) == notes


def test_screen_output_does_not_tell_a_thermostat(tmp_path: Path) -> None:
    screen = run_lammps(tmp_path, HOT.format(fixes="fix 1 all nvt temp 3000 3000 0.1"))
    analysis = analyse_trajectory(tmp_path / "dump", screen)
    assert analysis.timestep_fs == pytest.approx(0.5)
    assert notes_on(analysis) == [
        "energy drift was not judged in the run from step 0: the log does not echo what moved its "
        "atoms",
        "no target temperature known: the temperature was not judged",
    ]
    assert notes_on(analyse_trajectory(tmp_path / "dump", tmp_path / "log.lammps")) == []


def test_screen_output_tells_units_and_minimisation(tmp_path: Path) -> None:
    script = HOT.replace("metal", "real").replace("lcbop\n", "tersoff\n", 1).format(fixes="")
    script = script.replace("C.lcbop", "SiC.tersoff").replace("5e-4", "0.25")
    script = script.replace("run 2400", "minimize 1e-2 1e-2 5 5\nrun 40")
    thermo = read_thermo(run_lammps(tmp_path, script))
    assert thermo.units == "real"
    assert [run.minimised for run in thermo.runs] == [True, False]
    assert thermo.runs[1].timestep_fs == pytest.approx(0.25)


# --- made logs -------------------------------------------------------------------------------

STEPS = 10 * np.arange(401)  # 2 ps
DRIFT = 0.03  # eV/atom/ps


def made(tmp_path: Path, *replaced: tuple[str, str], drift: float = DRIFT) -> Analysis:
    """Analyse a tube at rest with a log at 3000 K whose Econserve drifts, after replacements."""
    kelvin = 3000 + np.random.default_rng(1).normal(0, 200, len(STEPS))
    text = log_text(STEPS, kelvin, -900 + 128 * drift * STEPS * 0.0005)
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "log").write_text(text)
    (tmp_path / "dump").write_text(dump_text(frame_of(tube_atoms(), n) for n in range(3)))
    return analyse_trajectory(tmp_path / "dump", tmp_path / "log")


BATH = "fix bath all temp/csvr 3000 3000 0.1 1"


@pytest.mark.parametrize(
    ("fixes", "column", "message"),
    [
        (BATH, "Econserve", "Econserve drifts by 0.03 eV/atom/ps over 2.0 ps of the hold"),
        ("fix 1 all nvt/kk temp 3000 3000 0.1", "Econserve", "Econserve drifts"),
        ("fix 1 all nve/gpu", "Econserve", "ps of the run, "),
        ("fix 1 all nve", "TotEng", "TotEng drifts by 0.03 eV/atom/ps over 2.0 ps of the run"),
    ],
)
def test_drift_names_its_column_and_what_it_was(
    tmp_path: Path, fixes: str, column: str, message: str
) -> None:
    (event,) = made(tmp_path, (BATH, fixes), ("Econserve", column)).events
    assert (event.kind, event.severity) == ("energy_drift", "severe")
    assert event.value == pytest.approx(DRIFT)
    assert message in event.message


@pytest.mark.parametrize(
    ("fixes", "column", "reason"),
    [
        (BATH, "TotEng", "the log has no Econserve column"),
        ("fix 1 all nve", "PotEng2", "the log has no Econserve or TotEng column"),
        ("fix 1 all nve\nfix 2 all temp/rescale 9 30 30 9 1", "TotEng", "fix temp/rescale may"),
        ("fix 1 all nve\nfix 2 all langevin v_T 9 0.1 1", "Econserve", "langevin follows a var"),
        ("fix 1 all npt temp 3000 3000 0.1 iso 0 0 1", "Econserve", "a barostat moves the box"),
        (BATH + "\nfix 2 all deform 1 z erate 1", "Econserve", "the box is deformed"),
    ],
)
def test_what_is_not_judged_for_drift_is_told(
    tmp_path: Path, fixes: str, column: str, reason: str
) -> None:
    analysis = made(tmp_path, (BATH, fixes), ("Econserve", column))
    assert analysis.events == []
    (note,) = [note for note in analysis.notes if "drift" in note]
    assert reason in note


def test_kinds_of_runs_are_told_once(tmp_path: Path) -> None:
    npt = "fix bath all npt temp 3000 3000 0.1 iso 0 0 1"
    text = log_text(STEPS, np.full(401, 3000.0), np.zeros(401)).replace(BATH, npt)
    more = log_text(STEPS + 4000, np.full(401, 3000.0), np.zeros(401)).replace(BATH, npt)
    (tmp_path / "log").write_text(text + more)
    (tmp_path / "dump").write_text(dump_text(frame_of(tube_atoms(), n) for n in range(3)))
    notes = analyse_trajectory(tmp_path / "dump", tmp_path / "log").notes
    assert [note for note in notes if "drift" in note] == [
        "energy drift was not judged in the run from step 0 and 1 more: a barostat moves the box"
    ]


def test_missing_temperature_is_told(tmp_path: Path) -> None:
    analysis = made(tmp_path, ("  Temp  ", "  Tbath "), drift=0.0)
    assert notes_on(analysis) == ["the log has no Temp column: the temperature was not judged"]
    steps = np.arange(10) * 10
    later = log_text(steps + 4000, np.full(10, 3000.0), np.zeros(10)).replace("  Temp  ", "  T  ")
    analysis = made(tmp_path, ("units", later + "units"), drift=0.0)
    assert any("1 of 2 runs in the log have no Temp column" in note for note in analysis.notes)


def test_nan_is_found_whatever_the_order_of_columns(tmp_path: Path) -> None:
    rows = "".join(f"{'nan' if step == 300 else 3000} {step}\n" for step in range(0, 500, 10))
    head = "timestep 0.0005\nfix 1 all nve\nPer MPI rank memory allocation = 3\nTemp Step\n"
    (tmp_path / "log").write_text(f"{head}{rows}Loop time of 1 on 1 procs\n")
    (tmp_path / "dump").write_text(dump_text(frame_of(tube_atoms(), n) for n in range(3)))
    (event,) = analyse_trajectory(tmp_path / "dump", tmp_path / "log").events
    assert (event.kind, event.step) == ("nonfinite", 300)


@pytest.mark.parametrize("between", ["unfix bath\n" + BATH, "velocity all scale 3000", ""])
def test_energy_that_begins_anew_is_no_drift(tmp_path: Path, between: str) -> None:
    """A fix made anew begins its count at zero: a step of Econserve between two runs."""
    kelvin = 3000 + np.random.default_rng(1).normal(0, 200, len(STEPS))
    first = log_text(STEPS, kelvin, np.full(401, -900.0))
    second = log_text(STEPS + STEPS[-1], kelvin, np.full(401, -890.0)).partition(BATH)[2]
    (tmp_path / "log").write_text(first + between + second)
    (tmp_path / "dump").write_text(dump_text(frame_of(tube_atoms(), n) for n in range(3)))
    n_stages = len(stages_from_log(read_thermo(tmp_path / "log")))
    kinds = [event.kind for event in analyse_trajectory(tmp_path / "dump", tmp_path / "log").events]
    assert (n_stages, kinds) == ((2, []) if between else (1, ["energy_drift"]))
