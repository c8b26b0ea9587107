"""Every product against its hash: each kind of damage is one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from campaign_cases import tempermd, write_spec
from tempermd import campaign, md

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verify")
    ran = tempermd("campaign", "run", write_spec(root, seeds=1))
    assert ran.returncode == 0, ran.stderr
    return root / "campaign"


@pytest.fixture
def folder(finished: Path) -> Path:
    """Return the campaign, whose files are put back after the test."""
    kept = finished.with_name("kept")
    shutil.copytree(finished, kept, symlinks=True)
    yield finished
    shutil.rmtree(finished)
    kept.rename(finished)


def faults(folder: Path) -> list[str]:
    said = tempermd("campaign", "verify", folder)
    found = said.stdout.splitlines()
    assert said.returncode == (1 if found else 0), said.stderr
    assert f"{len(found)} faults" in said.stderr
    return found


def attempt(folder: Path) -> Path:
    run = sorted(folder.glob("runs/*"))[0]
    return run / md.read_result(run).attempt


def test_what_is_whole_has_no_fault(folder: Path) -> None:
    assert faults(folder) == []
    _, checked = campaign.verify(campaign.read_campaign(folder))
    products = sum(len(md.read_result(run).products) for run in folder.glob("runs/*"))
    assert products >= 2 * 2  # a log and a dump each
    assert checked == products + 1  # and the structure


def test_a_changed_a_cut_and_a_missing_product_are_a_line_each(folder: Path) -> None:
    here = attempt(folder)
    text = (here / md.DUMP).read_bytes()
    (here / md.DUMP).write_bytes(text[:-200])
    log = (here / md.LOG).read_bytes()
    (here / md.LOG).write_bytes(log.replace(b"Step", b"Stop", 1))
    found = faults(folder)
    assert len(found) == 2
    assert f"{here / md.DUMP}: is not what it was ({len(text) - 200} bytes now)" in found
    (here / md.DUMP).unlink()
    assert f"{here / md.DUMP}: is gone" in faults(folder)


def test_a_changed_structure_and_an_exchanged_case_are_found(folder: Path) -> None:
    structure = folder / "structures" / "tube.data"
    structure.write_text(structure.read_text() + "\n")
    runs = sorted(folder.glob("runs/*"))
    shutil.copy(runs[0] / "case.json", runs[1] / "case.json")
    found = faults(folder)
    assert len(found) == 2
    assert any(fault.startswith(str(structure)) for fault in found)
    assert any(f"is the case of run {runs[0].name}" in fault for fault in found)


def test_a_result_that_cannot_be_read_is_a_fault(folder: Path) -> None:
    run = sorted(folder.glob("runs/*"))[0]
    result = run / md.RESULT
    result.unlink()  # it is a hard link: the attempt's own must stay
    result.write_text("{")
    (found,) = faults(folder)
    assert "not valid JSON" in found
