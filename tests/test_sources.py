"""Label sources, each for real: gradients, symmetries, other programs, one instance for many."""

import hashlib
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry import complete_cell

from conftest import skip_without
from source_cases import CASES, LAMMPS_CASES, LENNARD_JONES, structure
from tempermd import labels
from tempermd.labels import LabelFailureError, SourceSpec
from tempermd.labels.lammps_calculator import LammpsCalculator
from tempermd.pair_styles import PotentialSpec, pair_commands, parameter_file

Opened = Callable[[str], object]
EXACT = [*LAMMPS_CASES, "nep", "nequip"]


def energy_of(atoms: Atoms, calculator: object) -> float:
    """Return the energy (eV) of a structure."""
    return labels.compute(atoms, calculator).get_potential_energy()


def deformed(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """Return the structure under a strain (3, 3)."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return copy


@pytest.mark.parametrize("name", CASES)
def test_forces_and_stress_are_derivatives_of_the_energy(name: str, opened: Opened) -> None:
    """Along a random direction of all atoms, and along a random symmetric strain."""
    calculator, case, rng = opened(name), CASES[name], np.random.default_rng(8)
    atoms = structure(case.symbol)
    label = labels.compute(atoms, calculator)
    direction = rng.normal(size=(len(atoms), 3))
    direction /= np.linalg.norm(direction)
    strain = rng.normal(size=(3, 3))
    strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)
    moved, strained = [], []
    for sign in (1, -1):
        copy = atoms.copy()
        copy.positions += sign * case.step_A * direction
        moved.append(energy_of(copy, calculator))
        strained.append(energy_of(deformed(atoms, sign * case.step_A * strain), calculator))
    forces, stress = label.get_forces(), label.get_stress(voigt=False)
    slope = -(moved[0] - moved[1]) / (2 * case.step_A)
    assert np.sum(forces * direction) == pytest.approx(slope, abs=case.tolerance * forces.max())
    slope = (strained[0] - strained[1]) / (2 * case.step_A) / atoms.get_volume()
    tolerance = case.tolerance * np.abs(stress).max()
    assert np.sum(stress * strain) == pytest.approx(slope, abs=tolerance)
    assert np.abs(forces).max() > 0.1
    assert np.abs(stress).max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_energies_of_atoms_sum_to_those_of_their_molecule(name: str, opened: Opened) -> None:
    """Of two molecules far apart, each one's atoms hold its own energy."""
    calculator, symbol = opened(name), CASES[name].symbol
    first, second = structure(symbol)[:3], structure(symbol)[-2:]
    second.positions *= 1.1
    if name == "xtb":  # with one Fermi level for all, unlike molecules exchange charge
        second = first.copy()
    for one in (first, second):
        one.pbc = False
        one.positions -= one.positions.mean(axis=0)
    second.positions += [60.0, 10.0, 0.0]
    energies = labels.compute(first + second, calculator).get_potential_energies()
    tolerance = CASES[name].energy_eV
    assert energies[:3].sum() == pytest.approx(energy_of(first, calculator), abs=tolerance)
    assert energies[3:].sum() == pytest.approx(energy_of(second, calculator), abs=tolerance)
    assert np.ptp(energies) > 1e-3


@pytest.mark.parametrize("name", [*EXACT, "gap"])
def test_labels_do_not_depend_on_how_a_crystal_is_described(name: str, opened: Opened) -> None:
    """Turned, with another cell of the same lattice, moved, wrapped or not, in another order."""
    calculator = opened(name)
    atoms = structure(CASES[name].symbol)
    label = labels.compute(atoms, calculator)
    rng = np.random.default_rng(3)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    order = rng.permutation(len(atoms))
    for lattice in ([[1, 0, 0], [7, 1, 0], [-4, 9, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]):
        other = atoms[order]
        other.set_cell(np.array(lattice) @ atoms.cell.array @ turn)
        shifts = rng.integers(-3, 4, size=(len(atoms), 3)) @ atoms.cell.array
        other.positions = (atoms.positions[order] + shifts + [3.3, -1.2, 40.0]) @ turn
        found = labels.compute(other, calculator)
        stress = turn.T @ label.get_stress(voigt=False) @ turn
        assert found.get_potential_energy() == pytest.approx(label.get_potential_energy(), abs=1e-6)
        assert found.get_forces() == pytest.approx(label.get_forces()[order] @ turn, abs=1e-5)
        assert found.get_stress(voigt=False) == pytest.approx(stress, abs=1e-6)


@pytest.mark.parametrize("name", [*EXACT, "gap"])
def test_small_cells_are_like_their_supercells(name: str, opened: Opened) -> None:
    """Cells narrower than the cutoff, where atoms meet their own images."""
    calculator, atoms = opened(name), structure(CASES[name].symbol)
    small = labels.compute(atoms, calculator)
    large = labels.compute(atoms.repeat((3, 2, 2)), calculator)
    energy = 12 * small.get_potential_energy()
    assert large.get_potential_energy() == pytest.approx(energy, abs=1e-5)
    assert large.get_forces()[: len(atoms)] == pytest.approx(small.get_forces(), abs=1e-5)
    assert large.get_potential_energies()[: len(atoms)] == pytest.approx(
        small.get_potential_energies(), abs=1e-5
    )
    assert large.get_stress() == pytest.approx(small.get_stress(), abs=1e-6)


@pytest.mark.parametrize("name", [*EXACT, "gap"])
def test_open_axes_are_like_much_vacuum(name: str, opened: Opened) -> None:
    """Slabs, tubes and molecules, whatever cell vectors their open axes have."""
    calculator, atoms = opened(name), structure(CASES[name].symbol)
    for periodic in product([True, False], repeat=3):
        pbc = np.array(periodic)
        if pbc.all():
            continue
        boxed = atoms.copy()
        cell = atoms.cell.array.copy()
        cell[~pbc] = 0.0
        bare = atoms.copy()
        bare.set_cell(cell)
        cell = complete_cell(cell)
        cell[~pbc] *= 40.0
        boxed.set_cell(cell)
        expected = labels.compute(boxed, calculator)
        for found in (atoms.copy(), bare):
            found.pbc = pbc
            label = labels.compute(found, calculator)
            energy = expected.get_potential_energy()
            assert label.get_potential_energy() == pytest.approx(energy, abs=1e-5)
            assert label.get_forces() == pytest.approx(expected.get_forces(), abs=1e-5)
            assert "stress" not in label.calc.results


def test_xtb_takes_open_axes_as_vacuum(opened: Opened) -> None:
    """tblite repeats all axes or none: a slab in a thin cell was a crystal to it."""
    calculator = opened("xtb")
    slab = Atoms("C2", [[0, 0, 0], [0, 1.42, 0]], cell=[2.46, 4.26, 3.0], pbc=(1, 1, 0))
    boxed = slab.copy()
    boxed.set_cell([2.46, 4.26, 21.0])
    boxed.pbc = True
    assert energy_of(slab, calculator) == pytest.approx(energy_of(boxed, calculator), abs=1e-6)


def test_tersoff_agrees_with_ase(opened: Opened) -> None:
    """ASE has a Tersoff of its own; it reads the same parameter file."""
    from ase.calculators.tersoff import Tersoff

    theirs = Tersoff.from_lammps(str(parameter_file("SiC.tersoff")))
    atoms = structure("C")
    atoms.symbols[::2] = "Si"
    agree(labels.compute(atoms, opened("tersoff")), labels.compute(atoms, theirs))


def test_eam_agrees_with_ase(opened: Opened) -> None:
    """ASE interpolates the same tables by its own splines."""
    from ase.calculators.eam import EAM

    theirs = EAM(potential=str(parameter_file("CuNi.eam.alloy")))
    atoms = structure("Cu")
    atoms.symbols[0] = "Ni"
    ours = labels.compute(atoms, opened("eam"))
    expected = labels.compute(atoms, theirs)
    assert ours.get_potential_energy() == pytest.approx(expected.get_potential_energy(), abs=1e-4)
    assert ours.get_forces() == pytest.approx(expected.get_forces(), abs=5e-3)


def test_lennard_jones_agrees_with_ase(opened: Opened) -> None:
    """The pair style by its commands, in a cell smaller than the cutoff."""
    for pbc in (True, (True, False, True)):
        atoms = structure("C")
        atoms.pbc = pbc
        agree(labels.compute(atoms, opened("lammps")), labels.compute(atoms, opened("ase")))


def test_stillinger_weber_agrees_with_matscipy(opened: Opened) -> None:
    manybody = pytest.importorskip("matscipy.calculators.manybody", reason="needs matscipy")
    from matscipy.calculators.manybody.explicit_forms import stillinger_weber as forms

    form = forms.StillingerWeber(forms.Stillinger_Weber_PRB_31_5262_Si)
    theirs = manybody.Manybody(**form)
    atoms = structure("Si").repeat((2, 2, 2))
    agree(labels.compute(atoms, opened("sw")), labels.compute(atoms, theirs), rel=1e-4)


def test_nequip_agrees_with_nequip(opened: Opened) -> None:
    """The deployed model in LAMMPS, and nequip's own calculator of the same weights."""
    from pair_style_cases import nequip_calculator

    atoms = structure("C")
    atoms.symbols[:3] = "H"
    theirs = nequip_calculator("float64", ("C", "H"))
    agree(labels.compute(atoms, opened("nequip")), labels.compute(atoms, theirs))


def agree(ours: Atoms, theirs: Atoms, rel: float = 1e-6) -> None:
    """Compare energy, forces and, if there is one, stress of two labels."""
    energy = theirs.get_potential_energy()
    assert ours.get_potential_energy() == pytest.approx(energy, rel=rel)
    largest = np.abs(theirs.get_forces()).max()
    assert ours.get_forces() == pytest.approx(theirs.get_forces(), abs=rel * largest)
    if ours.pbc.all():
        largest = np.abs(theirs.get_stress()).max()
        assert ours.get_stress() == pytest.approx(theirs.get_stress(), abs=rel * largest)


def varied_structures() -> list[Atoms]:
    """Return structures that differ by elements, number, cell and periodic axes."""
    carbide = bulk("SiC", "zincblende", a=4.35).repeat(2)
    carbide.rattle(0.05, seed=1)
    slab = structure("C")
    slab.pbc = (True, False, True)
    upright = bulk("C", "diamond", a=3.6, cubic=True)
    upright.rattle(0.1, seed=2)
    atom = Atoms("Si", positions=[[1e3, 0, -1e3]])
    return [structure("C"), upright, carbide, slab, atom, structure("Si"), upright.repeat(2)]


def test_one_instance_gives_what_fresh_ones_give(opened: Opened) -> None:
    """In any order, and after structures that fail."""
    structures = varied_structures()
    potential = PotentialSpec(name="tersoff")
    fresh = []
    for atoms in structures:
        calculator = LammpsCalculator(lambda symbols: pair_commands(potential, symbols))
        fresh.append(labels.compute(atoms, calculator))
        calculator.close()
    lost = structure("C")
    lost.positions[0] = np.nan
    overlapping = structure("C")
    overlapping.positions[0] = overlapping.positions[1]
    kept = opened("tersoff")
    for seed in range(4):
        for bad, reason in ((lost, "C8 has positions"), (overlapping, "numbers for C8")):
            with pytest.raises(LabelFailureError, match=reason):
                labels.compute(bad, kept)
        for index in np.random.default_rng(seed).permutation(len(structures)):
            label = labels.compute(structures[index], kept)
            for key, value in fresh[index].calc.results.items():
                assert label.calc.results[key] == pytest.approx(value, abs=1e-11)


def test_lammps_goes_on_after_an_error_of_its_own() -> None:
    """A neighbor list too short for a crystal is enough for a pair."""
    commands = [*LENNARD_JONES["commands"], "neigh_modify one 8 page 80"]
    spec = SourceSpec(name="lammps", settings=LENNARD_JONES | {"commands": commands})
    calculator = labels.open_source(spec)[1]
    pair = Atoms("C2", [[0, 0, 0], [0, 0, 1.5 * 2 ** (1 / 6)]])
    shift = 4 * 0.6 * ((1.5 / 3.0) ** 12 - (1.5 / 3.0) ** 6)
    for _ in range(2):
        with pytest.raises(LabelFailureError, match="failed on C8: LAMMPS: Neighbor list overflow"):
            labels.compute(structure("C"), calculator)
        assert energy_of(pair, calculator) == pytest.approx(-0.6 - shift)


def test_xtb_does_not_remember_the_structure_before(opened: Opened) -> None:
    """Self-consistency starts anew, so labels are the same bits in any order."""
    calculator = opened("xtb")
    first, second = molecule("C6H6"), molecule("C6H6")
    second.rattle(0.1, seed=1)
    alone = labels.compute(first, calculator)
    labels.compute(second, calculator)
    again = labels.compute(first, calculator)
    assert again.get_potential_energy() == alone.get_potential_energy()
    assert np.array_equal(again.get_forces(), alone.get_forces())


def test_unconverged_xtb_is_no_label() -> None:
    skip_without("xtb")
    spec = SourceSpec(name="xtb", settings={"max_iterations": 3})
    calculator = labels.open_source(spec)[1]
    with pytest.raises(LabelFailureError, match=r"failed on C6H6: .*SCF not converged in 3 cycles"):
        labels.compute(molecule("C6H6"), calculator)
    with pytest.raises(LabelFailureError, match="SCF not converged"):
        labels.compute(molecule("C6H6"), calculator)


def test_a_source_keeps_the_hash_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    folder.mkdir()
    copy = folder / "mine.tersoff"
    copy.write_bytes(parameter_file("SiC.tersoff").read_bytes() + b"\n# mine\n")
    source, calculator = labels.open_source(SourceSpec(name=f"tersoff:{copy}"))
    assert source.name == "tersoff:mine.tersoff"
    assert source.files == {"mine.tersoff": hashlib.sha256(copy.read_bytes()).hexdigest()}
    assert source.version.startswith("lammps 2025")
    usual, _ = labels.open_source(SourceSpec(name="tersoff"))
    assert usual.files.keys() == {"SiC.tersoff"}
    assert usual.files["SiC.tersoff"] != source.files["mine.tersoff"]
    assert energy_of(structure("C"), calculator) < -50  # LAMMPS takes the path
    snap, _ = labels.open_source(SourceSpec(name="snap"))
    assert {Path(name).suffix for name in snap.files} == {".snapcoeff", ".snapparam"}


def test_files_that_commands_name_are_hashed_too() -> None:
    commands = ["pair_style tersoff", "pair_coeff * * SiC.tersoff C"]
    spec = SourceSpec(name="lammps", settings={"commands": commands, "elements": ["C"]})
    source, _ = labels.open_source(spec)
    assert source.files == labels.open_source(SourceSpec(name="tersoff"))[0].files
    assert source.settings["commands"] == commands


def test_the_files_of_the_wheel_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the same name in the working directory is not taken by chance."""
    (tmp_path / "C.lcbop").write_text("rubbish")
    expected = hashlib.sha256(parameter_file("C.lcbop").read_bytes()).hexdigest()
    monkeypatch.chdir(tmp_path)
    source, calculator = labels.open_source(SourceSpec(name="lcbop"))
    assert source.files == {"C.lcbop": expected}
    assert energy_of(structure("C"), calculator) < -50


def test_units_real_are_converted() -> None:
    """The same Lennard-Jones, its depth given in kcal/mol: 1 eV is 23.0605."""
    real = LENNARD_JONES | {"units": "real"}
    real["commands"] = [
        "pair_style lj/cut 3.0",
        f"pair_coeff * * {0.6 * 23.060549} 1.5",
        "pair_modify shift yes",
    ]
    found = labels.open_source(SourceSpec(name="lammps", settings=real))[1]
    usual = labels.open_source(SourceSpec(name="lammps", settings=LENNARD_JONES))[1]
    atoms = structure("C")
    agree(labels.compute(atoms, found), labels.compute(atoms, usual), rel=1e-5)


def test_isolated_atoms() -> None:
    """Bond-order potentials know no energy without bonds; models were not fitted to it."""
    assert labels.isolated_energies(SourceSpec(name="airebo"), ["H", "C", "C"]) == {"C": 0, "H": 0}
    unknown = labels.isolated_atoms(SourceSpec(name="lcbop"), ["C", "H"])
    assert unknown.energies_eV is None
    assert "holds H, the label source knows C" in unknown.reason
    model = labels.isolated_atoms(SourceSpec(name="nep:none.txt"), ["C"])
    assert model.energies_eV is None
    assert "extrapolation" in model.reason


def test_isolated_atoms_of_xtb_hold_their_electronic_entropy() -> None:
    """dF/dT = -S: two p electrons over six states; hydrogen's one has a state of its own.

    The p levels are degenerate, so each of carbon's six spin orbitals is filled by 1/3 and
    S = -6 k (1/3 ln 1/3 + 2/3 ln 2/3); hydrogen is left with one unpaired electron, S = 0.
    """
    from ase.units import kB

    skip_without("xtb")
    cold, hot = (
        labels.isolated_energies(
            SourceSpec(name="xtb", settings={"electronic_temperature": temperature_K}), ["C", "H"]
        )
        for temperature_K in (1000.0, 3000.0)
    )
    entropy = -6 * kB * (np.log(1 / 3) / 3 + 2 * np.log(2 / 3) / 3)
    assert hot["C"] - cold["C"] == pytest.approx(-2000.0 * entropy, abs=1e-4)
    assert hot["H"] == pytest.approx(cold["H"], abs=1e-4)


def test_the_list_names_every_source() -> None:
    text = labels.sources_text()
    for name in CASES:
        assert any(row.split()[0].split(":")[0] == name for row in text.splitlines()), name
    assert "convergence gate" in next(row for row in text.splitlines() if row.startswith("xtb"))
    needed = [row.split(":")[0] for row in text.splitlines() if "  needed" in row]
    assert needed == ["eam", "gap", "nep", "nequip"]
