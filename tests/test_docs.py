"""The documentation is true: every command in it runs, every link leads somewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COPIED = ["lammps_inputs", "studies", "python/tempermd/potentials"]
MADE_BY_CI = ("make ", "git clone", "source ", "pip install")
ALLOWED_CODES = (0, 2)  # 2 is a verdict


def commands(page: Path) -> list[str]:
    """Return the commands of a page's bash blocks, continuation lines joined."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line and not line.startswith("#")]


WITH_COMMANDS = [page for page in PAGES if commands(page)]


def test_readme_has_commands_to_run() -> None:
    assert ROOT / "README.md" in WITH_COMMANDS


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_commands_run(page: Path, tmp_path: Path) -> None:
    """Run a page's commands in order in a copy of the tree; `make` is what CI itself runs."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    folder = tmp_path
    for command in commands(page):
        if command.startswith(MADE_BY_CI):
            continue
        if command.startswith("cd "):
            folder = folder / command.removeprefix("cd ")
            continue
        result = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert result.returncode in ALLOWED_CODES, f"{command}\n{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_readme_quotes_the_recorded_table() -> None:
    """The demo's table in README is the one that `tempermd study table` printed and we kept."""
    recorded = (ROOT / "studies" / "demo_result.md").read_text().strip()
    assert recorded in (ROOT / "README.md").read_text()


def test_every_command_is_in_the_readme() -> None:
    from tempermd.cli import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    text = (ROOT / "README.md").read_text()
    assert {name for name in names if f"tempermd {name}" not in text} == set()
