"""AOTInductor files, and files that nequip itself compiled, in LAMMPS and in Python."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from ase.neighborlist import neighbor_list

from conftest import random_model
from pair_style_cases import (
    STRUCTURES,
    Start,
    elements_of,
    forces_of,
    nequip_calculator,
    small_box,
    stress_of,
    triclinic,
    tube,
)
from tempermd import lmp as lmp_room
from tempermd.deploy import Deployed, calculator, deploy, deploy_model, load_deployed, model_info
from tempermd.records import UserError
from training_cases import write_case

TYPE_NAMES = ("C", "H")
FORCE_TOLERANCE_EV_A = 1e-8  # every model here computes in float64
ENERGY_TOLERANCE_EV = 1e-6  # per atom
STRESS_TOLERANCE_EV_A3 = 1e-7
UNREADABLE = "not a readable AOTInductor file, truncated or foreign"


class Compiled(NamedTuple):
    """What deploying gave: the file, the record, and what a user saw meanwhile."""

    path: Path
    record: Deployed
    shown: str


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Compile a model of two elements and two layers once: half a minute of work."""
    path = tmp_path_factory.mktemp("aoti") / "ours.nequip.pt2"
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        record = deploy_model(random_model(type_names=TYPE_NAMES), path)
    return Compiled(path, record, shown.getvalue())


@pytest.fixture(scope="session")
def ours(compiled: Compiled) -> Path:
    """The file of ``compiled``: treat it as read-only."""
    return compiled.path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hardly trained model of one layer."""
    from tempermd.training import train

    folder = tmp_path_factory.mktemp("trained")
    spec = write_case(folder, max_epochs=1)
    text = spec.read_text().replace("num_layers = 2", 'num_layers = 1\nmodel_dtype = "float64"')
    spec.write_text(text)
    return train(spec, folder / "out", progress=False)


@pytest.fixture(scope="session")
def theirs(checkpoint: Path) -> Path:
    """The checkpoint as nequip's own command compiles it for its own pair style."""
    import torch

    from tempermd.training.graphs import build_graph

    atoms = small_box()
    graph = build_graph(atoms, ["C"], 2.6)
    example = {
        "pos": torch.tensor(atoms.positions),
        "cell": torch.tensor(atoms.cell.array)[None],
        "edge_index": torch.tensor(graph.edge_index),
        "edge_cell_shift": torch.tensor(graph.edge_shifts),
        "atom_types": torch.tensor(graph.types),
    }
    module = torch.nn.Module()
    for name, tensor in example.items():
        module.register_buffer(name, tensor)
    data = checkpoint.parent / "example.pt"
    torch.jit.script(module).save(str(data))
    output = checkpoint.parent / "theirs.nequip.pt2"
    command = [str(Path(sys.executable).with_name("nequip-compile")), str(checkpoint), str(output)]
    command += ["--mode", "aotinductor", "--device", "cpu", "--target", "pair_nequip"]
    subprocess.run([*command, "--data-path", str(data)], check=True, capture_output=True)
    return output


