"""Deployed models: the same numbers as the checkpoint, and honest about themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from conftest import random_model
from tempermd.deploy import (
    calculator,
    deploy,
    deploy_model,
    load_deployed,
    model_info,
    parse_configuration,
)
from tempermd.records import UserError, sha256_file
from tempermd.training import evaluate, load_checkpoint, train
from training_cases import morse_frames, write_case


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for a few steps only, so that EMA and raw weights differ."""
    folder = tmp_path_factory.mktemp("trained")
    spec = write_case(folder, max_epochs=3, learning_rate=0.03, ema_decay=0.9)
    return train(spec, folder / "out", progress=False)


@pytest.fixture(scope="module")
def deployed(checkpoint: Path) -> Path:
    """The checkpoint as TorchScript."""
    output = checkpoint.parent / "carbon.nequip.pth"
    deploy(checkpoint, output)
    return output


@pytest.fixture(scope="module")
def carbon(deployed: Path):
    """An ASE calculator of the deployed checkpoint."""
    return calculator(deployed)


# --- the same numbers -----------------------------------------------------------------------


def test_equals_the_checkpoint(checkpoint: Path, carbon) -> None:
    """Oracle: nequip's own forces and stress of the eager model, at 5e-5 eV/Å (float32)."""
    import torch
    from ase.build import bulk

    from tempermd.training.graphs import build_graph

    atoms = bulk("C", "diamond", a=3.6).repeat((2, 2, 1))  # triclinic
    atoms.rattle(0.1, seed=4)
    graph = build_graph(atoms, ["C"], 2.6)
    output = load_checkpoint(checkpoint).eval()(
        {
            "pos": torch.tensor(atoms.positions),
            "cell": torch.tensor(atoms.cell.array)[None],
            "edge_index": torch.tensor(graph.edge_index),
            "edge_cell_shift": torch.tensor(graph.edge_shifts),
            "atom_types": torch.tensor(graph.types),
        }
    )
    atoms.calc = carbon
    forces = output["forces"].detach().numpy()
    assert np.abs(forces).max() > 0.1
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=5e-5)
    energy = output["total_energy"].item()
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-5 * len(atoms))
    stress = output["stress"][0].detach().numpy()
    np.testing.assert_allclose(atoms.get_stress(voigt=False), stress, atol=1e-6)


def test_errors_equal_the_checkpoints(checkpoint: Path, carbon) -> None:
    frames = morse_frames(3, 3)
    eager, scripted = evaluate(checkpoint, frames), evaluate(carbon, frames)
    assert scripted.force_rmse_eV_per_A == pytest.approx(eager.force_rmse_eV_per_A, rel=1e-5)
    assert scripted.energy_rmse_meV_per_atom == pytest.approx(
        eager.energy_rmse_meV_per_atom, rel=1e-4
    )


def test_ema_weights_are_deployed(checkpoint: Path, carbon) -> None:
    """Oracle: a model into which the stored averages are put by hand; raw weights differ."""
    import torch

    from tempermd.training.graphs import build_graph, predict
    from tempermd.training.models import energy_only

    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    model = load_checkpoint(checkpoint)
    atoms = morse_frames(1, 5)[0]
    atoms.calc = carbon
    differences = {}
    for kind in ("ema", "raw"):
        with torch.no_grad():
            for number, (name, weight) in enumerate(model.named_parameters()):
                stored = f"ema.ema_weight_{number}" if kind == "ema" else f"model.sole_model.{name}"
                weight.copy_(state[stored])
        found = predict(energy_only(model), build_graph(atoms, ["C"], 2.6))
        differences[kind] = np.abs(found.forces_eV_A - atoms.get_forces()).max()
    assert differences["ema"] < 5e-5
    assert differences["raw"] > 1e-2


@pytest.mark.parametrize("type_names", [("C",), ("H", "C")])
def test_calculator_against_finite_differences(make_model, type_names: tuple) -> None:
    """Oracle: central differences of the energy, by positions and by strain (float64)."""
    from ase.build import bulk
    from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

    atoms = bulk("C", "diamond", a=3.5)
    atoms.rattle(0.1, seed=2)
    atoms.symbols[0] = type_names[0]
    atoms.calc = calculator(make_model(dtype="float64", type_names=type_names))
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    assert np.abs(numerical).max() > 0.01
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=1e-6)
    numerical = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), numerical, atol=1e-7)
    energies = atoms.get_potential_energies()
    assert energies.sum() == pytest.approx(atoms.get_potential_energy())


