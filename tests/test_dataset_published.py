"""Published sets: small files in their layout, made here; the network is never asked."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from dataset_cases import crystal
from tempermd import dataset
from tempermd.dataset.published import SETS
from tempermd.records import UserError


def bulk_frame(seed: int, symbol: str = "C", **names: str) -> Atoms:
    """Return a cell with an energy 7 eV per atom below the isolated atoms."""
    atoms = crystal(seed)
    zero = SETS["C-GAP-17" if symbol == "C" else "Si-GAP-18"].isolated_energies_eV[symbol]
    factor = 1.0 if symbol == "C" else 1.5
    copy = Atoms(
        [symbol] * len(atoms), factor * atoms.positions, cell=factor * atoms.cell, pbc=True
    )
    copy.info[names.get("energy", "energy")] = (zero - 7.0) * len(atoms) + seed
    copy.arrays[names.get("forces", "forces")] = atoms.calc.results["forces"]
    return copy


def test_c_gap_17_keeps_its_split_and_loses_its_dimers(tmp_path: Path) -> None:
    frames = [bulk_frame(seed, forces="force") for seed in range(6)]
    for number, atoms in enumerate(frames):
        atoms.info["config_type"] = "dimer" if number == 1 else "bulk_amo"
        atoms.info["split"] = "test" if number > 3 else "train"
    write(tmp_path / "raw.extxyz", frames)
    paths = dataset.fetch("C-GAP-17", tmp_path / "c.extxyz", tmp_path / "raw.extxyz")
    assert [path.name for path in paths] == ["c.extxyz", "c.test.extxyz"]
    train, test = map(dataset.read_labelled, paths)
    expected = [frames[i].info["energy"] for i in (0, 2, 3)]
    assert [a.get_potential_energy() for a in train] == pytest.approx(expected)
    assert len(test) == 2
    assert np.allclose(train[0].get_forces(), frames[0].arrays["force"], atol=1e-7)
    assert train[0].info["kind"] == "bulk_amo"
    assert json.loads(train[0].info["isolated_energies_eV"]) == {"C": -148.314002}
    record = dataset.read_dataset_record(
        dataset.build([paths[0]], tmp_path / "set", fractions={"train": 0.6, "val": 0.4}, seed=1)
    )
    assert record.reference_kinds == {"dft-c-gap-17": "isolated"}


def test_si_gap_18_has_two_names_and_loses_lone_atoms(tmp_path: Path) -> None:
    frames = [
        bulk_frame(0, "Si", energy="DFT_energy", forces="DFT_force"),
        bulk_frame(1, "Si", energy="dft_energy", forces="dft_force"),
    ]
    alone = Atoms("Si2", [[0, 0, 0], [0, 0, 6.5]], cell=[20] * 3, pbc=True)
    alone.info["dft_energy"] = -317.0
    alone.arrays["dft_force"] = np.zeros((2, 3))
    write(tmp_path / "raw.xyz", [*frames, alone])
    (path,) = dataset.fetch("Si-GAP-18", tmp_path / "si.extxyz", tmp_path / "raw.xyz")
    found = dataset.read_labelled(path)
    assert [a.get_potential_energy() for a in found] == pytest.approx(
        [frames[0].info["DFT_energy"], frames[1].info["dft_energy"]]
    )


@pytest.mark.parametrize("name", ["C-SYNTH-1M", "C-SYNTH-23M"])
def test_synthetic_sets_sum_their_local_energies_after_10_ps(tmp_path: Path, name: str) -> None:
    frames = []
    for number in range(6):
        labels = crystal(number).calc.results
        atoms = crystal(number)
        atoms.calc = None
        atoms.info = {"density": 2.5, "anneal_T": 3000, "run_id": number % 2, "time": 4.0 * number}
        atoms.arrays |= {"gap17_energy": labels["energies"], "gap17_forces": labels["forces"]}
        frames.append(atoms)
    (tmp_path / "raw" / "results").mkdir(parents=True)
    write(tmp_path / "raw" / "results" / "density-2.5.extxyz", frames)
    (path,) = dataset.fetch(name, tmp_path / "c.extxyz", tmp_path / "raw")
    found = dataset.read_labelled(path)
    assert [a.info["time"] for a in found] == [12.0, 16.0, 20.0]
    for atoms, number in zip(found, (3, 4, 5), strict=True):
        results = crystal(number).calc.results
        assert atoms.calc.results["energies"] == pytest.approx(results["energies"], abs=1e-7)
        assert atoms.get_potential_energy() == pytest.approx(results["energy"], abs=1e-6)
        assert atoms.info["trajectory"] == f"{name}-{number % 2}"
        assert (atoms.info["density_g_cm3"], atoms.info["temperature_K"]) == (2.5, 3000.0)


def test_c_gap_20u_brings_its_stress(tmp_path: Path) -> None:
    atoms = crystal(1, energies=False)
    labels = atoms.calc.results
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    copy.info = {"config_type": "Nanotubes"}
    copy.calc = atoms.calc
    write(tmp_path / "raw.xyz", copy)
    (path,) = dataset.fetch("C-GAP-20U", tmp_path / "c.extxyz", tmp_path / "raw.xyz")
    (found,) = dataset.read_labelled(path)
    assert found.get_stress() == pytest.approx(labels["stress"], abs=1e-7)
    assert found.info["kind"] == "Nanotubes"
    assert "isolated_energies_eV" not in found.info


def test_a_set_from_load_atoms_goes_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [bulk_frame(seed) for seed in range(3)]
    _give_load_atoms(monkeypatch, lambda name: frames)
    (path,) = dataset.fetch("C-GAP-17", tmp_path / "c.extxyz")
    assert len(dataset.read_labelled(path)) == 3


def _give_load_atoms(monkeypatch: pytest.MonkeyPatch, load: object) -> None:
    package, utils = types.ModuleType("load_atoms"), types.ModuleType("load_atoms.utils")
    package.load_dataset = load
    utils.UnknownDatasetException = type("UnknownDatasetException", (Exception,), {})
    monkeypatch.setitem(sys.modules, "load_atoms", package)
    monkeypatch.setitem(sys.modules, "load_atoms.utils", utils)


def _offline(name: str) -> None:
    raise ConnectionError("no route to host")


def test_without_a_network_the_sentence_says_what_to_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _give_load_atoms(monkeypatch, _offline)
    message = r"could not be downloaded \(no route to host\).*carbon-data-v1\.0\.zip.*--file"
    with pytest.raises(UserError, match=message):
        dataset.fetch("C-SYNTH-23M", tmp_path / "c.extxyz")
    monkeypatch.setitem(sys.modules, "load_atoms", None)
    with pytest.raises(UserError, match=r"pip install 'tempermd\[datasets\]'"):
        dataset.fetch("C-GAP-17", tmp_path / "c.extxyz")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    shifted = bulk_frame(1)
    shifted.info["energy"] += 148.3 * len(shifted)
    write(tmp_path / "raw.extxyz", [shifted])
    with pytest.raises(UserError, match=r"eV/atom from isolated atoms.*not the published file"):
        dataset.fetch("C-GAP-17", tmp_path / "c.extxyz", tmp_path / "raw.extxyz")
    with pytest.raises(UserError, match=r"has none of local_energies, gap17_energy"):
        dataset.fetch("C-SYNTH-1M", tmp_path / "c.extxyz", tmp_path / "raw.extxyz")
    with pytest.raises(UserError, match="'C-GAP-18' is unknown; choose one of C-GAP-17"):
        dataset.fetch("C-GAP-18", tmp_path / "c.extxyz")
    assert [path.name for path in tmp_path.iterdir()] == ["raw.extxyz"]
