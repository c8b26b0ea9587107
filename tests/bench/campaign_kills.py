"""A hundred SIGKILLs in one campaign: drivers, workers and LAMMPS, at random moments.

    python tests/bench/campaign_kills.py --kills 100 -o kills

First the campaign runs unbroken, then again with a kill every second or two until as many have
fallen, then to its end. Tables must be the same bytes; frames (but for their times, which agree to
12 digits) and thermo lines of every run the same text; every product as its hash says. Runs under
way are short of a restart file for a second at a time, so some are taken for stuck: these are
released by ``--again`` and counted. Exit code 1 when anything differs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from tempermd import md

SPEC = """control = true
temperatures_K = [300, 1000]
seeds = [{seeds}]
ramp_ps = 0
hold_ps = {hold_ps}
thermo_every_fs = 5
dump_every_fs = 25
quench_frames = 0

[structures]
tube = {{ tube = [5, 5], length_A = 7 }}
"""
TEMPERMD = [sys.executable, "-c", "from tempermd.cli import main; main()", "campaign"]


def command(*words: object) -> list[str]:
    """Return a campaign command of this environment."""
    return [*TEMPERMD, *map(str, words)]


def quietly(*words: object) -> int:
    """Run a campaign command to its end and return its exit code."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command(*words), **streams, check=False).returncode


def role_of(process: psutil.Process, driver: int) -> str:
    """Tell what a process of a campaign is; nothing for one that has ended."""
    if process.pid == driver:
        return "driver"
    try:
        words = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
    return "LAMMPS" if "lmp" in words or "lammps" in words else "worker"


def victims(driver: int) -> list[psutil.Process]:
    """Return the driver and all below it that are alive."""
    try:
        parent = psutil.Process(driver)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_one(driver: int, draw: random.Random) -> str | None:
    """Kill a process of a drawn role; None where there is none of it now."""
    role = draw.choice(["driver", *3 * ["worker"], *3 * ["LAMMPS"]])
    try:
        found = [one for one in victims(driver) if role_of(one, driver) == role]
        if not found:
            return None
        os.kill(draw.choice(found).pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None
    return role


def run_with_kills(spec: Path, folder: Path, kills: int, draw: random.Random) -> Counter[str]:
    """Run a campaign, killing until enough have fallen; drivers that end are started again."""
    fallen: Counter[str] = Counter()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    while fallen.total() - fallen["drivers started"] < kills:
        driver = subprocess.Popen(command("run", spec, "-o", folder, "--again"), **streams)
        fallen["drivers started"] += 1
        while driver.poll() is None and fallen.total() - fallen["drivers started"] < kills:
            time.sleep(draw.uniform(0.6, 2.4))
            role = kill_one(driver.pid, draw)
            if role is not None:
                fallen[role] += 1
        if driver.poll() == 0:
            break  # all runs ended before as many had fallen
        if driver.poll() is None:
            driver.send_signal(signal.SIGKILL)
        driver.wait()
    return fallen


def products(folder: Path) -> dict[str, tuple[str, str]]:
    """Return frames without their times, and thermo lines, of each run."""
    found = {}
    for path in sorted((folder / "runs").iterdir()):
        attempt = md.newest_attempt(path)
        if attempt is None or md.read_result(path) is None:
            continue
        dump = (attempt / md.DUMP).read_text().splitlines()
        frames = [line for i, line in enumerate(dump) if not dump[i - 1].startswith("ITEM: TIME")]
        steps = {i for i, line in enumerate(dump) if line.startswith("ITEM: TIMESTEP")}
        frames += [dump[i + 1] for i in sorted(steps)]
        lines = (attempt / md.LOG).read_text().splitlines()
        thermo = [line for line in lines if line.split()[:1] and line.split()[0].isdigit()]
        found[path.name] = ("\n".join(frames), "\n".join(dict.fromkeys(thermo)))
    return found


def main() -> None:
    """Run both campaigns and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10, help="two runs each")
    parser.add_argument("--hold-ps", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True)
    spec = options.output / "kills.toml"
    numbers = ", ".join(map(str, range(1, options.seeds + 1)))
    spec.write_text(SPEC.format(seeds=numbers, hold_ps=options.hold_ps))
    whole, broken = options.output / "whole", options.output / "broken"
    begin = time.monotonic()
    quietly("run", spec, "-o", whole)
    whole_s = time.monotonic() - begin
    fallen = run_with_kills(spec, broken, options.kills, random.Random(options.seed))
    print(f"unbroken in {whole_s:.0f} s; killed: {dict(fallen)}", flush=True)
    for _ in range(3):
        if quietly("run", spec, "-o", broken, "--again") == 0:
            break
    sys.exit(compare(whole, broken))


def compare(whole: Path, broken: Path) -> int:
    """Print what is the same and what is not; 1 with any difference."""
    for folder in (whole, broken):
        quietly("collect", folder)
    tables = [(folder / "table.csv").read_bytes() for folder in (whole, broken)]
    first, second = products(whole), products(broken)
    attempts = sum(len(list(path.glob("attempt-*"))) for path in (broken / "runs").iterdir())
    same = [name for name in first if first[name] == second.get(name)]
    verified = quietly("verify", broken) == 0
    print(f"{len(first)} runs unbroken, {len(second)} with kills in {attempts} attempts")
    print(f"tables equal: {tables[0] == tables[1]}; runs equal: {len(same)}; verify: {verified}")
    good = tables[0] == tables[1] and len(same) == len(first) == len(second) and verified
    return 0 if good else 1


if __name__ == "__main__":
    main()
