"""Weights of nequip 0.5 and 0.6 in today's NequIP: oracle is nequip 0.6.2, recorded once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from published_cases import case, levi_civita, reference_frames, write_state
from tempermd.records import UserError
from tempermd.training import evaluate, finetune, load_checkpoint
from tempermd.training.published import ImportSpec, import_weights, parse_energies
from training_cases import morse_frames, write_case


def spec_of(name: str, **changes) -> ImportSpec:
    known = case(name)["hyperparameters"]
    values = {
        "type_names": known["type_names"],
        "avg_num_neighbors": known["avg_num_neighbors"],
        "cutoff_A": known["r_max"],
        "cutoff_power": known["PolynomialCutoff_p"],
        "nonlinearity": known["nonlinearity_scalars"]["e"],
        "model_dtype": "float64",
    }
    return ImportSpec(**values | changes)


def largest_differences(checkpoint: Path, name: str) -> tuple[float, float]:
    """Return the largest difference to nequip 0.6.2 in eV/atom and eV/Å."""
    from tempermd.training.graphs import build_graph, predict
    from tempermd.training.models import energy_only

    model = load_checkpoint(checkpoint)
    inner, cutoff_A = energy_only(model), float(model.metadata["r_max"])
    frames = reference_frames(name)
    assert len(frames) == 20
    energies, forces = [], []
    for atoms in frames:
        found = predict(inner, build_graph(atoms, model.type_names, cutoff_A))
        labels = atoms.calc.results
        energies.append(abs(found.energy_eV - labels["energy"]) / len(atoms))
        forces.append(np.abs(found.forces_eV_A - labels["forces"]).max())
    return max(energies), max(forces)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of seeded weights with the names and shapes of the published ones."""
    folder = tmp_path_factory.mktemp("imported")
    weights = write_state(folder / "old.pth", "paper")
    return import_weights(weights, spec_of("paper"), folder / "base.ckpt")


def test_the_case_has_the_published_tensors() -> None:
    """The names and sizes in the paper's files: 73 tensors, some of them empty."""
    shapes = case("paper")["shapes"]
    assert len(shapes) == 73
    assert shapes["model.func.layer3_convnet.conv.linear_2.weight"] == [14336]


def test_same_numbers_as_nequip_062(imported: Path) -> None:
    """Softplus, one type, 4 layers: the published kind. The record holds 8 decimals."""
    energy, force = largest_differences(imported, "paper")
    assert energy < 1e-10
    assert force < 1e-8


def test_same_numbers_with_silu_two_types_and_a_scale(tmp_path: Path) -> None:
    """Other sizes: 2 layers, 6 Bessel functions, radial network 2x5, p = 5, energies scaled."""
    weights = write_state(tmp_path / "old.pth", "two_types")
    checkpoint = import_weights(weights, spec_of("two_types"), tmp_path / "base.ckpt")
    energy, force = largest_differences(checkpoint, "two_types")
    assert energy < 1e-10
    assert force < 1e-8


def test_single_precision_is_close(tmp_path: Path) -> None:
    weights = write_state(tmp_path / "old.pth", "paper")
    spec = spec_of("paper", model_dtype="float32")
    energy, force = largest_differences(
        import_weights(weights, spec, tmp_path / "base.ckpt"), "paper"
    )
    assert energy < 1e-5
    assert 1e-8 < force < 1e-4


@pytest.mark.skipif(
    "TEMPERMD_PUBLISHED_WEIGHTS" not in os.environ,
    reason="TEMPERMD_PUBLISHED_WEIGHTS does not name the paper's ace-10_000.pth",
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-4)])
def test_the_published_weights(tmp_path: Path, dtype: str, tolerance: float) -> None:
    spec = spec_of("paper", model_dtype=dtype)
    weights = Path(os.environ["TEMPERMD_PUBLISHED_WEIGHTS"])
    checkpoint = import_weights(weights, spec, tmp_path / "base.ckpt")
    energy, force = largest_differences(checkpoint, "published")
    assert energy < tolerance
    assert force < tolerance


def test_reference_energies_are_added_per_atom(imported: Path, tmp_path: Path) -> None:
    from tempermd.training.models import energy_shifts

    weights = write_state(tmp_path / "old.pth", "paper")
    spec = spec_of("paper", reference_energies_eV=parse_energies(["C=-1.5"]))
    shifted = import_weights(weights, spec, tmp_path / "base.ckpt")
    change = (
        energy_shifts(load_checkpoint(shifted))["C"] - energy_shifts(load_checkpoint(imported))["C"]
    )
    assert change == pytest.approx(-1.5)


