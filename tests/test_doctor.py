"""The doctor: a healthy environment has no findings; a sick one is told what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tempermd import doctor
from tempermd.doctor import environment


def test_this_environment_is_healthy() -> None:
    """The tests need all of it but the renderer's system libraries."""
    findings = [f for f in doctor.examine() if f.subject not in doctor.RENDERER_LIBRARIES]
    assert [finding.line() for finding in findings if not finding.good] == []
    assert {"torch", "MPI library", "plugin", "LAMMPS"} <= {f.subject for f in findings}


def test_a_missing_library_names_its_package() -> None:
    finding = environment._library("libnosuch.so.1", "libnosuch1")
    assert finding.line().startswith("MISSING")
    assert "apt-get install libnosuch1" in finding.line()


def test_a_wrong_version_names_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a faked list of requirements can make this environment's versions wrong."""
    needs = ["numpy<1", "no-such-package>=2", "ase>=3"]
    monkeypatch.setattr(environment.metadata, "requires", lambda name: needs)
    numpy, absent, ase = environment._requirements()
    assert (numpy.good, "pip install 'numpy<1'" in numpy.line()) == (False, True)
    assert (absent.good, "not installed" in absent.line()) == (False, True)
    assert ase.good


def test_command_prints_a_line_each() -> None:
    command = [str(Path(sys.executable).parent / "tempermd"), "doctor"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    assert any(line.startswith("ok") and "pair_style nequip" in line for line in lines)
