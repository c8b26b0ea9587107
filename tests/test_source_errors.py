"""What label sources refuse, and the sentence that says why."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator

from conftest import skip_without
from source_cases import CASES, LENNARD_JONES, gap_file, structure
from tempermd import labels
from tempermd.labels import LabelFailureError, SourceSpec
from tempermd.records import UserError

Opened = Callable[[str], object]


class Faulty(Calculator):
    """A calculator whose faults are settings."""

    implemented_properties = ("energy", "forces", "energies", "free_energy")

    def __init__(self, fault: str) -> None:
        super().__init__()
        if fault == "open":
            raise FileNotFoundError("no program vasp_std")
        self.fault = fault

    def calculate(self, *args: object) -> None:
        """Fail, or give numbers that do not fit."""
        super().calculate(*args)
        if self.fault == "run":
            raise OSError("starting\nthe license server is away")
        count = len(self.atoms)
        self.results = {
            "energy": np.nan if self.fault == "nan" else 1.0,
            "free_energy": 2.0,
            "forces": np.zeros((count, 3)),
            "energies": np.full(count, 5.0),
        }


def test_forces_of_constrained_atoms_are_kept() -> None:
    """A label is no step of a relaxation."""
    from ase.constraints import FixAtoms

    atoms = structure("C")
    for name in ("tersoff", "ase:ase.calculators.lj:LennardJones"):
        calculator = labels.open_source(SourceSpec(name=name))[1]
        free = labels.compute(atoms, calculator)
        held = atoms.copy()
        held.set_constraint(FixAtoms([0]))
        label = labels.compute(held, calculator)
        assert label.calc.results["forces"] == pytest.approx(free.get_forces())


def test_faults_of_any_calculator_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    def source(fault: str) -> object:
        spec = SourceSpec(name="ase:test_source_errors:Faulty", settings={"fault": fault})
        return labels.open_source(spec)[1]

    atoms = structure("C")
    with pytest.raises(UserError, match="cannot be opened: FileNotFoundError: no program vasp_std"):
        source("open")
    with pytest.raises(LabelFailureError, match="on C8: OSError: the license server is away"):
        labels.compute(atoms, source("run"))
    with pytest.raises(LabelFailureError, match="a structure has no atoms"):
        labels.compute(Atoms(), source("none"))
    flat = atoms.copy()
    flat.cell[2] = flat.cell[0]
    with pytest.raises(LabelFailureError, match="C8 is periodic along 3 axes, but its cell"):
        labels.compute(flat, source("none"))
    label = labels.compute(atoms, source("none"))
    assert label.get_potential_energy() == 2.0  # the one that forces are the gradient of
    assert "energies" not in label.calc.results  # 8 times 5 is not 2


BAD_FILES = {
    "empty.nep.txt": "",
    "rubbish.pth": "x",
    "words.nep.txt": "rubbish 1 2\n",
    "empty.tersoff": "# nothing\n",
    "rubbish.xml": "<a>1</a>",
    "no.xml": "not XML",
    "cut.eam.alloy": "a\nb\n",
    "model.nequip.pth": "not a zip",
}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dft", "'dft' is unknown; choose one of airebo, .*, ase:module:Class"),
        ("ase:emt", "expected the form ase:module:Class"),
        ("ase:no.such:Thing", "cannot be opened: ModuleNotFoundError: No module named 'no'"),
        ("xtb:GFN1", "'xtb' takes no argument"),
        ("sevennet-0:x", "'sevennet-0' takes no argument"),
        ("sevennet:7net-9", "neither a checkpoint file nor a model of sevenn .7net-0, "),
        ("sevennet:rubbish.pth", "'sevennet:rubbish.pth' .rubbish.pth.: invalid load key"),
        ("nep", "'nep' needs its parameter file: nep:NEP.txt"),
        ("nep:away.txt", "'nep:away.txt': no such file"),
        ("nep:empty.nep.txt", "empty.nep.txt: not a NEP model"),
        ("nep:words.nep.txt", "words.nep.txt: not a NEP model that calorine reads .Unknown field"),
        ("gap", "'gap' needs its parameter file: gap:GAP.xml"),
        ("gap:rubbish.xml", "rubbish.xml: no GAP"),
        ("gap:no.xml", "no.xml: not a readable XML file"),
        ("eam", "potential 'eam' needs a parameter file"),
        ("eam:Cu.meam", "expected an EAM file named"),
        ("eam:cut.eam.alloy", "cut.eam.alloy: no parameter file of 'eam': it names no element"),
        ("tersoff:away.tersoff", "away.tersoff: no such parameter file"),
        ("tersoff:empty.tersoff", "empty.tersoff: no parameter file of 'tersoff'"),
        ("snap:Si.sw", "Si.sw: expected the .snapcoeff file"),
        ("nequip", "potential 'nequip' needs a deployed model"),
        ("nequip:model.nequip.pth", "model.nequip.pth: not a deployed model"),
    ],
)
def test_bad_names_and_files_are_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without(name.split(":")[0])
    skip_without(name.split(":")[0] + "-0")
    monkeypatch.chdir(tmp_path)
    for file, text in BAD_FILES.items():
        (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=message):
        labels.open_source(SourceSpec(name=name))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lcbop", {"a": 1}, "settings of label source 'lcbop': unknown key 'a'"),
        ("xtb", {"method": "PBE"}, "key 'method'.*got 'PBE'"),
        ("lammps", {}, "key 'commands' is missing; key 'elements' is missing"),
        ("lammps", LENNARD_JONES | {"elements": ["Carbon"]}, "elements are symbols such as C"),
        ("lammps", LENNARD_JONES | {"files": ["away"]}, "away: no such parameter file"),
        (
            "lammps",
            {"commands": ["pair_style lj/cut"], "elements": ["C"]},
            "LAMMPS: Illegal pair_style",
        ),
        (
            "lammps",
            {"commands": ["pair_style lj/cut 3", "pair_coeff 1 7 1 1"], "elements": ["C"]},
            "LAMMPS: Numeric index 7 is out of bounds",
        ),
    ],
)
def test_bad_settings_are_refused(name: str, settings: dict, message: str) -> None:
    skip_without(name)
    with pytest.raises(UserError, match=message) as raised:
        labels.open_source(SourceSpec(name=name, settings=settings))
    assert ".cpp" not in str(raised.value)


@pytest.mark.parametrize("name", ["tersoff", "lcbop", "eam", "nep", "gap", "nequip", "sevennet-0"])
def test_foreign_elements_are_refused(name: str, opened: Opened) -> None:
    """quippy would give zero for them, LAMMPS would stop."""
    atoms = structure(CASES[name].symbol)
    atoms.symbols[2] = "Xe" if name != "sevennet-0" else "Rn"
    with pytest.raises(LabelFailureError, match=r"holds (Xe|Rn), the label source knows \w+"):
        labels.compute(atoms, opened(name))


def test_a_gap_without_its_sparse_points_is_refused(opened: Opened, tmp_path: Path) -> None:
    opened("gap")
    file = gap_file(tmp_path)
    source, _ = labels.open_source(SourceSpec(name=f"gap:{file}"))
    assert len(source.files) == 3  # the XML, and one of sparse points for each descriptor
    next(tmp_path.glob("gap.xml.sparseX*")).unlink()
    with pytest.raises(UserError, match="of sparse points is missing beside it"):
        labels.open_source(SourceSpec(name=f"gap:{file}"))


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("xtb", "tblite", "xtb"),
        ("sevennet-0", "sevenn", "sevennet"),
        ("nep:nep.txt", "calorine", "nep"),
        ("gap:gap.xml", "quippy", "gap"),
    ],
)
def test_a_missing_package_is_named_with_its_install_line(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [key for key in sys.modules if key.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else found(name)
    )
    line = f"pip install 'tempermd[{extra}]'"
    with pytest.raises(UserError, match=f"needs the package {package}") as raised:
        labels.open_source(SourceSpec(name=name))
    assert line in str(raised.value)
    rows = [row for row in labels.sources_text().splitlines() if row.endswith(line)]
    kinds = {row.split(":")[0].split()[0] for row in rows}
    assert kinds == {name.split(":")[0], name.split(":")[0].removesuffix("-0")}
