"""Every input script runs by itself in LAMMPS, and does what its head says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tempermd import lmp, md

TUBE = lmp.potentials_folder() / "tube_8_8.data"
BOLTZMANN_EV_PER_K = 8.617333262e-5


def run_input(script: str, folder: Path, *, expect: int = 0, **variables: object) -> str:
    """Run an input script as a user would, from ``folder``; return what it printed."""
    arguments = ["-in", str(lmp.inputs_folder() / script)]
    for name, value in variables.items():
        values = value if isinstance(value, list) else [value]
        arguments += ["-var", name, *map(str, values)]
    process = lmp.run_process(arguments, cwd=folder, env={"OMP_NUM_THREADS": "1"})
    assert process.exit_code == expect, process.stdout_tail[-2000:]
    return process.stdout_tail


def thermo(log: Path) -> tuple[list[str], np.ndarray]:
    """Return names and values (rows, columns) of all thermo output, a step once."""
    names: list[str] = []
    rows: dict[int, list[float]] = {}
    for line in log.read_text().splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            names = words
        elif names and len(words) == len(names) and words[0].isdigit():
            rows[int(words[0])] = [float(word) for word in words]
    return names, np.array([rows[step] for step in sorted(rows)])


def frames_of(dump: Path) -> dict[int, np.ndarray]:
    """Return the columns (N, 8) of every frame, by step."""
    frames = {}
    for block in dump.read_text().split("ITEM: TIMESTEP\n")[1:]:
        step = int(block.splitlines()[0])
        head, body = re.split(r"ITEM: ATOMS .*\n", block)
        assert "ITEM: NUMBER OF ATOMS" in head
        frames[step] = np.array([line.split() for line in body.splitlines()[:128]], float)
    return frames


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the control once, from a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("control") / "a folder"
    folder.mkdir()
    options = {"T": 1500, "ramp": 1000, "steps": 2000, "every": 100, "restart_every": 500}
    run_input("nanotube.in", folder, potential="lcbop", seed=3, **options)
    return folder


def test_nanotube_writes_all_products(control: Path) -> None:
    names = {path.name for path in control.iterdir()}
    restarts = {f"restart.{step}" for step in range(500, 3001, 500)}
    products = {"log.lammps", "trajectory.lammpstrj", "final.data", *restarts}
    assert names == products
    assert md.count_atoms(control / "final.data") == 128
    steps = list(frames_of(control / "trajectory.lammpstrj"))
    assert steps == list(range(0, 3001, 100))
    head = (control / "trajectory.lammpstrj").read_text()[:600]
    assert "ITEM: UNITS\nmetal" in head
    assert "ITEM: TIME\n" in head
    assert "ITEM: ATOMS id type x y z vx vy vz fx fy fz" in head


def test_nanotube_prints_the_thermo_of_the_contract(control: Path) -> None:
    names, rows = thermo(control / "log.lammps")
    energies = ["PotEng", "KinEng", "TotEng", "Econserve"]
    assert names == ["Step", "Time", "Temp", *energies, "Press", "Pzz", "Lz"]
    assert rows[-1, 0] == 3000
    assert rows[-1, 1] == pytest.approx(1.5)  # ps
    assert np.isfinite(rows).all()


def test_nanotube_conserves_its_energy(control: Path) -> None:
    _, rows = thermo(control / "log.lammps")
    hold = rows[rows[:, 0] >= 1000]
    drift = np.polyfit(hold[:, 1], hold[:, 6], 1)[0] / 128  # eV/atom/ps
    assert abs(drift) < 5e-4  # the detectors' limit for a warning


def test_nanotube_reaches_its_temperature(control: Path) -> None:
    _, rows = thermo(control / "log.lammps")
    late = rows[rows[:, 0] >= 1500, 2]
    sigma_of_one = 1500 * np.sqrt(2 / (3 * 127))
    # samples within one damping time (200 steps of 10 lines) are not independent
    assert late.mean() == pytest.approx(1500, abs=4 * sigma_of_one / np.sqrt(len(late) / 20))


def test_nanotube_starts_at_twice_the_temperature_without_momentum(control: Path) -> None:
    _, rows = thermo(control / "log.lammps")
    assert rows[0, 2] == pytest.approx(600, rel=1e-6)
    first = frames_of(control / "trajectory.lammpstrj")[0]
    positions, velocities = first[:, 2:5], first[:, 5:8]
    momentum = velocities.sum(axis=0)
    spin = np.cross(positions - positions.mean(axis=0), velocities).sum(axis=0)
    assert np.abs(momentum).max() < 1e-5 * np.abs(velocities).sum()
    # across a periodic axis only the spin about it is defined
    assert abs(spin[2]) < 1e-5 * np.abs(velocities).sum()


def test_nanotube_repeats_itself_by_its_seed(control: Path, tmp_path: Path) -> None:
    options = {"potential": "lcbop", "T": 1500, "ramp": 1000, "steps": 0}
    for seed in (3, 4):
        (tmp_path / str(seed)).mkdir()
        run_input("nanotube.in", tmp_path / str(seed), seed=seed, **options)
    _, before = thermo(control / "log.lammps")
    _, same = thermo(tmp_path / "3" / "log.lammps")
    _, other = thermo(tmp_path / "4" / "log.lammps")
    same, before = same[:-1], before[: len(same) - 1]  # the hold sets Econserve anew
    np.testing.assert_allclose(same, before, rtol=1e-6, atol=1e-3)
    assert np.abs(other[1:-1, 2] - same[1:, 2]).max() > 1.0


def test_nanotube_puts_its_outputs_where_it_is_told(tmp_path: Path) -> None:
    run_input("nanotube.in", tmp_path, potential="lcbop", ramp=10, steps=0, out="here")
    assert (tmp_path / "here" / "final.data").exists()


def test_nanotube_runs_a_model_with_the_energy_that_ase_gets(make_model, tmp_path: Path) -> None:
    from ase.io import read

    from tempermd.deploy import calculator

    model = make_model(dtype="float64")
    run_input("nanotube.in", tmp_path, model=model, ramp=2, steps=2, thermo=1, dt=1e-5)
    _, rows = thermo(tmp_path / "log.lammps")
    tube = read(TUBE, format="lammps-data", atom_style="atomic")
    tube.calc = calculator(model)
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert rows[0, 3] == pytest.approx(tube.get_potential_energy(), abs=128e-6)


def test_nanotube_runs_the_shipped_model_with_nothing_set(tmp_path: Path) -> None:
    shipped = lmp.potentials_folder() / "carbon_base.nequip.pth"
    assert shipped.is_file(), f"{shipped}: the shipped model is missing"
    run_input("nanotube.in", tmp_path, ramp=20, steps=20)
    _, rows = thermo(tmp_path / "log.lammps")
    assert rows[-1, 0] == 40
    hold = rows[rows[:, 0] >= 20]  # Econserve starts anew with the hold's thermostat
    assert np.ptp(hold[:, 6]) / 128 < 1e-4  # eV/atom in 10 fs


def test_an_unknown_potential_is_named(tmp_path: Path) -> None:
    said = run_input("nanotube.in", tmp_path, potential="rebo", expect=1)
    assert "potential must be nequip or lcbop, not rebo" in said


def relaxed_energy_eV(data: Path) -> float:
    """Minimise a data file with LCBOP far beyond what quench.in asks for."""
    lammps = lmp.lammps_instance()
    for command in (
        "units metal",
        "atom_style atomic",
        f"read_data {data}",
        "pair_style lcbop",
        "pair_coeff * * C.lcbop C",
        "min_style fire",
        "minimize 0 1e-4 5000 10000",
    ):
        lammps.command(command)
    energy_eV = lammps.get_thermo("pe")
    lammps.close()
    return energy_eV


def test_quench_finds_the_minima_of_the_start_and_of_frames(control: Path, tmp_path: Path) -> None:
    from ase.io import read, write

    dump = tmp_path / "frames"
    dump.symlink_to(control / "trajectory.lammpstrj")
    run_input("quench.in", tmp_path, potential="lcbop", dump=dump, frames=[1200, 3000])
    found = md.read_quench(tmp_path / "log.lammps", 128)
    assert found is not None
    assert [frame.step for frame in found.frames] == [1200, 3000]
    per_atom = 1e-3 * 128  # eV: a fiftieth of what the detectors call a hole
    assert found.pristine_energy_eV == pytest.approx(relaxed_energy_eV(TUBE), abs=per_atom)
    atoms = read(TUBE, format="lammps-data", atom_style="atomic")
    atoms.positions = frames_of(dump)[3000][:, 2:5]
    data = tmp_path / "last.data"
    write(data, atoms, format="lammps-data", masses=True)
    assert found.frames[1].energy_eV == pytest.approx(relaxed_energy_eV(data), abs=per_atom)


def test_quench_is_bounded(control: Path, tmp_path: Path) -> None:
    dump = tmp_path / "frames"
    dump.symlink_to(control / "trajectory.lammpstrj")
    options = {"potential": "lcbop", "dump": dump, "frames": [3000], "evaluations": 30}
    said = run_input("quench.in", tmp_path, **options)
    counts = [int(n) for n in re.findall(r"force evaluations = \d+ (\d+)", said)]
    assert len(counts) == 2
    assert max(counts) < 60  # a line search under way may end


def test_the_shipped_tube_is_what_its_head_says() -> None:
    from ase.build import nanotube
    from ase.io import read

    assert "ase.build.nanotube(8, 8, length=4, bond=1.42, vacuum=7.5)" in TUBE.read_text()
    expected = nanotube(8, 8, length=4, bond=1.42, vacuum=7.5)
    shipped = read(TUBE, format="lammps-data", atom_style="atomic")
    np.testing.assert_allclose(shipped.positions, expected.positions, atol=1e-9)
    np.testing.assert_allclose(shipped.cell.lengths(), expected.cell.lengths())
    assert md.data_elements(TUBE) == ["C"]


def pairs_of(log: Path, *wanted: str) -> np.ndarray:
    """Return the named columns of a log, (rows, columns)."""
    names, rows = thermo(log)
    return rows[:, [names.index(name) for name in wanted]]


@pytest.mark.parametrize("rate", [0.05, -0.05])
def test_pull_strains_the_box_at_its_rate_and_atoms_with_it(tmp_path: Path, rate: float) -> None:
    run_input("pull.in", tmp_path, potential="lcbop", rate=rate, ramp=200, steps=1600)
    time_ps, length_A, pressure_bar = pairs_of(tmp_path / "log.lammps", "Time", "Lz", "Pzz").T
    strain = length_A / length_A[0] - 1
    np.testing.assert_allclose(strain, rate * np.maximum(time_ps - 0.1, 0), atol=1e-9)
    # a pulled tube pulls back, a pressed one pushes: pressure has the other sign
    late, early = strain[-20:].mean(), pressure_bar[:20].mean()
    assert np.sign(pressure_bar[-20:].mean() - early) == -np.sign(late)
    # the eight planes of atoms are still evenly spread over the box
    along = frames_of(tmp_path / "trajectory.lammpstrj")[1800][:, 4]
    assert abs(np.exp(2j * np.pi * 8 * along / length_A[-1]).mean()) > 0.9


def test_npt_lets_the_axis_go_where_it_is_not_stressed(tmp_path: Path) -> None:
    """A tube that was built 3 % too long comes back."""
    long = tmp_path / "long.data"
    lengths = re.compile(r"^0\.0 +(\S+) +zlo zhi", re.MULTILINE)
    text = TUBE.read_text()
    assert lengths.search(text), text[:300]
    built = float(lengths.search(text)[1])
    text = lengths.sub(f"0.0 {1.03 * built} zlo zhi", text)
    long.write_text(text)
    run_input("npt.in", tmp_path, potential="lcbop", data=long, T=300, pdamp=0.2, steps=4000)
    length_A = pairs_of(tmp_path / "log.lammps", "Lz")[:, 0]
    assert length_A[0] == pytest.approx(1.03 * built)
    assert length_A[-200:].mean() == pytest.approx(built, rel=0.01)


@pytest.mark.parametrize("script", ["nanotube.in", "pull.in", "npt.in", "knock_on.in"])
@pytest.mark.parametrize("step", [100, 200, 300])
def test_every_protocol_goes_on_from_a_restart(script: str, step: int, tmp_path: Path) -> None:
    """Every thermo line and frame is that of the unbroken run, bit for bit."""
    options = {"potential": "lcbop", "ramp": 200, "steps": 300, "T": 1500, "restart_every": 100}
    run_input(script, tmp_path, every=50, **options)
    (tmp_path / "more").mkdir()
    resumed = {"resume": 1, "from": f"../restart.{step}"}
    run_input(script, tmp_path / "more", every=50, **options, **resumed)
    names, whole = thermo(tmp_path / "log.lammps")
    _, again = thermo(tmp_path / "more" / "log.lammps")
    np.testing.assert_array_equal(again, whole[whole[:, 0] >= step])
    assert (whole[-1, 0], names[0]) == (500, "Step")
    before = frames_of(tmp_path / "trajectory.lammpstrj")
    found = frames_of(tmp_path / "more" / "trajectory.lammpstrj")
    assert list(found) == list(range(step, 501, 50))
    for number, columns in found.items():
        if number > step:  # an atom is knocked on after the frame of its step
            np.testing.assert_array_equal(columns, before[number])


@pytest.mark.parametrize("script", ["nanotube.in", "pull.in", "npt.in", "knock_on.in"])
@pytest.mark.parametrize("ramp", [0, 1_000_000])
def test_every_protocol_stops_at_its_time_limit(script: str, ramp: int, tmp_path: Path) -> None:
    options = {"potential": "lcbop", "ramp": ramp, "steps": 1_000_000, "every": 1000}
    options["restart_every"] = 10**7
    said = run_input(script, tmp_path, limit=2, **options)
    assert "Wall time limit reached" in said
    (stopped,) = tmp_path.glob("stopped.*")
    step = int(stopped.suffix[1:])
    assert 0 < step < 1_000_000
    assert not (tmp_path / "final.data").exists()
    (tmp_path / "more").mkdir()
    resumed = {"resume": 1, "from": f"../{stopped.name}", "last": step + 20}
    run_input(script, tmp_path / "more", **options, **resumed)
    _, first = thermo(tmp_path / "log.lammps")
    _, more = thermo(tmp_path / "more" / "log.lammps")
    assert (more[0, 0], more[-1, 0]) == (step, step + 20)
    # what is kept goes on from where it was: energy and the thermostat's work
    for name in (5, 6) if script != "pull.in" or ramp else ():
        assert more[0, name] == pytest.approx(first[-1, name], abs=0.1 if name == 6 else 3.0)


def test_a_pull_in_pieces_is_one_stage(tmp_path: Path) -> None:
    from tempermd.events.settings import stages_from_log
    from tempermd.trajectory import read_thermo

    options = {"potential": "lcbop", "ramp": 20, "steps": 80, "restart_every": 30}
    run_input("pull.in", tmp_path, **options)
    read = read_thermo(tmp_path / "log.lammps")
    assert len(read.runs) == 5  # a run begins at steps 0, 20, 30, 60 and 90
    stages = stages_from_log(read)
    assert [(s.first_step, s.last_step, s.box) for s in stages] == [
        (0, 20, "fixed"),
        (20, 100, "deformed"),
    ]


def test_knock_on_gives_one_atom_its_energy_and_keeps_it(tmp_path: Path) -> None:
    run_input(
        "knock_on.in", tmp_path, potential="lcbop", energy=12, ramp=100, steps=1000, every=100
    )
    kinetic_eV, total_eV = pairs_of(tmp_path / "log.lammps", "KinEng", "TotEng").T
    assert kinetic_eV[10] - kinetic_eV[9] == pytest.approx(12.0, abs=1.0)  # at 300 K
    after = frames_of(tmp_path / "trajectory.lammpstrj")[200]
    own_eV = 0.5 * 12.011 * 1.0364269e-4 * np.sum(after[:, 5:8] ** 2, axis=1)
    assert np.argmax(own_eV) == 0
    assert kinetic_eV[-1] < kinetic_eV[10] - 3  # it has paid for bonds
    assert np.ptp(total_eV[10:]) < 0.02


def test_guard_stops_a_run_at_its_first_violation(make_model, tmp_path: Path) -> None:
    text = run_input(
        "nanotube.in",
        tmp_path,
        expect=1,
        model=make_model(),
        T=300,
        ramp=0,
        steps=100,
        guard=10,
        force=1e-6,
    )
    assert "nequip_guard.0.lammpstrj" in {path.name for path in tmp_path.iterdir()}, text[-500:]
    assert "force" in text


def test_a_guard_that_another_potential_has_not_is_told(tmp_path: Path) -> None:
    changes = {"potential": "lcbop", "ramp": 0, "steps": 10}
    assert "guard 10 is left out" in run_input("nanotube.in", tmp_path, guard=10, **changes)
    assert "guard" not in run_input("nanotube.in", tmp_path, guard=0, **changes)


def test_every_input_script_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    used = tests + "".join(
        path.read_text() for path in Path(md.__file__).parents[1].glob("**/*.py")
    )
    for script in lmp.inputs_folder().glob("*.in"):
        assert script.name in used, f"{script.name}: no test runs it"


def test_zbl_overlay_acts_in_the_collision_only(tmp_path: Path) -> None:
    run_input("zbl_overlay.in", tmp_path)
    names, rows = thermo(tmp_path / "log.lammps")
    assert names == ["Step", "Time", "PotEng", "KinEng", "TotEng", "v_E_zbl"]
    zbl_eV, total_eV = rows[:, 5], rows[:, 4]
    assert rows[0, 3] == pytest.approx(30.0, rel=1e-4)
    assert zbl_eV[0] == 0.0
    assert zbl_eV.max() > 1.0  # fifty times what the total may miss
    assert zbl_eV[-1] == 0.0
    # without ZBL's own forces the total would miss what it holds
    assert np.ptp(total_eV) < 0.02
    final = frames_of(tmp_path / "trajectory.lammpstrj")
    pair_A = [np.linalg.norm(frame[0, 1:4] - frame[1, 1:4]) for frame in final.values()]
    assert 0.7 < min(pair_A) < 1.1
