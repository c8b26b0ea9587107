"""The committee's force deviation against numpy on the forces of nequip's own calculators."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from tempermd import lmp as lmp_room
from tempermd.events import analyse_trajectory
from test_pair_style import (  # noqa: F401
    Start,
    elements_of,
    nequip_calculator,
    start,
    triclinic,
    tube,
)

Member = dict[str, object]
CARBON: tuple[Member, ...] = tuple({"type_names": ("C",), "seed": seed} for seed in (1, 2, 3))
# another order of types, a longer and a shorter cutoff, more and fewer layers
MIXED: tuple[Member, ...] = (
    {"type_names": ("C", "H"), "seed": 1},
    {"type_names": ("H", "C"), "seed": 2, "cutoff_A": 4.6, "layers": 3},
    {"type_names": ("C", "H"), "seed": 3, "cutoff_A": 3.1, "layers": 1},
)
ACCESS = [
    "fix deviation all pair {every} nequip deviation {trigger}",
    "compute committee all pair nequip",
    "thermo_style custom step pe c_committee[*]",
    "thermo_modify norm no",
]


def words(make_model, members: Sequence[Member]) -> str:
    """Return the model files of a committee, as words of pair_coeff."""
    return " ".join(str(make_model(**member)) for member in members)


def oracle(atoms: Atoms, members: Sequence[Member]) -> np.ndarray:
    """Return sqrt(mean_k |F_k - mean F|^2) of each atom, (N,) eV/Å."""
    forces = []
    for member in members:
        atoms.calc = nequip_calculator("float64", **member)
        forces.append(atoms.get_forces())
    forces = np.array(forces)  # (models, N, 3)
    return np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))


def frames(dump: Path, atoms: Atoms) -> dict[int, tuple[Atoms, np.ndarray]]:
    """Return {step: (atoms at that step, dumped values (N, columns))} of 'id x y z value...'."""
    found = {}
    for part in dump.read_text().split("ITEM: TIMESTEP\n")[1:]:
        lines = part.splitlines()
        header = next(k for k, line in enumerate(lines) if line.startswith("ITEM: ATOMS"))
        table = np.array([line.split() for line in lines[header + 1 :]], dtype=float)
        table = table[np.argsort(table[:, 0])]
        frame = atoms.copy()
        frame.positions = table[:, 1:4]
        found[int(lines[0])] = (frame, table[:, 4:])
    return found


def accessed(every: int = 1, trigger: int = 0) -> list[str]:
    return [line.format(every=every, trigger=trigger) for line in ACCESS]


def dumping(path: Path, every: int = 1) -> list[str]:
    return [
        f"dump d all custom {every} {path} id x y z f_deviation",
        "dump_modify d format float %.15g sort id",
    ]


MOVING = ["velocity all create 2000 3", "timestep 0.002", "fix nve all nve"]


def summary(instance) -> np.ndarray:
    """Return max, mean and min, as the last line of thermo output has them."""
    thermo = instance.last_thermo()
    return np.array([thermo[f"c_committee[{k}]"] for k in (1, 2, 3)])


@pytest.mark.parametrize("newton", ["on", "off"])
def test_deviation_is_that_of_nequips_calculators(
    newton: str,
    start: Start,  # noqa: F811
    make_model,
    tmp_path: Path,
):
    atoms = triclinic()
    instance = start(atoms, None, before=[f"newton {newton}"], style="nequip committee every 1")
    instance.command(f"pair_coeff * * {words(make_model, MIXED)} C H")
    instance.commands_list([*accessed(), *dumping(tmp_path / "dump"), *MOVING, "run 2"])
    found = frames(tmp_path / "dump", atoms)
    assert list(found) == [0, 1, 2]
    for frame, values in found.values():
        expected = oracle(frame, MIXED)
        assert expected.min() > 1e-3, "the models agree too well to show anything"
        assert values[:, 0] == pytest.approx(expected, abs=1e-8)
    assert summary(instance) == pytest.approx(
        [expected.max(), expected.mean(), expected.min()], abs=1e-8
    )
    # the first alone drives
    frame.calc = nequip_calculator("float64", **MIXED[0])
    forces = np.array(instance.gather_atoms("f", 1, 3)).reshape(-1, 3)
    assert forces == pytest.approx(frame.get_forces(), abs=1e-8)


def test_a_model_agrees_with_itself(start: Start, make_model):  # noqa: F811
    instance = start(tube(), None)
    instance.command(f"pair_coeff * * {words(make_model, CARBON[:1] * 3)} C")
    instance.commands_list([*accessed(), "run 0"])
    assert summary(instance) == pytest.approx(np.zeros(3), abs=1e-12)


def test_values_are_of_the_last_multiple(start: Start, make_model, tmp_path: Path):  # noqa: F811
    atoms, members = tube(), CARBON[:2]
    instance = start(atoms, None, style="nequip committee every 3")
    instance.command(f"pair_coeff * * {words(make_model, members)} C")
    series = tmp_path / "series"
    instance.commands_list(
        [
            *accessed(every=3),
            *dumping(tmp_path / "dump"),
            *MOVING,
            "reset_timestep 1",
            f"fix series all ave/time 1 1 1 c_committee[*] file {series} format ' %.12g'",
            "run 6",
            "unfix series",
        ]
    )
    found = frames(tmp_path / "dump", atoms)
    expected = {step: oracle(found[step][0], members) for step in (1, 3, 6)}
    rows = np.loadtxt(series)
    assert rows[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    for step, *values in rows:
        # before the first multiple: those of the first step of the run
        last = expected[max(3 * (int(step) // 3), 1)]
        assert values == pytest.approx([last.max(), last.mean(), last.min()], abs=1e-8)
    # held by 'fix pair', atom by atom
    for step in (3, 4, 5):
        assert found[step][1][:, 0] == pytest.approx(expected[3], abs=1e-8)


def test_fix_pair_at_other_steps(start: Start, make_model, tmp_path: Path):  # noqa: F811
    atoms, members = tube(), CARBON[:2]
    instance = start(atoms, None, style="nequip committee every 3")
    instance.command(f"pair_coeff * * {words(make_model, members)} C")
    instance.commands_list([*accessed(every=2, trigger=1), *MOVING])
    instance.commands_list([*dumping(tmp_path / "dump", every=2), "run 2"])
    frame, values = frames(tmp_path / "dump", atoms)[2]
    assert values[:, 0] == pytest.approx(oracle(frame, members), abs=1e-8)

    instance.commands_list(["undump d", "unfix deviation", *accessed(every=2)[:1]])
    with pytest.raises(Exception, match=r"deviation at step 4, .* be a multiple of 3"):
        instance.command("run 2")


def test_fix_halt_stops_on_the_deviation(start: Start, make_model, tmp_path: Path):  # noqa: F811
    members, steps, series = CARBON[:2], 12, tmp_path / "series"

    def begun():
        instance = start(tube(), None, style="nequip committee every 1")
        instance.command(f"pair_coeff * * {words(make_model, members)} C")
        instance.commands_list([*accessed(), *MOVING, "variable worst equal c_committee[1]"])
        return instance

    whole = begun()
    whole.commands_list(
        [
            f"fix series all ave/time 1 1 1 c_committee[1] file {series} format ' %.12g'",
            f"run {steps}",
            "unfix series",
        ]
    )
    step, worst = np.loadtxt(series).T
    first = next(k for k in range(2, steps) if worst[k] > worst[:k].max())
    limit, expected = worst[:first].max(), int(step[first])
    halted = begun()
    halted.commands_list([f"fix h all halt 1 v_worst > {limit:.10g} error soft", f"run {steps}"])
    assert halted.extract_global("ntimestep") == expected


def test_null_types_are_not_counted(start: Start, make_model):  # noqa: F811
    atoms, members = triclinic(), CARBON[:2]
    instance = start(atoms, None, style="hybrid/overlay nequip lj/cut 3.0")
    instance.commands_list(
        [
            f"pair_coeff * * nequip {words(make_model, members)} C NULL",
            "pair_coeff * * lj/cut 0.01 2.0",
            *accessed(),
            "run 0",
        ]
    )
    carbon = atoms.symbols == "C"
    expected = oracle(atoms[carbon], members)
    ids = instance.numpy.extract_atom("id")[: len(atoms)] - 1
    values = np.zeros(len(atoms))
    values[ids] = instance.numpy.extract_fix("deviation", 1, 1)[: len(atoms)]
    assert values[carbon] == pytest.approx(expected, abs=1e-8)
    assert not values[~carbon].any()
    assert summary(instance) == pytest.approx(
        [expected.max(), expected.mean(), expected.min()], abs=1e-8
    )


def test_minimize_and_atoms_deleted(start: Start, make_model):  # noqa: F811
    atoms, members = tube(), CARBON[:2]
    instance = start(atoms, None, style="nequip committee every 1")
    instance.command(f"pair_coeff * * {words(make_model, members)} C")
    instance.commands_list([*accessed(), "run 0", "group gone id 3 7", "delete_atoms group gone"])
    instance.command("minimize 0.0 0.0 2 10")
    left = atoms[[i for i in range(len(atoms)) if i not in (2, 6)]]
    ids = np.array(instance.numpy.extract_atom("id")[: len(left)])
    left.positions[ids - 1] = instance.numpy.extract_atom("x")[: len(left)]
    expected = oracle(left, members)
    values = instance.numpy.extract_fix("deviation", 1, 1)[: len(left)]
    assert values == pytest.approx(expected[ids - 1], abs=1e-8)
    assert summary(instance)[0] == pytest.approx(expected.max(), abs=1e-8)


BEFORE = """
units metal
read_data structure.data
mass * 12.011
"""
AFTER = """
velocity all create 300 3
timestep 0.0005
fix nve all nve
run 40
"""


def recipe() -> str:
    """Return the commands of a committee that the documentation shows, as they stand there."""
    page = Path(__file__).parents[1] / "docs" / "pair_style.md"
    (section,) = re.findall(r"^## Committee\n(.*?)^To end a run", page.read_text(), re.M | re.S)
    return "".join(line[4:] for line in section.splitlines(True) if line.startswith("    "))


@pytest.mark.parametrize("scales_eV", [(30.0, 300.0, 3000.0), (30.0, 30.0, 30.0)])
def test_deviation_is_judged_by_the_recipe_of_the_documentation(
    scales_eV: tuple[float, ...], make_model, tmp_path: Path
) -> None:
    """Oracle: models that say ten and a hundred times the energy are far apart, one is not."""
    write(tmp_path / "structure.data", tube(), format="lammps-data")
    for name, scale_eV in zip(("first", "second", "third"), scales_eV, strict=True):
        model = make_model(energy_scale_eV=scale_eV)
        (tmp_path / f"{name}.nequip.pth").symlink_to(model)
    (tmp_path / "in.x").write_text(BEFORE + recipe() + AFTER)
    result = lmp_room.run_process(["-in", "in.x"], tmp_path, timeout_s=120)
    assert result.exit_code == 0, result.stdout_tail
    found = analyse_trajectory(tmp_path / "run.lammpstrj", tmp_path / "log.lammps")
    told = [event for event in found.events if event.kind == "uncertainty"]
    worst = np.loadtxt(tmp_path / "deviation.dat")[:, 1]
    if len(set(scales_eV)) == 1:
        assert told == []
        assert worst.max() < 1e-9
        return
    (event,) = told
    assert (event.severity, event.step) == ("severe", 0)
    assert event.value == pytest.approx(worst.max(), rel=1e-4)
    assert f"in {len(worst)} evaluations in a row" in event.message


RANKS_INPUT = """
units metal
atom_modify sort 2 1.0
read_data structure.data
neighbor 0.3 bin
neigh_modify every 1 delay 0 check no
pair_style nequip committee every 2
pair_coeff * * {models} C H
fix deviation all pair 2 nequip deviation 0
compute committee all pair nequip
velocity all create 2000 3 loop geom
timestep 0.002
fix nve all nve
dump d all custom 1 dump id x y z f_deviation
dump_modify d format float %.15g sort id
fix series all ave/time 1 1 1 c_committee[*] file series format ' %.12g'
run 5
"""


def test_two_ranks_equal_one(make_model, tmp_path: Path):
    atoms = triclinic().repeat((1, 1, 2))
    results = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        data = folder / "structure.data"
        write(data, atoms, format="lammps-data", specorder=["C", "H"], masses=True)
        (folder / "in.x").write_text(RANKS_INPUT.format(models=words(make_model, MIXED)))
        result = lmp_room.run_process(
            ["-in", "in.x"], folder, prefix=lmp_room.mpirun_command(ranks), timeout_s=120
        )
        assert result.exit_code == 0, result.stdout_tail
        found = frames(folder / "dump", atoms)
        values = np.array([each for _, each in found.values()])
        results.append((values, np.loadtxt(folder / "series")))
    for one, two in zip(*results, strict=True):
        assert two == pytest.approx(one, abs=1e-8)
    frame, values = found[4]
    assert values[:, 0] == pytest.approx(oracle(frame, MIXED), abs=1e-8)


@pytest.mark.parametrize(
    ("style", "command", "sentence"),
    [
        ("nequip committee every 5", "", "with 'committee' expects two models or more .* got 1"),
        (
            "nequip guard every 5 deviation 0.1",
            "",
            "with 'guard deviation' expects two models or more .* got 1",
        ),
        (
            "nequip",
            "fix d all pair 1 nequip deviation 0",
            "'deviation' of pair_style nequip expects two models or more .* got 1",
        ),
    ],
)
def test_one_model_is_no_committee(
    style: str,
    command: str,
    sentence: str,
    start: Start,  # noqa: F811
    make_model,
):
    instance = start(tube(), None, style=style)
    with pytest.raises(Exception, match=sentence):
        instance.commands_list([f"pair_coeff * * {make_model()} C", command])


def test_every_model_must_know_every_element(start: Start, make_model):  # noqa: F811
    atoms = triclinic()
    instance = start(atoms, None)
    members = [MIXED[0], CARBON[0]]
    assert elements_of(atoms) == ("C", "H")
    with pytest.raises(Exception, match=r"Element H is unknown to model .*, which knows: C"):
        instance.command(f"pair_coeff * * {words(make_model, members)} C H")
