"""What LAMMPS, or the guard of our pair style, said when it stopped, as events."""

from __future__ import annotations

import re

from tempermd.events.products import Event, Severity

GUARDS: tuple[tuple[str, str, str], ...] = (
    (r"the distance between atoms (\d+) and (\d+)", "close_contact", "Å"),
    (r"the force on atom (\d+)", "force_spike", "eV/Å"),
    (r"the committee's force deviation of atom (\d+)", "uncertainty", "eV/Å"),
)
NUMBERS = re.compile(r" at step (\d+) is (\S+) .*?limit of (\S+) ")


def stop_events(text: str, step: int, time_ps: float, timestep_fs: float | None) -> list[Event]:
    """Turn what a run died of into events, where the model is to blame.

    Parameters
    ----------
    text : str
        An ERROR line of LAMMPS or of our pair style.
    step, time_ps : int, float
        How far the run had come.
    timestep_fs : float or None
        For the time of the step that a guard names.

    Returns
    -------
    list of Event
        None for an error that says nothing about the model.
    """
    parts = [part for part in text.split("; ") if "nequip guard:" in part]
    guarded = [event for part in parts for event in _of_guard(part, timestep_fs, time_ps)]
    return guarded or _of_lammps(text, step, time_ps)


def _of_guard(text: str, timestep_fs: float | None, time_ps: float) -> list[Event]:
    numbers = NUMBERS.search(text)
    for pattern, kind, unit in GUARDS:
        found = re.search(pattern, text)
        if found and numbers:
            step = int(numbers[1])
            now_ps = time_ps if timestep_fs is None else step * timestep_fs / 1000
            value, limit = float(numbers[2]), float(numbers[3])
            ids = [int(word) for word in found.groups()]
            message = "the guard stopped the run: " + text.split("guard: ", 1)[-1].strip()
            return [_event(kind, "severe", step, now_ps, ids, message, value, limit, unit)]
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
