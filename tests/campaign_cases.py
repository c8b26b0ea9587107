"""Small campaigns of the control for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SPEC = """
control = true
temperatures_K = [300, 1000]
seeds = [{seeds}]
ramp_ps = 0
hold_ps = {hold_ps}
thermo_every_fs = 5
dump_every_fs = 25
quench_frames = 0
{more}

[structures]
tube = {{ tube = [5, 5], length_A = 7 }}
{tables}
"""


def write_spec(
    folder: Path, seeds: int = 2, hold_ps: float = 0.1, more: str = "", tables: str = ""
) -> Path:
    """Write ``campaign.toml`` of 2 x ``seeds`` runs of 60 atoms."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "campaign.toml"
    numbers = ", ".join(map(str, range(1, seeds + 1)))
    path.write_text(SPEC.format(seeds=numbers, hold_ps=hold_ps, more=more, tables=tables))
    return path


def tempermd(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("tempermd")), *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def table_of(folder: Path) -> list[dict]:
    """Return the runs of a campaign's table."""
    return json.loads((folder / "table.json").read_text())["runs"]
