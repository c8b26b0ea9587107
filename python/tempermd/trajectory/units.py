"""LAMMPS unit styles that this project reads, as factors to ps, Å and eV."""

KCAL_PER_MOL_IN_EV = 0.0433641153087705

# factors to ps, to Å/ps, to eV: LAMMPS' "real" has fs, Å/fs and kcal/mol
UNIT_FACTORS = {"metal": (1.0, 1.0, 1.0), "real": (1e-3, 1e3, KCAL_PER_MOL_IN_EV)}