def test_calculator_outside_a_crystal(make_model) -> None:
    """A lone atom has its reference energy; a wire's edges do not cross open boundaries."""
    from ase import Atoms

    model = calculator(make_model(dtype="float64"))
    alone = Atoms("C", positions=[[50.0, 0, 0]], calculator=model)
    assert alone.get_potential_energy() == pytest.approx(-7.0)
    assert np.abs(alone.get_forces()).max() == 0
    pair = Atoms("C2", positions=[[0.1, 0, 0], [9.8, 0, 0]], cell=[10, 10, 10], pbc=[0, 1, 1])
    pair.calc = model
    assert pair.get_potential_energy() == pytest.approx(-14.0)
    pair.pbc = True  # now 0.3 Å apart through the boundary
    assert abs(pair.get_potential_energy() + 14.0) > 0.1


def test_neighbors_equal_those_of_ase() -> None:
    """Oracle: ASE's neighbor list, on cells shorter than the cutoff and mixed boundaries."""
    from ase import Atoms
    from ase.neighborlist import neighbor_list

    from tempermd.training.graphs import build_graph

    random = np.random.default_rng(0)
    for pbc in ([1, 1, 1], [0, 0, 1], [0, 0, 0]):
        atoms = Atoms("C9", positions=random.uniform(-4, 9, (9, 3)), cell=[3, 4, 5], pbc=pbc)
        graph = build_graph(atoms, ["C"], 4.0)
        centre, neighbor, vectors = neighbor_list("ijD", atoms, 4.0)

        def ordered(i, j, r):
            return np.array(sorted(zip(i, j, *np.round(r, 9).T, strict=True)))

        mine = ordered(*graph.edge_index, graph.edge_vectors_A)
        np.testing.assert_allclose(mine, ordered(centre, neighbor, vectors), atol=1e-8)


# --- what the file says ---------------------------------------------------------------------


def test_model_info(checkpoint: Path, deployed: Path) -> None:
    info = model_info(deployed)
    assert info["type_names"] == ["C"]
    assert info["cutoff_A"] == 2.6
    assert info["num_layers"] == 2
    assert info["num_types"] == 1
    assert info["units"] == "metal"
    assert info["device"] == "cpu"
    assert info["model_dtype"] == "float32"
    assert info["checkpoint_sha256"] == sha256_file(checkpoint)
    assert set(info["versions"]) >= {"torch", "nequip", "e3nn"}
    json.dumps(info)


def test_model_info_needs_no_torch(deployed: Path) -> None:
    code = (
        "import sys; from tempermd.deploy import model_info; model_info(sys.argv[1]);"
        "print(' '.join({'torch', 'nequip', 'ase'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(deployed)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == ""


def test_file_holds_what_the_pair_style_reads(deployed: Path) -> None:
    """The contract with the C++ side: names, and a test configuration that can be parsed."""
    with zipfile.ZipFile(deployed) as archive:
        names = {name.split("/extra/")[1] for name in archive.namelist() if "/extra/" in name}
        (name,) = (one for one in archive.namelist() if one.endswith("test_configuration"))
        text = archive.read(name).decode("ascii")
    assert names == {
        *("r_max", "type_names", "num_types", "model_dtype", "allow_tf32"),
        *("tempermd_format", "num_layers", "units", "versions", "checkpoint_sha256"),
        *("device", "test_configuration", "tempermd_layered"),
        *("spline_difference", "spline_bound"),
    }
    graph, energy_eV, forces_eV_A, tolerance_eV_A = parse_configuration(text)
    assert tolerance_eV_A >= 5e-5
    assert np.isfinite(energy_eV)
    assert forces_eV_A.shape == (8, 3)
    np.testing.assert_allclose(forces_eV_A.sum(axis=0), 0, atol=1e-4)
    lengths = np.linalg.norm(graph.edge_vectors_A, axis=1)
    assert lengths.max() <= 2.6
    edges = list(zip(*graph.edge_index, *graph.edge_vectors_A.round(9).T, strict=True))
    assert set(edges) == {(j, i, -x, -y, -z) for i, j, x, y, z in edges}


def test_only_energies_inside(deployed: Path) -> None:
    """The pair style differentiates local atoms alone, so no forces may come from inside."""
    model, _ = load_deployed(deployed)
    import torch

    output = model(
        {
            "edge_index": torch.tensor([[0, 1], [1, 0]]),
            "atom_types": torch.tensor([0, 0]),
            "edge_vectors": torch.tensor([[1.4, 0, 0], [-1.4, 0, 0]], dtype=torch.float64),
        }
    )
    assert output["atomic_energy"].shape == (2, 1)
    assert output["atomic_energy"].dtype == torch.float64
    assert not {"forces", "edge_forces", "virial"} & set(output)


def test_float64_is_exact(tmp_path: Path) -> None:
    record = deploy_model(random_model(), tmp_path / "double.nequip.pth")
    assert record.max_force_difference_eV_per_A < 1e-8
    assert record.model_dtype == "float64"


# --- refusals -------------------------------------------------------------------------------


def test_tampering_is_detected(deployed: Path, tmp_path: Path) -> None:
    """Change one force of the test configuration, as a wrong library would."""
    changed = tmp_path / "changed.nequip.pth"
    with zipfile.ZipFile(deployed) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("test_configuration"):
                words = data.decode().split("\n")
                x, y, z = words[-2].split()
                data = "\n".join([*words[:-2], f"{float(x) + 0.01} {y} {z}", ""]).encode()
            new.writestr(entry, data)
    with pytest.raises(UserError, match="does not give its own test configuration's forces"):
        load_deployed(changed)
    with pytest.raises(UserError, match="damaged"):
        calculator(changed)


def test_a_wrong_compilation_is_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Save another model's weights in place of the right ones: nothing may be left behind."""
    from nequip.model.inference_models import torchscript
    from nequip.model.modify_utils import modify

    save = torchscript.save_torchscript_model

    def save_other(model, *rest) -> None:
        other = modify(random_model(seed=2), [{"modifier": "disable_ForceStressOutput"}])
        save(other, *rest)

    monkeypatch.setattr(torchscript, "save_torchscript_model", save_other)
    with pytest.raises(UserError, match="differs from the checkpoint"):
        deploy_model(random_model(seed=1), tmp_path / "wrong.nequip.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.pth", "model.pt2", "model", ".nequip.pth"])
