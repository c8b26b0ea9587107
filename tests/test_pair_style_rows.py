"""pair_style nequip with what else LAMMPS does: hybrids, boundaries, runs in pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from pair_style_cases import (
    Start,
    elements_of,
    forces_in_order,
    forces_of,
    nequip_calculator,
    positions_in_order,
    slab,
    small_box,
    stress_of,
    triclinic,
    tube,
)
from tempermd import lmp as lmp_room


@pytest.mark.parametrize(
    ("style", "coefficients"), [("lj/cut 3.5", "0.01 3.0"), ("zbl 1.0 2.0", "6 6")]
)
def test_overlay_adds_forces(style: str, coefficients: str, start: Start, make_model):
    atoms, name = small_box(), style.split()[0]
    found = []
    for pair_style, lines in (
        (style, [f"* * {coefficients}"]),
        ("nequip", [f"* * {make_model()} C"]),
        (
            f"hybrid/overlay {style} nequip",
            [f"* * {name} {coefficients}", f"* * nequip {make_model()} C"],
        ),
    ):
        instance = start(atoms, None, style=pair_style)
        instance.commands_list([f"pair_coeff {line}" for line in lines] + ["run 0"])
        found.append((forces_of(instance), stress_of(instance), instance.get_thermo("pe")))
    assert np.abs(found[0][0]).max() > 0.01, "the added potential does nothing"
    for alone, alone_nequip, both in zip(*found, strict=True):
        assert both == pytest.approx(alone + alone_nequip, abs=1e-10)


def test_two_sub_styles_in_one_overlay_add_up(start: Start, make_model):
    atoms = tube()
    one, other = make_model(), make_model(seed=2, layers=1, cutoff_A=3.0)
    apart = []
    for model in (one, other):
        instance = start(atoms, model)
        instance.command("run 0")
        apart.append((forces_of(instance), stress_of(instance), instance.get_thermo("pe")))
    instance = start(atoms, None, style="hybrid/overlay nequip nequip")
    instance.commands_list(
        [f"pair_coeff * * nequip 1 {one} C", f"pair_coeff * * nequip 2 {other} C", "run 0"]
    )
    together = (forces_of(instance), stress_of(instance), instance.get_thermo("pe"))
    for first, second, both in zip(*apart, together, strict=True):
        assert both == pytest.approx(first + second, abs=1e-9)


def test_null_types_are_left_alone_in_hybrid(start: Start, make_model):
    atoms = triclinic()
    carbon = atoms[atoms.symbols == "C"]
    alone = start(carbon, make_model())
    alone.command("run 0")
    instance = start(atoms, None, style="hybrid nequip zero 4.0")
    instance.commands_list(
        [
            f"pair_coeff * * nequip {make_model()} C NULL",
            "pair_coeff 1 2 zero",
            "pair_coeff 2 2 zero",
            "run 0",
        ]
    )
    forces = forces_of(instance)
    assert forces[atoms.symbols == "C"] == pytest.approx(forces_of(alone), abs=1e-12)
    assert not forces[atoms.symbols == "H"].any()


def test_atoms_without_neighbors(start: Start, make_model):
    atoms = Atoms("C2", positions=[[5, 5, 5], [15, 15, 15]], cell=[20, 20, 20], pbc=True)
    instance = start(atoms, make_model())
    instance.command("run 0")
    single = Atoms("C", positions=[[5, 5, 5]], cell=[20, 20, 20], pbc=False)
    single.calc = nequip_calculator("float64", ("C",))
    assert instance.get_thermo("pe") == pytest.approx(2 * single.get_potential_energy(), abs=1e-9)
    assert not forces_of(instance).any()


def test_atoms_deleted_and_created_between_runs(start: Start, make_model):
    atoms = tube()
    instance = start(atoms, make_model())
    instance.commands_list(["run 0", "group gone id 3 7", "delete_atoms group gone compress no"])
    new = [atoms.cell[0, 0] / 2, atoms.cell[1, 1] / 2, 0.3]
    instance.command("create_atoms 1 single {} {} {} units box".format(*new))
    instance.command("run 0")
    changed = atoms[[i for i in range(len(atoms)) if i not in (2, 6)]]
    changed += Atoms("C", positions=[new])
    changed.calc = nequip_calculator("float64", ("C",))
    assert instance.get_thermo("pe") == pytest.approx(changed.get_potential_energy(), abs=1e-7)
    assert forces_in_order(instance) == pytest.approx(changed.get_forces(), abs=1e-8)


@pytest.mark.parametrize(
    ("structure", "boundary", "periodic"),
    [
        (tube, "f s m", (False, False, False)),
        (tube, "s p s", (False, True, False)),
        (slab, "p p f", (True, True, False)),
    ],
)
def test_open_boundaries(structure, boundary: str, periodic: tuple, start: Start, make_model):
    atoms = structure()
    atoms.pbc = periodic
    elements = elements_of(atoms)
    instance = start(atoms, make_model(type_names=elements), before=[f"boundary {boundary}"])
    instance.command("run 0")
    atoms.calc = nequip_calculator("float64", elements)
    assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-8)
    assert instance.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-7)


def test_shrinking_box_follows_the_atoms(start: Start, make_model):
    atoms = tube()
    atoms.pbc = False
    instance = start(atoms, make_model(), before=["boundary s s s"])
    instance.commands_list(["velocity all create 2000 4", "timestep 0.0005", "fix 1 all nve"])
    instance.command("run 40")
    atoms.positions = positions_in_order(instance)
    atoms.calc = nequip_calculator("float64", ("C",))
    assert forces_in_order(instance) == pytest.approx(atoms.get_forces(), abs=1e-8)


def test_lost_atoms_are_gone_from_the_model(start: Start, make_model):
    atoms = tube()
    atoms.pbc = False
    instance = start(atoms, make_model(), before=["boundary f f f"])
    instance.commands_list(
        [
            "thermo_modify lost ignore",
            "neigh_modify every 1 delay 0 check yes",
            "group leaving id 5 20",
            "velocity leaving set 400 0 0",
            "timestep 0.0005",
            "fix 1 all nve",
            "run 100",
        ]
    )
    ids = np.sort(instance.numpy.extract_atom("id")[: instance.extract_global("nlocal")])
    assert list(ids) == [i for i in range(1, len(atoms) + 1) if i not in (5, 20)]
    left = atoms[ids - 1]
    left.positions = positions_in_order(instance)
    left.calc = nequip_calculator("float64", ("C",))
    assert forces_in_order(instance) == pytest.approx(left.get_forces(), abs=1e-8)
    assert instance.get_thermo("pe") == pytest.approx(left.get_potential_energy(), abs=1e-7)


def test_many_rebuilds_with_changing_numbers_of_atoms_repeat_exactly(start: Start, make_model):
    instance = start(tube(), make_model(), before=["atom_modify sort 0 0.0"])
    instance.command("run 0")
    energy, forces = instance.get_thermo("pe"), forces_of(instance)
    n_atoms = len(forces)
    for count in (1, 40, 3, 80, 0, 17) * 3:
        commands = [f"create_atoms 1 random {count} 5 NULL overlap 0.8 maxtry 500"] if count else []
        commands += ["run 0", f"group new id > {n_atoms}", "delete_atoms group new compress no"]
        instance.commands_list(commands + ["group new delete", "run 0"])
        assert instance.get_natoms() == n_atoms
        assert instance.get_thermo("pe") == energy
        assert np.array_equal(forces_of(instance), forces)


def test_no_atoms_at_all(start: Start, make_model):
    instance = lmp_room.lammps_instance()
    try:
        instance.commands_list(
            [
                "units metal",
                "region box block 0 10 0 10 0 10",
                "create_box 1 box",
                "mass 1 12.011",
                "pair_style nequip",
                f"pair_coeff * * {make_model()} C",
                "compute sum all reduce sum fx",
                "run 0",
            ]
        )
        assert instance.get_natoms() == 0
        assert instance.get_thermo("pe") == 0.0
        assert instance.get_thermo("press") == 0.0
        instance.commands_list(["create_atoms 1 single 5 5 5", "run 0"])
        alone = Atoms("C")
        alone.calc = nequip_calculator("float64", ("C",))
        assert instance.get_thermo("pe") == pytest.approx(alone.get_potential_energy(), abs=1e-9)
    finally:
        instance.close()


def test_two_lammps_types_of_one_element(start: Start, make_model):
    atoms = tube()
    instance = start(atoms, None, read="extra/atom/types 1")
    instance.commands_list(
        [
            "mass 2 13.003",
            "set group all type/ratio 2 0.4 77",
            f"pair_coeff * * {make_model()} C C",
            "run 0",
        ]
    )
    types = np.array(instance.gather_atoms("type", 0, 1))
    assert set(types) == {1, 2}
    atoms.calc = nequip_calculator("float64", ("C",))
    assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-8)
    assert instance.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-7)


@pytest.mark.parametrize(
    "cutoffs_A", [((4.0, 3.1), (3.1, 2.2)), ((3.5, 2.6), (4.0, 3.2))], ids=["symmetric", "not"]
)
def test_a_cutoff_for_each_pair_of_types(cutoffs_A: tuple, start: Start, make_model):
    atoms = triclinic()
    elements = elements_of(atoms)
    options = {"type_names": elements, "edge_cutoffs_A": cutoffs_A}
    instance = start(atoms, make_model(**options))
    instance.command("run 0")
    atoms.calc = nequip_calculator("float64", **options)
    forces, energy = atoms.get_forces(), atoms.get_potential_energy()
    assert forces_of(instance) == pytest.approx(forces, abs=1e-8)
    assert instance.get_thermo("pe") == pytest.approx(energy, abs=1e-7)
    assert stress_of(instance) == pytest.approx(atoms.get_stress(), abs=1e-8)
    # the cutoffs matter: with their transpose, or with r_max alone, forces are others
    for others in (None, tuple(zip(*cutoffs_A, strict=True))):
        if others == cutoffs_A:
            continue
        atoms.calc = nequip_calculator("float64", elements, edge_cutoffs_A=others)
        assert np.abs(atoms.get_forces() - forces).max() > 1e-3


@pytest.mark.parametrize("suffix", ["omp", "opt"])
def test_suffixes_of_other_styles_change_nothing(suffix: str, start: Start, make_model):
    found = []
    for before in ([], [f"suffix {suffix}"]):
        style = "hybrid/overlay zbl 1.0 2.0 nequip"
        instance = start(small_box(), None, before=before, style=style, threads=2)
        instance.commands_list(
            [
                "pair_coeff * * zbl 6 6",
                f"pair_coeff * * nequip {make_model()} C",
                "fix 1 all nve",
                "run 5",
            ]
        )
        found.append((forces_of(instance), instance.get_thermo("pe")))
    for plain, with_suffix in zip(*found, strict=True):
        assert with_suffix == pytest.approx(plain, abs=1e-10)


@pytest.mark.parametrize("atom_map", ["array", "hash"])
def test_forces_with_and_without_an_atom_map(atom_map: str, start: Start, make_model):
    forces = []
    for before in ([], [f"atom_modify map {atom_map}"]):
        instance = start(small_box(), make_model(), before=before)
        instance.command("run 0")
        forces.append(forces_of(instance))
    assert np.array_equal(*forces)


def molecular_data(atoms: Atoms, path: Path) -> Path:
    """Write carbon atoms as one molecule for ``atom_style full``, with a bond between 1 and 2."""
    lines = ["one molecule", "", f"{len(atoms)} atoms", "1 bonds", "1 atom types", "1 bond types"]
    widths = atoms.cell.lengths()
    lines += [f"0 {width} {axis}lo {axis}hi" for width, axis in zip(widths, "xyz", strict=True)]
    lines += ["", "Masses", "", "1 12.011", "", "Atoms # full", ""]
    lines += [f"{i} 1 1 0.0 {x} {y} {z}" for i, (x, y, z) in enumerate(atoms.positions, 1)]
    path.write_text("\n".join(lines + ["", "Bonds", "", "1 1 1 2", ""]))
    return path


def test_bonded_pairs_are_kept_or_asked_for(make_model, tmp_path: Path):
    atoms = tube()
    instance = lmp_room.lammps_instance()
    try:
        instance.commands_list(
            [
                "units metal",
                "atom_style full",
                "bond_style zero",
                f"read_data {molecular_data(atoms, tmp_path / 'full.data')}",
                "bond_coeff *",
                "pair_style nequip",
                f"pair_coeff * * {make_model()} C",
            ]
        )
        with pytest.raises(Exception, match="set 'special_bonds lj/coul 1 1 1'"):
            instance.command("run 0")
        instance.commands_list(["special_bonds lj/coul 1 1 1", "run 0"])
        atoms.calc = nequip_calculator("float64", ("C",))
        assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-8)
        # factors other than zero mark pairs in the list without leaving them out
        instance.commands_list(["special_bonds lj/coul 0.1 0.5 0.5", "run 0"])
        assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-8)
    finally:
        instance.close()


def test_general_triclinic_box(make_model, tmp_path: Path):
    atoms = triclinic()
    atoms.rotate(50, (1, 2, 3), rotate_cell=True)  # no axis of the cell along x any more
    lines = ["a box turned in space", "", f"{len(atoms)} atoms", "2 atom types"]
    lines += [
        " ".join(f"{x:.16g}" for x in vector) + f" {name}vec"
        for vector, name in zip(atoms.cell, "abc", strict=True)
    ]
    lines += ["0 0 0 abc origin", "", "Masses", "", "1 12.011", "2 1.008", "", "Atoms", ""]
    for i, (symbol, (x, y, z)) in enumerate(zip(atoms.symbols, atoms.positions, strict=True), 1):
        lines.append(f"{i} {'CH'.index(symbol) + 1} {x:.16g} {y:.16g} {z:.16g}")
    (tmp_path / "general.data").write_text("\n".join(lines) + "\n")
    model = make_model(type_names=("C", "H"))
    instance = lmp_room.lammps_instance()
    try:
        instance.commands_list(
            [
                "units metal",
                f"read_data {tmp_path / 'general.data'}",
                "pair_style nequip",
                f"pair_coeff * * {model} C H",
                f"dump 1 all custom 1 {tmp_path / 'general.dump'} id fx fy fz",
                "dump_modify 1 triclinic/general yes sort id format float %.16g",
                "run 0",
            ]
        )
        energy = instance.get_thermo("pe")
    finally:
        instance.close()
    forces = np.loadtxt(tmp_path / "general.dump", skiprows=9)[:, 1:]
    atoms.calc = nequip_calculator("float64", ("C", "H"))
    assert forces == pytest.approx(atoms.get_forces(), abs=1e-8)
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