def test_finetunes_and_stands_alone(imported: Path, tmp_path: Path) -> None:
    """The first step starts from the imported weights; the result needs no parent."""
    spec = write_case(tmp_path, max_epochs=1, learning_rate=1e-30, batch_size=6)
    text = spec.read_text()
    start, end = text.index("[model]"), text.index("[data]")
    spec.write_text(text[:start] + text[end:])
    tuned = finetune(imported, spec, tmp_path / "out", progress=False)
    frames = morse_frames(3, 3)
    expected = evaluate(imported, frames).force_rmse_eV_per_A
    assert evaluate(tuned, frames).force_rmse_eV_per_A == pytest.approx(expected, rel=1e-6)


def test_deploys(imported: Path, tmp_path: Path) -> None:
    """Deployment checks the file's forces against the checkpoint's; layers run as layers."""
    from tempermd.deploy import deploy, model_info

    found = deploy(imported, tmp_path / "model.nequip.pth")
    assert found.max_force_difference_eV_per_A < 1e-8
    assert model_info(tmp_path / "model.nequip.pth")["tempermd_layered"] == "1"


# --- refusals -------------------------------------------------------------------------------


CONV = "model.func.layer1_convnet.conv"
WEIGHT = f"{CONV}.linear_2.weight"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({WEIGHT: None}, "'layer1_convnet.conv.linear_2.weight' is missing"),
        ({WEIGHT: np.zeros(9000)}, "has 9000 numbers, but l_max 1 with parity .* needs 9216"),
        ({WEIGHT: np.full(9216, np.nan)}, "has NaN or Inf"),
        ({"model.func.radial_basis.basis.bessel_weights": None}, "has no tensor 'radial_basis"),
        ({"model.func.pair_potential.a": np.ones(3)}, "'pair_potential.a' belongs to no part"),
        ({"shift_by": np.array(3.0)}, "shifts total energies"),
        (
            {f"{CONV}.tp._compiled_main_left_right._w3j_1_1_1": levi_civita()},
            "is not today's e3nn's",
        ),
    ],
)
def test_refuses_other_tensors(tmp_path: Path, changes: dict, named: str) -> None:
    weights = write_state(tmp_path / "old.pth", "paper", **changes)
    with pytest.raises(UserError, match=named) as caught:
        import_weights(weights, spec_of("paper"), tmp_path / "base.ckpt")
    assert "old.pth" in str(caught.value)
    assert not (tmp_path / "base.ckpt").exists()


def test_refuses_other_types(tmp_path: Path) -> None:
    weights = write_state(tmp_path / "old.pth", "two_types")
    with pytest.raises(UserError, match=r"has 2 atom type\(s\), but type_names names 1 \(C\)"):
        import_weights(weights, spec_of("two_types", type_names=["C"]), tmp_path / "base.ckpt")
    spec = spec_of("two_types", type_names=["Xx", "C"])
    with pytest.raises(UserError, match="'Xx' is no chemical element"):
        import_weights(weights, spec, tmp_path / "base.ckpt")
    spec = spec_of("two_types", reference_energies_eV={"N": 1.0})
    with pytest.raises(UserError, match="given for N, but the model's types are Si, C"):
        import_weights(weights, spec, tmp_path / "base.ckpt")


def test_refuses_other_files(imported: Path, tmp_path: Path) -> None:
    """A checkpoint is refused unopened: reading it would run code in it."""
    spec = spec_of("paper")
    torch.save({"epoch": 3}, tmp_path / "trainer.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name, named in (("trainer.pth", "'epoch' in it is no tensor"), ("text.pth", "safely")):
        with pytest.raises(UserError, match=named):
            import_weights(tmp_path / name, spec, tmp_path / "base.ckpt")
    with pytest.raises(UserError, match=r"cannot be read safely|is no tensor"):
        import_weights(imported, spec, tmp_path / "base.ckpt")
    with pytest.raises(UserError, match="no such file"):
        import_weights(tmp_path / "none.pth", spec, tmp_path / "base.ckpt")
    with pytest.raises(UserError, match=re.escape("must end in .ckpt")):
        import_weights(imported, spec, tmp_path / "base.pth")
    with pytest.raises(UserError, match="exists already"):
        import_weights(imported, spec, imported)


def test_refuses_odd_reference_energies() -> None:
    for text in ("C", "C=", "C=x", "=1", "c=1", "C=1-1"):
        with pytest.raises(UserError, match="ELEMENT=eV"):
            parse_energies([text])
