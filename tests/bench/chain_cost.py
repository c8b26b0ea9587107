"""What a run costs beyond LAMMPS: attempts, leases, judgement, hashes, and joining a chain.

    python tests/bench/chain_cost.py --pairs 5 --kills 2

LCBOP on the shipped tube. Each pair is a run by ``md.run`` and the same input by a bare ``lmp``,
which take turns in going first. What ``md.run`` adds is told twice: its wall time without that
inside the LAMMPS processes, and the difference within the pair (noisy where other work runs).
Then a run is killed some times; what its chain adds is told in the same way.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tempermd import lmp, md
from tempermd.md.case import DATA, MODEL
from tempermd.records import sha256_file

TUBE = lmp.potentials_folder() / "tube_8_8.data"
inside_s: list[float] = []


def counted(*arguments: Any, **options: Any) -> lmp.ProcessResult:
    """Run LAMMPS, and note how long it took."""
    process = bare(*arguments, **options)
    inside_s.append(process.wall_s)
    return process


bare = lmp.run_process
lmp.run_process = counted


def case_of(seed: int, steps: int) -> md.Case:
    """Return a run of the control."""
    return md.Case(
        potential="lcbop",
        structure=str(TUBE),
        structure_sha256=sha256_file(TUBE),
        temperature_K=1000.0,
        ramp_steps=0,
        hold_steps=steps,
        seed=seed,
        quench_frames=0,
    )


def by_lmp(case: md.Case, folder: Path) -> float:
    """Return the wall time of the bare input."""
    folder.mkdir()
    (folder / DATA).symlink_to(TUBE)
    script = str(lmp.inputs_folder() / "nanotube.in")
    arguments = ["-in", script, *md.lammps_arguments(case, DATA, MODEL)]
    return bare(arguments, cwd=folder, env={"OMP_NUM_THREADS": "1"}).wall_s


def by_run(case: md.Case, root: Path) -> tuple[md.RunResult, float, float]:
    """Return the result, the wall time, and that outside of LAMMPS."""
    inside_s.clear()
    begin_s = time.perf_counter()
    result = md.run(case, root)
    wall_s = time.perf_counter() - begin_s
    return result, wall_s, wall_s - sum(inside_s)


def kill_at(folder: Path, step: int) -> threading.Thread:
    """Kill LAMMPS when it has written the restart file of a step."""

    def wait_and_kill() -> None:
        while not list(folder.glob(f"attempt-*/**/restart.{step}")):
            time.sleep(0.02)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                here = (process / "cwd").readlink().is_relative_to(folder)
            except OSError:
                continue
            if here:
                os.kill(int(process.name), signal.SIGKILL)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread


def chain(case: md.Case, root: Path, kills: int) -> None:
    """Kill a run some times, and tell what each attempt added."""
    marks = case.planned_steps // case.restart_every
    for number in range(kills):
        step = case.restart_every * max(1, (number + 1) * marks // (kills + 1))
        killer = kill_at(root / case.id, step)
        result, _, extra_s = by_run(case, root)
        killer.join()
        print(f"killed after step {result.last_step}: {extra_s:.3f} s beyond LAMMPS")
    result, _, extra_s = by_run(case, root)
    size = (root / case.id / result.attempt / md.DUMP).stat().st_size
    print(f"last attempt: {extra_s:.3f} s beyond LAMMPS, {size / 1e6:.1f} MB joined")
    print(f"{result.outcome} in {result.attempts} attempts, {result.wall_s:.1f} s of wall time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=2)
    options = parser.parse_args()
    extras, differences, ratios = [], [], []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for pair in range(options.pairs):
            case = case_of(pair + 1, options.steps)
            lmp_s = by_lmp(case, root / f"bare{pair}") if pair % 2 else None
            _, run_s, extra_s = by_run(case, root)
            lmp_s = by_lmp(case, root / f"bare{pair}") if lmp_s is None else lmp_s
            extras.append(extra_s)
            differences.append(run_s - lmp_s)
            ratios.append(run_s / lmp_s)
            print(f"pair {pair + 1}: lmp {lmp_s:.2f} s, run {run_s:.2f} s, beyond {extra_s:.3f} s")
        print(f"beyond LAMMPS: median {statistics.median(extras):.3f} s, most {max(extras):.3f} s")
        print(f"difference in a pair: median {statistics.median(differences):+.2f} s")
        print(f"ratio in a pair: median {statistics.median(ratios):.3f}")
        chain(case_of(options.pairs + 1, max(options.steps, 3000)), root, options.kills)


if __name__ == "__main__":
    main()
