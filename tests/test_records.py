"""Records and specs: what is written comes back, and every fault is one sentence."""

import contextlib
import json
from pathlib import Path
from typing import ClassVar

import pytest

from tempermd.records import (
    Record,
    Spec,
    UserError,
    atomic_write,
    new_folder,
    read_record,
    read_spec,
    sha256_file,
    sha256_json,
    write_record,
    write_spec,
)


class Oven(Spec):
    temperature_K: float
    name: str = "small"


class Found(Record):
    format_name: ClassVar[str] = "test-found"

    energy_eV: float
    ids: list[int]


def test_spec_comes_back_resolved(tmp_path: Path) -> None:
    (tmp_path / "oven.toml").write_text("temperature_K = 300")
    oven = read_spec(tmp_path / "oven.toml", Oven)
    write_spec(tmp_path / "resolved.toml", oven)
    assert 'name = "small"' in (tmp_path / "resolved.toml").read_text()
    assert read_spec(tmp_path / "resolved.toml", Oven) == oven


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temperature_K = 300\ncolour = 'red'", "unknown key 'colour'"),
        ("temperature_K = 'hot'", "key 'temperature_K'.*got 'hot'"),
        ("name = 'x'", "key 'temperature_K' is missing"),
        ("temperature_K = = 3", "not valid TOML"),
    ],
)
def test_faults_of_a_spec_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "oven.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_spec(tmp_path / "oven.toml", Oven)


def test_record_comes_back_exactly(tmp_path: Path) -> None:
    found = Found(energy_eV=0.1 + 0.2, ids=[3, 1])
    write_record(tmp_path / "found.json", found)
    assert read_record(tmp_path / "found.json", Found) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 7}, "version 7 of test-found"),
        ({"format": "other"}, "expected a test-found file"),
        ({"ids": "x"}, "key 'ids'"),
    ],
)
def test_foreign_records_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "found.json"
    write_record(path, Found(energy_eV=1.0, ids=[]))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        read_record(path, Found)


def test_truncated_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    write_record(path, Found(energy_eV=1.0, ids=[]))
    path.write_text(path.read_text()[:20])
    with pytest.raises(UserError, match="not valid JSON"):
        read_record(path, Found)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with contextlib.suppress(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_written_files_have_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    with atomic_write(tmp_path / "ours") as temporary:
        temporary.write_text("")
    modes = {(tmp_path / name).stat().st_mode for name in ("usual", "ours")}
    assert len(modes) == 1


def test_used_folder_is_refused(tmp_path: Path) -> None:
    assert new_folder(tmp_path / "new").is_dir()
    (tmp_path / "new" / "file").write_text("")
    with pytest.raises(UserError, match="exists already"):
        new_folder(tmp_path / "new")


def test_hashes(tmp_path: Path) -> None:
    """The sha256 of "abc" is in FIPS 180-2, appendix B.1."""
    (tmp_path / "abc").write_text("abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "abc") == known
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": 2})
