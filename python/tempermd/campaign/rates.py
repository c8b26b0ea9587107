"""How fast a model runs here: by finished runs where there are any, else by a short probe."""

from __future__ import annotations

import os
import platform
import re
import statistics
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tempermd import md
from tempermd.campaign.campaign_spec import Resources
from tempermd.campaign.folder import Campaign
from tempermd.campaign.rows import RunRow
from tempermd.md import Case
from tempermd.records import Record, UserError, read_record, write_record

RATES = "rates.json"
WARMING_STEPS, PROBE_STEPS = 20, 200
"""The first steps of a compiled model are slow and tell nothing."""


class Rate(BaseModel):
    """Seconds of a run: ``start_s``, and its atoms times its steps over the rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    atom_steps_per_s: float
    start_s: float
    source: Literal["runs", "probe"]
    n_runs: int

    def seconds(self, n_atoms: int, steps: int) -> float:
        """Return about how long a run takes."""
        return self.start_s + n_atoms * steps / self.atom_steps_per_s


class RatesRecord(Record):
    """Rates of probes, by model, machine and shape of a run."""

    format_name: ClassVar[str] = "tempermd-rates"

    rates: dict[str, Rate]


def model_key(case: Case) -> str:
    """Return what tells models apart: the hash of the file, or the potential's name."""
    return case.model_sha256 or case.potential


def machine() -> str:
    """Return the processor's name: machines of one kind run alike."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.M)
    return f"{named[1] if named else platform.machine()}, {os.cpu_count()} cores"


def rates_of(campaign: Campaign, rows: Mapping[str, RunRow], *, probe: bool = True) -> dict:
    """Return the rate of every model by its key; a model that cannot be probed has none.

    Parameters
    ----------
    campaign : Campaign
    rows : mapping of str to RunRow
        Of the runs that have ended, by their ids.
    probe : bool
        Whether to run models of which no run has ended for some steps.

    Returns
    -------
    dict of str to Rate
    """
    firsts: dict[str, Case] = {}
    for case in campaign.cases.values():
        firsts.setdefault(model_key(case), case)
    found = {key: _of_runs(campaign, key, rows) for key in firsts}
    missing = [key for key, rate in found.items() if rate is None]
    if probe and missing:
        found |= _probed(campaign, {key: firsts[key] for key in missing})
    return {key: rate for key, rate in found.items() if rate is not None}


def _of_runs(campaign: Campaign, key: str, rows: Mapping[str, RunRow]) -> Rate | None:
    """Return the median over a model's runs; their starts and analyses count as work."""
    rates = [
        row.cost.atom_steps_per_s
        for one, row in rows.items()
        if model_key(campaign.cases[one]) == key and row.cost.atom_steps_per_s
    ]
    if not rates:
        return None
    rate = statistics.median(rates)
    return Rate(atom_steps_per_s=rate, start_s=0.0, source="runs", n_runs=len(rates))


def _probed(campaign: Campaign, firsts: Mapping[str, Case]) -> dict[str, Rate | None]:
    """Probe models that were not probed on such a machine before, and keep what came."""
    resources = campaign.spec.resources
    path = campaign.folder / RATES
    known = dict(read_record(path, RatesRecord).rates) if path.is_file() else {}
    places = {key: _place(key, resources) for key in firsts}
    found: dict[str, Rate | None] = {}
    for key, case in firsts.items():
        found[key] = known.get(places[key]) or probe_rate(case, resources)
    kept = known | {places[key]: rate for key, rate in found.items() if rate is not None}
    if kept != known:
        write_record(path, RatesRecord(rates=kept))
    return found


def _place(key: str, resources: Resources) -> str:
    shape = f"{resources.ranks} ranks x {resources.threads} threads, {resources.gpus} GPUs"
    return f"{key} on {machine()}: {shape}"


def probe_rate(case: Case, resources: Resources) -> Rate | None:
    """Run a model for some steps; None where it does not come to their end."""
    probe = case.model_copy(
        update={
            "protocol": "heat",
            "ramp_steps": WARMING_STEPS,
            "hold_steps": PROBE_STEPS,
            "dump_every": WARMING_STEPS + PROBE_STEPS,
            "quench_frames": 0,
        }
    )
    with tempfile.TemporaryDirectory(prefix="tempermd-probe-") as scratch:
        try:
            result = md.run(probe, scratch)
        except UserError:
            return None
        log = Path(scratch) / probe.id / result.attempt / md.LOG
        loops = read_loops(log) if log.is_file() else []
    if result.outcome != "finished" or not loops:
        return None
    seconds, steps, atoms = loops[-1]
    return Rate(
        atom_steps_per_s=atoms * steps / max(seconds, 1e-6),
        start_s=max(0.0, result.wall_s - seconds),
        source="probe",
        n_runs=1,
    )


def read_loops(log: Path) -> list[tuple[float, int, int]]:
    """Return seconds, steps and atoms of every loop that a log of LAMMPS tells of."""
    pattern = r"^Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms"
    found: Iterable[tuple[str, str, str]] = re.findall(pattern, log.read_text(), flags=re.M)
    return [(float(seconds), int(steps), int(atoms)) for seconds, steps, atoms in found]
