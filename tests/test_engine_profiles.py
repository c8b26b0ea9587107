"""Engine profiles: short, strict, found by name; every shipped example is a good one."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tempermd import engine
from tempermd.engine import EngineProfile, read_profile
from tempermd.engine.profile import clusters_folder
from tempermd.records import UserError

EXAMPLES = sorted(clusters_folder().glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_good(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert len(text.splitlines()) < 15
    assert read_profile(path) == read_profile(path.stem)
    # what an example leaves commented out is right, too
    lines = [line[1:] if line[:1] == "#" and "=" in line else line for line in text.splitlines()]

    EngineProfile.model_validate(tomllib.loads("\n".join(lines)))


def test_there_is_one_for_each_scheduler() -> None:
    profiles = [read_profile(path) for path in EXAMPLES]
    assert {profile.kind for profile in profiles} == {"local", "parsl", "slurm_array"}
    assert {profile.scheduler for profile in profiles} == {"local", "slurm", "pbs", "lsf"}
    assert any(profile.gpus_per_task for profile in profiles)
    assert engine.profile_names()[0] == "local"


def test_no_name_is_this_machine(tmp_path: Path) -> None:
    assert read_profile(None) == read_profile("local") == EngineProfile()
    path = tmp_path / "mine.toml"
    path.write_text('kind = "parsl"\nqueue = "fast"\nwalltime = 90\n')
    mine = read_profile(path)
    assert (mine.partition, mine.walltime, mine.walltime_s) == ("fast", "01:30:00", 5400)


@pytest.mark.parametrize(
    ("given", "walltime", "seconds"),
    [
        ("00:10:00", "00:10:00", 600),
        ("1-02:00:30", "26:00:30", 93630),
        (5, "00:05:00", 300),
        ("100:00:00", "100:00:00", 360000),
    ],
)
def test_walltimes(given: object, walltime: str, seconds: int) -> None:
    profile = EngineProfile.model_validate({"walltime": given})
    assert (profile.walltime, profile.walltime_s) == (walltime, seconds)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('kind = "slurm"', "key 'kind'"),
        ('colour = "red"', "unknown key 'colour'"),
        ('walltime = "10"', "expected HH:MM:SS or whole minutes"),
        ("walltime = true", "expected HH:MM:SS or whole minutes"),
        ('walltime = "00:00:30"', "at least one minute"),
        ("min_blocks = 2", "min_blocks 2 is above max_blocks 1"),
        ("cores_per_node = 2\ncores_per_task = 4", "a task wants 4 cores, a node has 2"),
        ("gpus_per_task = 1", "a task wants 1 GPUs, a node has 0"),
        ('kind = "slurm_array"\nscheduler = "pbs"', "goes with kind 'parsl'"),
        ('walltime = "00:01:00"\nlast_start_s = 60', "leaves no time"),
        ("kind = ", "not valid TOML"),
    ],
)
def test_faults_are_one_sentence(toml: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(toml)
    with pytest.raises(UserError, match=words) as caught:
        read_profile(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_name_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(UserError, match=r"engine 'slrum': expected local, .*slurm_gpu"):
        read_profile("slrum")
    with pytest.raises(UserError, match="no such spec file"):
        read_profile("no/such.toml")


@pytest.mark.parametrize(
    ("profile", "n_cores", "slots"),
    [
        ({}, 8, 8),
        ({"cores_per_node": 64, "cores_per_task": 10}, 2, 6),
        ({"cores_per_task": 16}, 8, 1),
        ({"cores_per_node": 32, "gpus_per_node": 4, "gpus_per_task": 1}, 2, 4),
        ({"cores_per_node": 32, "tasks_per_node": 3}, 2, 3),
    ],
)
def test_how_many_tasks_fit_on_a_node(profile: dict, n_cores: int, slots: int) -> None:
    assert EngineProfile.model_validate(profile).slots_per_node(n_cores) == slots


def test_an_array_takes_no_single_tasks() -> None:
    with pytest.raises(UserError, match="an array script is written and submitted"):
        engine.open_crew(EngineProfile(kind="slurm_array"))


def test_parsl_waits_until_it_is_needed() -> None:
    """Nobody who stays on one machine loads Parsl, or needs it."""
    code = "import sys, tempermd.engine as e; e.read_profile('slurm'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "tempermd.engine" in loaded.stdout.split()
    assert not {"parsl", "zmq"} & set(loaded.stdout.split())


PAGE = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text()


def test_the_page_shows_a_good_profile_and_names_every_key() -> None:
    shown = re.search(r"```toml\n(.*?)```", PAGE, re.S).group(1)
    assert EngineProfile.model_validate(tomllib.loads(shown)).max_blocks == 4
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE, re.M))))
    assert named >= set(EngineProfile.model_fields)
    assert named - {"queue"} == set(EngineProfile.model_fields)