def calculator_of(checkpoint: Path):
    """Return nequip's own ASE calculator of a checkpoint."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    from tempermd.training import load_checkpoint

    model = load_checkpoint(checkpoint).eval()
    transforms = basic_transforms(model.metadata, 2.6, ["C"], {"C": "C"})
    return NequIPCalculator(model=model, device="cpu", transforms=transforms)


def of_carbon(atoms: Atoms) -> Atoms:
    """Return the structure with all atoms carbon."""
    atoms.symbols[:] = "C"
    return atoms


def box_of(*positions: tuple[float, float, float]) -> Atoms:
    """Return carbon atoms at these positions of a large periodic box."""
    return Atoms("C" * len(positions), positions=positions, cell=[30, 30, 30], pbc=True)


FEW = {
    "one": box_of((5, 5, 5)),
    "two_apart": box_of((5, 5, 5), (15, 15, 15)),
    "pair": box_of((5, 5, 5), (6.4, 5.2, 5)),
    "pair_and_one": box_of((5, 5, 5), (6.4, 5.2, 5), (15, 15, 15)),
}


def agrees(instance, atoms: Atoms) -> None:
    """Compare LAMMPS's forces, energy and stress with those of the atoms' calculator."""
    assert np.abs(forces_of(instance) - atoms.get_forces()).max() < FORCE_TOLERANCE_EV_A
    difference = instance.get_thermo("pe") - atoms.get_potential_energy()
    assert abs(difference) / len(atoms) < ENERGY_TOLERANCE_EV
    assert np.abs(stress_of(instance) - atoms.get_stress()).max() < STRESS_TOLERANCE_EV_A3


# --- our files ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", STRUCTURES)
def test_ours_agrees_with_nequips_ase_calculator(name: str, start: Start, ours: Path) -> None:
    atoms = STRUCTURES[name]()
    instance = start(atoms, ours)
    instance.command("run 0")
    atoms.calc = nequip_calculator("float64", TYPE_NAMES)
    assert np.abs(atoms.get_forces()).max() > 0.05, "forces too small to show anything"
    agrees(instance, atoms)


@pytest.mark.parametrize("name", FEW)
def test_ours_with_few_atoms_and_edges(name: str, start: Start, ours: Path) -> None:
    """Less than two atoms or edges is less than the compiler was told of."""
    atoms = FEW[name].copy()
    instance = start(atoms, ours)
    instance.command("run 0")
    atoms.calc = nequip_calculator("float64", TYPE_NAMES)
    if name.startswith("pair"):
        agrees(instance, atoms)
    else:  # without any edge nequip's calculator stops; the model's shift is the energy of an atom
        assert instance.get_thermo("pe") == pytest.approx(-7.0 * len(atoms), abs=1e-12)
        assert np.abs(forces_of(instance)).max() == 0


def test_ours_over_steps_with_other_numbers_of_edges(start: Start, ours: Path) -> None:
    atoms = tube()
    instance = start(atoms, ours)
    instance.commands_list(
        ["velocity all create 4000 7", "fix nve all nve", "timestep 0.001", "neigh_modify every 1"]
    )
    atoms.calc = nequip_calculator("float64", TYPE_NAMES)
    n_edges = set()
    for _ in range(6):
        instance.command("run 3")
        atoms.positions = np.array(instance.gather_atoms("x", 1, 3)).reshape(-1, 3)
        n_edges.add(len(neighbor_list("i", atoms, 4.0)))
        assert np.abs(forces_of(instance) - atoms.get_forces()).max() < FORCE_TOLERANCE_EV_A
    assert len(n_edges) > 3


TWO_RANKS = """
units metal
processors 2 1 1
read_data box.data
pair_style nequip
pair_coeff * * {model} C H
dump 1 all custom 1 {name}.dump id fx fy fz
dump_modify 1 sort id format float %.17g
run 0
"""


def test_ours_on_two_ranks(ours: Path, tmp_path: Path) -> None:
    """The box is long, so that no rank's ghosts are all the atoms there are."""
    atoms = triclinic().repeat((6, 1, 1))
    write(tmp_path / "box.data", atoms, format="lammps-data", specorder=["C", "H"], masses=True)
    (tmp_path / "in.two").write_text(TWO_RANKS.format(model=ours, name="two"))
    prefix = lmp_room.mpirun_command(2)
    result = lmp_room.run_process(["-in", "in.two"], tmp_path, prefix=prefix)
    assert result.exit_code == 0, result.stdout_tail
    assert "2 by 1 by 1 MPI processor grid" in result.stdout_tail
    found = np.loadtxt(tmp_path / "two.dump", skiprows=9)[:, 1:]
    atoms.calc = nequip_calculator("float64", TYPE_NAMES)
    assert found == pytest.approx(atoms.get_forces(), abs=FORCE_TOLERANCE_EV_A)


def test_masked_gradients_of_two_halves_sum_to_all(ours: Path) -> None:
    """Oracles: the sum itself, and autograd of the eager model's energies of one half."""
    import torch

    from tempermd.training.graphs import build_graph
    from tempermd.training.models import energy_only

    model, info = load_deployed(ours)
    graph = build_graph(triclinic(), info["type_names"], info["cutoff_A"])
    index, types = torch.tensor(graph.edge_index), torch.tensor(graph.types)
    vectors = torch.tensor(graph.edge_vectors_A)

    def gradients(mask: np.ndarray) -> np.ndarray:
        column = torch.tensor(mask, dtype=torch.float64)[:, None]
        return model.evaluate(index, vectors, types, column)[1].numpy()

    first = np.arange(len(types)) < 3
    found = gradients(first)
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose(found + gradients(~first), gradients(first | True), atol=1e-12)

    vectors.requires_grad_(True)
    inputs = {"edge_index": index, "atom_types": types, "edge_vectors": vectors}
    for network in (energy_only(random_model(type_names=TYPE_NAMES)), model):
        half = network(inputs)["atomic_energy"][:3].sum()
        (expected,) = torch.autograd.grad([half], [vectors])
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)


def test_ours_in_python(ours: Path) -> None:
    """Oracle: nequip's own calculator; a lone atom has the model's shift."""
    atoms = triclinic()
    atoms.calc = calculator(ours)
    found = atoms.get_forces(), atoms.get_stress()
    atoms.calc = nequip_calculator("float64", TYPE_NAMES)
    np.testing.assert_allclose(found[0], atoms.get_forces(), atol=FORCE_TOLERANCE_EV_A)
    np.testing.assert_allclose(found[1], atoms.get_stress(), atol=STRESS_TOLERANCE_EV_A3)
    alone = Atoms("H", positions=[[0, 0, 0]], calculator=calculator(ours))
    assert alone.get_potential_energy() == pytest.approx(-8.0)


