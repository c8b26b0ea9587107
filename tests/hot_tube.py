"""Fixtures: a healthy tube at 3000 K, run by LAMMPS with LCBOP once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_trajectories import TIMESTEP_FS, tube_atoms
from tempermd import md
from tempermd.records import sha256_file


def hot_case(data: Path, **changes) -> md.Case:
    """Return an LCBOP run of the tube: 0.75 ps to 3000 K, 1.6 ps there."""
    settings = {
        "potential": "lcbop",
        "model_name": "LCBOP",
        "structure": str(data),
        "structure_sha256": sha256_file(data),
        "structure_name": "(8,0)",
        "temperature_K": 3000.0,
        "ramp_steps": 1500,
        "hold_steps": 3200,
        "timestep_fs": TIMESTEP_FS,
        "seed": 1,
        "quench_frames": 1,
    }
    return md.Case(**settings | changes)


@pytest.fixture(scope="session")
def tube_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tube as a LAMMPS data file."""
    path = tmp_path_factory.getbasetemp() / "tube_8_0.data"
    if not path.exists():
        tube_atoms().write(path, format="lammps-data", masses=True)
    return path


@pytest.fixture(scope="session")
def hot_tube(tmp_path_factory: pytest.TempPathFactory, tube_data: Path) -> Path:
    """Run directory of a healthy tube at 3000 K; made once, whoever asks."""
    root = tmp_path_factory.getbasetemp() / "hot_tube"
    case = hot_case(tube_data)
    assert md.run(case, root).outcome == "finished"
    return root / case.id