def test_refuses_another_extension(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"must end in \.nequip\.pth \(torchscript\) or \.nequip"):
        deploy(checkpoint, tmp_path / name)


def test_refuses_a_device_that_is_not_there(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="sees no GPU"):
            deploy(checkpoint, tmp_path / "a.nequip.pth", device="cuda")
    with pytest.raises(UserError, match="choose cpu or cuda"):
        deploy(checkpoint, tmp_path / "a.nequip.pth", device="tpu")


def test_refuses_missing_truncated_and_foreign_checkpoints(
    checkpoint: Path, deployed: Path, tmp_path: Path
) -> None:
    import torch

    output = tmp_path / "a.nequip.pth"
    with pytest.raises(UserError, match="no such file"):
        deploy(tmp_path / "missing.ckpt", output)
    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(checkpoint.read_bytes()[:-2000])
    with pytest.raises(UserError, match="truncated"):
        deploy(bad, output)
    bad.write_text("hello")
    with pytest.raises(UserError, match="not a checkpoint"):
        deploy(bad, output)
    torch.save({"weights": torch.zeros(3)}, bad)
    with pytest.raises(UserError, match="not a checkpoint of nequip"):
        deploy(bad, output)
    shutil.copy(deployed, bad)
    with pytest.raises(UserError, match="checkpoint"):
        deploy(bad, output)
    assert not output.exists()


def test_refuses_missing_truncated_and_foreign_models(deployed: Path, tmp_path: Path) -> None:
    import torch

    with pytest.raises(UserError, match="no such model file"):
        model_info(tmp_path / "missing.nequip.pth")
    bad = tmp_path / "bad.nequip.pth"
    for content in (b"", b"hello", deployed.read_bytes()[:-2000]):
        bad.write_bytes(content)
        with pytest.raises(UserError, match="truncated, or no deployed model"):
            model_info(bad)
    torch.save({"weights": torch.zeros(3)}, bad)
    with pytest.raises(UserError, match="not a deployed model"):
        calculator(bad)


def test_refuses_a_model_of_nequip_compile(tmp_path: Path) -> None:
    """Their files lack our metadata: say how to get it."""
    with zipfile.ZipFile(tmp_path / "theirs.nequip.pth", "w") as archive:
        for name, value in (("r_max", "4.0"), ("type_names", "C"), ("num_types", "1")):
            archive.writestr(f"theirs/extra/{name}", value)
        archive.writestr("theirs/extra/model_dtype", "float32")
    with pytest.raises(UserError, match="compiled by nequip, not by deploy-model"):
        model_info(tmp_path / "theirs.nequip.pth")


def test_no_path_of_the_deploying_machine_is_in_the_file(deployed: Path) -> None:
    """TorchScript's debug records would hold the folder of every module that was scripted."""
    import torch

    folder = str(Path(torch.__file__).parent.parent).encode()
    with zipfile.ZipFile(deployed) as archive:
        assert not [name for name in archive.namelist() if folder in archive.read(name)]
