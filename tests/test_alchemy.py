"""Transmuted checkpoints: exact scaling of energies and forces, what is refused, what is fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from pair_style_cases import Start, forces_of
from tempermd.records import UserError, read_record, sha256_file
from tempermd.training import (
    AlchemySpec,
    Training,
    alchemy_spec,
    evaluate,
    finetune,
    load_checkpoint,
    transmutation_text,
    transmute,
)
from tempermd.training.alchemy import Transmutation, default_length_ratio
from tempermd.training.models import ModelSpec, builder_config, save_module
from tempermd.training.specs import TrainingSpec
from tempermd.training.start import lightning_module
from training_cases import morse_frames, write_case

S, Y = 1.37, 0.61


def save_model(path: Path, *names: str, zbl: bool = False, **changes) -> Path:
    """Write a checkpoint of random weights in double precision."""
    from nequip.utils.global_state import set_global_state

    set_global_state()
    spec = ModelSpec(
        type_names=list(names),
        cutoff_A=3.0,
        num_layers=2,
        num_features=4,
        radial_mlp_width=8,
        model_dtype="float64",
        zbl=zbl,
    )
    config = builder_config(
        spec,
        seed=3,
        avg_num_neighbors=9.0,
        energy_scale_eV=20.0,
        energy_shifts_eV={name: -7.0 - i for i, name in enumerate(names)},
    )
    save_module(lightning_module(config | changes, TrainingSpec(max_epochs=1)), path)
    return path


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("parent") / "carbon.ckpt", "C")


def crystal(symbols: str = "C8") -> Atoms:
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    atoms.symbols = Atoms(symbols).symbols
    atoms.rattle(0.1, seed=4)
    return atoms


def grown(atoms: Atoms, ratio: float, symbols: str) -> Atoms:
    """Return the structure of other elements with all lengths multiplied."""
    large = atoms.copy()
    large.set_cell(ratio * atoms.cell.array, scale_atoms=True)
    large.symbols = Atoms(symbols).symbols
    return large


def by_nequip(checkpoint: Path, atoms: Atoms) -> tuple[float, np.ndarray]:
    """Return energy (eV) and forces (eV/Å) by nequip's own ASE calculator."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    model = load_checkpoint(checkpoint).eval()
    names = list(model.type_names)
    cutoff_A = float(model.metadata["r_max"])
    transforms = basic_transforms(model.metadata, cutoff_A, names, {one: one for one in names})
    calculator = NequIPCalculator(model=model, device="cpu", transforms=transforms)
    copy = atoms.copy()
    copy.calc = calculator
    return copy.get_potential_energy(), copy.get_forces()


def assert_scaled(parent: Path, child: Path, small: Atoms, large: Atoms) -> None:
    energy, forces = by_nequip(parent, small)
    new_energy, new_forces = by_nequip(child, large)
    assert np.abs(forces).max() > 0.05  # there is something to scale
    assert new_energy == pytest.approx(Y * energy, rel=1e-12)
    np.testing.assert_allclose(new_forces, Y / S * forces, atol=1e-12)


def test_scales_exactly(parent: Path, tmp_path: Path) -> None:
    """Oracle: E'(sR) = y E(R) and F'(sR) = y/s F(R), by nequip's calculator, to rounding."""
    spec = AlchemySpec(elements={"C": "Si"}, length_ratio=S, energy_ratio=Y)
    child = transmute(parent, spec, tmp_path / "si.ckpt")
    small = crystal()
    assert_scaled(parent, child, small, grown(small, S, "Si8"))


def test_several_elements_keep_their_order(tmp_path: Path) -> None:
    """Two types with cutoffs by pair and neighbors by type: a swap would change the energy."""
    parent = save_model(
        tmp_path / "base.ckpt",
        "C",
        "H",
        per_edge_type_cutoff={"C": {"H": 2.0, "C": 2.8}, "H": 2.4},
        avg_num_neighbors={"C": 9.0, "H": 5.0},
    )
    spec = AlchemySpec(elements={"H": "C", "C": "Si"}, length_ratio=S, energy_ratio=Y)
    child = transmute(parent, spec, tmp_path / "sic.ckpt")
    assert list(load_checkpoint(child).type_names) == ["Si", "C"]
    small = crystal("C5H3")
    assert_scaled(parent, child, small, grown(small, S, "Si5C3"))


def test_deployed_model_scales(parent: Path, tmp_path: Path, start: Start) -> None:
    """The same law through TorchScript in an unmodified LAMMPS, structures unscaled."""
    from tempermd.deploy import deploy

    spec = AlchemySpec(elements={"C": "Si"}, length_ratio=S, energy_ratio=Y)
    child = transmute(parent, spec, tmp_path / "si.ckpt")
    deployed = tmp_path / "si.nequip.pth"
    deploy(child, deployed)
    large = grown(crystal(), S, "Si8")
    energy, forces = by_nequip(parent, crystal())
    instance = start(large, deployed)
    instance.command("run 0")
    assert instance.get_thermo("pe") == pytest.approx(Y * energy, rel=1e-9)
    np.testing.assert_allclose(forces_of(instance), Y / S * forces, atol=1e-9)


