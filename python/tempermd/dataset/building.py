"""Building a dataset folder: one pass to know the frames, one to deal them out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tempermd.dataset.duplicates import Copies
from tempermd.dataset.energies import (
    ReferenceChoice,
    References,
    SourceEnergies,
    choose_references,
    choose_scale,
    gather_one,
    shifted,
)
from tempermd.dataset.frames import source_of
from tempermd.dataset.importing import ImportSpec, iter_imported
from tempermd.dataset.lmdb_files import index_path
from tempermd.dataset.plain import labels_of
from tempermd.dataset.splits import FrameKey, assign, frame_key, with_contents
from tempermd.dataset.writing import check_space, full_disk_named, open_writer
from tempermd.engine import Meter
from tempermd.records import (
    Record,
    Spec,
    UserError,
    new_folder,
    only_one,
    read_record,
    sha256_file,
    sha256_json,
    write_record,
)

if TYPE_CHECKING:
    from ase import Atoms

LARGE_ATOMS = 200_000
"""Sets with more atoms than this become LMDB unless a format is named."""

FileFormat = Literal["extxyz", "lmdb"]


class DatasetRecord(Record):
    """What a dataset folder holds: files by hash, sources, reference energies, split."""

    format_name: ClassVar[str] = "tempermd-dataset"

    files: dict[str, str]
    frames: dict[str, int]
    atoms: dict[str, int]
    sources: dict[str, str]
    reference_energies_eV: dict[str, dict[str, float]]
    energy_scale: str
    convergence_eV_per_A: float | None
    made_from: dict[str, str]
    seed: int
    # what follows came later; sets made before have none of it
    file_format: FileFormat = "extxyz"
    reference_kinds: dict[str, str] = Field(default_factory=dict)
    labels: list[str] = Field(default_factory=list)
    strata: dict[str, dict[str, int]] = Field(default_factory=dict)
    duplicates: int = 0
    request_sha256: str | None = None


class BuildSpec(Spec):
    """How to make a dataset of labelled frames.

    ``fractions`` are of the frames of the inputs; frames of test files all go to the test part.
    ``stratify`` names the info whose values each part shall have (default: kind, else the
    composition); ``file_format`` is chosen by size if None.
    """

    fractions: dict[str, float]
    seed: int = 1
    scale: str | None = None
    stratify: str | None = None
    file_format: FileFormat | None = None
    references: ReferenceChoice = "auto"
    imported: ImportSpec = ImportSpec()


@dataclass
class _Index:
    """What the first pass learns: a few words per frame, sums over all."""

    keys: list[FrameKey] = field(default_factory=list)
    copies: Copies = field(default_factory=Copies)
    n_atoms: list[int] = field(default_factory=list)
    energies: dict[str, SourceEnergies] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    n_inputs: int = 0
    convergence_eV_per_A: float | None = None
    stress: bool = True
    energies_of_atoms: bool = True

    def add(self, atoms: Atoms, origin: str, stratify: str | None) -> None:
        """Take in one frame; ``origin`` (file and number) names one without a trajectory."""
        self.keys.append(frame_key(atoms, origin, stratify))
        self.copies.add(atoms)
        self.n_atoms.append(len(atoms))
        name = source_of(atoms)
        self.versions.setdefault(name, str(atoms.info.get("source_version", "")))
        figure = atoms.info.get("convergence_eV_per_A")
        if figure is not None:
            self.convergence_eV_per_A = max(float(figure), self.convergence_eV_per_A or 0.0)
        labels = labels_of(atoms)
        self.stress &= "stress" in labels
        self.energies_of_atoms &= "energies" in labels
        gather_one(self.energies, atoms)


@dataclass(frozen=True)
class _Plan:
    """What the second pass does: where each frame goes and what becomes of its energy."""

    parts: list[str]
    references: References
    scale: str
    file_format: FileFormat
    stress: bool
    energies: bool


def build(
    inputs: list[Path],
    output: Path,
    *,
    fractions: dict[str, float],
    seed: int,
    scale: str | None = None,
    test_inputs: list[Path] | None = None,
    **options: Any,
) -> Path:
    """Make a dataset folder (train, val, test and ``dataset.json``); see `build_dataset`.

    ``test_inputs`` names files whose frames all go to the test part (structures that training
    must never see); then ``fractions`` split the rest. With labels of several sources,
    ``scale`` names the one whose zero of energy all take.
    """
    spec = BuildSpec(fractions=fractions, seed=seed, scale=scale, **options)
    return build_dataset(inputs, output, spec, test_inputs or [])


def build_dataset(
    inputs: list[Path], output: Path | str, spec: BuildSpec, test_inputs: list[Path]
) -> Path:
    """Make a dataset folder; the files are streamed twice and never wholly in memory.

    A finished folder made by the same request is left as it is; any other is refused. The
    folder appears whole or not at all.

    Raises
    ------
    UserError
        For bad frames, leaks between parts, sources that cannot be mixed, a full disk, or
        another process at the same output.
    """
    output = Path(output)
    files = [Path(path) for path in [*inputs, *test_inputs]]
    made_from = _hashes(files)
    request = sha256_json(
        [spec.model_dump(mode="json"), [[p.name, made_from[p.name]] for p in files], len(inputs)]
    )
    if _is_finished(output, request):
        return output
    with only_one(output), full_disk_named(output):
        index = _read_index(files, len(inputs), spec)
        references, kinds = choose_references(index.energies, spec.references)
        plan = _plan(index, spec, references)
        with _new_folder(output) as folder:
            check_space(folder, len(plan.parts), sum(index.n_atoms), plan.file_format)
            names = _write(files, folder, spec, plan)
            record = _describe(index, spec, plan, kinds, made_from, request)
            hashes = {name: sha256_file(folder / name) for name in names}
            write_record(folder / "dataset.json", record.model_copy(update={"files": hashes}))
    return output


def _hashes(files: list[Path]) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for path in files:
        if not path.is_file():
            raise UserError(f"{path}: no such file of structures")
        if path.name in hashes:
            raise UserError(f"{path}: two inputs have this name; rename one of them")
        hashes[path.name] = sha256_file(path)
    return hashes


def _is_finished(output: Path, request: str) -> bool:
    """Tell whether the folder holds what is asked for; refuse any other content."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    try:
        record = read_record(output / "dataset.json", DatasetRecord)
    except (UserError, NotADirectoryError):
        record = None
    if record is not None and record.request_sha256 == request:
        return True
    raise UserError(f"{output}: exists already; name another output or remove it first")


