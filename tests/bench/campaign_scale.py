"""How long plan, status and collect take for ten thousand runs whose rows are made up.

Run: python tests/bench/campaign_scale.py -o FOLDER [--runs 10000]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import random_model
from made_campaign import make_up_rows, open_made_campaign
from tempermd import campaign

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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


if __name__ == "__main__":
    main()