def test_zbl_becomes_the_new_element_s_own(tmp_path: Path) -> None:
    """Oracle: the learnt part scales when each element's ZBL (another formula) is taken off."""
    plain = save_model(tmp_path / "plain.ckpt", "C")
    parent = save_model(tmp_path / "zbl.ckpt", "C", zbl=True)
    spec = AlchemySpec(elements={"C": "Si"}, length_ratio=S, energy_ratio=Y)
    child = transmute(parent, spec, tmp_path / "si.ckpt")
    small = Atoms("C2", [[0, 0, 0], [0, 0, 1.1]])
    large = Atoms("Si2", S * small.positions)
    learnt, _ = by_nequip(plain, small)
    found, _ = by_nequip(child, large)
    assert found - Y * learnt == pytest.approx(zbl_energy(14, S * 1.1, S * 3.0), rel=1e-5)


def zbl_energy(number: int, distance_A: float, cutoff_A: float) -> float:
    """Return a pair's screened repulsion (Ziegler, Biersack, Littmark 1985), cut off, eV."""
    a = 0.46850 / (2 * number**0.23)
    x = distance_A / a
    terms = [(0.02817, 0.20162), (0.28022, 0.40290), (0.50986, 0.94229), (0.18175, 3.19980)]
    u = distance_A / cutoff_A  # nequip's polynomial cutoff with p = 6
    envelope = 1 - 28 * u**6 + 48 * u**7 - 21 * u**8
    screened = sum(c * np.exp(-d * x) for c, d in terms)
    return 14.399645 * number**2 / distance_A * screened * envelope


def labelled(atoms: Atoms, energy_eV: float, forces_eV_A: np.ndarray) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms.calc = SinglePointCalculator(atoms, energy=energy_eV, forces=forces_eV_A)
    return atoms


def silicon_by(parent: Path, frames: list[Atoms], s: float, y: float) -> list[Atoms]:
    """Return scaled frames with labels y E(R/s) of the parent plus 3 eV per atom."""
    found = []
    for atoms in frames:
        energy, forces = by_nequip(parent, atoms)
        large = grown(atoms, s, f"Si{len(atoms)}")
        found.append(labelled(large, y * energy + 3.0 * len(atoms), y / s * forces))
    return found


def test_fit_finds_known_ratios(parent: Path, tmp_path: Path) -> None:
    """Oracle: labels made by the scaling law with s = 1.6 and y = 0.4."""
    frames = silicon_by(parent, morse_frames(3, 8), 1.6, 0.4)
    spec = AlchemySpec(elements={"C": "Si"}, length_ratio="fit", energy_ratio="fit")
    child = transmute(parent, spec, tmp_path / "si.ckpt", frames)
    record = read_record(tmp_path / "si.json", Transmutation)
    assert record.length_ratio == pytest.approx(1.6, abs=0.004)
    assert record.energy_ratio == pytest.approx(0.4, abs=0.01)
    assert record.fit_rms_eV_per_A < 0.05 * record.fit_forces_rms_eV_per_A
    assert evaluate(child, frames).force_rmse_eV_per_A == pytest.approx(
        record.fit_rms_eV_per_A, rel=1e-9
    )
    assert "1.52" in record.length_ratio_from
    assert "are left before any training" in transmutation_text(child)


def test_fit_of_opposite_forces_is_refused(parent: Path, tmp_path: Path) -> None:
    frames = silicon_by(parent, morse_frames(1, 8), 1.52, -0.4)
    spec = AlchemySpec(elements={"C": "Si"}, energy_ratio="fit")
    with pytest.raises(UserError, match="point against those of the base"):
        transmute(parent, spec, tmp_path / "si.ckpt", frames)
    assert list(tmp_path.iterdir()) == []


def test_record_and_words(parent: Path, tmp_path: Path) -> None:
    child = transmute(parent, alchemy_spec(["C=Si"]), tmp_path / "si.ckpt")
    record = read_record(tmp_path / "si.json", Transmutation)
    assert record.parent_sha256 == sha256_file(parent)
    assert record.checkpoint_sha256 == sha256_file(child)
    assert record.length_ratio == pytest.approx(5.43 / 3.57)  # ASE's diamond lattice constants
    assert (record.parent_cutoff_A, record.cutoff_A) == (3.0, pytest.approx(3 * 5.43 / 3.57))
    words = transmutation_text(child)
    assert "3 A in carbon.ckpt, 4.56303 A now" in words


