"""Named suites: what a model is put through in minutes, in an hour, or as in the paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tempermd.campaign.spec import RobustnessSpec
from tempermd.records import UserError, parse_spec, read_spec

FOLDER = Path(__file__).parents[1] / "suites"
SUITES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_suite(name_or_path: str | Path) -> RobustnessSpec:
    """Read a shipped suite by its name, or a spec of one's own; models are added by the caller."""
    if name_or_path in SUITES:
        return read_spec(FOLDER / f"{name_or_path}.toml", RobustnessSpec)
    if not Path(name_or_path).is_file():
        raise UserError(
            f"{name_or_path}: expected one of the suites {', '.join(SUITES)}, or a spec's TOML file"
        )
    return read_spec(name_or_path, RobustnessSpec)


OVER = ("temperatures_K", "ramp_ps", "hold_ps", "timestep_fs")
"""What a protocol may set for itself, and what an option sets for all."""
KEPT = {
    "pull": ("hold_ps", "last until their largest strain"),
    "knock_on": ("timestep_fs", "take short steps for a fast atom"),
}
"""What an option does not set in a kind of protocol, and why."""


def suite_with(
    name_or_path: str | Path | None, options: Mapping[str, Any]
) -> tuple[RobustnessSpec, list[str]]:
    """Return a suite (or the spec without one) with options over it, and over its protocols.

    Parameters
    ----------
    name_or_path : str, path or None
    options : mapping of str to object
        Keys of the spec; None and empty lists are not given.

    Returns
    -------
    (RobustnessSpec, list of str)
        The spec, and a sentence for each thing in which it is not what the suite says.
    """
    given = {name: value for name, value in options.items() if value not in (None, [])}
    suite = {} if name_or_path is None else read_suite(name_or_path).model_dump(exclude_unset=True)
    own = suite.get("protocols", {})
    suite["protocols"] = {
        name: {key: value for key, value in one.items() if not _is_over(key, one, given)}
        for name, one in own.items()
    }
    return parse_spec(suite | given, RobustnessSpec, "options"), _differences(own, given)


def _is_over(key: str, protocol: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether an option replaces a key of a protocol; structures go with those of the suite."""
    return key in given and key in (*OVER, "structures") and key != _kept(protocol)[0]


def _kept(protocol: Mapping[str, Any]) -> tuple[str, str]:
    return KEPT.get(protocol.get("kind", "heat"), ("", ""))


def _differences(protocols: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> list[str]:
    """Say what protocols of a suite do otherwise than it says, or than the options say."""
    said = []
    for key in (*OVER, "structures"):
        names = [
            name for name, one in protocols.items() if key in one and _is_over(key, one, given)
        ]
        if names:
            said.append(f"{key} of {_named(names)}: as given, not as in the suite")
    for kind, (key, why) in KEPT.items():
        names = [name for name, one in protocols.items() if one.get("kind") == kind]
        if names and key in given:
            said.append(f"{key} of {_named(names)}: not as given, they {why}")
    return said


def _named(names: list[str]) -> str:
    return f"protocol{'s' * (len(names) > 1)} {', '.join(names)}"
