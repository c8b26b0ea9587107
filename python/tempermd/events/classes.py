"""What an event speaks of: numbers that fail, a structure that cannot be, or perhaps physics."""

from __future__ import annotations

from typing import Literal, get_args

FailureClass = Literal["numerical", "unphysical"]
EventClass = Literal["numerical", "unphysical", "rare"]

CLASS_OF_KIND: dict[str, FailureClass] = {
    "nonfinite": "numerical",
    "lost_atoms": "numerical",
    "crash": "numerical",
    "energy_drift": "numerical",
    "temperature": "numerical",
    "detached": "unphysical",
    "close_contact": "unphysical",
    "overcoordinated": "unphysical",
    "dangling": "unphysical",
    "ring_change": "unphysical",
    "severed": "unphysical",
    "interwall_bond": "unphysical",
    "shape": "unphysical",
    "hot_atom": "unphysical",
    "force_spike": "unphysical",
    "uncertainty": "unphysical",
    "box": "unphysical",
    "spurious_minimum": "unphysical",
}
"""All kinds of events; an infrastructure failure is none, for it says nothing about the model."""

FAILURE_CLASSES: tuple[FailureClass, ...] = get_args(FailureClass)
EVENT_CLASSES: tuple[EventClass, ...] = get_args(EventClass)


def class_of(kind: str, severity: str) -> EventClass:
    """Return the class of an event.

    A warning of what no numbers failed for is rare: it may be physics, as a Stone–Wales rotation
    near 4500 K is.
    """
    found = CLASS_OF_KIND.get(kind, "unphysical")
    return "rare" if found == "unphysical" and severity == "warn" else found