def _read_index(files: list[Path], n_inputs: int, spec: BuildSpec) -> _Index:
    index, meter = _Index(), Meter("reading", None, "frames")
    with meter.shown():
        for position, path in enumerate(files):
            for number, atoms in enumerate(iter_imported(path, spec.imported, need_labels=True)):
                index.add(atoms, f"{number} of {path.name}", spec.stratify)
                meter.advance({"frames": 1, "atoms": len(atoms)})
            if position + 1 == n_inputs:
                index.n_inputs = len(index.keys)
    index.keys = with_contents(index.keys, index.copies.labels())
    return index


def _plan(index: _Index, spec: BuildSpec, references: References) -> _Plan:
    scale = choose_scale(references, spec.scale)
    dealt = assign(index.keys[: index.n_inputs], spec.fractions, spec.seed)
    parts = ["test"] * len(index.keys)
    for name, members in dealt.items():
        for i in members:
            parts[i] = name
    _refuse_leaks(index.keys, parts)
    large = sum(index.n_atoms) > LARGE_ATOMS
    return _Plan(
        parts=parts,
        references=references,
        scale=scale,
        file_format=spec.file_format or ("lmdb" if large else "extxyz"),
        stress=index.stress,
        energies=index.energies_of_atoms,
    )


def _refuse_leaks(keys: list[FrameKey], parts: list[str]) -> None:
    """Refuse what only a test file can bring: a trajectory or a structure in two parts."""
    owners: dict[Any, str] = {}
    for key, part in zip(keys, parts, strict=True):
        if owners.setdefault(key.trajectory, part) != part:
            raise UserError(
                f"trajectory {key.trajectory} is in both {owners[key.trajectory]} and {part}; "
                "frames of one trajectory must stay together"
            )
        copy = ("structure", key.content)
        if key.content is not None and owners.setdefault(copy, part) != part:
            raise UserError(
                f"a structure of {key.trajectory} (in {part}) is also in {owners[copy]}, perhaps "
                "turned or reordered; take it out of the test file or of the inputs"
            )


