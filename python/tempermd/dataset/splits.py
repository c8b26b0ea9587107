"""Splits: trajectories dealt to parts, whole, by stratum and by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tempermd.records import UserError

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class FrameKey:
    """What decides where a frame may go.

    Attributes
    ----------
    trajectory
        Frames of one trajectory stay together.
    stratum
        What shall be in every part: a kind, or a composition.
    content
        Frames of one content stay together, too; None where that does not matter.
    """

    trajectory: str
    stratum: str
    content: Hashable | None = None


@dataclass(frozen=True)
class _Group:
    """Frames that must stay together."""

    name: str
    stratum: str
    members: tuple[int, ...]


def split(
    frames: Sequence[Atoms],
    fractions: Mapping[str, float],
    seed: int,
    stratify: str | None = None,
) -> dict[str, list[Atoms]]:
    """Split frames by trajectory, so that no two parts share one; see `assign`."""
    from tempermd.dataset.duplicates import Copies

    keys, copies = [], Copies()
    for number, atoms in enumerate(frames):
        keys.append(frame_key(atoms, str(number), stratify))
        copies.add(atoms)
    parts = assign(with_contents(keys, copies.labels()), fractions, seed)
    return {name: [frames[i] for i in members] for name, members in parts.items()}


def frame_key(atoms: Atoms, otherwise: str, stratify: str | None = None) -> FrameKey:
    """Return the key of a frame; one without a trajectory is one of its own.

    The stratum is the info that ``stratify`` names, by default ``kind``, else the composition.
    """
    stratum = atoms.info.get(stratify or "kind")
    if stratum is None and stratify is not None:
        raise UserError(
            f"a frame has no info '{stratify}' to stratify by; it has "
            f"{', '.join(map(str, atoms.info)) or 'none'}"
        )
    if stratum is None:
        stratum = atoms.get_chemical_formula(empirical=True)
    trajectory = atoms.info.get("trajectory")
    name = f"frame {otherwise}" if trajectory is None else str(trajectory)
    return FrameKey(name, str(stratum))


def with_contents(keys: Sequence[FrameKey], contents: Sequence[Hashable]) -> list[FrameKey]:
    """Return the keys with what tells copies of a structure."""
    return [replace(k, content=c) for k, c in zip(keys, contents, strict=True)]


def assign(
    keys: Sequence[FrameKey], fractions: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Deal frames to parts by trajectory and stratum.

    Trajectories that share a frame's content count as one. Every part but the largest is filled
    up to its fraction of the frames: first with one trajectory of each stratum that has as many
    trajectories as there are parts, the largest stratum first, then from the stratum of which
    it lacks most. The largest part takes the rest.

    Parameters
    ----------
    keys
        One per frame.
    fractions
        Part name -> fraction of the frames, together at most 1.
    seed
        Draws the trajectories within each stratum.

    Returns
    -------
    dict
        Part name -> positions in ``keys``, in their order.

    Raises
    ------
    UserError
        When there are fewer trajectories than parts.
    """
    groups = _groups(keys)
    _check_fractions(fractions)
    if len(groups) < len(fractions):
        raise UserError(
            f"{len(groups)} trajectories cannot make {len(fractions)} parts that share "
            "none; sample more trajectories (trajectories that hold the same structure count "
            "as one)"
        )
    rest = max(fractions, key=lambda name: fractions[name])
    deal = _Deal(groups, fractions, seed)
    chosen = {
        name: deal.fill(name) for name in sorted(fractions, key=fractions.get) if name != rest
    }
    chosen[rest] = deal.left()
    members = {name: sorted(i for group in chosen[name] for i in group.members) for name in chosen}
    return {name: members[name] for name in fractions}


def _check_fractions(fractions: Mapping[str, float]) -> None:
    wrong = {name: value for name, value in fractions.items() if not 0 < value <= 1}
    if wrong or sum(fractions.values()) > 1 + 1e-9:
        raise UserError(
            "the parts' fractions must be above 0 and sum to at most 1, got "
            + ", ".join(f"{name} {value:g}" for name, value in fractions.items())
        )


def _groups(keys: Sequence[FrameKey]) -> list[_Group]:
    """Join trajectories that share a content; the stratum is that of most frames."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    owner: dict[Hashable, str] = {}
    for key in keys:
        find(key.trajectory)
        if key.content is not None:
            first = owner.setdefault(key.content, key.trajectory)
            one, other = sorted((find(first), find(key.trajectory)))
            parent[other] = one
    members: dict[str, list[int]] = defaultdict(list)
    for number, key in enumerate(keys):
        members[find(key.trajectory)].append(number)
    return [
        _Group(name, _most_common([keys[i].stratum for i in own]), tuple(own))
        for name, own in sorted(members.items())
    ]


def _most_common(strata: list[str]) -> str:
    counts = {stratum: strata.count(stratum) for stratum in set(strata)}
    return min(counts, key=lambda stratum: (-counts[stratum], stratum))


class _Deal:
    """Groups waiting in each stratum, shuffled by the seed."""

    def __init__(self, groups: Sequence[_Group], fractions: Mapping[str, float], seed: int) -> None:
        self.fractions = fractions
        self.total = sum(len(group.members) for group in groups)
        self.undealt = len(fractions)
        random = np.random.default_rng(seed)
        strata: dict[str, list[_Group]] = defaultdict(list)
        for group in groups:
            strata[group.stratum].append(group)
        self.size = {s: sum(len(g.members) for g in own) for s, own in strata.items()}
        self.n_groups = {s: len(own) for s, own in strata.items()}
        order = sorted(strata, key=lambda s: (-self.size[s], s))
        self.waiting = {
            s: [strata[s][i] for i in random.permutation(len(strata[s]))] for s in order
        }

    def fill(self, part: str) -> list[_Group]:
        """Take groups for a part until it has its fraction of the frames."""
        target = self.fractions[part] * self.total
        taken: list[_Group] = []
        have = dict.fromkeys(self.waiting, 0)
        self.undealt -= 1

        def take(stratum: str) -> None:
            group = self.waiting[stratum].pop()
            have[stratum] += len(group.members)
            taken.append(group)

        for stratum, own in self.waiting.items():
            enough = self.n_groups[stratum] >= len(self.fractions)
            if enough and (not taken or self._nearer(sum(have.values()), own[-1], target)):
                take(stratum)
        while stratum := self._most_lacking(have, part, forced=not taken):
            group = self.waiting[stratum][-1]
            if taken and not self._nearer(sum(have.values()), group, target):
                break
            take(stratum)
        return taken

    def _nearer(self, have: int, group: _Group, target: float) -> bool:
        """Tell whether taking the group brings a part nearer to its size."""
        return abs(have + len(group.members) - target) < abs(have - target)

    def _most_lacking(self, have: Mapping[str, int], part: str, forced: bool) -> str | None:
        """Return the stratum of which a part lacks most; the last group is for later parts."""
        if sum(map(len, self.waiting.values())) <= self.undealt:
            return None
        spare = {
            s: self.fractions[part] * self.size[s] - have[s]
            for s, own in self.waiting.items()
            if len(own) > (0 if forced or self.n_groups[s] < len(self.fractions) else self.undealt)
        }
        return max(spare, key=lambda s: spare[s]) if spare else None

    def left(self) -> list[_Group]:
        """Return the groups that no part took."""
        return [group for own in self.waiting.values() for group in own]
