"""What a long run of a campaign costs beside LAMMPS, and what judging it costs.

    python tests/bench/judging_share.py --hold-ps 220 --runs 2 -o FOLDER

LCBOP, the fastest potential for carbon that LAMMPS has here, on a (10,10) tube of 520 atoms at
3000 K: frames come as densely as they ever will. The runs go side by side, one for each core.
220 ps are ten to twenty minutes.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import time
from pathlib import Path

from tempermd import campaign, md
from tempermd.events import analyse_run

SPEC = """
control = true
temperatures_K = [3000]
seeds = [{seeds}]
ramp_ps = 2.0
hold_ps = {hold_ps}

[structures]
tube = {{ tube = [10, 10], length_A = 30 }}
"""


def seconds_of(log: Path) -> int:
    """Return LAMMPS's own wall time."""
    hours, minutes, seconds = re.findall(r"Total wall time: (\d+):(\d+):(\d+)", log.read_text())[-1]
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def judged(run: Path) -> tuple[int, list[float]]:
    """Return the number of frames, and the processor seconds of three analyses."""
    took_s = []
    for _ in range(3):
        start_s = time.process_time()
        found = analyse_run(run)
        took_s.append(time.process_time() - start_s)
    return found.n_frames, took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hold-ps", type=float, default=220)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    spec = asked.output / "campaign.toml"
    seeds = ", ".join(str(1 + n) for n in range(asked.runs))
    spec.write_text(SPEC.format(seeds=seeds, hold_ps=asked.hold_ps))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    driven = campaign.drive(spec, workers=asked.runs)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    core_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    core_s /= asked.runs
    for run in sorted(driven.folder.glob("runs/*")):
        result, attempt = md.read_result(run), md.newest_attempt(run)
        inside_s = seconds_of(attempt / md.LOG)
        frames, took_s = judged(run)
        middle_s = statistics.median(took_s)
        print(
            f"{run.name}: {result.wall_s:.0f} s, {inside_s} s of them LAMMPS's MD by its log, "
            f"{core_s:.0f} core-s; {frames} frames judged in {middle_s:.1f} core-s, "
            f"{100 * middle_s / core_s:.1f} %"
        )


if __name__ == "__main__":
    main()
