"""Models that call operators of other packages: deployed by a modifier, run in LAMMPS.

The operator is a real one, compiled here; OpenEquivariance's own need a GPU.
"""

from __future__ import annotations

import ctypes.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from conftest import random_model
from pair_style_cases import small_box
from tempermd import lmp
from tempermd.deploy import deploy_model, load_deployed, model_info
from tempermd.records import UserError
from test_cli import tempermd

SOURCE = """
#include <ATen/ATen.h>
#include <torch/library.h>
at::Tensor twice(const at::Tensor &x) { return 2.0 * x; }
TORCH_LIBRARY(made_operators, library) { library.def("twice(Tensor x) -> Tensor", twice); }
"""

INPUT = """
units metal
read_data box.data
pair_style nequip
pair_coeff * * {model} C
dump 1 all custom 1 forces.dump id type x y z fx fy fz
dump_modify 1 sort id format float %.12g
run 0
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile a shared library that adds an operator to torch, and a package that loads it."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    import torch
    from torch.utils.cpp_extension import include_paths

    folder = tmp_path_factory.mktemp("operators")
    (folder / "made.cpp").write_text(SOURCE)
    path = folder / "libmade.so"
    libraries = Path(torch.__file__).parent / "lib"
    command = [compiler, "-std=c++20", "-shared", "-fPIC", "made.cpp", "-o", path]
    command += [f"-I{one}" for one in include_paths()]
    command += [f"-L{libraries}", "-ltorch_cpu", "-lc10"]
    subprocess.run(command, cwd=folder, check=True)
    package = f"import torch\n\ntorch.ops.load_library({str(path)!r})\n"
    (folder / "made_operators.py").write_text(package)
    return path


@pytest.fixture
def modifier(library: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give nequip's models a modifier that brings the operator into them; return its name."""
    import torch
    from nequip.nn._tp_scatter_base import TensorProductScatter
    from nequip.nn.model_modifier_utils import model_modifier, replace_submodules

    monkeypatch.syspath_prepend(library.parent)

    class Doubled(TensorProductScatter):
        _nequip_custom_ops_libs = ("made_operators",)

        def forward(self, x, edge_attr, edge_weight, edge_dst, edge_src):
            edges = self.tp(x[edge_src], edge_attr, 0.5 * edge_weight)
            sums = torch.zeros(x.size(0), edges.size(1), dtype=x.dtype)
            return sums.index_add(0, edge_dst, torch.ops.made_operators.twice(edges))

    def replacement(old: TensorProductScatter) -> TensorProductScatter:
        import made_operators  # noqa: F401  (torch knows the operator then)

        names = ("feature_irreps_in", "irreps_edge_attr", "irreps_mid", "instructions")
        new = Doubled(*(getattr(old, name) for name in names))
        new.load_state_dict(old.state_dict())
        return new.to(old.model_dtype)

    @model_modifier(persistent=False, supported_compile_modes=["torchscript"])
    @classmethod
    def enable_made(cls, model):
        return replace_submodules(model, TensorProductScatter, replacement)

    monkeypatch.setattr(TensorProductScatter, "enable_made", enable_made, raising=False)
    return "enable_made"


def forces_in_lammps(model: Path, folder: Path, operators: str) -> tuple[np.ndarray | None, str]:
    """Return forces (N, 3) in eV/Å, or None if it failed, and what LAMMPS printed."""
    folder.mkdir()
    write(folder / "box.data", small_box(), format="lammps-data", masses=True)
    (folder / "in.box").write_text(INPUT.format(model=model))
    done = lmp.run_process(["-in", "in.box"], folder, env={"TEMPERMD_OPERATORS": operators})
    dump = folder / "forces.dump"
    if not dump.is_file():
        return None, done.stdout_tail
    return read(dump, format="lammps-dump-text").get_forces(), done.stdout_tail


def other_library() -> str:
    """Return a shared library that knows nothing of torch."""
    return ctypes.util.find_library("m")


