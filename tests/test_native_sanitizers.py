"""The native engine alone under the compiler's sanitizers, on whole and on damaged model files.

It takes minutes to compile, so that it is a step of its own: ``make test-sanitizers``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from test_layers import SHAPES, eager

DEPLOY = Path(__file__).parents[1] / "deploy"

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


@pytest.mark.sanitizers
def test_sanitizers_find_nothing_even_in_damaged_files(tmp_path: Path):
    """Those for addresses and undefined behavior."""
    from tempermd.deploy import deploy_model

    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    harness = tmp_path / "harness"
    flags = ["-std=c++20", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    flags += ["-fopenmp", "-DTEMPERMD_ISA=baseline", f"-I{DEPLOY}"]
    files = [DEPLOY / f"{name}.cpp" for name in ENGINE_SOURCES]
    files.append(Path(__file__).parent / "native_harness.cpp")
    built = subprocess.run(
        [compiler, *flags, *files, "-o", harness], capture_output=True, text=True, check=False
    )
    if "cannot find" in built.stderr:
        pytest.skip("needs the sanitizers' libraries")
    assert built.returncode == 0, built.stderr
    model = tmp_path / "model.nequip.pth"
    deploy_model(eager(**(SHAPES["two types, parity"] | {"model_dtype": "float32"})), model)
    for arguments in (["run", model, 3, 40], ["fuzz", model, 5, 1]):
        done = subprocess.run(
            [harness, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    opened, refused = (int(word) for word in re.findall(r"\d+", done.stdout))
    assert opened > 0
    assert refused > 0