def test_what_ours_says_of_itself(compiled: Compiled) -> None:
    code = (
        "import json, sys; from tempermd.deploy import model_info;"
        "print(json.dumps([model_info(sys.argv[1]), 'torch' in sys.modules]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(compiled.path)], capture_output=True, text=True, check=True
    )
    info, torch_was_loaded = json.loads(run.stdout)
    assert not torch_was_loaded
    assert info["format"] == "aotinductor"
    assert info["type_names"] == list(TYPE_NAMES)
    assert (info["cutoff_A"], info["num_layers"], info["test_atoms"]) == (4.0, 2, 8)
    assert info["device"] == info["AOTI_DEVICE_KEY"] == "cpu"
    assert compiled.record.max_force_difference_eV_per_A < 1e-8
    assert "takes minutes" in compiled.shown


def test_nothing_of_the_deploying_machine_is_in_the_file(ours: Path) -> None:
    import torch

    folders = [Path(torch.__file__).parent.parent, Path.cwd(), Path.home() / "x", ours.parent]
    with zipfile.ZipFile(ours) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b"\x7fELF" in content
    for folder in folders:
        assert str(folder).removesuffix("x").encode() not in content
    assert b"torchinductor_" not in content


# --- files that nequip compiled -------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", STRUCTURES)
def test_theirs_agrees_with_nequips_ase_calculator(
    name: str, start: Start, theirs: Path, checkpoint: Path
) -> None:
    """The virial comes from the strain of a cell of unit length: its sign and size."""
    atoms = of_carbon(STRUCTURES[name]())
    instance = start(atoms, theirs)
    instance.command("run 0")
    atoms.calc = calculator_of(checkpoint)
    assert np.abs(atoms.get_forces()).max() > 0.05
    assert np.abs(atoms.get_stress()).max() > 1e-3
    agrees(instance, atoms)


@pytest.mark.parametrize("name", FEW)
def test_theirs_with_few_atoms_and_edges(
    name: str, start: Start, theirs: Path, checkpoint: Path
) -> None:
    atoms = FEW[name].copy()
    instance = start(atoms, theirs)
    instance.command("run 0")
    if name.startswith("pair"):
        atoms.calc = calculator_of(checkpoint)
        agrees(instance, atoms)
    else:
        assert np.abs(forces_of(instance)).max() == 0
        per_atom = instance.get_thermo("pe") / len(atoms)
        apart = start(FEW["two_apart"], theirs)
        apart.command("run 0")
        assert per_atom == pytest.approx(apart.get_thermo("pe") / 2, abs=1e-12)


@pytest.mark.parametrize("name", STRUCTURES)
def test_torchscript_of_nequip(name: str, start: Start, tmp_path: Path) -> None:
    """What nequip-compile writes where torch lets it: the whole model and nequip's metadata."""
    from nequip.model.inference_models.torchscript import save_torchscript_model
    from nequip.utils.global_state import get_latest_global_state

    atoms = STRUCTURES[name]()
    elements = elements_of(atoms)
    model = random_model(type_names=elements).eval()
    state = get_latest_global_state(only_metadata_related=True)
    metadata = model.metadata | {key: str(int(value)) for key, value in state.items()}
    path = tmp_path / "theirs.nequip.pth"
    save_torchscript_model(model, metadata, str(path), "cpu")
    instance = start(atoms, path)
    instance.command("run 0")
    atoms.calc = nequip_calculator("float64", elements)
    agrees(instance, atoms)


# --- refusals -------------------------------------------------------------------------------


def with_metadata(model: Path, folder: Path, **changes: str | None) -> Path:
    """Copy a file with other metadata; None removes a key."""
    path = folder / "changed.nequip.pt2"
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("wrapper_metadata.json"):
                known = json.loads(content) | changes
                known = {key: value for key, value in known.items() if value is not None}
                content = json.dumps(known).encode()
            new.writestr(entry, content)
    return path


def altered_configuration(model: Path) -> str:
    """Return the test configuration of a file with one force changed by 0.01 eV/Å."""
    with zipfile.ZipFile(model) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("metadata.json"))
        words = json.loads(archive.read(name))["test_configuration"].split("\n")
    x, rest = words[-2].split(" ", 1)
    return "\n".join([*words[:-2], f"{float(x) + 0.01} {rest}", ""])