def test_lammps_runs_operators_of_other_packages(modifier: str, library: Path, tmp_path: Path):
    """With the library the forces are those without the modifier; without it a sentence comes."""
    plain, changed = tmp_path / "plain.nequip.pth", tmp_path / "changed.nequip.pth"
    deploy_model(random_model(), plain)
    deploy_model(random_model(), changed, modifiers=[modifier])
    assert model_info(changed)["nequip_custom_ops_libs"] == "made_operators"

    wanted, _ = forces_in_lammps(plain, tmp_path / "plain", "")
    found, text = forces_in_lammps(changed, tmp_path / "changed", str(library))
    assert found is not None, text
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-8)

    missing = "it needs operators of the Python package made_operators"
    faults = {
        "": "expected TEMPERMD_OPERATORS to name the shared library",
        "/nowhere/made.so": "with TEMPERMD_OPERATORS='/nowhere/made.so' it cannot be opened: the",
        other_library(): "it cannot be opened: .*made_operators",
    }
    for number, (operators, sentence) in enumerate(faults.items()):
        found, text = forces_in_lammps(changed, tmp_path / f"fault{number}", operators)
        assert found is None
        assert re.search(f"{missing}, .*{sentence}", text.replace("\n", " ")), text


def test_python_imports_the_package(
    modifier: str, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "changed.nequip.pth"
    deploy_model(random_model(), path, modifiers=[modifier])
    load_deployed(path)
    monkeypatch.delitem(sys.modules, "made_operators")
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(library.parent)])
    with pytest.raises(UserError, match=r"operators of the package 'made_operators', which cannot"):
        load_deployed(path)


@pytest.mark.parametrize(
    ("name", "output", "sentence"),
    [
        ("enable_wings", "m.nequip.pth", "'enable_wings' is no modifier that speeds .*OpenEqui"),
        ("enable_ForceStressOutput", "m.nequip.pth", "is no modifier that speeds this model up"),
        ("enable_OpenEquivariance", "m.nequip.pth", "is not for device cpu; choose another --dev"),
        ("enable_made", "m.nequip.pt2", "is not for format aotinductor; choose torchscript"),
    ],
)
def test_modifiers_that_do_not_fit(
    name: str, output: str, sentence: str, modifier: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        deploy_model(random_model(), tmp_path / output, modifiers=[name])
    assert not list(tmp_path.glob("m.*"))


def test_a_modifier_without_its_package(
    modifier: str, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(library.parent)])
    monkeypatch.delitem(sys.modules, "made_operators", raising=False)
    with pytest.raises(UserError, match=r"enable_made cannot be applied here \(ModuleNotFoundErr"):
        deploy_model(random_model(), tmp_path / "m.nequip.pth", modifiers=[modifier])


def test_the_command_hands_modifiers_over(tmp_path: Path) -> None:
    checkpoint, output = lmp.potentials_folder() / "carbon_base.ckpt", tmp_path / "m.nequip.pth"
    code, _, told = tempermd("deploy", checkpoint, "-o", output, "--modifier", "enable_wings")
    assert code == 1
    assert "'enable_wings' is no modifier" in told


def test_lammps_is_told_where_openequivariance_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is found without being imported, which would need a GPU."""
    package = tmp_path / "openequivariance"
    library = package / "_torch" / "extlib" / "liboeq_stable_cuda_aoti.so"
    library.parent.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('only for CUDA')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TEMPERMD_OPERATORS", "")  # so that what was there comes back
    monkeypatch.delenv("TEMPERMD_OPERATORS")
    lmp.register()
    assert "TEMPERMD_OPERATORS" not in os.environ
    library.touch()
    lmp.register()
    assert os.environ["TEMPERMD_OPERATORS"] == str(library)
    monkeypatch.setenv("TEMPERMD_OPERATORS", "mine.so")
    lmp.register()
    assert os.environ["TEMPERMD_OPERATORS"] == "mine.so"
