"""A campaign of 200 short runs by this machine, by Parsl's pilots and as an array in a real Slurm.

    python tests/bench/three_engines.py -o FOLDER --runs 200

The Slurm has one node and is this script's own (root, slurm-wlm and munge are needed). Half of the
runs of 60 atoms heat (LCBOP, 400 steps), half are hit by an atom. Prints how long each engine took
and whether the three tables are the same, byte for byte.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaign_cases import table_of, tempermd, write_spec
from slurm_node import one_node, why_not
from tempermd.campaign.submitting import active_jobs

PROFILES = {
    "here": "",
    "pilots": 'kind = "parsl"\nscheduler = "slurm"\ncores_per_node = 2\nwalltime = "00:30:00"\n',
    "array": 'kind = "slurm_array"\ncores_per_node = 1\nmax_running = 2\nwalltime = "00:30:00"\n',
}
PROTOCOLS = """
[protocols]
heat = { kind = "heat" }
hit = { kind = "knock_on", knock_eV = 15.0, hold_ps = 0.1 }
"""


def run(engine: str, root: Path, runs: int) -> Path:
    """Run the campaign by one engine and return its folder."""
    folder, more = root / engine, ""
    folder.mkdir(parents=True)
    if PROFILES[engine]:
        (folder / "profile.toml").write_text(f'{PROFILES[engine]}partition = "debug"\n')
        more = 'engine = "profile.toml"'
    spec = write_spec(folder, seeds=runs // 4, hold_ps=0.2, more=more, tables=PROTOCOLS)
    start_s = time.monotonic()
    said = tempermd("campaign", "run", spec)
    if said.returncode != 0:
        sys.exit(said.stderr)
    while engine == "array" and active_jobs(folder / "campaign"):
        time.sleep(1.0)
    print(f"{engine}: {time.monotonic() - start_s:.0f} s", flush=True)
    collected = tempermd("campaign", "collect", folder / "campaign")
    print(collected.stdout.strip().splitlines()[-1] if collected.stdout else collected.stderr)
    return folder / "campaign"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    reason = why_not()
    if reason is not None:
        sys.exit(reason)
    with one_node():
        folders = [run(engine, asked.output.resolve(), asked.runs) for engine in PROFILES]
    for folder in folders:
        states = [one["state"] for one in table_of(folder)]
        same = all(
            (folder / name).read_bytes() == (folders[0] / name).read_bytes()
            for name in ("table.csv", "table.json")
        )
        print(
            f"{folder.parent.name}: {len(states)} runs, {states.count('finished')} finished, "
            f"table {'the same' if same else 'DIFFERENT'}"
        )


if __name__ == "__main__":
    main()
