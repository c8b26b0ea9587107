"""What LAMMPS, or the guard of our pair style, said when it stopped, as events."""

from __future__ import annotations

import re

from tempermd.events.limits import Thresholds
from tempermd.events.products import Event, Severity
from tempermd.trajectory.units import KCAL_PER_MOL_IN_EV

BY_GUARD = "nequip guard:"
GUARDS: tuple[tuple[str, str, str], ...] = (
    (r"the distance between atoms (\d+) and (\d+)", "close_contact", "Å"),
    (r"the force on atom (\d+)", "force_spike", "eV/Å"),
    (r"the committee's force deviation of atom (\d+)", "uncertainty", "eV/Å"),
)
NUMBERS = re.compile(r" at step (\d+) is (\S+) (\S+), .*?limit of (\S+) ")


def stop_events(
    text: str, step: int, time_ps: float, timestep_fs: float | None, limits: Thresholds
) -> list[Event]:
    """Turn what a run died of into events, where the model is to blame.

    Parameters
    ----------
    text : str
        An ERROR line of LAMMPS or of our pair style.
    step, time_ps : int, float
        How far the run had come.
    timestep_fs : float or None
        For the time of the step that a guard names.
    limits : Thresholds
        By which a guard's value is judged: its own limit may be another.

    Returns
    -------
    list of Event
        None for an error that says nothing about the model.
    """
    if not is_by_guard(text):
        return _of_lammps(text, step, time_ps)
    parts = [part for part in text.split("; ") if is_by_guard(part)]
    return [event for part in parts for event in _of_guard(part, timestep_fs, time_ps, limits)]


def is_by_guard(text: str) -> bool:
    """Tell whether a guard's limit ended the run."""
    return BY_GUARD in text and NUMBERS.search(text) is not None


def _of_guard(
    text: str, timestep_fs: float | None, time_ps: float, limits: Thresholds
) -> list[Event]:
    numbers = NUMBERS.search(text)
    for pattern, kind, unit in GUARDS:
        found = re.search(pattern, text)
        if found and numbers:
            step = int(numbers[1])
            now_ps = time_ps if timestep_fs is None else step * timestep_fs / 1000
            scale = KCAL_PER_MOL_IN_EV if numbers[3].startswith("kcal") else 1.0
            value, own_limit = float(numbers[2]) * scale, float(numbers[4]) * scale
            ids = [int(word) for word in found.groups()]
            message = "the guard stopped the run: " + text.split("guard: ", 1)[-1].strip()
            return [
                _event(kind, severity, step, now_ps, ids, message, value, limit, unit)
                for severity, limit in _judged(kind, value, own_limit, limits)
            ]
    return []


def _judged(
    kind: str, value: float, own_limit: float, limits: Thresholds
) -> list[tuple[Severity, float]]:
    """Return the severity of a guard's value and the limit that it is beyond, or nothing."""
    if kind == "close_contact":
        severe, warn, sign = limits.close_contact.severe_A, limits.close_contact.warn_A, -1
    else:
        forces = limits.force_spike if kind == "force_spike" else limits.uncertainty
        severe, warn, sign = forces.severe_eV_per_A, forces.warn_eV_per_A, 1
    ordered: list[tuple[Severity, float]] = [("severe", severe), ("warn", warn)]
    for severity, limit in ordered:
        # a value printed to eight digits may look equal to the limit that it is beyond
        if sign * value > sign * limit or sign * own_limit >= sign * limit:
            return [(severity, limit)]
    return []


def _of_lammps(text: str, step: int, time_ps: float) -> list[Event]:
    if re.search(r"lost atoms|atoms? .*(missing|out of range)", text, re.IGNORECASE):
        kind = "lost_atoms"
    elif re.search(r"not finite|non-?finite|non-numeric|\bnan\b|\binf\b", text, re.IGNORECASE):
        kind = "nonfinite"
    else:
        return []
    ids = [int(found) for found in re.findall(r"\batom (?:id )?(\d+)", text)]
    message = f"LAMMPS stopped: {text.removeprefix('ERROR: ')}"
    return [_event(kind, "fatal", step, time_ps, ids, message)]


def _event(
    kind: str,
    severity: Severity,
    step: int,
    time_ps: float,
    atom_ids: list[int],
    message: str,
    value: float | None = None,
    limit: float | None = None,
    unit: str = "",
) -> Event:
    return Event(
        kind=kind,
        severity=severity,
        step=step,
        time_ps=time_ps,
        atom_ids=atom_ids,
        value=value,
        limit=limit,
        unit=unit,
        message=message,
    )
