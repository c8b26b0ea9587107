"""Stages and their store: each product lies under the hash of all that decides it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tempermd.records import (
    Record,
    UserError,
    atomic_write,
    read_record,
    sha256_file,
    sha256_json,
    write_record,
)

STAGE, DONE, LOG = "stage.json", "done.json", "log.txt"
KEY_LENGTH = 20

KINDS = {
    "structures": 1,
    "labels": 1,
    "split": 1,
    "draw": 1,
    "training": 1,
    "transmute": 1,
    "distil": 1,
    "judge": 1,
    "source": 1,
    "deploy": 1,
    "md": 1,
    "analysis": 2,
}
"""Kind of stage -> version of what it does; a raised version makes its products anew."""

Parameters = dict[str, Any]


def given_file(path: Path | str, prefix: str = "") -> dict[str, str]:
    """Refer to a user's file in the parameters of a stage: its content counts, not its place.

    ``prefix`` stands before the path where the parameters are used, as in ``nep:FILE``.
    """
    path = Path(path).resolve()
    return {"path": str(path), "sha256": _sha256(path), "prefix": prefix}


_HASHES: dict[tuple[str, int, int], str] = {}


def _sha256(path: Path) -> str:
    """Return a file's sha256, computed once as long as it is not touched."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    status = path.stat()
    seen = (str(path), status.st_size, status.st_mtime_ns)
    if seen not in _HASHES:
        _HASHES[seen] = sha256_file(path)
    return _HASHES[seen]


@dataclass(frozen=True)
class Stage:
    """One step of a study: its kind, and parameters that decide its product.

    Parameters are JSON; files in them are references to given files or to products of other
    stages (`product`).

    Attributes
    ----------
    title
        What it is, for people; no part of the key.
    cost_s
        A guess of its core-seconds.
    group
        Stages whose guesses are wrong by the same factor.
    """

    kind: str
    parameters: Parameters
    title: str = field(compare=False)
    cost_s: float = field(default=1.0, compare=False)
    group: str = field(default="", compare=False)
    greedy: bool = field(default=False, compare=False)

    @property
    def key(self) -> str:
        """The hash of kind, version and parameters, of files their content."""
        return key_of(self.kind, self.parameters)

    def product(self, name: str) -> dict[str, str]:
        """Refer to a file that this stage makes."""
        return {"stage": self.key, "kind": self.kind, "file": name}

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the stages whose products this one uses."""
        return tuple(sorted(set(_needs(self.parameters))))


def key_of(kind: str, parameters: Parameters) -> str:
    """Return the key of a stage."""
    return sha256_json([kind, KINDS[kind], _identity(parameters)])[:KEY_LENGTH]


def _identity(value: Any) -> Any:
    """Return parameters without the places of given files."""
    if isinstance(value, dict):
        if "path" in value and "sha256" in value:
            return {"sha256": value["sha256"], "prefix": value["prefix"]}
        return {name: _identity(one) for name, one in value.items()}
    return [_identity(one) for one in value] if isinstance(value, list) else value


def _needs(value: Any) -> list[str]:
    if isinstance(value, dict):
        if "stage" in value and "file" in value:
            return [value["stage"]]
        return [key for one in value.values() for key in _needs(one)]
    return [key for one in value for key in _needs(one)] if isinstance(value, list) else []


class Done(Record):
    """The mark of a finished stage: what it cost, and what others ask of it."""

    format_name: ClassVar[str] = "tempermd-stage-done"

    kind: str
    title: str
    wall_s: float
    core_s: float
    facts: dict[str, Any]


class Store:
    """The products of stages, ``ROOT/<kind>/<key>/``; a stage is done when its mark is there."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._done: dict[str, Done] = {}

    def folder(self, kind: str, key: str) -> Path:
        """Return the folder of a stage."""
        return self.root / kind / key

    def folder_of(self, stage: Stage) -> Path:
        """Return the folder of a stage."""
        return self.folder(stage.kind, stage.key)

    def write(self, stage: Stage) -> None:
        """Write down a stage, so that its key is enough to run it."""
        text = json.dumps(
            {"kind": stage.kind, "title": stage.title, "parameters": stage.parameters}, indent=1
        )
        path = self.folder_of(stage) / STAGE
        if not path.is_file() or path.read_text() != text:
            with atomic_write(path) as temporary:
                temporary.write_text(text)

    def read(self, key: str) -> tuple[Path, Stage]:
        """Return the folder and the stage of a key."""
        found = list(self.root.glob(f"*/{key}/{STAGE}"))
        if not found:
            raise UserError(f"{self.root}: knows no stage {key}")
        return found[0].parent, Stage(**json.loads(found[0].read_text()))

    def done(self, stage: Stage) -> Done | None:
        """Return the mark of a stage if it is finished."""
        key = stage.key
        if key not in self._done:
            path = self.folder(stage.kind, key) / DONE
            if not path.is_file():
                return None
            self._done[key] = read_record(path, Done)
        return self._done[key]

    def finish(self, folder: Path, done: Done) -> None:
        """Mark a stage as finished; after this nothing in its folder changes."""
        write_record(folder / DONE, done)

    def path(self, reference: dict[str, str]) -> Path:
        """Return where a given file or a product lies."""
        if "path" in reference:
            return Path(reference["path"])
        return self.folder(reference["kind"], reference["stage"]) / reference["file"]

    def resolved(self, value: Any) -> Any:
        """Return parameters with each reference replaced by its path (with its prefix)."""
        if isinstance(value, dict):
            if ("path" in value and "sha256" in value) or ("stage" in value and "file" in value):
                return value.get("prefix", "") + str(self.path(value).resolve())
            return {name: self.resolved(one) for name, one in value.items()}
        return [self.resolved(one) for one in value] if isinstance(value, list) else value
