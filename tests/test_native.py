"""The native engine against nequip's eager model: many shapes, splines, damaged files."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from pair_style_cases import elements_of, forces_of, stress_of, triclinic
from tempermd import lmp
from test_layers import SHAPES, TYPES, eager

ALL = SHAPES | {"plain": {}}
RECORD = "archive/tempermd/network.txt"


def structure(shape: dict) -> Atoms:
    """Return a rattled crystal of the elements that a network of this shape knows."""
    atoms = triclinic().repeat((2, 2, 1))
    names = TYPES[shape.get("types", "C")]
    atoms.symbols[:] = [names[number % len(names)] for number in range(len(atoms))]
    return atoms


def evaluated_by_nequip(shape: dict, atoms: Atoms) -> Atoms:
    """Give the structure nequip's own calculator of the eager model."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    model = eager(**shape)
    names = list(TYPES[shape.get("types", "C")])
    transforms = basic_transforms(model.metadata, 4.0, names, {name: name for name in names})
    atoms.calc = NequIPCalculator(model=model, device="cpu", transforms=transforms)
    return atoms


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory):
    """Return ``deployed(name, dtype)`` -> a model file of one of ``ALL``."""
    from tempermd.deploy import deploy_model

    folder = tmp_path_factory.mktemp("native")

    def get(name: str, dtype: str = "float64") -> Path:
        path = folder / f"{name.replace(' ', '-')}-{dtype}.nequip.pth"
        if not path.is_file():
            deploy_model(eager(**(ALL[name] | {"model_dtype": dtype})), path)
        return path

    return get


@pytest.mark.parametrize("name", SHAPES)
def test_with_the_network_it_is_nequip(name: str, start, deployed):
    atoms = evaluated_by_nequip(SHAPES[name], structure(SHAPES[name]))
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 0.01, "forces too small to show anything"
    instance = start(atoms, deployed(name), style="nequip engine native radial network")
    instance.command("compute energies all pe/atom")
    instance.command("run 0")
    assert forces_of(instance) == pytest.approx(forces, abs=1e-9)
    assert instance.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert stress_of(instance) == pytest.approx(atoms.get_stress(), abs=1e-9)
    energies = np.array(instance.gather("c_energies", 1, 1))
    assert energies == pytest.approx(atoms.get_potential_energies(), abs=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SHAPES)
def test_splines_stay_within_the_printed_bound(
    name: str, dtype: str, start, deployed, tmp_path: Path
):
    shape = SHAPES[name] | {"model_dtype": dtype}
    atoms = evaluated_by_nequip(shape, structure(shape))
    style = "nequip engine native radial spline"
    log = tmp_path / "log.spline"
    instance = start(atoms, deployed(name, dtype), style=style, before=[f"log {log}"])
    instance.commands_list(["run 0", "log none"])
    said = re.search(r"splines of \d+ knots: forces within (\S+) eV/A", log.read_text())
    bound = float(said[1])
    assert bound < {"float32": 1e-3, "float64": 1e-5}[dtype]
    assert np.abs(forces_of(instance) - atoms.get_forces()).max() < bound


def test_a_single_precision_model_is_rounded_like_torch(start, deployed):
    """Splines aside, the forces are those of nequip in single precision but for rounding."""
    shape = SHAPES["l_max 2 with parity"] | {"model_dtype": "float32"}
    atoms = evaluated_by_nequip(shape, structure(shape))
    path = deployed("l_max 2 with parity", "float32")
    instance = start(atoms, path, style="nequip engine native radial network")
    instance.command("run 0")
    assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-6)


KERNEL_INPUT = """
units metal
read_data {data}
pair_style nequip engine native radial network
pair_coeff * * {model} {elements}
dump 1 all custom 1 end.dump id fx fy fz
dump_modify 1 sort id format float %.17g
run 0
"""


