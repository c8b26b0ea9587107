"""How late faults are seen: frames and guard against the same run with a frame for every step.

    python tests/bench/detection_delay.py

For each bad model of tests/bad_models.py: the first fatal or severe event of a run looked at in
every step, of the same run with a frame every 100 steps (the default), and of it under a guard that
looks every 10 steps. Runs are the same up to the guard's stop: same seed, same steps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bad_models import BAD_MODELS
from tempermd import md
from tempermd.campaign import BuiltStructure
from tempermd.campaign.building import prepare_structure
from tempermd.events import analyse_run
from tempermd.records import sha256_file
from tempermd.report.summary import first_damning

DENSE, DEFAULT, GUARD = 1, 100, 10


def first_seen(model: Path, data: Path, root: Path, options: argparse.Namespace, **how: int) -> str:
    """Return step and kind of the first damning event of a run, as ``1234 close_contact``."""
    case = md.Case(
        model=str(model),
        model_sha256=sha256_file(model),
        model_name=model.name,
        structure=str(data),
        structure_sha256=sha256_file(data),
        temperature_K=3000.0,
        ramp_steps=options.ramp,
        hold_steps=options.steps,
        seed=options.seed,
        thermo_every=10,
        quench_frames=0,
        **how,
    )
    md.run(case, root)
    event = first_damning(analyse_run(root / case.id))
    return "none" if event is None else f"{event.step} {event.kind}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ramp", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| model | every step | every 100 | guard every 10 |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tube = BuiltStructure(tube=(5, 5), length_A=10.0)
        data = prepare_structure(tube, root / "tube.data")
        for name, (make, _) in BAD_MODELS.items():
            model = make(root / f"{name}.nequip.pth")
            ways = ({"dump_every": DENSE}, {"dump_every": DEFAULT}, {"guard_every": GUARD})
            seen = [first_seen(model, data, root / "runs", options, **way) for way in ways]
            print(f"| {name} | " + " | ".join(seen) + " |", flush=True)


if __name__ == "__main__":
    main()
