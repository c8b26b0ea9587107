"""Conversions, names of labels and units: each with a file whose truth the test knows."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from dataset_cases import cluster, crystal, same, trajectory
from tempermd import dataset
from tempermd.dataset import ImportSpec, LabelKeys, Units
from tempermd.dataset.pymatgen_json import to_ase_stress
from tempermd.dataset.units import ENERGIES_EV, LENGTHS_A
from tempermd.records import UserError


@pytest.mark.parametrize("chain", [["db"], ["lmdb"], ["db", "lmdb", "extxyz"], ["lmdb", "db"]])
def test_conversions_lose_nothing(tmp_path: Path, chain: list[str]) -> None:
    frames = [crystal(seed) for seed in range(4)]
    frames[2].info |= {"note": "a, b = c", "list": [1, 2], "flag": True}
    write(tmp_path / "in.extxyz", frames)
    path = tmp_path / "in.extxyz"
    for number, suffix in enumerate(chain):
        path = dataset.convert(path, tmp_path / f"step{number}.{suffix}")
    for one, other in zip(dataset.iter_labelled(path), frames, strict=True):
        assert same(one, other)
        assert {k: np.asarray(v).tolist() for k, v in one.info.items()} == other.info


def test_structures_without_labels_are_converted_but_not_to_lmdb(tmp_path: Path) -> None:
    frames = [Atoms(a.numbers, a.positions, info={"kind": "x"}) for a in map(cluster, range(3))]
    write(tmp_path / "in.xyz", frames)
    path = dataset.convert(tmp_path / "in.xyz", tmp_path / "out.db")
    for one, other in zip(dataset.iter_structures(path), frames, strict=True):
        assert same(one, other, labels=False)
        assert one.info == other.info
    with pytest.raises(UserError, match="frame 0 has no energy and forces under these names"):
        dataset.convert(tmp_path / "in.xyz", tmp_path / "out.lmdb")
    with pytest.raises(UserError, match="exists already"):
        dataset.convert(tmp_path / "in.xyz", path)
    with pytest.raises(UserError, match=r"expected an output that ends in \.extxyz"):
        dataset.convert(tmp_path / "in.xyz", tmp_path / "out.cif")


def test_labelled_and_unlabelled_frames_do_not_mix(tmp_path: Path) -> None:
    frames = [crystal(0), crystal(1)]
    frames[1].calc = None
    write(tmp_path / "in.extxyz", frames)
    with pytest.raises(UserError, match="frame 1 has no labels, unlike those before it"):
        dataset.convert(tmp_path / "in.extxyz", tmp_path / "out.extxyz")
    assert [path.name for path in tmp_path.iterdir()] == ["in.extxyz"]


def other_names(atoms: Atoms) -> Atoms:
    """Return the frame with its labels under the names of another program."""
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.info = {"DFT_energy": atoms.calc.results["energy"], "kind": "x"}
    copy.arrays["dft_forces"] = atoms.calc.results["forces"]
    if "stress" in atoms.calc.results:
        from ase.stress import voigt_6_to_full_3x3_stress

        full = voigt_6_to_full_3x3_stress(atoms.calc.results["stress"])
        copy.info["my_virial"] = -full * atoms.get_volume()
    return copy


def test_labels_are_found_under_the_names_given(tmp_path: Path) -> None:
    frames = [crystal(seed, energies=False) for seed in range(3)]
    write(tmp_path / "in.extxyz", [other_names(atoms) for atoms in frames])
    keys = LabelKeys(energy=("E", "DFT_energy"), forces=("dft_forces",), virial=("my_virial",))
    path = dataset.convert(tmp_path / "in.extxyz", tmp_path / "out.extxyz", ImportSpec(keys=keys))
    for one, other in zip(dataset.iter_labelled(path), frames, strict=True):
        assert same(one, other)
        assert one.info == {"kind": "x"}


def test_missing_names_are_asked_for_with_a_guess(tmp_path: Path) -> None:
    write(tmp_path / "in.extxyz", other_names(cluster(1)))
    message = (
        r"frame 0 has no energy and forces under these names; it has info DFT_energy, kind and "
        r"arrays dft_forces; .*perhaps --energy-key DFT_energy --forces-key dft_forces"
    )
    with pytest.raises(UserError, match=message):
        dataset.convert(tmp_path / "in.extxyz", tmp_path / "out.extxyz")
    keys = LabelKeys(energy=("REF_energy",), forces=("dft_forces",))
    with pytest.raises(UserError, match="frame 0 has no REF_energy to take as energy; it has"):
        dataset.convert(tmp_path / "in.extxyz", tmp_path / "out.extxyz", ImportSpec(keys=keys))


def pymatgen_frame(atoms: Atoms, stress_kbar: list[float]) -> dict:
    """Return a frame as the mlearn sets write it."""
    sites = [
        {"species": [{"element": s, "occu": 1}], "xyz": p.tolist(), "label": s}
        for s, p in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    return {
        "structure": {"lattice": {"matrix": atoms.cell.array.tolist()}, "sites": sites},
        "group": "Elastic",
        "description": "strain 0.1",
        "outputs": {
            "energy": atoms.calc.results["energy"],
            "forces": atoms.calc.results["forces"].tolist(),
            "virial_stress": stress_kbar,
        },
    }


def test_pymatgen_json_is_read(tmp_path: Path) -> None:
    """100 kbar are 10 GPa; VASP's xx yy zz xy yz zx and sign become ASE's xx yy zz yz zx xy."""
    atoms = crystal(3, energies=False)
    frame = pymatgen_frame(atoms, [100.0, 200, 300, 400, 500, 600])
    (tmp_path / "a.json").write_text(json.dumps([frame, frame]))
    from ase.units import GPa

    atoms.calc.results["stress"] = -10 * GPa * np.array([1, 2, 3, 5, 6, 4])
    found = dataset.read_labelled(tmp_path / "a.json")
    assert len(found) == 2
    assert np.allclose(found[0].get_stress(), atoms.calc.results["stress"], rtol=1e-6)
    found[0].calc.results["stress"] = atoms.calc.results["stress"]
    assert same(found[0], atoms)
    assert found[0].info == {"kind": "Elastic", "description": "strain 0.1"}


def test_stress_of_compression_is_negative_in_ase() -> None:
    """The definition: stress is the change of energy with strain by volume."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    def energy(strain: np.ndarray) -> float:
        atoms = bulk("Cu", "fcc", 3.4)
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    volume = bulk("Cu", "fcc", 3.4).get_volume()
    step = np.zeros((3, 3))
    step[0, 0] = 1e-4
    stress_xx = (energy(step) - energy(-step)) / 2e-4 / volume
    pressure_kbar = -stress_xx * 1602.1766
    assert pressure_kbar > 0  # compressed copper pushes out, and VASP writes that as positive
    assert to_ase_stress(np.array([pressure_kbar, 0, 0, 0, 0, 0]))[0] == pytest.approx(
        stress_xx, rel=1e-4
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('{"a": 1}', "expected a list of objects with 'structure'"),
        ('[{"structure": {"sites": [{"xyz": [0, 0, 0]}]}}]', "frame 0 is no pymatgen structure"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=message):
        dataset.read_structures(tmp_path / "a.json")


def in_units(frames: list[Atoms], length: str, energy: str, force: float | None = None) -> list:
    """Return frames as another program writes them; ``force`` is its unit in eV/A."""
    force = force or ENERGIES_EV[energy] / LENGTHS_A[length]
    made = []
    for atoms in frames:
        copy = Atoms(atoms.numbers, atoms.positions / LENGTHS_A[length], info=dict(atoms.info))
        copy.calc = SinglePointCalculator(
            copy,
            energy=atoms.calc.results["energy"] / ENERGIES_EV[energy],
            forces=atoms.calc.results["forces"] / force,
        )
        made.append(copy)
    return made


@pytest.fixture(scope="module")
def moving() -> list[Atoms]:
    return [atoms for t in range(3) for atoms in trajectory(f"t{t}", 12, t)]


@pytest.mark.parametrize("length", ["A", "Bohr", "nm"])
@pytest.mark.parametrize("energy", ["eV", "Ha", "Ry", "kcal/mol", "kJ/mol"])
def test_units_that_are_said_are_converted(
    tmp_path: Path, moving: list[Atoms], length: str, energy: str
) -> None:
    write(tmp_path / "in.db", in_units(moving, length, energy))
    spec = ImportSpec(units=Units(length_unit=length, energy_unit=energy))
    path = dataset.convert(tmp_path / "in.db", tmp_path / "out.db", spec)
    assert all(same(a, b) for a, b in zip(dataset.iter_labelled(path), moving, strict=True))


@pytest.mark.parametrize(
    ("length", "energy", "force", "question"),
    [
        ("Bohr", "eV", None, "are positions in Bohr.*--length-unit Bohr, or --length-unit A"),
        ("nm", "eV", None, "are positions in nm"),
        ("A", "Ha", 1.0, "energies in Ha and forces in eV/A"),
        ("A", "kcal/mol", 1.0, "energies in kcal/mol and forces in eV/A"),
        ("A", "kJ/mol", 1.0, "energies in kJ/mol and forces in eV/A"),
        ("A", "eV", 51.422, "energies in eV and forces in Ha/Bohr"),
        ("A", "Ha", 51.422, "energies in Ha and forces in Ha/Bohr"),
        ("A", "Ha", None, "in Ha or Ry"),
        ("A", "kcal/mol", None, "in kcal/mol or kJ/mol"),
        ("A", "kJ/mol", None, "in kcal/mol or kJ/mol"),
    ],
)
def test_units_that_look_wrong_are_asked_about(
    tmp_path: Path, moving: list[Atoms], length: str, energy: str, force: float, question: str
) -> None:
    write(tmp_path / "in.db", in_units(moving, length, energy, force))
    with pytest.raises(UserError, match=question):
        dataset.convert(tmp_path / "in.db", tmp_path / "out.db")
    assert [path.name for path in tmp_path.iterdir()] == ["in.db"]


def test_units_that_are_said_are_not_asked_about(tmp_path: Path, moving: list[Atoms]) -> None:
    """A user who says A and eV is believed: the numbers come through as they are."""
    strange = in_units(moving, "Bohr", "Ha")
    write(tmp_path / "in.db", strange)
    units = Units(length_unit="A", energy_unit="eV")
    path = dataset.convert(tmp_path / "in.db", tmp_path / "out.db", ImportSpec(units=units))
    assert all(same(a, b) for a, b in zip(dataset.iter_labelled(path), strange, strict=True))


def test_right_units_raise_no_question(tmp_path: Path, moving: list[Atoms]) -> None:
    """Molecules, a crystal, a metal, a noble gas and a hot melt of carbon in eV and A."""
    from ase.build import bulk, molecule

    sets = {
        "moving": moving,
        "water": [molecule("H2O")],
        "ethanol": [molecule("CH3CH2OH")],
        "salt": [bulk("NaCl", "rocksalt", 5.64)],
        "sodium": [bulk("Na", "bcc", 4.23)],
        "lead": [bulk("Pb", "fcc", 4.95)],
        "argon": [bulk("Ar", "fcc", 5.26)],
        "stretched": [bulk("C", "diamond", 3.57 * 1.3)],
        "hydrogen": [molecule("H2")],
    }
    for name, frames in sets.items():
        write(tmp_path / f"{name}.extxyz", frames)
        assert dataset.convert(tmp_path / f"{name}.extxyz", tmp_path / f"{name}.db").is_file()


def test_a_force_unit_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="--force-unit: expected ENERGY/LENGTH"):
        _ = Units(force_unit="Ha/foot").force_eV_A
