"""What looking for violations in a run costs: paired runs with and without the guard.

    python tests/bench/guard_cost.py --pairs 9

The shipped model on the shipped tube at 3000 K; both runs do the same steps from the same seed, and
take turns in going first. The ratio is of the processor times of LAMMPS's own loops, so that other
work on the machine counts for little.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
from pathlib import Path

from tempermd import lmp


def loop_s(folder: Path, guard: int, steps: int) -> float:
    """Return the processor time of a run's loop, s."""
    folder.mkdir()
    arguments = ["-in", str(lmp.inputs_folder() / "nanotube.in"), "-var", "T", "3000"]
    for name, value in (("ramp", 0), ("steps", steps), ("guard", guard), ("T0", 3000)):
        arguments += ["-var", name, str(value)]
    process = lmp.run_process(arguments, cwd=folder, env={"OMP_NUM_THREADS": "1"})
    log = (folder / "log.lammps").read_text()
    found = re.findall(r"Loop time of (\S+)", log), re.findall(r"([\d.]+)% CPU use", log)
    if process.exit_code or [len(one) for one in found] != [1, 1]:
        raise SystemExit(process.stdout_tail)
    return float(found[0][0]) * float(found[1][0]) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=10)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(options.pairs):
            order = (0, options.every) if pair % 2 else (options.every, 0)
            times = {
                guard: loop_s(Path(folder) / f"{pair}_{guard}", guard, options.steps)
                for guard in order
            }
            ratios.append(times[options.every] / times[0])
            print(f"pair {pair + 1}: {100 * (ratios[-1] - 1):+.2f} %")
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5
    mean, median = (100 * (f(ratios) - 1) for f in (statistics.mean, statistics.median))
    print(f"guard every {options.every} steps: {mean:+.2f} %, standard error {100 * spread:.2f} %")
    print(f"median {median:+.2f} %")


if __name__ == "__main__":
    main()
