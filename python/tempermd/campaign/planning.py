"""All runs of a campaign: each combination that its spec asks for, as a case."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tempermd import lmp, md
from tempermd.campaign.building import prepare_structure
from tempermd.campaign.spec import (
    CONTROL,
    MODEL_SUFFIX,
    ProtocolSpec,
    RobustnessSpec,
    file_stem,
)
from tempermd.events import Thresholds, read_thresholds
from tempermd.md import Case
from tempermd.records import Record, UserError, sha256_file

SHIPPED_STRUCTURE = "tube_8_8.data"
STRUCTURES = "structures"


class _Structure(NamedTuple):
    """A data file and its hash, taken once for all runs on it."""

    name: str
    path: Path
    sha256: str


class CampaignPlan(Record):
    """The cases of a campaign, each with the name of its model and structure."""

    format_name: ClassVar[str] = "tempermd-campaign"

    cases: list[Case]

    @property
    def identity(self) -> set[tuple[str, str, str, str]]:
        """What must be the same for an output folder to be gone on with."""
        return {
            (case.id, case.model_name, case.structure_name, case.protocol_name)
            for case in self.cases
        }


def plan(
    spec: RobustnessSpec,
    folder: Path | str,
    *,
    built: Mapping[str, Path] | None = None,
    limits: Thresholds | None = None,
) -> list[Case]:
    """Return all cases of a spec, seeds outermost, so that early results span all models.

    Structures are written to ``folder / "structures"`` as LAMMPS data files; ``built`` names
    those that lie somewhere already. The guard stops at the severe ones of ``limits``, which are
    the shipped ones if none.
    """
    if not spec.models and not spec.control:
        raise UserError("no model to run: name a deployed model, or ask for the control")
    _check_truth(spec)
    structures = _structures(spec, Path(folder) / STRUCTURES, built or {})
    guard = _guard(spec, limits or read_thresholds())
    arms = [_arm(name, path) | guard for name, path in spec.models.items()]
    if spec.control:
        arms.append({"potential": "lcbop", "model_name": CONTROL})
    _check_elements(spec, {one.name: one.path for one in structures})
    conditions = [
        _condition(spec, structure, (title, protocol), temperature_K)
        for title, protocol in (spec.protocols or {"": ProtocolSpec()}).items()
        for temperature_K in protocol.temperatures_K or spec.temperatures_K
        for structure in structures
        if protocol.structures is None or structure.name in protocol.structures
    ]
    cases = [
        Case(**arm, **condition, seed=seed)
        for seed in spec.seeds
        for condition in conditions
        for arm in arms
    ]
    _refuse_twins(cases)
    return cases


def _structures(spec: RobustnessSpec, folder: Path, built: Mapping[str, Path]) -> list[_Structure]:
    sources = spec.structures or {
        file_stem(SHIPPED_STRUCTURE): str(lmp.potentials_folder() / SHIPPED_STRUCTURE)
    }
    found = []
    for name, source in sources.items():
        path = folder / f"{name}.data"
        if name in built:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(built[name], path)
        else:
            prepare_structure(source, path)
        found.append(_Structure(name, path, sha256_file(path)))
    return found


def _arm(name: str, path: str) -> dict[str, Any]:
    if not path.endswith(MODEL_SUFFIX):
        raise UserError(f"{path}: expected a model made by deploy-model, NAME{MODEL_SUFFIX}")
    return {
        "potential": "nequip",
        "model": str(Path(path).resolve()),
        "model_sha256": sha256_file(path),
        "model_name": name,
    }


def _guard(spec: RobustnessSpec, limits: Thresholds) -> dict[str, Any]:
    """Return the fields of a guarded case; without a guard its limits must not tell runs apart."""
    if not spec.guard_every:
        return {}
    return {
        "guard_every": spec.guard_every,
        "guard_shortest_A": limits.close_contact.severe_A,
        "guard_force_eV_per_A": limits.force_spike.severe_eV_per_A,
    }


def _condition(
    spec: RobustnessSpec,
    structure: _Structure,
    named_protocol: tuple[str, ProtocolSpec],
    temperature_K: float,
) -> dict[str, Any]:
    """Return the fields of a case that are the same for all models and seeds."""
    title, protocol = named_protocol
    timestep_fs = protocol.timestep_fs or (0.1 if protocol.kind == "knock_on" else spec.timestep_fs)
    start_K, stop_K = min(spec.start_temperature_K, temperature_K), temperature_K
    if protocol.kind == "quench":
        start_K, stop_K = stop_K, start_K
    return {
        **_of_kind(protocol, structure.path),
        "structure": str(structure.path.resolve()),
        "structure_sha256": structure.sha256,
        "structure_name": structure.name,
        "protocol_name": title,
        "temperature_K": stop_K,
        "start_temperature_K": start_K,
        "ramp_steps": _steps(_or(protocol.ramp_ps, spec.ramp_ps), timestep_fs),
        "hold_steps": _steps(_length_ps(protocol, spec), timestep_fs),
        "timestep_fs": timestep_fs,
        "damping_fs": spec.damping_fs,
        "dump_every": max(1, round(spec.dump_every_fs / timestep_fs)),
        "thermo_every": max(1, round(spec.thermo_every_fs / timestep_fs)),
        "quench_frames": 0 if protocol.kind == "pull" else spec.quench_frames,
    }


def _of_kind(protocol: ProtocolSpec, data: Path) -> dict[str, Any]:
    """Return the fields of a case that only its protocol has."""
    if protocol.kind == "pull":
        return {"protocol": "pull", "strain_per_ps": protocol.strain_per_ps}
    if protocol.kind == "knock_on":
        atom, along = md.outermost_atom(data)
        return {
            "protocol": "knock_on",
            "knock_eV": protocol.knock_eV,
            "knock_atom": atom,
            "knock_along": along,
        }
    return {"protocol": "npt" if protocol.kind == "npt" else "heat"}


def _length_ps(protocol: ProtocolSpec, spec: RobustnessSpec) -> float:
    if protocol.kind == "pull":
        return protocol.largest_strain / abs(protocol.strain_per_ps)
    return _or(protocol.hold_ps, spec.hold_ps)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _steps(time_ps: float, timestep_fs: float) -> int:
    return math.floor(time_ps * 1e3 / timestep_fs + 0.5)


def _check_elements(spec: RobustnessSpec, data: dict[str, Path]) -> None:
    """Refuse a model that is damaged, or that does not know an element of a structure."""
    from tempermd.deploy import model_info

    known = {name: set(model_info(path)["type_names"]) for name, path in spec.models.items()}
    if spec.control:
        known[CONTROL] = {"C"}
    for structure, path in data.items():
        needed = set(md.data_elements(path))
        for model, elements in known.items():
            if needed - elements:
                raise UserError(
                    f"{structure}: has {', '.join(sorted(needed - elements))}, but {model} knows "
                    f"only {', '.join(sorted(elements))}"
                )


def _check_truth(spec: RobustnessSpec) -> None:
    """Refuse a truth that cannot be opened: it is needed after all runs only."""
    from tempermd.labels import SourceSpec, open_source

    if spec.physics_truth is not None:
        open_source(SourceSpec(name=spec.physics_truth))


def _refuse_twins(cases: list[Case]) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        twin = seen.setdefault(case.id, case)
        if twin.protocol_name != case.protocol_name:
            raise UserError(
                f"protocols {twin.protocol_name} and {case.protocol_name} are the same run on "
                f"{case.structure_name} at {case.temperature_K:g} K; leave one of them out"
            )
        if twin is not case:
            raise UserError(
                f"{case.model_name} on {case.structure_name} is the same as {twin.model_name} on "
                f"{twin.structure_name} (the files are equal); name each file once"
            )
