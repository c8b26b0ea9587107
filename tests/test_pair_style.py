"""pair_style nequip against nequip's own calculator, finite differences and conservation laws."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, nanotube
from ase.io import write

from conftest import random_model
from tempermd import lmp as lmp_room

FORCE_TOLERANCE_EV_A = {"float32": 5e-5, "float64": 1e-8}
ENERGY_TOLERANCE_EV = 1e-6  # per atom
STRESS_TOLERANCE_EV_A3 = 1e-5

Start = Callable[..., object]


def tube() -> Atoms:
    """Return a periodic (4,0) tube of 32 rattled atoms, with vacuum around it."""
    atoms = nanotube(4, 0, length=2, bond=1.42)
    atoms.center(vacuum=5.0, axis=(0, 1))
    atoms.pbc = True
    atoms.rattle(0.05, seed=3)
    return atoms


def triclinic() -> Atoms:
    """Return a triclinic crystal of carbon and hydrogen, in the frame that LAMMPS uses."""
    cell = [[5.1, 0.0, 0.0], [1.3, 4.7, 0.0], [-0.9, 1.1, 5.6]]
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    atoms = Atoms("C5H3", cell=cell, pbc=True, scaled_positions=grid)
    atoms.positions += rng.normal(0.0, 0.15, atoms.positions.shape)
    return atoms


def small_box() -> Atoms:
    """Return diamond's cell of eight atoms: 3.57 Å wide, with a cutoff of 4 Å."""
    atoms = bulk("C", "diamond", a=3.57, cubic=True)
    atoms.rattle(0.06, seed=7)
    return atoms


STRUCTURES = {"tube": tube, "triclinic": triclinic, "small_box": small_box}


