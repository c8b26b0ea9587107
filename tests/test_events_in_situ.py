"""A run under guard and the same run looked at afterwards tell the same events."""

from __future__ import annotations

from pathlib import Path

import pytest

from tempermd import lmp, md
from tempermd.events import Analysis, analyse_run
from tempermd.records import sha256_file
from tempermd.trajectory import iter_frames

TUBE = lmp.potentials_folder() / "tube_8_8.data"
EVERY = 5


@pytest.fixture(scope="module")
def runs(make_model, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, Analysis]]:
    """A model with random weights on a hot tube, without and with a guard."""
    model = make_model()
    root = tmp_path_factory.mktemp("runs")
    found = {}
    for guard in (0, EVERY):
        case = md.Case(
            model=str(model),
            model_sha256=sha256_file(model),
            structure=str(TUBE),
            structure_sha256=sha256_file(TUBE),
            temperature_K=300.0,
            start_temperature_K=300.0,
            ramp_steps=0,
            hold_steps=1500,
            seed=1,
            dump_every=EVERY,
            quench_frames=0,
            guard_every=guard,
        )
        md.run(case, root)
        found[guard] = root / case.id, analyse_run(root / case.id)
    return found


def test_guard_stops_at_the_first_severe_contact(runs) -> None:
    (_, free), (folder, guarded) = runs[0], runs[EVERY]
    assert guarded.outcome == "model_failure"
    own = [e for e in guarded.events if (e.kind, e.severity) == ("close_contact", "severe")]
    after = [e for e in free.events if (e.kind, e.severity) == ("close_contact", "severe")]
    assert len({tuple(sorted(event.atom_ids)) for event in own}) == len(own)
    first = min(own, key=lambda event: event.step)
    same = [event for event in after if set(event.atom_ids) == set(first.atom_ids)]
    assert same, "the run without a guard shows another first contact"
    assert abs(min(event.step for event in same) - first.step) <= EVERY
    # no frame of the free run before the stop has a pair below the limit
    stop = int(next((folder / "attempt-001").glob("nequip_guard.*.restart")).name.split(".")[1])
    severe_A = free.thresholds.close_contact.severe_A
    shortest = free.series["shortest_distance"]
    before = [
        value
        for time, value in zip(shortest.time_ps, shortest.value, strict=True)
        if time < (stop - EVERY) * 0.5 / 1000
    ]
    assert len(before) > 3
    assert min(before) >= severe_A


def test_guard_leaves_frame_and_restart(runs) -> None:
    folder, guarded = runs[EVERY]
    attempt = folder / "attempt-001"
    frame = next(iter_frames(next(attempt.glob("nequip_guard.*.lammpstrj"))))
    restart = attempt / f"nequip_guard.{frame.step}.restart"
    assert restart.is_file()
    assert frame.forces is not None
    assert frame.step <= guarded.events[0].step + 100