@pytest.mark.parametrize("kind", ["baseline", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("name", ["l_max 3", "channels of each irrep", "two types, parity"])
def test_kernels_of_every_kind_of_processor(kind: str, name: str, deployed, tmp_path: Path):
    """A newer processor runs the older kinds when told to; this one may not have the newest."""
    atoms = evaluated_by_nequip(SHAPES[name], structure(SHAPES[name]))
    elements = elements_of(atoms)
    data = tmp_path / "structure.data"
    write(data, atoms, format="lammps-data", specorder=list(elements), masses=True)
    text = KERNEL_INPUT.format(data=data, model=deployed(name), elements=" ".join(elements))
    (tmp_path / "in.kernels").write_text(text)
    environment = {"TEMPERMD_KERNELS": kind.removeprefix("x86-64-")}
    result = lmp.run_process(["-in", "in.kernels"], tmp_path, env=environment)
    assert result.exit_code == 0, result.stdout_tail
    if f"native ({kind}," not in (tmp_path / "log.lammps").read_text():
        pytest.skip(f"this processor runs no {kind}")
    forces = np.loadtxt(tmp_path / "end.dump", skiprows=9)[:, 1:]
    assert forces == pytest.approx(atoms.get_forces(), abs=1e-9)


@pytest.mark.parametrize("threads", [2, 3])
def test_every_number_of_threads_gives_the_same_bits(threads: int, start, deployed):
    shape = SHAPES["two types, parity"]
    atoms = structure(shape).repeat((2, 2, 2))
    path = deployed("two types, parity", "float32")
    found = []
    for number in (1, threads):
        instance = start(atoms, path, style="nequip engine native", threads=number)
        instance.commands_list(["velocity all create 300 1", "fix 1 all nve", "run 5"])
        found.append((forces_of(instance), instance.get_thermo("pe")))
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_auto_is_native_and_words_choose(start, deployed, tmp_path: Path):
    log = tmp_path / "log.words"
    wanted = {"": "engine native", "engine torch": "engine TorchScript"}
    for words, said in wanted.items():
        instance = start(
            structure({}), deployed("plain"), style=f"nequip {words}", before=[f"log {log}"]
        )
        instance.command("log none")
        assert said in log.read_text()


def test_words_that_do_not_fit(start, deployed):
    cases = {
        "engine fast": r"expects native, torch or auto after 'engine', got 'fast'",
        "radial table": r"expects spline, network or auto after 'radial', got 'table'",
        "ghosts all": r"expects exchange, extended or auto after 'ghosts', got 'all'",
        "engine torch ghosts exchange": r"'ghosts exchange' .* needs the native engine",
    }
    for words, sentence in cases.items():
        with pytest.raises(Exception, match=sentence):
            start(structure({}), deployed("plain"), style=f"nequip {words}")


def test_a_file_without_a_network_in_numbers(start, tmp_path: Path):
    """ZBL inside: auto takes torch, native says why not."""
    from tempermd.deploy import deploy_model

    zbl = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal"}
    path = tmp_path / "model.nequip.pth"
    deploy_model(eager(types="CH", pair_potential=zbl | {"chemical_species": ["C", "H"]}), path)
    start(triclinic(), path).command("run 0")
    with pytest.raises(Exception, match="holds no network for the native engine"):
        start(triclinic(), path, style="nequip engine native")


def rewritten(path: Path, target: Path, changed: dict[str, str]) -> Path:
    """Copy a model file, with other text in some records; all records stay stored."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, changed.get(name, old.read(name)))
    return target


def description(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(RECORD).decode("ascii")


def replaced(pattern: str, new: str):
    return lambda text: re.sub(pattern, new, text, count=1)


# what is done to the text, and what the pair style must say
LIES = {
    "cut short": (lambda text: text[: len(text) // 2], "ends too early|is '"),
    "empty": (lambda text: "", "ends too early"),
    "another version": (
        replaced("network 1", "network 7"),
        "of version 7, this pair style reads 1",
    ),
    "wrong array size": (replaced(r"first\n4 ", "first\n3 "), "damaged"),
    "matrix of another shape": (replaced(r"radial\n2\n8 8", "radial\n2\n8 9"), "damaged"),
    "a weight that is no number": (
        replaced(r"(first\n4 )\S+", r"\1nan"),
        "first features is 'nan'",
    ),
    "an endless weight": (replaced(r"(first\n4 )\S+", r"\g<1>1e999"), "first features is '1e999'"),
    "unknown nonlinearity": (replaced("silu", "relu"), "unknown nonlinearity 'relu'"),
    "a path that does not exist": (replaced(r"paths 2\n0 0 0", "paths 2\n0 0 3"), "damaged"),
    "a block that does not exist": (
        replaced(r"paths 2\n0 0 0", "paths 2\n9 0 0"),
        "source of a path",
    ),
    "billions of numbers": (replaced(r"first\n4", "first\n4000000000"), "first features is"),
    "no knots": (replaced(r"knots \d+", "knots 0"), "knots is '0'"),
    "other weights": (
        replaced(r"(scales\n1 )\S+", r"\g<1>31"),
        "forces differ from those recorded",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_description_that_lies_is_refused(lie: str, start, deployed, tmp_path: Path):
    change, sentence = LIES[lie]
    path = deployed("plain")
    text = description(path)
    assert change(text) != text
    wrong = rewritten(path, tmp_path / "wrong.nequip.pth", {RECORD: change(text)})
    with pytest.raises(Exception, match=sentence):
        start(structure({}), wrong, style="nequip engine native")


def test_the_description_is_plain_words_and_numbers(deployed):
    text = description(deployed("two types, parity"))
    words = text.split()
    assert words[:4] == ["tempermd-network", "1", "dtype", "float64"]
    assert words[-1] == "end"
    assert set(re.findall(r"[a-z_]{3,}", text)) >= {"cutoffs", "bessel", "paths", "radial", "sums"}


def test_couplings_of_all_l_follow_the_rule_of_the_kernels():
    """e3nn's coefficients vanish wherever the native loops have no term."""
    import torch
    from e3nn import o3

    from tempermd.deploy.description import LARGEST_L, couples

    orders = range(LARGEST_L + 1)
    triples = [(a, b, c) for a in orders for b in orders for c in orders]
    for l1, l2, l3 in triples:
        if not abs(l1 - l2) <= l3 <= l1 + l2:
            continue
        for i, j, k in torch.nonzero(o3.wigner_3j(l1, l2, l3).abs() > 1e-12).tolist():
            assert couples((l1, l2, l3), (i, j, k))


BOUND = "archive/extra/spline_bound"


@pytest.mark.parametrize("bound", ["", "many", "nan", "inf", "-1", "1e9"])
def test_a_bound_that_forgives_everything_is_refused(bound: str, start, deployed, tmp_path: Path):
    wrong = rewritten(deployed("plain"), tmp_path / "wrong.nequip.pth", {BOUND: bound})
    with pytest.raises(Exception, match="its spline_bound is"):
        start(structure({}), wrong, style="nequip engine native radial spline")


def test_forces_of_splines_are_gradients_of_their_energy(start, deployed, tmp_path: Path):
    """By central differences, with so few knots that the network has other forces."""
    text = re.sub(r"knots \d+", "knots 16", description(deployed("plain")))
    coarse = rewritten(
        deployed("plain"), tmp_path / "coarse.nequip.pth", {RECORD: text, BOUND: "99"}
    )
    atoms = evaluated_by_nequip({}, structure({}))
    instance = start(atoms, coarse, style="nequip engine native radial spline")
    instance.command("run 0")
    forces = forces_of(instance)
    off = np.abs(forces - atoms.get_forces())
    step_A = 1e-4
    for place in np.argsort(off, axis=None)[-3:]:
        atom, axis = np.unravel_index(place, off.shape)
        assert off[atom, axis] > 1e-4, "too near to the network to show anything"
        instance.command(f"group one id {atom + 1}")
        energies = []
        for move in (step_A, -2 * step_A):
            moved = " ".join(str(move if one == axis else 0.0) for one in range(3))
            instance.commands_list([f"displace_atoms one move {moved}", "run 0"])
            energies.append(instance.get_thermo("pe"))
        back = " ".join(str(step_A if one == axis else 0.0) for one in range(3))
        instance.commands_list([f"displace_atoms one move {back}", "group one delete"])
        slope = (energies[0] - energies[1]) / (2 * step_A)
        assert -slope == pytest.approx(forces[atom, axis], abs=1e-6)


def test_what_the_benchmark_leaves_out_of_the_engine_is_in_it() -> None:
    """The patches of ``bench/engine_choices.py`` fit the sources."""
    program = shutil.which("patch")
    if program is None:
        pytest.skip("needs patch")
    tree = Path(__file__).parents[1]
    patches = sorted((tree / "tests" / "bench" / "engine_choices").glob("*.patch"))
    assert patches
    for patch in patches:
        command = [program, "-p1", "--dry-run", "--fuzz=0", "-d", tree, "-i", patch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
