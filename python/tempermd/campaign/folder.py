"""The folder of a campaign: its spec, its plan, its limits, and where its runs lie."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tempermd.campaign.campaign_spec import CampaignSpec
from tempermd.campaign.planning import STRUCTURES, CampaignPlan, plan
from tempermd.campaign.rows import limits_key
from tempermd.campaign.spec import CONTROL, RobustnessSpec
from tempermd.events import Thresholds, read_thresholds
from tempermd.md import Case
from tempermd.records import (
    UserError,
    atomic_write,
    read_record,
    read_spec,
    write_record,
    write_spec,
)

PLAN = "campaign.json"
SPEC = "campaign.toml"
LIMITS = "limits.toml"
RUNS = "runs"


@dataclass(frozen=True)
class Campaign:
    """A campaign that has been planned into its folder.

    Attributes
    ----------
    folder
        Holds the spec, the plan, the limits, structures and runs.
    cases
        All runs by their ids, in the order of the plan.
    """

    folder: Path
    spec: CampaignSpec
    cases: dict[str, Case]
    limits: Thresholds

    @property
    def runs(self) -> Path:
        """Folder of run directories."""
        return self.folder / RUNS

    @cached_property
    def key(self) -> str:
        """Short hash of the limits, by which rows are named."""
        return limits_key(self.limits)

    def run_id(self, given: str) -> str:
        """Return the id of a run by it, or by the beginning of it."""
        if given in self.cases:
            return given
        found = [one for one in self.cases if one.startswith(given)] if given else []
        if len(found) != 1:
            what = "no run" if not found else f"{len(found)} runs"
            raise UserError(f"{self.folder}: {what} with an id {given!r}; see its table for ids")
        return found[0]


def open_campaign(
    spec: RobustnessSpec, folder: Path | str, *, thresholds: Path | None = None
) -> Campaign:
    """Plan into a new folder, or into one that was begun with the same runs.

    Runs may be added to those that were planned before (more seeds, say), none may go.
    ``thresholds`` go over those that the spec names.
    """
    folder, asked = Path(folder), spec
    spec = as_campaign(spec)
    limits = read_thresholds(thresholds or spec.thresholds)
    begun = folder / PLAN
    if folder.exists() and not begun.is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is no campaign; name another output")
    # a plan that is refused must leave nothing behind
    with tempfile.TemporaryDirectory(prefix="tempermd-") as scratch:
        new = CampaignPlan(cases=plan(spec, scratch, built=_built(spec, folder), limits=limits))
        old = read_record(begun, CampaignPlan) if begun.is_file() else None
        if old is not None and not old.identity <= new.identity:
            raise UserError(f"{folder}: holds another campaign; name another output")
        cases = _keep_structures(new.cases, Path(scratch), folder)
    if spec.guard_every and spec.control:
        print(f"guard_every: {CONTROL} has no guard; its frames alone are judged", file=sys.stderr)
    write_spec(folder / SPEC, asked)
    write_spec(folder / LIMITS, limits)
    if old is None or old.cases != cases:
        write_record(begun, CampaignPlan(cases=cases))
    return Campaign(folder, spec, {case.id: case for case in cases}, limits)


def read_campaign(folder: Path | str) -> Campaign:
    """Read a campaign that was planned; nothing is made or changed."""
    folder = Path(folder)
    if not (folder / PLAN).is_file():
        raise UserError(f"{folder}: no campaign here (it has no {PLAN}); plan or run it first")
    cases = read_record(folder / PLAN, CampaignPlan).cases
    return Campaign(
        folder,
        read_spec(folder / SPEC, CampaignSpec),
        {case.id: case for case in cases},
        # a campaign of an older tempermd has no limits of its own
        read_thresholds(folder / LIMITS if (folder / LIMITS).is_file() else None),
    )


def as_campaign(spec: RobustnessSpec) -> CampaignSpec:
    """Return a robustness spec as a campaign with one core for each run."""
    if isinstance(spec, CampaignSpec):
        return spec
    return CampaignSpec.model_validate(spec.model_dump(exclude_unset=True))


def _built(spec: CampaignSpec, folder: Path) -> dict[str, Path]:
    """Return the structures that were built for the same words before: a melt takes minutes."""
    if not (folder / SPEC).is_file():
        return {}
    before = read_spec(folder / SPEC, CampaignSpec).structures
    paths = {name: folder / STRUCTURES / f"{name}.data" for name in spec.structures}
    return {
        name: path
        for name, path in paths.items()
        if not isinstance(spec.structures[name], str)
        and before.get(name) == spec.structures[name]
        and path.is_file()
    }


def _keep_structures(cases: Iterable[Case], scratch: Path, folder: Path) -> list[Case]:
    """Move structures to where they stay, those that are there already left alone."""
    kept: dict[str, str] = {}
    moved = []
    for case in cases:
        if case.structure not in kept:
            kept[case.structure] = str(_keep(Path(case.structure), folder / STRUCTURES))
        moved.append(case.model_copy(update={"structure": kept[case.structure]}))
    return moved


def _keep(made: Path, folder: Path) -> Path:
    target = folder.resolve() / made.name
    content = made.read_bytes()
    if not target.is_file() or target.read_bytes() != content:
        with atomic_write(target) as temporary:
            temporary.write_bytes(content)
    return target
