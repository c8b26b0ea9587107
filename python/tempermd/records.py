"""Specs, records and safe files: what every station reads and writes.

A *spec* is what a user asks for (TOML, unknown keys forbidden). A *record* is what
a station found (JSON with a format name and a version). Both are pydantic models.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class UserError(Exception):
    """A mistake that the user can mend: one sentence, no traceback, exit code 1."""


class Spec(BaseModel):
    """Base of all specs: unknown keys are refused, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Record(BaseModel):
    """Base of all records: JSON that names its format and version."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    format_name: ClassVar[str]
    format_version: ClassVar[int] = 1


SpecType = TypeVar("SpecType", bound=Spec)
RecordType = TypeVar("RecordType", bound=Record)


def read_spec(path: Path | str, spec_type: type[SpecType]) -> SpecType:
    """Read a TOML spec; every fault is one sentence that names file, key and value."""
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such spec file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML ({error})") from None
    return parse_spec(raw, spec_type, str(path))


def parse_spec(raw: dict[str, Any], spec_type: type[SpecType], origin: str) -> SpecType:
    """Validate ``raw``; ``origin`` (file or option) starts the message of a fault."""
    try:
        return spec_type.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{origin}: {describe_faults(error)}") from None


def describe_faults(error: ValidationError) -> str:
    """Return all faults of a validation as one sentence."""
    faults = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            faults.append(f"unknown key '{key}'; remove it or mend its spelling")
        elif fault["type"] == "missing":
            faults.append(f"key '{key}' is missing")
        elif not fault["loc"]:
            faults.append(fault["msg"].removeprefix("Value error, "))
        else:
            faults.append(f"key '{key}': {fault['msg']} (got {fault['input']!r})")
    return "; ".join(faults)


def write_spec(path: Path | str, spec: Spec) -> None:
    """Write the resolved spec, defaults included, as TOML."""
    import tomli_w

    with atomic_write(path) as temporary:
        temporary.write_text(tomli_w.dumps(spec.model_dump(mode="json", exclude_none=True)))


def write_record(path: Path | str, record: Record) -> None:
    """Write a record as JSON with its ``format`` and ``version`` in front."""
    with atomic_write(path) as temporary:
        temporary.write_text(dump_record(record))


def dump_record(record: Record) -> str:
    """Return the JSON text of a record."""
    head = {"format": record.format_name, "version": record.format_version}
    return json.dumps(head | json.loads(record.model_dump_json()), indent=1) + "\n"


def read_record(path: Path | str, record_type: type[RecordType]) -> RecordType:
    """Read a record; a foreign, newer or damaged file is refused by name."""
    path = Path(path)
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such {record_type.format_name} file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(raw, dict) or raw.pop("format", None) != record_type.format_name:
        raise UserError(f"{path}: expected a {record_type.format_name} file")
    version = raw.pop("version", None)
    if version != record_type.format_version:
        raise UserError(
            f"{path}: version {version} of {record_type.format_name}, this tempermd reads "
            f"version {record_type.format_version}; make it anew with this tempermd"
        )
    try:
        return record_type.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path}: {describe_faults(error)}") from None


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to ``path`` on success.

    The temporary name keeps the suffixes of ``path`` (writers choose formats by them).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _take_usual_mode(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _take_usual_mode(path: Path) -> None:
    """Give a file made by mkstemp (0600) the mode that an ordinary open would."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def new_folder(path: Path | str) -> Path:
    """Make an output folder; one that exists and is not empty is refused."""
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: exists already; name another output or remove it first")
    path.mkdir(parents=True, exist_ok=True)
    return path


def sha256_file(path: Path | str) -> str:
    """Return the sha256 of a file's bytes."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the sha256 of a JSON-able value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def only_one(output: Path) -> Iterator[None]:
    """Hold an output for this process; the kernel frees it however the process ends.

    Raises
    ------
    UserError
        When another process holds it.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    path = output.with_name(f".{output.name}.lock")
    handle = _locked(path, output)
    try:
        yield
    finally:
        # removed while it is held: who opened it meanwhile finds it gone and makes a new one
        path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path, output: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 200).decode() or "another process"
            os.close(handle)
            raise UserError(
                f"{output}: {owner} is writing it; wait for its end or name another output"
            ) from None
        if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
            os.truncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return handle
        os.close(handle)
