"""Commands that take --engine: the same products, whether made here, by Parsl or on Slurm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ase.io import write

from slurm_node import SlurmNode, slurm  # noqa: F401  (a fixture)
from tempermd import study
from tempermd.engine import EngineProfile
from tempermd.engine import slurm as commands
from tempermd.records import read_record
from tempermd.structures import nanotube
from test_study import SPEC, write_specs

pytest.importorskip("parsl", reason="needs pip install 'tempermd[hpc]'")

HERE = 'kind = "parsl"\ncores_per_node = 2\n'
ON_SLURM = (
    'kind = "parsl"\nscheduler = "slurm"\npartition = "debug"\ncores_per_node = 2\nwalltime = 10\n'
)
SMALL = (
    SPEC.split("[sources]")[0]
    + """
[training]
batch_size = 2
[targets.layers]
structures = "layers.toml"
truth = { name = "lcbop" }
n_val = 4
n_train = [3]
seeds = [1]
[strategies.direct]
learning_rates = [0.02]
max_steps = 8
"""
)


def tempermd(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command and return its exit code and what it said on stderr."""
    command = [str(Path(sys.executable).parent / "tempermd"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stderr


def write_frames(folder: Path) -> None:
    frames = []
    for number in range(12):
        atoms = nanotube(5, 0, 4.0)
        atoms.rattle(0.05, seed=number)
        frames.append(atoms)
    write(folder / "frames.extxyz", frames)


def label(folder: Path, output: str, *more: str) -> tuple[int, str]:
    return tempermd(folder, "label", "frames.extxyz", "--source", "lcbop", "-o", output, *more)


def test_labels_by_an_engine_are_the_same_bytes(tmp_path: Path) -> None:
    """With relative paths, as a user gives them; nothing is left but the labels."""
    write_frames(tmp_path)
    (tmp_path / "mine.toml").write_text(HERE)
    assert label(tmp_path, "here.extxyz")[0] == 0
    assert label(tmp_path, "there.extxyz", "--engine", "mine.toml")[0] == 0
    assert (tmp_path / "there.extxyz").read_bytes() == (tmp_path / "here.extxyz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("frames.extxyz", "mine.toml"),
        *("here.extxyz", "here.extxyz.json", "there.extxyz", "there.extxyz.json"),
    }


@pytest.mark.slurm
def test_labels_on_slurm_are_the_same_bytes(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    write_frames(tmp_path)
    (tmp_path / "mine.toml").write_text(ON_SLURM)
    assert label(tmp_path, "here.extxyz")[0] == 0
    assert label(tmp_path, "there.extxyz", "--engine", "mine.toml")[0] == 0
    assert (tmp_path / "there.extxyz").read_bytes() == (tmp_path / "here.extxyz").read_bytes()
    assert commands.named("parsl") == []


@pytest.mark.slurm
@pytest.mark.slow
def test_a_study_on_slurm_has_the_same_rows(slurm: SlurmNode, tmp_path: Path) -> None:  # noqa: F811
    """Every stage in a job of Slurm's; oracle: the same study here."""
    spec = write_specs(tmp_path, SMALL)
    profile = EngineProfile(
        kind="parsl", scheduler="slurm", partition="debug", cores_per_node=2, walltime=10
    )
    study.run(spec, tmp_path / "there", None, profile)
    study.run(spec, tmp_path / "here", 2)
    one, other = (
        [row.model_dump(exclude={"cost"}) for row in read_record(at, study.Study).rows]
        for at in (tmp_path / "there" / study.RESULT, tmp_path / "here" / study.RESULT)
    )
    assert one == other
    assert len(one) == 1
    assert commands.named("parsl") == []


@pytest.mark.parametrize("engine", ["slurm_array", "nosuch", "no.toml"])
def test_engines_that_will_not_do_are_refused_before_anything(engine: str, tmp_path: Path) -> None:
    write_frames(tmp_path)
    write_specs(tmp_path)
    before = sorted(tmp_path.iterdir())
    for arguments in (
        ("label", "frames.extxyz", "--source", "lcbop", "-o", "out.extxyz"),
        ("study", "run", "study.toml", "-o", "out"),
        ("doctor", "--cluster", engine),
    ):
        if (arguments[0], engine) == ("doctor", "slurm_array"):
            continue
        more = () if arguments[0] == "doctor" else ("--engine", engine)
        code, said = tempermd(tmp_path, *arguments, *more)
        assert code == 1
        assert len(said.splitlines()) == 1
        assert any(words in said for words in ("engine 'nosuch'", "no such spec", "array script"))
    assert sorted(tmp_path.iterdir()) == before
