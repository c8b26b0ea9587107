"""Named suites: what a model is put through in minutes, in an hour, or as in the paper."""

from __future__ import annotations

from pathlib import Path

from tempermd.campaign.spec import RobustnessSpec
from tempermd.records import UserError, read_spec

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