def elements_of(atoms: Atoms) -> tuple[str, ...]:
    """Return the elements of a structure in the order in which they first come."""
    return tuple(dict.fromkeys(atoms.symbols))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return ``start(atoms, model, ...)``: LAMMPS in process, ready to run; closed afterwards."""
    opened = []

    def begin(
        atoms: Atoms,
        model: Path | None,
        *,
        before: Sequence[str] = (),
        style: str = "nequip",
        threads: int = 1,
        skewed: bool = False,
    ):
        elements = elements_of(atoms)
        data = tmp_path / f"structure{len(opened)}.data"
        write(
            data,
            atoms,
            format="lammps-data",
            specorder=list(elements),
            masses=True,
            force_skew=skewed,
        )
        instance = lmp_room.lammps_instance(
            ["-log", "none", "-screen", "none", "-pk", "omp", str(threads)]
        )
        opened.append(instance)
        instance.commands_list(["units metal", *before, f"read_data {data}", f"pair_style {style}"])
        if model is not None:
            instance.command(f"pair_coeff * * {model} {' '.join(elements)}")
        instance.command("thermo_style custom step pe pxx pyy pzz pxy pxz pyz")
        return instance

    yield begin
    for instance in opened:
        instance.close()


def forces_of(instance) -> np.ndarray:
    """Return forces (N, 3) in eV/Å, in the order of atom IDs."""
    return np.array(instance.gather_atoms("f", 1, 3)).reshape(-1, 3)


def stress_of(instance) -> np.ndarray:
    """Return the stress (6,) in eV/Å³, in ASE's order and sign; atoms must stand still."""
    bar = [instance.get_thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
    return -np.array(bar) / instance.extract_global("nktv2p")


def nequip_calculator(dtype: str, type_names: tuple[str, ...], **arguments):
    """Return nequip's own ASE calculator of the eager model that ``make_model`` deploys."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    model = random_model(dtype=dtype, type_names=type_names, **arguments).eval()
    transforms = basic_transforms(
        model.metadata,
        float(model.metadata["r_max"]),
        list(type_names),
        {name: name for name in type_names},
    )
    return NequIPCalculator(model=model, device="cpu", transforms=transforms)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_agrees_with_nequips_ase_calculator(name: str, dtype: str, start: Start, make_model):
    atoms = STRUCTURES[name]()
    elements = elements_of(atoms)
    instance = start(atoms, make_model(dtype=dtype, type_names=elements))
    instance.command("run 0")
    atoms.calc = nequip_calculator(dtype, elements)

    reference = atoms.get_forces()
    assert np.abs(reference).max() > 0.05, "forces too small to show anything"
    assert np.abs(forces_of(instance) - reference).max() < FORCE_TOLERANCE_EV_A[dtype]
    energy_tolerance = ENERGY_TOLERANCE_EV * (1 if dtype == "float64" else 5)
    difference = instance.get_thermo("pe") - atoms.get_potential_energy()
    assert abs(difference) / len(atoms) < energy_tolerance
    assert np.abs(stress_of(instance) - atoms.get_stress()).max() < STRESS_TOLERANCE_EV_A3


@pytest.mark.parametrize("name", STRUCTURES)
def test_forces_are_minus_the_gradient_of_the_energy(name: str, start: Start, make_model):
    atoms = STRUCTURES[name]()
    model = make_model(type_names=elements_of(atoms))
    instance = start(atoms, model, before=["atom_modify map array"])
    instance.command("run 0")
    forces, step_A = forces_of(instance), 1e-4
    count = instance.get_natoms()
    positions = instance.gather_atoms("x", 1, 3)
    for index in (0, 4, 3 * count - 1):
        energies = []
        for sign in (1, -1):
            positions[index] += sign * step_A
            instance.scatter_atoms("x", 1, 3, positions)
            instance.command("run 0")
            energies.append(instance.get_thermo("pe"))
            positions[index] -= sign * step_A
        slope = (energies[0] - energies[1]) / (2 * step_A)
        assert abs(forces.flat[index] + slope) < 1e-5


@pytest.mark.parametrize("name", ["triclinic", "small_box"])
def test_virial_is_the_derivative_by_strain(name: str, start: Start, make_model):
    atoms = STRUCTURES[name]()
    model = make_model(type_names=elements_of(atoms))
    instance = start(atoms, model)
    instance.command("run 0")
    stress = stress_of(instance)
    size = 1e-4
    # row vectors: r' = r (1 + strain); these three shears keep LAMMPS's lower triangle
    for k, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (2, 1), (2, 0), (1, 0)]):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * size
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            other = start(strained, model, skewed=True)
            other.command("run 0")
            energies.append(other.get_thermo("pe"))
        slope = (energies[0] - energies[1]) / (2 * size) / atoms.get_volume()
        assert stress[k] == pytest.approx(slope, abs=STRESS_TOLERANCE_EV_A3)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("newton", ["on", "off"])
def test_newton_and_threads_change_nothing(newton: str, threads: int, start: Start, make_model):
    atoms = small_box()
    results = []
    for setting, count in (("on", 1), (newton, threads)):
        instance = start(atoms, make_model(), before=[f"newton {setting}"], threads=count)
        instance.command("run 0")
        results.append((forces_of(instance), stress_of(instance), instance.get_thermo("pe")))
    for one, other in zip(*results, strict=True):
        assert np.abs(np.subtract(one, other)).max() < 1e-10


@pytest.mark.parametrize("newton", ["on", "off"])
def test_atom_energies_and_virials_sum_to_the_totals(newton: str, start: Start, make_model):
    atoms = triclinic()
    elements = elements_of(atoms)
    instance = start(atoms, make_model(type_names=elements), before=[f"newton {newton}"])
    instance.commands_list(
        [
            "compute energy all pe/atom",
            "compute virial all stress/atom NULL virial",
            "compute sums all reduce sum c_energy c_virial[*]",
            "thermo_style custom step pe pxx pyy pzz pxy pxz pyz c_sums[1]",
            "run 0",
        ]
    )
    atom_energies = instance.numpy.extract_compute("energy", 1, 1)
    atoms.calc = nequip_calculator("float64", elements)
    order = np.argsort(instance.numpy.extract_atom("id")[: len(atoms)])
    assert atom_energies[order] == pytest.approx(atoms.get_potential_energies(), abs=1e-8)

    sums = instance.numpy.extract_compute("sums", 0, 1)
    assert sums[0] == pytest.approx(instance.get_thermo("pe"), abs=1e-9)
    # stress/atom is -virial in bar Å³, in the order xx yy zz xy xz yz
    total = -stress_of(instance)[[0, 1, 2, 5, 4, 3]] * atoms.get_volume()
    assert -sums[1:] / instance.extract_global("nktv2p") == pytest.approx(total, abs=1e-7)


def test_overlay_adds_forces(start: Start, make_model):
    atoms, lj = small_box(), "0.01 3.0"
    found = []
    for style, coefficients in (
        ("lj/cut 3.5", [f"* * {lj}"]),
        ("nequip", [f"* * {make_model()} C"]),
        ("hybrid/overlay lj/cut 3.5 nequip", [f"* * lj/cut {lj}", f"* * nequip {make_model()} C"]),
    ):
        instance = start(atoms, None, style=style)
        instance.commands_list([f"pair_coeff {one}" for one in coefficients] + ["run 0"])
        found.append((forces_of(instance), stress_of(instance)))
    for alone_lj, alone_nequip, both in zip(*found, strict=True):
        assert both == pytest.approx(alone_lj + alone_nequip, abs=1e-10)


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


def test_open_boundaries(start: Start, make_model):
    atoms = tube()
    atoms.pbc = False
    instance = start(atoms, make_model(), before=["boundary f s m"])
    instance.command("run 0")
    atoms.calc = nequip_calculator("float64", ("C",))
    assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-8)


def test_run_0_repeats_exactly(start: Start, make_model):
    instance = start(tube(), make_model())
    instance.command("run 0")
    energy, forces = instance.get_thermo("pe"), forces_of(instance)
    instance.command("run 0")
    assert instance.get_thermo("pe") == energy
    assert np.array_equal(forces_of(instance), forces)


def test_minimize_goes_down_and_ends_on_the_calculators_forces(start: Start, make_model):
    atoms = tube()
    instance = start(atoms, make_model())
    instance.command("run 0")
    energy = instance.get_thermo("pe")
    # a model of random weights has no minimum nearby: a few steps only
    instance.command("minimize 0.0 0.0 4 20")
    assert instance.get_thermo("pe") < energy - 0.01
    atoms.positions = np.array(instance.gather_atoms("x", 1, 3)).reshape(-1, 3)
    atoms.calc = nequip_calculator("float64", ("C",))
    assert forces_of(instance) == pytest.approx(atoms.get_forces(), abs=1e-8)


def test_restart_continues_the_trajectory(start: Start, make_model, tmp_path: Path):
    model, restart = make_model(), tmp_path / "middle.restart"
    first = start(tube(), model)
    first.commands_list(
        [
            "velocity all create 300 4",
            "timestep 0.0005",
            "fix 1 all nve",
            "run 10",
            f"write_restart {restart}",
            "run 10",
        ]
    )
    second = lmp_room.lammps_instance()
    try:
        second.commands_list(
            [
                f"read_restart {restart}",
                "pair_style nequip",
                f"pair_coeff * * {model} C",
                "fix 1 all nve",
                "run 10",
            ]
        )
        assert second.extract_global("ntimestep") == 20
        one, other = (np.array(each.gather_atoms("v", 1, 3)) for each in (first, second))
        assert one == pytest.approx(other, abs=1e-10)
    finally:
        second.close()


NVE_INPUT = """
units metal
read_data {data}
pair_style nequip
pair_coeff * * {model} C
velocity all create 600 11
timestep 0.001
fix 1 all nve
thermo_style custom step time etotal
thermo_modify format float %.10f
thermo 50
run 2000
"""


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_nve_conserves_energy(threads: int, tmp_path: Path):
    """The shipped model on the shipped tube, 128 atoms at about 300 K."""
    folder = lmp_room.potentials_folder()
    files = {"model": folder / "carbon_base.nequip.pth", "data": folder / "tube_8_8.data"}
    (tmp_path / "in.nve").write_text(NVE_INPUT.format(**files))
    result = lmp_room.run_process(
        ["-in", "in.nve"], tmp_path, env={"OMP_NUM_THREADS": str(threads)}
    )
    assert result.exit_code == 0, result.stdout_tail
    log = (tmp_path / "log.lammps").read_text()
    assert f"using {threads} OpenMP thread" in log
    rows = re.findall(r"^ +(\d+) +([-\d.]+) +([-\d.]+) *$", log, re.MULTILINE)
    time_ps, energy_eV = np.array(rows, dtype=float)[:, 1:].T
    assert time_ps[-1] == pytest.approx(2.0)
    n_atoms = int(re.search(r"(\d+) atoms", log)[1])
    drift = np.polyfit(time_ps, energy_eV / n_atoms, 1)[0]
    assert abs(drift) < 1e-4  # eV/atom/ps
    assert np.ptp(energy_eV) / n_atoms < 2e-3


def test_nonfinite_energy_stops_and_names_atom_and_step(start: Start, make_model):
    atoms = tube()
    atoms.positions[9] = atoms.positions[4]
    with pytest.raises(Exception, match=r"not finite for atom \d+ at step 0"):
        start(atoms, make_model()).command("run 0")


# each case: the file it makes, and the sentence that must come
def missing(_: Path, folder: Path) -> Path:
    return folder / "nowhere.nequip.pth"


def truncated(model: Path, folder: Path) -> Path:
    path = folder / "short.nequip.pth"
    path.write_bytes(model.read_bytes()[:20_000])
    return path


def not_torch(_: Path, folder: Path) -> Path:
    path = folder / "text.nequip.pth"
    path.write_text("this is no model\n")
    return path


def wrong_extension(model: Path, folder: Path) -> Path:
    return Path(shutil.copy(model, folder / "model.pth"))


def aotinductor(model: Path, folder: Path) -> Path:
    return Path(shutil.copy(model, folder / "model.nequip.pt2"))


def torchscript(folder: Path, extra: dict[str, str]) -> Path:
    """Write a scripted module that is no NequIP model, with these extra files."""
    import torch

    path = folder / "foreign.nequip.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path), _extra_files=extra)
    return path


def foreign(_: Path, folder: Path) -> Path:
    return torchscript(folder, {})


def of_upstream(_: Path, folder: Path) -> Path:
    return torchscript(folder, {"r_max": "4.0", "type_names": "C", "num_types": "1"})


def of_the_future(_: Path, folder: Path) -> Path:
    return torchscript(folder, {"r_max": "4.0", "type_names": "C", "tempermd_format": "2"})


def without_test_configuration(_: Path, folder: Path) -> Path:
    extra = {"r_max": "4.0", "type_names": "C", "tempermd_format": "1", "units": "metal"}
    return torchscript(folder, extra)


def other_network(_: Path, folder: Path) -> Path:
    extra = {"r_max": "4.0", "type_names": "C", "tempermd_format": "1", "units": "metal"}
    one_edge = "1 1 1e-5\n0\n0 0 1.0 0.0 0.0\n-1.0\n0.0 0.0 0.0\n"
    return torchscript(folder, extra | {"test_configuration": one_edge})


def altered_weights(model: Path, folder: Path) -> Path:
    import torch

    path = folder / "altered.nequip.pth"
    extra = dict.fromkeys(
        ["r_max", "type_names", "num_types", "model_dtype", "tempermd_format", "num_layers"], ""
    ) | dict.fromkeys(["units", "versions", "checkpoint_sha256", "test_configuration"], "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(model), _extra_files=extra)
        with torch.no_grad():
            next(p for p in module.parameters() if p.numel() > 1).mul_(1.01)
        torch.jit.save(module, str(path), _extra_files=extra)
    return path


BAD_FILES = [
    (missing, "does not exist"),
    (truncated, "not a readable TorchScript file, truncated or foreign"),
    (not_torch, "not a readable TorchScript file, truncated or foreign"),
    (wrong_extension, "wrong extension: expected NAME.nequip.pth"),
    (aotinductor, "AOTInductor file, which this version does not read"),
    (foreign, "not of a NequIP model"),
    (of_upstream, "compiled by nequip-compile.*deploy-model"),
    (of_the_future, "tempermd_format is 2, this pair style reads 1"),
    (without_test_configuration, "test configuration is damaged"),
    (other_network, "torch stopped: "),
    (altered_weights, "forces differ from those recorded at deployment"),
]


@pytest.mark.parametrize(("make", "sentence"), BAD_FILES, ids=lambda v: getattr(v, "__name__", ""))
def test_bad_model_file(make, sentence: str, start: Start, make_model, tmp_path: Path):
    path = make(make_model(), tmp_path)
    with pytest.raises(Exception, match=sentence):
        start(small_box(), path)


@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        (["pair_coeff * * MODEL Si"], "Element Si is unknown to model .*, which knows: C"),
        (["pair_coeff * * MODEL C C"], "one element for each of the 1 atom types, got 2"),
        (["pair_coeff * * MODEL"], "one element for each of the 1 atom types, got 0"),
        (["pair_coeff 1 1 MODEL C"], r"\* \*"),
        (["pair_coeff * * MODEL NULL"], "every atom type to NULL"),
        (["pair_style nequip 4.0"], "takes no arguments, got '4.0'"),
        (
            ["pair_coeff * * MODEL C", "compute c all centroid/stress/atom NULL virial", "run 0"],
            "does not give centroid/stress/atom",
        ),
    ],
)
def test_bad_commands(commands: list[str], sentence: str, start: Start, make_model):
    instance = start(small_box(), None)
    with pytest.raises(Exception, match=sentence):
        instance.commands_list([one.replace("MODEL", str(make_model())) for one in commands])


def test_other_units_are_refused(start: Start, make_model):
    with pytest.raises(Exception, match=r"needs 'units metal' or 'units real', got 'units lj'"):
        start(small_box(), make_model(), before=["units lj"])


def test_atoms_without_ids_are_refused(start: Start, make_model):
    instance = lmp_room.lammps_instance()
    try:
        instance.commands_list(
            [
                "units metal",
                "atom_modify id no",
                "lattice diamond 3.57",
                "region box block 0 1 0 1 0 1",
                "create_box 1 box",
                "create_atoms 1 box",
                "mass 1 12.011",
                "pair_style nequip",
                f"pair_coeff * * {make_model()} C",
            ]
        )
        with pytest.raises(Exception, match="needs atom IDs"):
            instance.command("run 0")
    finally:
        instance.close()
