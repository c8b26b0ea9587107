"""The native engine under the sanitizers: alone, on whole and damaged model files, and in the pair
style under LAMMPS.

It takes minutes to compile, so that it is a step of its own: ``make test-sanitizers``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tempermd import lmp as lmp_room
from test_build import tool
from test_layers import SHAPES, eager
from test_pair_style import elements_of
from test_pair_style_mpi import NVE_INPUT, SYSTEMS, WAYS, model_of, write_data

TREE = Path(__file__).parents[1]
DEPLOY = TREE / "deploy"

ENGINE_SOURCES = (
    "block_maps",
    "device",
    "graph",
    "harmonics",
    "native_dispatch",
    "native_file",
    "native_kernels",
    "native_layer",
    "native_network",
    "nequip_model",
    "network_description",
    "perceptron",
    "radial_weights",
    "stored_archive",
    "test_configuration",
    "time_account",
    "without_torch",
)


def harness_of(compiler: str, flags: list[str], folder: Path) -> Path:
    """Compile the engine alone, with a sanitizer."""
    program = folder / "harness"
    flags = ["-std=c++20", "-O1", "-fopenmp", "-DTEMPERMD_ISA=baseline", f"-I{DEPLOY}", *flags]
    files = [DEPLOY / f"{name}.cpp" for name in ENGINE_SOURCES]
    files.append(Path(__file__).parent / "native_harness.cpp")
    built = subprocess.run(
        [compiler, *flags, *files, "-o", program], capture_output=True, text=True, check=False
    )
    if "cannot find" in built.stderr or "'omp.h' file not found" in built.stderr:
        pytest.skip("needs the sanitizers' libraries")
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model file."""
    from tempermd.deploy import deploy_model

    path = tmp_path / "model.nequip.pth"
    deploy_model(eager(**(SHAPES["two types, parity"] | {"model_dtype": "float32"})), path)
    return path


@pytest.mark.sanitizers
def test_sanitizers_find_nothing_even_in_damaged_files(model: Path, tmp_path: Path):
    """Those for addresses and undefined behavior."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    harness = harness_of(compiler, flags, tmp_path)
    for arguments in (["run", model, 3, 40], ["fuzz", model, 5, 1]):
        done = subprocess.run(
            [harness, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    opened, refused = (int(word) for word in re.findall(r"\d+", done.stdout))
    assert opened > 0
    assert refused > 0


@pytest.mark.sanitizers
def test_threads_do_not_race(model: Path, tmp_path: Path):
    """The sanitizer for threads, which LLVM's archer tells what OpenMP orders."""
    compiler = shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs clang")
    harness = harness_of(compiler, ["-g1", "-fsanitize=thread"], tmp_path)
    done = subprocess.run(
        [harness, "run", model, "4", "200"],
        env={"ARCHER_OPTIONS": "verbose=1", "TSAN_OPTIONS": "ignore_noninstrumented_modules=1"},
        capture_output=True,
        text=True,
        check=False,
    )
    races_told = done.returncode in (0, 66)  # what the sanitizer ends with
    if races_told and "Archer detected" not in done.stdout + done.stderr:
        pytest.skip("needs LLVM's OpenMP with archer")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    assert done.stdout.count("same") == 2


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plugin, compiled without torch and with the sanitizer for addresses."""
    build = tmp_path_factory.mktemp("build")
    ninja = tool("ninja")
    configured = [tool("cmake"), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", "-S", TREE]
    configured += ["-B", build, f"-DPython_EXECUTABLE={sys.executable}", "-DTEMPERMD_TORCH=OFF"]
    configured += ["-DCMAKE_BUILD_TYPE=None", "-DTEMPERMD_BASELINE=ON"]
    configured.append("-DCMAKE_CXX_FLAGS=-O1 -g1 -fsanitize=address -fno-omit-frame-pointer")
    for command in (configured, [ninja, "-C", build, "-j2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "deploy" / "nequipplugin.so"


@pytest.mark.sanitizers
@pytest.mark.parametrize("n_ranks", [1, 2])
def test_the_pair_style_leaves_its_arrays_alone(
    n_ranks: int, plugin: Path, make_model, tmp_path: Path
) -> None:
    """Ghosts, features exchanged, lists kept and made anew, boxes of every kind."""
    library = subprocess.run(
        [tool("g++"), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("needs the sanitizers' libraries")
    script = f"plugin clear\nplugin load {plugin}\n"
    for system, make in SYSTEMS.items():
        atoms = make()
        write_data(tmp_path, system, atoms)
        for way in ("exchange", "extended"):
            script += NVE_INPUT.format(
                name=f"{system}-{way}",
                way=WAYS[way],
                newton="on" if way == "exchange" else "off",
                grid=f"{n_ranks} 1 1",
                system=system,
                model=f"{make_model(**model_of(atoms))} {' '.join(elements_of(atoms))}",
                every=5,
                steps=10,
            )
    (tmp_path / "in.lmp").write_text(script)
    # leaks are those of LAMMPS and MPI, too, which were compiled without
    options = f"ASAN_OPTIONS=detect_leaks=0:verbosity=1:log_path={tmp_path / 'asan'}"
    result = lmp_room.run_process(
        ["-in", "in.lmp"],
        tmp_path,
        env={"OMP_NUM_THREADS": "2"},
        timeout_s=300,
        prefix=[*lmp_room.mpirun_command(n_ranks), "env", f"LD_PRELOAD={library}", options],
    )
    told = [path.read_text() for path in tmp_path.glob("asan.*")]
    assert result.exit_code == 0, result.stdout_tail + "".join(told)
    assert len(told) >= n_ranks, "the sanitizer was not there"
    assert not any("ERROR" in text for text in told), "".join(told)
    assert "Total wall time" in result.stdout_tail
