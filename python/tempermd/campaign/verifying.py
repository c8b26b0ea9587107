"""Are the products of a campaign still those that its runs have left?"""

from __future__ import annotations

from pathlib import Path

from tempermd import md
from tempermd.campaign.folder import Campaign
from tempermd.engine import run_tasks
from tempermd.records import UserError, sha256_file


def verify(campaign: Campaign, workers: int | None = None) -> tuple[list[str], int]:
    """Hash every product of every run that has ended, and the files that they were made from.

    Returns
    -------
    (faults, checked)
        A sentence for each fault, sorted; how many files were hashed.
    """
    ended = [run for run in _runs(campaign) if (run / md.RESULT).exists()]
    found = dict(run_tasks(faults_of, ended, workers=workers, title="verify"))
    inputs = _inputs(campaign)
    faults = [fault for index in sorted(found) for fault in found[index][0]]
    faults += [fault for path, sha256 in inputs for fault in _fault(path, sha256)]
    return sorted(faults), len(inputs) + sum(checked for _, checked in found.values())


def _runs(campaign: Campaign) -> list[Path]:
    return [campaign.runs / one for one in campaign.cases]


def _inputs(campaign: Campaign) -> list[tuple[Path, str]]:
    """Return all models and structures with their hashes, each once."""
    found = {(case.structure, case.structure_sha256) for case in campaign.cases.values()}
    found |= {
        (case.model, case.model_sha256)
        for case in campaign.cases.values()
        if case.model is not None and case.model_sha256 is not None
    }
    return [(Path(path), sha256) for path, sha256 in sorted(found)]


def faults_of(run: Path) -> tuple[list[str], int]:
    """Return the faults of one run's products, and how many were hashed."""
    try:
        result = md.read_result(run)
        case = md.read_case(run)
    except UserError as error:
        return [str(error)], 1
    faults = []
    if case.id != run.name:
        faults.append(f"{run / 'case.json'}: is the case of run {case.id}")
    products = result.products
    for name, sha256 in products.items():
        faults += _fault(run / result.attempt / name, sha256)
    return faults, len(products)


def _fault(path: Path, sha256: str) -> list[str]:
    if not path.is_file():
        return [f"{path}: is gone"]
    if sha256_file(path) != sha256:
        return [f"{path}: is not what it was ({path.stat().st_size} bytes now)"]
    return []