def test_default_ratios() -> None:
    """Copper and silver are both fcc (3.61, 4.09 Å); carbon and copper share no structure."""
    ratio, origin = default_length_ratio({"Cu": "Ag"})
    assert (ratio, origin) == (pytest.approx(4.09 / 3.61), "lattice constants, fcc")
    ratio, origin = default_length_ratio({"C": "Cu"})
    assert (ratio, origin) == (pytest.approx(1.32 / 0.76), "covalent radii")
    ratio, _ = default_length_ratio({"C": "Si", "Cu": "Ag"})
    assert ratio == pytest.approx(np.sqrt(5.43 / 3.57 * 4.09 / 3.61))


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (["C=Si", "H=H"], "its elements are C, but the change names C, H"),
        (["H=Si"], "its elements are C"),
        (["C"], "write OLD=NEW"),
        (["C=Xx"], "is no chemical element"),
        (["C=Si", "H=Si"], "two elements become the same"),
    ],
)
def test_wrong_elements(parent: Path, tmp_path: Path, elements: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        transmute(parent, alchemy_spec(elements), tmp_path / "si.ckpt")


def test_a_study_s_table_is_a_spec(parent: Path, tmp_path: Path) -> None:
    table = {"elements": {"C": "Si"}, "length_ratio": S}
    child = transmute(parent, table, tmp_path / "si.ckpt")
    assert float(load_checkpoint(child).metadata["r_max"]) == pytest.approx(3 * S)
    with pytest.raises(UserError, match="unknown key 'lenght_ratio'"):
        transmute(parent, {"elements": {"C": "Si"}, "lenght_ratio": 2}, tmp_path / "x.ckpt")


def test_other_refusals(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no frames are given"):
        transmute(parent, alchemy_spec(["C=Si"], None, "fit"), tmp_path / "si.ckpt")
    with pytest.raises(UserError, match=r"must end in \.ckpt"):
        transmute(parent, alchemy_spec(["C=Si"]), tmp_path / "si.pth")
    transmute(parent, alchemy_spec(["C=Si"]), tmp_path / "si.ckpt")
    with pytest.raises(UserError, match="exists already"):
        transmute(parent, alchemy_spec(["C=Si"]), tmp_path / "si.ckpt")
    lj = {"_target_": "nequip.nn.pair_potential.LennardJones"}
    lj |= {"lj_sigma": 1.0, "lj_epsilon": 0.1}
    odd = save_model(tmp_path / "lj.ckpt", "C", pair_potential=lj)
    with pytest.raises(UserError, match="LennardJones, whose lengths cannot be scaled"):
        transmute(odd, alchemy_spec(["C=Si"]), tmp_path / "other.ckpt")


def silicon_case(folder: Path, cutoff_A: float) -> Path:
    """Write a spec and data of silicon: Morse frames of carbon with all lengths times 1.5."""
    parts = []
    for some in (morse_frames(4, 1), morse_frames(2, 2), morse_frames(2, 3)):
        parts.append([labelled(grown(one, 1.5, "Si8"), 0.0, 0 * one.positions) for one in some])
    path = write_case(folder, tuple(parts), max_epochs=1)
    text = path.read_text().replace('"C"', '"Si"').replace("2.6", repr(cutoff_A))
    path.write_text(text.replace("[model]", '[model]\nmodel_dtype = "float64"'))
    return path


def test_another_cutoff_is_refused_by_name(parent: Path, tmp_path: Path) -> None:
    child = transmute(parent, alchemy_spec(["C=Si"], 1.5), tmp_path / "si.ckpt")
    spec = silicon_case(tmp_path / "case", 3.0)
    with pytest.raises(UserError, match=r"cutoff_A is 4\.5 .* but 3\.0 in the spec.*transmute"):
        finetune(child, spec, tmp_path / "out", progress=False)
    with pytest.raises(UserError, match=r"type_names is \['C'\].*transmute"):
        finetune(parent, spec, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()  # the mended spec may have the same output
    # the same cutoff in other last digits is the same cutoff
    spec = silicon_case(tmp_path / "same", 4.5 * (1 + 1e-12))
    finetune(child, spec, tmp_path / "tuned", progress=False)
    record = read_record(tmp_path / "tuned" / "training.json", Training)
    assert record.inputs.parent_sha256 == sha256_file(child)
    assert load_checkpoint(tmp_path / "tuned" / "best.ckpt").metadata["r_max"] == "4.5"


def test_command(parent: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tempermd.cli import app

    out = tmp_path / "si.ckpt"
    found = CliRunner().invoke(app, ["transmute", str(parent), "--to", "C=Si", "-o", str(out)])
    assert found.exit_code == 0
    assert found.stdout.strip() == str(out)
    assert "3 A in carbon.ckpt" in found.stderr
