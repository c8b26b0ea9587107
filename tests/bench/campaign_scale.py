"""How long plan, status and collect take for ten thousand runs, and what a run costs beside LAMMPS.

    python tests/bench/campaign_scale.py -o FOLDER --runs 10000 --real 20

The ten thousand have rows that are made up. Of the real ones (60 atoms, 200 steps) the overhead is
the wall time of the whole campaign, times the runs at a time, less what their results say.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaign_cases import write_spec
from conftest import random_model
from made_campaign import make_up_rows, open_made_campaign
from tempermd import campaign, md
from tempermd.engine import available_cores

TEMPERATURES = 5
STRUCTURES = 4
FRAILTY = {"frail": 0.08, "middling": 0.02, "sound": 0.002}


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long a block took."""
    start_s, cpu_s = time.monotonic(), time.process_time()
    yield
    wall_s, cpu_s = time.monotonic() - start_s, time.process_time() - cpu_s
    print(f"{what:<28} {wall_s:7.2f} s of wall time, {cpu_s:7.2f} s of this process")


def made_models(folder: Path) -> dict[str, str]:
    """Deploy models with random weights, one for each name."""
    from tempermd.deploy import deploy_model

    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.nequip.pth" for name in FRAILTY}
    for seed, path in enumerate(paths.values(), start=1):
        if not path.is_file():
            deploy_model(random_model(seed=seed), path)
    return {name: str(path) for name, path in paths.items()}


def overhead(folder: Path, runs: int) -> None:
    """Run a campaign of the control and print what its runs took beside LAMMPS."""
    spec = write_spec(folder, seeds=max(1, runs // 2))
    slots = available_cores()
    start_s = time.monotonic()
    driven = campaign.drive(spec, workers=slots)
    wall_s = time.monotonic() - start_s
    results = [md.read_result(run) for run in driven.folder.glob("runs/*")]
    inside_s = sum(result.wall_s for result in results if result is not None)
    each_s = (wall_s * slots - inside_s) / len(results)
    print(
        f"{len(results)} real runs in {wall_s:.1f} s, {slots} at a time: {each_s:.2f} s each beside"
    )
    print(f"LAMMPS, which took {inside_s / len(results):.2f} s each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=10_000)
    asked = parser.parse_args()
    models = made_models(asked.output / "models")
    folder = asked.output / "campaign"
    seeds = asked.runs // ((len(models) + 1) * TEMPERATURES * STRUCTURES)
    with timed("plan, new"):
        opened = open_made_campaign(folder, models, seeds, STRUCTURES)
    print(f"{len(opened.cases)} runs")
    with timed("plan, again"):
        open_made_campaign(folder, models, seeds, STRUCTURES)
    with timed("read the plan"):
        campaign.read_campaign(folder)
    with timed("plan with its estimate"):
        print(campaign.planned(folder, probe=False).splitlines()[-1])
    with timed("status, nothing begun"):
        campaign.show_status(folder, once=True)
    with timed("(rows made up)"):
        make_up_rows(opened, FRAILTY)
    with timed("status, all ended"):
        campaign.show_status(folder, by="condition", once=True)
    with timed("collect"):
        page, _ = campaign.collect_campaign(folder, details=0)
    print(f"the page has {page.stat().st_size / 1e6:.1f} MB")
    if asked.real:
        overhead(asked.output / "real", asked.real)


if __name__ == "__main__":
    main()
