"""A run under guard and the same run looked at afterwards tell the same events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bad_models import with_pair_term
from made_trajectories import TIMESTEP_FS
from tempermd import lmp, md
from tempermd.campaign.rows import row_of
from tempermd.events import (
    Analysis,
    Event,
    Thresholds,
    analyse_run,
    analyse_trajectory,
    read_thresholds,
)
from tempermd.events.stops import stop_events
from tempermd.md.frames import text_frames
from tempermd.records import sha256_file
from tempermd.trajectory import iter_frames

TUBE = lmp.potentials_folder() / "tube_8_8.data"
EVERY = 5
THERMO_EVERY = 10
STEPS = 60


class Way(NamedTuple):
    """What a model dies of, and the severe limits that see it."""

    kind: str
    model: str
    temperature_K: float
    shortest_A: float
    force_eV_per_A: float


WAYS = {
    "contact": Way("close_contact", "random", 300.0, 1.0, 100.0),
    "contact by another limit": Way("close_contact", "random", 300.0, 1.2, 100.0),
    "force": Way("force_spike", "hole", 1500.0, 1.0, 100.0),
    "force by another limit": Way("force_spike", "random", 300.0, 0.9, 1.0),
    "nonfinite": Way("nonfinite", "nan", 3000.0, 1.0, 100.0),
}


def limits_of(way: Way) -> Thresholds:
    """Return the shipped limits with a way's own; those of a warning keep their distance."""
    shipped = read_thresholds()
    contact = {"severe_A": way.shortest_A, "warn_A": 1.1 * way.shortest_A}
    force = {
        "severe_eV_per_A": way.force_eV_per_A,
        "warn_eV_per_A": 0.75 * way.force_eV_per_A,
    }
    return shipped.model_copy(
        update={
            "close_contact": shipped.close_contact.model_copy(update=contact),
            "force_spike": shipped.force_spike.model_copy(update=force),
        }
    )


class Pair(NamedTuple):
    """The folders of a run without and with a guard, and the limits of both."""

    free: Path
    guarded: Path
    limits: Thresholds

    @property
    def stop(self) -> int:
        """The step that the guard's files are named by."""
        frame = next(md.newest_attempt(self.guarded).glob("nequip_guard.*.lammpstrj"))
        return int(frame.name.split(".")[1])


