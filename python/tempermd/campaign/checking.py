"""Physics checks of a campaign's models, each kept beside its runs."""

from __future__ import annotations

from pathlib import Path

from tempermd.campaign.building import build
from tempermd.campaign.folder import LIMITS, RUNS
from tempermd.campaign.hot_frames import hot_frames
from tempermd.campaign.spec import CONTROL, RobustnessSpec
from tempermd.engine import run_tasks
from tempermd.events import read_thresholds
from tempermd.physics import PhysicsRecord
from tempermd.records import read_record, sha256_file, sha256_json, write_record

FOLDER = "physics"
REFERENCE = "lcbop"


def check_models(
    spec: RobustnessSpec, output: Path, workers: int | None = None
) -> list[PhysicsRecord]:
    """Check every model of a spec against known carbon and LCBOP, unless that has been done."""
    if not spec.physics:
        return []
    sources = {name: f"nequip:{Path(path).resolve()}" for name, path in spec.models.items()}
    if spec.control:
        sources[CONTROL] = REFERENCE
    tasks = []
    for name, source in sources.items():
        path = output / FOLDER / f"{name}.{_key(spec, source)}.json"
        tasks.append((name, source, spec, path))
    done = dict(run_tasks(_check, tasks, workers=workers, title="physics"))
    return [done[index] for index in sorted(done)]


def read_checks(output: Path) -> list[PhysicsRecord]:
    """Return the checks that lie beside a campaign's runs."""
    return [read_record(path, PhysicsRecord) for path in sorted((output / FOLDER).glob("*.json"))]


def _key(spec: RobustnessSpec, source: str) -> str:
    """Return a short hash of what decides the result."""
    path = Path(source.partition(":")[2])
    content = sha256_file(path) if path.is_file() else source
    asked = [spec.physics_structure.model_dump(mode="json"), spec.physics_truth]
    return sha256_json([*asked, content])[:8]


def _check(task: tuple[str, str, RobustnessSpec, Path]) -> PhysicsRecord:
    from tempermd.labels import SourceSpec, open_source
    from tempermd.physics import check_physics

    name, source, spec, path = task
    if path.is_file():
        return read_record(path, PhysicsRecord)
    wanted = spec.physics_structure
    atoms = build(wanted)
    atoms.center(vacuum=8.0, axis=(0, 1))
    atoms.pbc = True
    calculator = open_source(SourceSpec(name=source))[1]
    reference = None
    if source != REFERENCE:
        reference = (REFERENCE.upper(), open_source(SourceSpec(name=REFERENCE))[1])
    truth, hot = None, None
    if spec.physics_truth:
        truth = open_source(SourceSpec(name=spec.physics_truth))[1]
        output = path.parents[1]
        hot = hot_frames(output / RUNS, name, read_thresholds(output / LIMITS))
    names = (name, "tube " + ",".join(map(str, wanted.tube or ())))
    one_wall = wanted.outer is None and not wanted.vacancies
    indices = wanted.tube if one_wall else None
    record = check_physics(atoms, calculator, names, reference, truth, indices=indices, hot=hot)
    write_record(path, record)
    return record
