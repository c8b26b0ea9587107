"""Speed of pair_style nequip on the shipped tube: ms per step, 1 against 2 threads in pairs.

Run it by ``python tests/bench/pair_style.py [MODEL.nequip.pth [STEPS [PAIRS]]]``.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
from pathlib import Path

from tempermd import lmp as lmp_room

INPUT = """
units metal
read_data {data}
pair_style nequip
pair_coeff * * {model} C
velocity all create 300 1
timestep 0.0005
fix 1 all nve
run 20
run {steps}
"""


def seconds_per_step(model: Path, data: Path, steps: int, threads: int) -> tuple[float, int]:
    """Return the wall time (s) of one step and the number of atoms."""
    with tempfile.TemporaryDirectory() as folder:
        text = INPUT.format(model=model, data=data, steps=steps)
        Path(folder, "in.bench").write_text(text)
        environment = {"OMP_NUM_THREADS": str(threads)}
        result = lmp_room.run_process(["-in", "in.bench"], folder, env=environment)
    if result.exit_code != 0:
        sys.exit(result.stdout_tail)
    loop = re.findall(r"Loop time of (\S+) on .* with (\d+) atoms", result.stdout_tail)[-1]
    return float(loop[0]) / steps, int(loop[1])


def main() -> None:
    """Print each pair and the median of their ratios."""
    folder = lmp_room.potentials_folder()
    model = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "carbon_base.nequip.pth"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    pairs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    ratios = []
    for _ in range(pairs):
        times = []
        for threads in (1, 2):
            time_s, n_atoms = seconds_per_step(
                model.resolve(), folder / "tube_8_8.data", steps, threads
            )
            times.append(time_s)
            rate = n_atoms / time_s
            print(f"{threads} thread(s): {1e3 * time_s:7.2f} ms/step {rate:9.0f} atom-steps/s")
        ratios.append(times[0] / times[1])
    print(f"2 threads are {statistics.median(ratios):.2f} times as fast (median of {pairs})")


if __name__ == "__main__":
    main()
