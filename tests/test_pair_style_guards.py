"""The words of pair_style nequip, its devices and its guards, against numpy and ASE."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase import units as ase_units
from ase.io import write

from tempermd import lmp as lmp_room
from test_committee import CARBON, frames, oracle, words
from test_pair_style import Start, nequip_calculator, start, tube  # noqa: F401

SENTENCES = {
    "shortest": r"distance between atoms (\d+) and (\d+) at step (\d+) is (\S+) Angstrom, "
    r"below the limit of (\S+) Angstrom",
    "force": r"force on atom (\d+) at step (\d+) is (\S+) eV/Angstrom, above the limit of (\S+) eV",
    "deviation": r"force deviation of atom (\d+) at step (\d+) is (\S+) eV/Angstrom, "
    r"above the limit of (\S+) eV",
}


def measured(kind: str, atoms: Atoms) -> tuple[list[int], float]:
    """Return the IDs of the atoms that are worst, and the value, of the models of ``CARBON``."""
    if kind == "shortest":
        distances = atoms.get_all_distances(mic=True) + 1e3 * np.eye(len(atoms))
        pair = np.unravel_index(distances.argmin(), distances.shape)
        return [int(i) + 1 for i in pair], float(distances.min())
    if kind == "force":
        atoms.calc = nequip_calculator("float64", **CARBON[0])
        values = np.linalg.norm(atoms.get_forces(), axis=1)
    else:
        values = oracle(atoms, CARBON[:2])
    return [int(values.argmax()) + 1], float(values.max())


@pytest.mark.parametrize("kind", SENTENCES)
def test_limits(kind: str, start: Start, make_model):  # noqa: F811
    atoms = tube()
    ids, value = measured(kind, atoms)
    beyond = 1e-6 if kind == "shortest" else -1e-6
    models = words(make_model, CARBON[: 2 if kind == "deviation" else 1])
    for limit in (value * (1 - beyond), value * (1 + beyond)):
        instance = start(atoms, None, style=f"nequip guard every 1 {kind} {limit:.12g}")
        instance.commands_list([f"pair_coeff * * {models} C", "reset_timestep 7"])
        if limit == value * (1 - beyond):
            instance.command("run 0")
            continue
        with pytest.raises(Exception, match=SENTENCES[kind]) as raised:
            instance.command("run 0")
    *found, step, seen, told = re.search(SENTENCES[kind], str(raised.value)).groups()
    assert [int(i) for i in found] == ids
    assert int(step) == 7
    assert float(seen) == pytest.approx(value, rel=1e-7)
    assert float(told) == pytest.approx(limit, rel=1e-7)


def test_limits_are_in_the_units_of_the_run(start: Start, make_model):  # noqa: F811
    ids, value_eV_A = measured("force", tube())
    value = value_eV_A * ase_units.mol / ase_units.kcal
    for limit in (value * (1 + 1e-5), value * (1 - 1e-5)):
        style = f"nequip guard every 1 force {limit:.12g}"
        instance = start(tube(), make_model(), before=["units real"], style=style)
        if limit > value:
            instance.command("run 0")
    pattern = rf"force on atom {ids[0]} at step 0 is (\S+) kcal/mol/Angstrom, above"
    with pytest.raises(Exception, match=pattern) as raised:
        instance.command("run 0")
    # LAMMPS and ASE know the kcal to different digits
    assert float(re.search(pattern, str(raised.value))[1]) == pytest.approx(value, rel=5e-6)


def test_all_violations_are_named(start: Start, make_model):  # noqa: F811
    instance = start(tube(), make_model(), style="nequip guard every 1 shortest 9 force 1e-6")
    pattern = f"{SENTENCES['shortest']}; .*{SENTENCES['force']}"
    with pytest.raises(Exception, match=pattern):
        instance.command("run 0")


# atom 5 goes to its nearest neighbor on a straight line, 0.02 Å a step; nothing else moves
SPEED_A_STEP = 0.02
EVERY, LIMIT_A = 5, 1.0
APPROACH = """
units metal
read_data structure.data
pair_style {style}
pair_coeff * * {model} C
group mover id 5
timestep 0.001
fix move mover move linear {velocity} units box
run 40
print "the run went on"
"""


def approach() -> tuple[np.ndarray, int, Atoms]:
    """Return the velocity (3,) in Å/ps, and the step and the atoms of the first violation seen."""
    atoms = tube()
    vectors = atoms.get_distances(4, range(len(atoms)), mic=True, vector=True)
    lengths = np.linalg.norm(vectors, axis=1)
    lengths[4] = np.inf
    nearest = lengths.argmin()
    velocity = vectors[nearest] / lengths[nearest] * SPEED_A_STEP / 0.001
    step = int(np.ceil((lengths[nearest] - LIMIT_A) / SPEED_A_STEP))
    step = EVERY * -(-step // EVERY)
    atoms.positions[4] += velocity * 0.001 * step
    assert 0 < step < 40
    return velocity, step, atoms


def run_approach(
    folder: Path,
    model: Path,
    action: str,
    ranks: int,
) -> lmp_room.ProcessResult:
    velocity, _, _ = approach()
    write(folder / "structure.data", tube(), format="lammps-data", masses=True)
    script = APPROACH.format(
        model=model,
        style=f"nequip guard every {EVERY} shortest {LIMIT_A} action {action}",
        velocity=" ".join(f"{v:.17g}" for v in velocity),
    )
    (folder / "in.x").write_text(script)
    prefix = lmp_room.mpirun_command(ranks)
    return lmp_room.run_process(["-in", "in.x"], folder, prefix=prefix, timeout_s=120)


def plain_dump(dump: Path) -> Path:
    """Return a copy of 'id type x y z...' without the types, as ``frames`` wants it."""
    plain = dump.with_suffix(".plain")
    plain.write_text(re.sub(r"^(\d+) 1 ", r"\1 ", dump.read_text(), flags=re.MULTILINE))
    return plain


def check_sentence(text: str) -> None:
    _, step, atoms = approach()
    ids, value = measured("shortest", atoms)
    *found, seen_step, seen, limit = re.search(SENTENCES["shortest"], text).groups()
    assert [int(i) for i in found] == ids
    assert int(seen_step) == step
    assert float(seen) == pytest.approx(value, rel=1e-6)
    assert float(limit) == LIMIT_A


def test_error_on_two_ranks(make_model, tmp_path: Path):
    result = run_approach(tmp_path, make_model(), "error", ranks=2)
    assert result.exit_code == 1, result.stdout_tail
    check_sentence(result.stdout_tail)
    assert "ERROR" in result.stdout_tail
    assert "went on" not in result.stdout_tail
    assert not list(tmp_path.glob("nequip_guard.*"))


@pytest.mark.parametrize("ranks", [1, 2])
def test_stop_saves_a_frame_and_a_restart(
    ranks: int,
    start: Start,  # noqa: F811
    make_model,
    tmp_path: Path,
):
    result = run_approach(tmp_path, make_model(), "stop", ranks)
    assert result.exit_code == 1, result.stdout_tail
    assert "the run stops after this step" in result.stdout_tail
    check_sentence(result.stdout_tail.split("ERROR")[-1])
    assert "went on" not in result.stdout_tail

    _, step, atoms = approach()
    names = {path.name for path in tmp_path.glob("nequip_guard.*")}
    assert names == {f"nequip_guard.{step}.restart", f"nequip_guard.{step}.lammpstrj"}
    atoms.calc = nequip_calculator("float64", **CARBON[0])
    saved = plain_dump(tmp_path / f"nequip_guard.{step}.lammpstrj")
    frame, forces = frames(saved, atoms)[step]
    assert frame.positions == pytest.approx(atoms.positions, abs=1e-6)
    assert forces == pytest.approx(atoms.get_forces(), abs=1e-4)

    instance = lmp_room.lammps_instance()
    try:
        instance.commands_list(
            [
                f"read_restart {tmp_path / f'nequip_guard.{step}.restart'}",
                "pair_style nequip",
                f"pair_coeff * * {make_model()} C",
                "run 0",
            ]
        )
        assert instance.extract_global("ntimestep") == step
        again = np.array(instance.gather_atoms("f", 1, 3)).reshape(-1, 3)
        assert again == pytest.approx(forces, abs=1e-8)
        instance.commands_list(["fix 1 all nve", "run 2"])
        assert instance.extract_global("ntimestep") == step + 2
    finally:
        instance.close()


@pytest.mark.parametrize("style", ["nequip {}", "hybrid/overlay nequip {} zero 3.0"])
@pytest.mark.parametrize("command", ["run 0", "run 3", "run 3 post no", "minimize 0 0 3 9"])
def test_stop_ends_every_kind_of_run(
    command: str,
    style: str,
    start: Start,  # noqa: F811
    make_model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    hybrid = style.startswith("hybrid")
    coefficients = f"pair_coeff * * {'nequip ' if hybrid else ''}{make_model()} C"
    instance = start(tube(), None, style=style.format("guard every 1 force 0.01 action stop"))
    instance.command(coefficients)
    if hybrid:
        instance.command("pair_coeff * * zero")
    instance.commands_list(["fix 1 all nve"])
    with pytest.raises(Exception, match=SENTENCES["force"]):
        instance.command(command)
    assert {path.suffix for path in tmp_path.glob("nequip_guard.0.*")} == {".lammpstrj", ".restart"}
    assert instance.extract_global("ntimestep") == 0
    # whoever catches the error can go on
    instance.commands_list(["pair_style nequip", f"pair_coeff * * {make_model()} C", "run 2"])
    assert instance.extract_global("ntimestep") == 2


def test_rerun_ends_after_the_frame(start: Start, make_model, tmp_path: Path):  # noqa: F811
    atoms, dump = tube(), tmp_path / "dump"
    limit = measured("shortest", atoms)[1] * 0.9
    instance = start(atoms, make_model(), before=["atom_modify map array"])
    for step in (0, 4, 8):
        if step == 4:
            atoms.positions[4] += 0.6 * atoms.get_distance(4, 5, mic=True, vector=True)
            assert measured("shortest", atoms)[1] < limit
            instance.scatter_atoms("x", 1, 3, np.ctypeslib.as_ctypes(atoms.positions.ravel()))
        instance.command(f"reset_timestep {step}")
        instance.command(f"write_dump all custom {dump} id type x y z modify append yes")
    instance.commands_list(
        [
            f"pair_style nequip guard every 1 shortest {limit} action stop",
            f"pair_coeff * * {make_model()} C",
        ]
    )
    with pytest.raises(Exception, match="at step 4 is"):
        instance.command(f"rerun {dump} dump x y z")


NOT_FINITE_INPUT = """
units metal
read_data structure.data
pair_style nequip {guard}
pair_coeff * * {model} C
run 0
"""


@pytest.mark.parametrize("guard", ["", "guard every 9 action stop"])
def test_not_finite_on_two_ranks(guard: str, make_model, tmp_path: Path):
    atoms = tube()
    atoms.positions[9] = atoms.positions[4]
    write(tmp_path / "structure.data", atoms, format="lammps-data", masses=True)
    (tmp_path / "in.x").write_text(NOT_FINITE_INPUT.format(guard=guard, model=make_model()))
    prefix = lmp_room.mpirun_command(2)
    result = lmp_room.run_process(["-in", "in.x"], tmp_path, prefix=prefix, timeout_s=120)
    assert result.exit_code == 1, result.stdout_tail
    pattern = r"NequIP model \S+ gives a (force|potential energy) that is not finite for atom 5 at"
    assert re.search(pattern + " step 0", result.stdout_tail.split("ERROR")[-1])
    saved = tmp_path / "nequip_guard.0.lammpstrj"
    assert list(tmp_path.glob("nequip_guard.*")) == ([saved] if guard else [])
    if guard:
        _, forces = frames(plain_dump(saved), atoms)[0]
        assert np.flatnonzero(np.isnan(forces).any(axis=1)).tolist() == [4, 9]


BAD_WORDS = [
    ("4.0", "expects device, engine, radial, ghosts, committee or guard, got '4.0'"),
    ("model.nequip.pth", "expects the model file 'model.nequip.pth' in pair_coeff"),
    ("device", "expects cpu, cuda, cuda:N or auto after 'device', got the end of the line"),
    ("device gpu", "expects cpu, cuda, cuda:N or auto after 'device', got 'gpu'"),
    ("device cpu:0", "expects cpu, cuda, cuda:N or auto after 'device', got 'cpu:0'"),
    ("device cuda:", "expects cpu, cuda, cuda:N or auto after 'device', got 'cuda:'"),
    ("device cuda:-1", "expects cpu, cuda, cuda:N or auto after 'device', got 'cuda:-1'"),
    ("device cpu device cpu", "expects 'device' once, got it twice"),
    ("committee 5", "expects 'every N' with N > 0 after 'committee', got '5'"),
    ("committee every", "expects 'every N' with N > 0 after 'committee', got the end of the line"),
    ("committee every 0", "expects 'every N' with N > 0 after 'committee', got '0'"),
    ("committee every 2.5", "expects 'every N' with N > 0 after 'committee', got '2.5'"),
    ("guard every -1", "expects 'every N' with N > 0 after 'guard', got '-1'"),
    ("guard every 5", "expects after 'guard every 5' a limit .* or an action, got none"),
    ("guard every 5 shortest", "a positive number after 'shortest', got the end of the line"),
    ("guard every 5 shortest -1", "expects a positive number after 'shortest', got '-1'"),
    ("guard every 5 force nan", "expects a positive number after 'force', got 'nan'"),
    ("guard every 5 force 1 force 2", "expects 'force' once, got it twice"),
    ("guard every 5 deviation x", "expects a positive number after 'deviation', got 'x'"),
    ("guard every 5 action quit", "expects error or stop after 'action', got 'quit'"),
    ("guard every 5 longest 3", "expects device, .* deviation or action, got 'longest'"),
    ("force 3", "expects 'force' after 'guard every N', got it before 'guard'"),
    ("guard every 5 force 9 device cpu shortest 1", "expects 'shortest' after 'guard every N'"),
]


def test_bad_words(start: Start):  # noqa: F811
    instance = start(tube(), None)
    for given, sentence in BAD_WORDS:
        with pytest.raises(Exception, match="pair_style nequip expects") as raised:
            instance.command(f"pair_style nequip {given}")
        assert re.search(sentence, str(raised.value)), (given, str(raised.value))


def test_all_words_together(start: Start, make_model):  # noqa: F811
    style = "nequip guard every 2 action error deviation 99 force 99 shortest 0.1 "
    instance = start(tube(), None, style=style + "device auto committee every 7")
    instance.commands_list([f"pair_coeff * * {words(make_model, CARBON[:2])} C", "run 0"])


BAD_COEFFICIENTS = [
    ("* *", r"one element for each of the 1 atom types, got 0 elements"),
    ("* * {} {} C C", "one element for each of the 1 atom types, got 2 elements"),
    ("* * {} {}", "one element for each of the 1 atom types, got 0 elements"),
    ("* * C {}", "wrong extension|one element for each"),
    ("* * {} other.pth C", "Model file other.pth has the wrong extension"),
    ("* * {} nowhere.nequip.pth C", "Model file nowhere.nequip.pth does not exist"),
]


def test_bad_models_of_a_committee(start: Start, make_model):  # noqa: F811
    instance = start(tube(), None)
    for given, sentence in BAD_COEFFICIENTS:
        with pytest.raises(Exception, match=sentence):
            instance.command("pair_coeff " + given.replace("{}", str(make_model())))


def test_new_words_need_new_coefficients(start: Start, make_model):  # noqa: F811
    instance = start(tube(), make_model())
    instance.commands_list(["run 0", "pair_style nequip guard every 1 force 99"])
    with pytest.raises(Exception, match="pair coeffs are not set"):
        instance.command("run 0")


CUDA = [("cuda", "device 'cuda'"), ("cuda:1", "device 'cuda:1'")]


@pytest.mark.parametrize(("device", "words"), CUDA)
def test_cuda_without_a_gpu_is_refused(device: str, words: str, start: Start):  # noqa: F811
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(Exception, match=f"{words} was asked for and torch sees no GPU"):
        start(tube(), None, style=f"nequip device {device}")


def test_two_ranks_refuse_together_and_say_the_device_once(make_model, tmp_path: Path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    write(tmp_path / "structure.data", tube(), format="lammps-data", masses=True)
    lines = ["units metal", "read_data structure.data", "pair_style nequip device auto"]
    (tmp_path / "in.x").write_text("\n".join([*lines, "pair_style nequip device cuda", ""]))
    prefix = lmp_room.mpirun_command(2)
    result = lmp_room.run_process(["-in", "in.x"], tmp_path, prefix=prefix, timeout_s=60)
    assert result.exit_code == 1, result.stdout_tail
    assert result.stdout_tail.count("pair_style nequip computes on the CPU") == 1
    assert result.stdout_tail.count("torch sees no GPU") == 1