def _write(files: list[Path], folder: Path, spec: BuildSpec, plan: _Plan) -> list[str]:
    """Deal the frames to their parts; return the names of the files written."""
    names = [name for name in ("train", "val", "test") if name in plan.parts]
    names += sorted(set(plan.parts) - set(names))
    paths = {name: folder / f"{name}.{plan.file_format}" for name in names}
    places, meter = iter(plan.parts), Meter("writing", len(plan.parts), "frames")
    with ExitStack() as stack, meter.shown():
        writers = {
            name: stack.enter_context(open_writer(path, stress=plan.stress, energies=plan.energies))
            for name, path in paths.items()
        }
        for path in files:
            for atoms in iter_imported(path, spec.imported, need_labels=True, check=False):
                writers[next(places)].add(shifted(atoms, plan.references, plan.scale))
                meter.advance({"frames": 1, "atoms": len(atoms)})
    written = list(paths.values())
    if plan.file_format == "lmdb":
        written += [index_path(path) for path in paths.values()]
    return [path.name for path in written]


def _describe(
    index: _Index,
    spec: BuildSpec,
    plan: _Plan,
    kinds: dict[str, str],
    made_from: dict[str, str],
    request: str,
) -> DatasetRecord:
    atoms: Counter[str] = Counter()
    strata: dict[str, Counter[str]] = {}
    for key, part, n_atoms in zip(index.keys, plan.parts, index.n_atoms, strict=True):
        atoms[part] += n_atoms
        strata.setdefault(part, Counter())[key.stratum] += 1
    contents = [key.content for key in index.keys if key.content is not None]
    labels = ["energy", "forces"]
    labels += ["stress"] * plan.stress + ["energies"] * plan.energies
    order = [name for name in ("train", "val", "test") if name in atoms]
    order += sorted(set(atoms) - set(order))
    return DatasetRecord(
        files={},
        frames={name: sum(strata[name].values()) for name in order},
        atoms={name: atoms[name] for name in order},
        sources=dict(sorted(index.versions.items())),
        reference_energies_eV=plan.references,
        energy_scale=plan.scale,
        convergence_eV_per_A=index.convergence_eV_per_A,
        made_from=made_from,
        seed=spec.seed,
        file_format=plan.file_format,
        reference_kinds=kinds,
        labels=labels,
        strata={name: dict(sorted(strata[name].items())) for name in order},
        duplicates=len(contents) - len(set(contents)),
        request_sha256=request,
    )


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Yield a folder beside the output to fill; it takes the output's name when all is done."""
    for left in output.parent.glob(f".{output.name}.partial-*"):
        shutil.rmtree(left)  # of a process that was killed: this one holds the lock
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
    try:
        yield folder
        mask = os.umask(0)
        os.umask(mask)
        folder.chmod(0o777 & ~mask)
        new_folder(output)
        folder.replace(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_dataset_record(folder: Path | str) -> DatasetRecord:
    """Read ``dataset.json`` of a folder."""
    return read_record(Path(folder) / "dataset.json", DatasetRecord)
