"""What the fixes that a log echoes do to a run: its thermostat, its box, its energy."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Literal, NamedTuple

ACCELERATED = re.compile(r"/(omp|opt|intel|gpu|kk(/(device|host))?)$")
BAROSTATS = frozenset({"npt", "nph", "press/berendsen", "press/langevin"})
THERMOSTATS = frozenset({"nvt", "npt", "temp/csvr", "temp/csld", "temp/berendsen", "langevin"})
COUNTED = BAROSTATS | THERMOSTATS | {"nve", "deform"}
"""Styles that leave Econserve as it is while the box is, or whose box tells that they do not."""
WATCHING = re.compile(r"(ave|store)/.*|print|vector|halt|pair|property/atom|balance")
"""Styles that move nothing."""
DISTURBING = frozenset({"velocity", "set", "displace_atoms", "delete_atoms", "change_box"})
"""Other commands that change the energy between two runs."""
NOT_ECHOED = "the log does not echo what moved its atoms"


class Target(NamedTuple):
    """Of a thermostat; the damping in units of the log."""

    start_K: float
    stop_K: float
    damping: float


class Fixes:
    """The fixes at work while a log is read, told from the commands that it echoes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, list[str]]] = {}
        self.changed = False
        """Whether a command has changed anything that moves atoms; the reader resets it."""

    def take(self, words: list[str]) -> None:
        """Take in a command, which may be no fix at all."""
        if words[0] == "clear":
            self._known.clear()
        elif words[0] in DISTURBING:
            self.changed = True
        elif words[0] == "unfix" and len(words) == 2:
            self._note_change(self._known.pop(words[1], None))
        elif words[0] == "fix" and len(words) > 3:
            self._known[words[1]] = ACCELERATED.sub("", words[3]), words[4:]
            self._note_change(self._known[words[1]])

    def _note_change(self, fix: tuple[str, list[str]] | None) -> None:
        self.changed |= fix is not None and not WATCHING.fullmatch(fix[0])

    def target(self) -> Target | None:
        """Return what the thermostat holds to; None where that is not one known temperature."""
        found = self._targets()
        return (
            found[0] if found and len({(one.start_K, one.stop_K) for one in found}) == 1 else None
        )

    def _targets(self) -> list[Target]:
        every = [_target(style, arguments) for style, arguments in self._known.values()]
        return [one for one in every if one is not None]

    def box(self) -> Literal["fixed", "barostat", "deformed"]:
        """Tell what happens to the box."""
        styles = {style for style, _ in self._known.values()}
        if styles & BAROSTATS:
            return "barostat"
        return "deformed" if "deform" in styles else "fixed"

    def unaccounted(self) -> str:
        """Say why Econserve may change in a sound run at a fixed box; empty where it may not."""
        moving = [one for one in self._known.values() if not WATCHING.fullmatch(one[0])]
        if not moving:
            return NOT_ECHOED
        found = dict.fromkeys(filter(None, (_unaccounted(*one) for one in moving)))
        if self._targets() and self.target() is None:
            found["thermostats with different targets are at work"] = None
        return "; ".join(found)


def _target(style: str, arguments: list[str]) -> Target | None:
    """Return the target of a thermostat; None for other styles and where a variable sets it."""
    if style not in THERMOSTATS:
        return None
    if style in ("nvt", "npt"):
        arguments = arguments[arguments.index("temp") + 1 :] if "temp" in arguments else []
    numbers = [as_float(word) for word in arguments[:3]]
    if len(numbers) < 3 or None in numbers:
        return None
    return Target(*(number for number in numbers if number is not None))


def _unaccounted(style: str, arguments: list[str]) -> str:
    """Say why Econserve may not count what a fix does; empty where it does."""
    if style not in COUNTED:
        return f"fix {style} may change the energy"
    if style in THERMOSTATS and _target(style, arguments) is None:
        return f"fix {style} follows a variable"
    tally = dict(pairwise(arguments)).get("tally")
    if style == "langevin" and tally not in ("yes", "on", "true"):
        return "fix langevin is without 'tally yes', so that Econserve does not count its work"
    return ""


def as_float(word: str) -> float | None:
    """Return a finite number; None for any other word."""
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
