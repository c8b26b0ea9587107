"""The command line: exit codes, one sentence for a mistake, products on stdout."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from conftest import skip_without
from tempermd.structures import nanotube

BIN = Path(sys.executable).parent


def tempermd(*arguments: str | Path, cwd: Path | None = None, program: str = "tempermd") -> tuple:
    """Run the command and return (exit code, stdout, stderr)."""
    done = subprocess.run(
        [str(BIN / program), *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["structures", "no.toml", "-o", "x.extxyz"], "no.toml: no such spec file"),
        (["label", "no.xyz", "--source", "lcbop", "-o", "x.extxyz"], "no such file"),
        (["train", "no.toml", "-o", "x"], "no.toml: no such spec file"),
        (["deploy", "no.ckpt", "-o", "x.nequip.pth"], "no.ckpt"),
        (["model-info", "no.nequip.pth"], "no.nequip.pth"),
        (["robustness", "no.nequip.pth", "-o", "x"], "no.nequip.pth"),
        (["robustness", "no.pth", "-o", "x"], "expected a model made by deploy-model"),
        (["analyse", "no.dump"], "no.dump"),
        (["collect", "no", "-o", "x"], "no run in it"),
        (["run-one", "no/case.json", "--root", "x"], "not a run directory"),
        (["study", "run", "no.toml", "-o", "x"], "no.toml: no such spec file"),
        (["study", "table", "no"], "no such tempermd-study-rows file"),
        (["dataset", "build", "no.extxyz", "-o", "x"], "no such file"),
        (["tube", "3", "5", "-o", "x.data"], "expected indices n >= m"),
        (["sources", "compare", "no.xyz", "--source", "lcbop"], "no such file"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments: list[str], message: str, tmp_path: Path) -> None:
    code, out, err = tempermd(*arguments, cwd=tmp_path)
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["nonsense"], ["label"], ["tube", "x", "y", "-o", "z"]])
def test_wrong_usage_is_not_a_verdict(arguments: list[str]) -> None:
    code, _, err = tempermd(*arguments)
    assert code == 1
    assert "Traceback" not in err


def test_unknown_key_of_a_spec_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("sed = 1")
    code, _, err = tempermd("structures", "s.toml", "-o", "x.extxyz", cwd=tmp_path)
    assert (code, "unknown key 'sed'" in err) == (1, True)


def test_tube_label_and_dataset_make_their_products(tmp_path: Path) -> None:
    code, out, _ = tempermd("tube", 5, 0, "--length", 8, "-o", tmp_path / "t.data")
    assert (code, out) == (0, str(tmp_path / "t.data"))
    frames = []
    for number in range(6):
        atoms = nanotube(5, 0, 4.0)
        atoms.rattle(0.05, seed=number)
        atoms.info["trajectory"] = f"t{number}"
        frames.append(atoms)
    write(tmp_path / "frames.extxyz", frames)
    code, out, _ = tempermd(
        "label", tmp_path / "frames.extxyz", "--source", "lcbop", "-o", tmp_path / "l.extxyz"
    )
    assert (code, out) == (0, str(tmp_path / "l.extxyz"))
    code, out, _ = tempermd("dataset", "build", out, "--val", "0.5", "-o", tmp_path / "set")
    assert code == 0
    kept = [len(read(tmp_path / "set" / f"{name}.extxyz", ":")) for name in ("train", "val")]
    assert kept == [3, 3]


def test_used_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("precious")
    atoms = nanotube(5, 0, 4.0)
    write(tmp_path / "a.extxyz", [atoms, atoms])
    tempermd("label", tmp_path / "a.extxyz", "--source", "lcbop", "-o", tmp_path / "l.extxyz")
    code, _, err = tempermd("dataset", "build", tmp_path / "l.extxyz", "-o", tmp_path / "set")
    assert (code, "exists already" in err) == (1, True)
    assert (tmp_path / "set" / "mine").read_text() == "precious"


def labels_waiting(folder: Path) -> int:
    """Return how many labels the cache of ``out.extxyz`` holds."""
    path = folder / "out.extxyz.labels.sqlite"
    if not path.exists() or not path.stat().st_size:
        return 0
    with closing(sqlite3.connect(path)) as base:
        return base.execute("SELECT count(*) FROM label").fetchone()[0]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_labelling_goes_on(tmp_path: Path, sent: int, code: int) -> None:
    """Ctrl-C leaves what is done, and a scheduler's SIGTERM; the same call labels the rest."""
    skip_without("xtb")
    frames = []
    for number in range(60):
        atoms = nanotube(4, 0, 8.0, periodic=False)
        atoms.rattle(0.05, seed=number)
        frames.append(atoms)
    write(tmp_path / "frames.extxyz", frames)
    command = [str(BIN / "tempermd"), "label", "frames.extxyz", "--source", "xtb", "-j", "1"]
    command += ["-o", "out.extxyz"]
    started = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while labels_waiting(tmp_path) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(started.pid, sent)
    err = started.communicate(timeout=60)[1]
    assert started.returncode == code
    assert "stopped; the same command goes on" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out.extxyz").exists()
    assert 2 <= labels_waiting(tmp_path) < 60
    kept = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert kept.returncode == 0, kept.stderr
    labelled = read(tmp_path / "out.extxyz", ":")
    for one, other in zip(labelled, frames, strict=True):
        assert np.allclose(one.positions, other.positions, atol=1e-7)


def test_run_one_and_collect_are_the_halves_of_robustness(tmp_path: Path) -> None:
    """A scheduler's way: plan here, run each case by its file, collect at the end."""
    from tempermd import campaign

    spec = campaign.RobustnessSpec(
        models={}, control=True, temperatures_K=[300], seeds=[1], ramp_ps=0, hold_ps=0.1
    )
    (case,) = campaign.plan(spec, tmp_path)
    planned = tmp_path / "planned"
    planned.mkdir()
    (planned / "case.json").write_text(case.model_dump_json())
    arguments = ["run-one", planned / "case.json", "--root", tmp_path / "runs"]
    code, out, _ = tempermd(*arguments)
    assert (code, out) == (0, str(tmp_path / "runs" / case.id))
    result = tmp_path / "runs" / case.id / "result.json"
    before = result.stat().st_mtime_ns
    assert tempermd(*arguments)[0] == 0
    assert result.stat().st_mtime_ns == before
    code, out, err = tempermd("collect", tmp_path / "runs", "-o", tmp_path / "report")
    assert (code, out) == (0, str(tmp_path / "report" / "report.html")), err
    assert (tmp_path / "report" / "summary.json").exists()