CHANGES = [
    ({"nequip_aoti_inputs": None}, "not a file of a NequIP model .no nequip_aoti_inputs inside"),
    ({"nequip_aoti_inputs": "edge_index batch"}, "its input 'batch' is unknown.*--target pair_ne"),
    (
        {"nequip_aoti_outputs": "atomic_energy total_energy forces stress"},
        "its outputs are 'atomic_energy total_energy forces stress', expected .* virial",
    ),
    ({"nequip_aoti_outputs": "atomic_energy edge_gradients more"}, "gives 2 outputs, expected 3"),
    ({"nequip_custom_ops_libs": "oeq"}, "package oeq, expected TEMPERMD_OPERATORS to name"),
    ({"AOTI_DEVICE_KEY": "cuda"}, "compiled for device 'cuda' and cannot run on 'cpu'"),
    ({"tempermd_format": "99"}, "tempermd_format is 99, this pair style reads 2"),
    ({"test_configuration": "altered"}, "forces differ from those recorded at deployment"),
]


@pytest.mark.parametrize(("changes", "sentence"), CHANGES, ids=lambda one: "-".join(one)[:30])
def test_refuses_other_metadata(
    changes: dict,
    sentence: str,
    start: Start,
    ours: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPERMD_OPERATORS", "")  # set where OpenEquivariance is installed
    if "test_configuration" in changes:
        changes = {"test_configuration": altered_configuration(ours)}
    with pytest.raises(Exception, match=sentence):
        start(small_box(), with_metadata(ours, tmp_path, **changes))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_refuses_truncated_files(share: float, start: Start, ours: Path, tmp_path: Path) -> None:
    path = tmp_path / "truncated.nequip.pt2"
    content = ours.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(Exception, match=UNREADABLE):
        start(small_box(), path)
    with pytest.raises(UserError, match="truncated, or no deployed model"):
        model_info(path)


def test_refuses_foreign_files(start: Start, make_model, ours: Path, tmp_path: Path) -> None:
    path = tmp_path / "foreign.nequip.pt2"
    path.write_text("this is no model\n")
    with pytest.raises(Exception, match=UNREADABLE):
        start(small_box(), path)
    shutil.copy(make_model(), path)
    with pytest.raises(Exception, match=UNREADABLE):
        start(small_box(), path)
    # the library inside is damaged, its metadata is not
    content = ours.read_bytes()
    path.write_bytes(content.replace(b"\x7fELF", b"XELF"))
    with pytest.raises(Exception, match=UNREADABLE):
        start(small_box(), path)


def test_python_refuses_what_cannot_run_here(
    ours: Path, theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tempermd.deploy import aotinductor

    with pytest.raises(UserError, match="compiled for cuda, it cannot run on cpu"):
        load_deployed(with_metadata(ours, tmp_path, AOTI_DEVICE_KEY="cuda"))
    altered = with_metadata(ours, tmp_path, test_configuration=altered_configuration(ours))
    with pytest.raises(UserError, match="does not give its own test configuration's forces"):
        load_deployed(altered)
    with pytest.raises(UserError, match="compiled by nequip, not by deploy-model"):
        model_info(theirs)
    old_processor = with_metadata(ours, tmp_path, AOTI_CPU_ISA="AVX2")
    monkeypatch.setattr(aotinductor, "_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(UserError, match="compiled for processors with AVX2, which this one is not"):
        load_deployed(old_processor)


def test_a_wrong_compilation_is_not_written(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write another model's file in place of the right one: nothing may be left behind."""
    from tempermd.deploy import export

    def write_other(_model, _metadata, path: Path, *_rest) -> None:
        shutil.copy(ours, path)

    monkeypatch.setattr(export, "write_aotinductor", write_other)
    with pytest.raises(UserError, match="aotinductor model differs from the checkpoint"):
        deploy_model(random_model(type_names=TYPE_NAMES, seed=2), tmp_path / "wrong.nequip.pt2")
    assert list(tmp_path.iterdir()) == []


def test_says_when_there_is_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler, and there is no no-such-compil"):
        deploy_model(random_model(), tmp_path / "a.nequip.pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file_format", "sentence"),
    [
        ("a.nequip.pt2", "torchscript", r"must end in \.nequip\.pth \(torchscript\)$"),
        ("a.nequip.pth", "aotinductor", r"must end in \.nequip\.pt2 \(aotinductor\)$"),
        ("a.nequip.pth", "onnx", "format 'onnx' is unknown; choose torchscript or aotinductor"),
        ("a.pt2", None, r"must end in \.nequip\.pth \(torchscript\) or \.nequip\.pt2 \(aotind"),
    ],
)
def test_name_and_format_must_agree(
    name: str, file_format: str | None, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        deploy(tmp_path / "any.ckpt", tmp_path / name, file_format=file_format)
