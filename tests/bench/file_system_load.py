"""What runs ask of a file system: calls on the campaign's folder and on the environment.

    python tests/bench/file_system_load.py --hold-ps 4

Needs strace. Runs of the control on the shipped tube, by `tempermd campaign work`, as a task of an
array starts them: one, and then two, whose difference is what a worker's next run asks. Calls that
fail (a library is looked for where it is not) are counted, too: a
file server answers them all the same. Bytes are those of the files that the run leaves.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from pathlib import Path

from tempermd import campaign

SPEC = "control = true\nseeds = {seeds}\ntemperatures_K = [3000]\nhold_ps = {hold_ps}\n"
CALL = re.compile(r'^\d+ +(\w+)\([^"]*"([^"]+)"')
CHANGING = {"mkdir", "rename", "link", "unlink", "chmod", "symlink", "rmdir"}


def traced_work(folder: Path, log: Path) -> None:
    """Run all runs of a campaign in one worker with its calls on files written down."""
    tempermd = str(Path(sysconfig.get_path("scripts")) / "tempermd")
    trace = ["strace", "-f", "-qq", "-e", "trace=%file", "-e", "signal=none", "-o", str(log)]
    command = [*trace, tempermd, "campaign", "work", str(folder), "--workers", "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def calls_by_area(log: Path, folder: Path) -> dict[str, Counter[str]]:
    """Count calls on the campaign's folder (LAMMPS runs in it, so relative paths, too) and on
    the environment."""
    environment = (sys.prefix, sys.base_prefix)
    found: dict[str, Counter[str]] = {"campaign": Counter(), "environment": Counter()}
    with log.open(errors="replace") as stream:
        for call, path in (match.groups() for line in stream if (match := CALL.match(line))):
            if path.startswith(str(folder)) or not path.startswith("/"):
                found["campaign"][call] += 1
            elif path.startswith(environment):
                found["environment"][call] += 1
    return found


def tell_files(folder: Path) -> None:
    """Print files and bytes of the runs."""
    files = [path for path in (folder / "runs").rglob("*") if not path.is_symlink()]
    sizes = sorted(((p.stat().st_size, p.name) for p in files if p.is_file()), reverse=True)
    print(f"{len(sizes)} files, {sum(size for size, _ in sizes) / 1e6:.2f} MB; the largest:")
    for size, name in sizes[:4]:
        print(f"  {name}: {size / 1e6:.3f} MB")


def tell_calls(title: str, calls: dict[str, Counter[str]]) -> None:
    """Print how many calls there were of which kind."""
    for area, counts in calls.items():
        changing = sum(counts[name] for name in CHANGING)
        opened = counts["openat"]
        asked = counts.total() - changing - opened
        print(f"{title}, {area}: {opened} opens, {asked} questions, {changing} changes of names")


def traced(scratch: Path, seeds: list[int], hold_ps: float) -> dict[str, Counter[str]]:
    """Plan and run a campaign of as many runs as seeds, and count its calls."""
    name = f"of_{len(seeds)}"
    spec, folder = scratch / f"{name}.toml", scratch / name
    spec.write_text(SPEC.format(seeds=seeds, hold_ps=hold_ps))
    campaign.planned(spec, folder, probe=False)
    traced_work(folder, scratch / "calls")
    if len(seeds) == 1:
        tell_files(folder)
    return calls_by_area(scratch / "calls", folder)


def main() -> None:
    """Print what one run asks, and what the next one in the same worker does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hold-ps", type=float, default=4.0, help="after a ramp of 2 ps")
    hold_ps = parser.parse_args().hold_ps
    if shutil.which("strace") is None:
        sys.exit("this bench needs strace")
    with tempfile.TemporaryDirectory() as scratch:
        one = traced(Path(scratch), [1], hold_ps)
        two = traced(Path(scratch), [1, 2], hold_ps)
        tell_calls("a worker and its first run", one)
        tell_calls("its next run", {area: two[area] - one[area] for area in one})


if __name__ == "__main__":
    main()
