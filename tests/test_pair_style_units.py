"""pair_style nequip in ``units real``: the same physics in other numbers."""

from __future__ import annotations

import numpy as np
import pytest

from test_pair_style import Start, elements_of, forces_of, start, triclinic  # noqa: F401

KCAL_MOL_PER_EV = 23.060549  # LAMMPS's own factor, from metal to real
ATM_PER_BAR = 1 / 1.01325


def test_real_units_are_metal_units_times_a_factor(start: Start, make_model):  # noqa: F811
    atoms = triclinic()
    found = []
    for units in ("metal", "real"):
        instance = start(
            atoms, make_model(type_names=elements_of(atoms)), before=[f"units {units}"]
        )
        instance.commands_list(
            ["compute e all pe/atom", "compute s all stress/atom NULL virial"]
            + ["compute sums all reduce sum c_e c_s[*]", "thermo_style custom pe c_sums[1]"]
            + ["compute p all pressure NULL virial", "fix keep all ave/time 1 1 1 c_p", "run 0"]
        )
        found.append(
            (
                instance.get_thermo("pe"),
                forces_of(instance),
                np.array(instance.numpy.extract_compute("sums", 0, 1)),
                instance.extract_compute("p", 0, 0),
            )
        )
    (energy, forces, sums, pressure), real = found
    assert real[0] == pytest.approx(energy * KCAL_MOL_PER_EV, rel=1e-9)
    assert real[1] == pytest.approx(forces * KCAL_MOL_PER_EV, rel=1e-9, abs=1e-12)
    assert real[2][0] == pytest.approx(sums[0] * KCAL_MOL_PER_EV, rel=1e-9)
    # bar and atm: LAMMPS's constants of the two unit systems agree to six digits
    assert real[2][1:] == pytest.approx(sums[1:] * ATM_PER_BAR, rel=1e-5, abs=1e-3)
    assert real[3] == pytest.approx(pressure * ATM_PER_BAR, rel=1e-5)


def test_a_list_without_some_atoms_is_refused(start: Start, make_model):  # noqa: F811
    atoms = triclinic()
    instance = start(atoms, make_model(type_names=elements_of(atoms)))
    instance.commands_list(
        ["group some id 1:4", "atom_modify first some", "neigh_modify include some"]
    )
    with pytest.raises(Exception, match=r"no neighbor list of atom 5 at step 0: .*include"):
        instance.command("run 0")
