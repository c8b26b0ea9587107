"""Files for sites: scripts parse, the image's recipe installs what the Makefile does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECIPE = (ROOT / "deploy" / "apptainer.def").read_text()
LUA = ROOT / "deploy" / "modulefile.lua"


def section(name: str) -> str:
    """Return a section of the image's recipe."""
    return re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", RECIPE, flags=re.M | re.S).group(1)


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test"])
def test_sections_of_the_recipe_are_shell(name: str) -> None:
    subprocess.run(["bash", "-n"], input=section(name), text=True, check=True)


def test_scripts_parse() -> None:
    for path in [*(ROOT / "deploy").glob("*.sh"), ROOT / ".ci" / "run"]:
        subprocess.run(["bash", "-n", path], check=True)


def test_the_recipe_installs_what_the_makefile_does() -> None:
    """In the same order: torch first, then what the build needs, then the toolkit."""
    make = (ROOT / "Makefile").read_text()
    tools = re.search(r"\$\(PIP\) (scikit-build-core .*)", make).group(1)
    assert f"$pip {tools}" in section("post")
    assert section("post").index("$pip torch") < section("post").index("$pip scikit-build-core")
    packages = re.search(
        r"libegl1.*?(?=>/dev/null|slurm)", (ROOT / ".ci" / "run").read_text(), re.S
    )
    for package in packages.group(0).replace("\\", " ").split():
        assert package in section("post")


def test_the_modulefile_is_lua() -> None:
    compiler = shutil.which("luac") or shutil.which("luac5.1") or shutil.which("luac5.3")
    if compiler is None:
        pytest.skip("no luac: apt-get install lua5.3")
    subprocess.run([compiler, "-p", LUA], check=True)


def test_the_modulefile_names_this_version() -> None:
    from tempermd import __version__

    assert f'local root = "/software/tempermd/{__version__}"' in LUA.read_text()