@pytest.fixture(scope="module")
def pair_of(make_model, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Return ``pair_of(name)``: a hot tube run by a bad model, without and with a guard."""
    root = tmp_path_factory.mktemp("runs")
    models = {"random": make_model()}

    def run(name: str) -> Pair:
        way = WAYS[name]
        if way.model not in models:
            depth = {"hole": -400.0, "nan": float("nan")}[way.model]
            models[way.model] = with_pair_term(depth, root / f"{way.model}.nequip.pth")
        model = models[way.model]
        case = md.Case(
            model=str(model),
            model_sha256=sha256_file(model),
            structure=str(TUBE),
            structure_sha256=sha256_file(TUBE),
            temperature_K=way.temperature_K,
            start_temperature_K=way.temperature_K,
            ramp_steps=0,
            hold_steps=STEPS,
            seed=1,
            timestep_fs=TIMESTEP_FS,
            dump_every=EVERY,
            thermo_every=THERMO_EVERY,
            quench_frames=0,
        )
        guard = {
            "guard_every": EVERY,
            "guard_shortest_A": way.shortest_A,
            "guard_force_eV_per_A": way.force_eV_per_A,
        }
        cases = [case, case.model_copy(update=guard)]
        for one in cases:
            md.run(one, root)
        return Pair(*(root / one.id for one in cases), limits_of(way))

    return run


def until(pair: Pair, step: int, folder: Path) -> Analysis:
    """Analyse the frames of the run without a guard up to a step, as if it had ended there."""
    dump = folder / "until.lammpstrj"
    frames = text_frames(md.newest_attempt(pair.free) / md.DUMP)
    dump.write_bytes(b"".join(frame.text for frame in frames if frame.step <= step))
    return analyse_trajectory(dump, timestep_fs=TIMESTEP_FS, thresholds=pair.limits)


def damning(found: Analysis, kind: str) -> list[Event]:
    return [event for event in found.events if event.kind == kind and event.severity != "warn"]


def said(pair: Pair) -> list[Event]:
    """Return what the guard itself said, without what frames tell."""
    reason = md.read_result(pair.guarded).reason
    return stop_events(reason, 0, 0.0, TIMESTEP_FS, pair.limits)


@pytest.mark.parametrize("name", [name for name in WAYS if name != "nonfinite"])
def test_guard_stops_at_the_first_severe_value(name: str, pair_of, tmp_path: Path) -> None:
    """Oracle: the frames of the run without a guard, which were written at the guard's steps."""
    pair, kind = pair_of(name), WAYS[name].kind
    guarded = analyse_run(pair.guarded, pair.limits)
    assert guarded.outcome == "model_failure"
    own = next(event for event in said(pair) if event.kind == kind)
    assert (own.severity, own.step) == ("severe", pair.stop)
    after = damning(until(pair, pair.stop, tmp_path), kind)
    same = next(event for event in after if set(event.atom_ids) == set(own.atom_ids))
    assert same.shown_step == own.step
    assert same.value == pytest.approx(own.value, rel=1e-5)
    assert same.limit == own.limit
    assert damning(until(pair, pair.stop - EVERY, tmp_path), kind) == []
    told = [(event.kind, tuple(sorted(event.atom_ids))) for event in damning(guarded, kind)]
    assert sorted(told) == sorted((e.kind, tuple(sorted(e.atom_ids))) for e in after)


def test_not_finite_is_told_alike(pair_of) -> None:
    """With and without a guard, and by the frame that the guard has written."""
    pair = pair_of("nonfinite")
    found = [analyse_run(folder, pair.limits) for folder in (pair.free, pair.guarded)]
    frame = next(md.newest_attempt(pair.guarded).glob("nequip_guard.*.lammpstrj"))
    (shown,) = damning(analyse_trajectory(frame, timestep_fs=TIMESTEP_FS), "nonfinite")
    assert (shown.severity, shown.step) == ("fatal", pair.stop)
    for analysis in found:
        assert analysis.outcome == "model_failure"
        (told,) = damning(analysis, "nonfinite")
        assert told.severity == "fatal"
        assert set(told.atom_ids) <= set(shown.atom_ids)
        # a stop by the pair style itself is dated to the last thermo line before it
        assert pair.stop - THERMO_EVERY < told.step <= pair.stop
    assert damning(found[0], "nonfinite")[0].atom_ids == damning(found[1], "nonfinite")[0].atom_ids


def test_guard_leaves_frame_and_restart(pair_of) -> None:
    pair = pair_of("contact")
    attempt = md.newest_attempt(pair.guarded)
    frame = next(iter_frames(next(attempt.glob("nequip_guard.*.lammpstrj"))))
    assert (attempt / f"nequip_guard.{frame.step}.restart").is_file()
    assert frame.forces is not None
    assert frame.step == pair.stop


def test_a_stop_within_wider_limits_is_a_warning_or_nothing(pair_of) -> None:
    """The limits at hand judge what the guard saw; the run counts as cut off, not as whole."""
    pair = pair_of("contact")
    (own,) = said(pair)
    shipped = pair.limits.close_contact
    for severe_A, warn_A, severities in (
        (0.9, 1.1, {"warn"}),
        (0.8, 0.9, set()),
    ):
        assert severe_A < own.value < shipped.severe_A
        contact = shipped.model_copy(update={"severe_A": severe_A, "warn_A": warn_A})
        limits = pair.limits.model_copy(update={"close_contact": contact})
        found = analyse_run(pair.guarded, limits)
        kinds = {event.severity for event in found.events if event.kind == "close_contact"}
        assert kinds == severities
        assert not found.failed
        assert not found.survived
        assert any("cut off" in note for note in found.notes)
        row = row_of(found, md.read_result(pair.guarded), "key")
        assert (row.verdict, row.fate) == ("not judged", "censored")
    assert analyse_run(pair.guarded, pair.limits).failed
