"""Distillation: a fine-tuned teacher labels what a student learns from: rattled, relaxed frames."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

from pydantic import Field, PositiveInt, model_validator

from tempermd.pair_styles import PotentialSpec
from tempermd.records import (
    Record,
    Spec,
    UserError,
    read_record,
    read_spec,
    sha256_file,
    write_record,
    write_spec,
)
from tempermd.structures import RattleRelaxSpec, StructureSpec, make
from tempermd.training import FineTuningSpec, ModelSpec, TrainingSpec


class AugmentSpec(Spec):
    """How few frames become many: chains of rattling and relaxing a little by the teacher.

    (Gardner et al., arXiv:2506.10956.)

    Attributes
    ----------
    n_frames
        How many to make, at least; those whose atoms overlap are dropped.
    rounds
        Frames of a chain, each rattled from the one before.
    rattle_A, strain
        Of atoms (standard deviation, Å) and of periodic axes, in each round.
    relax_steps
        Of the teacher, after each rattling.
    """

    n_frames: PositiveInt = 200
    rounds: PositiveInt = 5
    rattle_A: float = Field(0.2, gt=0, le=1)
    strain: float = Field(0.03, ge=0, le=0.3)
    relax_steps: PositiveInt = 5


class DistilSpec(Spec):
    """What a student learns from its teacher, and how.

    Attributes
    ----------
    model
        The student's, where it starts from nothing.
    base
        Else the checkpoint that it starts from, relative to the spec.
    val_fraction
        Share of the chains that are held out to choose the best epoch.
    true_copies
        How often each of the few true frames stands in the student's training set.
    accept_failures
        Share of the made structures that the teacher may fail to label.
    """

    seed: int = Field(0, ge=0)
    augment: AugmentSpec = AugmentSpec()
    val_fraction: float = Field(0.1, gt=0, lt=1)
    true_copies: int = Field(0, ge=0)
    accept_failures: float = Field(0.05, ge=0, le=1)
    model: ModelSpec | None = None
    base: str | None = None
    training: TrainingSpec
    finetuning: FineTuningSpec = FineTuningSpec()

    @model_validator(mode="after")
    def _has_one_start(self) -> DistilSpec:
        if (self.model is None) == (self.base is None):
            raise ValueError("give exactly one of model (a student from nothing) and base")
        return self


class Distillation(Record):
    """What a student was made from; its errors are in ``student/training.json``."""

    format_name: ClassVar[str] = "tempermd-distillation"

    teacher_sha256: str
    frames_sha256: str
    student_sha256: str
    n_true: int
    true_copies: int
    n_synthetic_train: int
    n_synthetic_val: int
    student_against_teacher_force_rmse_eV_per_A: float
    student_against_teacher_energy_rmse_meV_per_atom: float
    label_core_s: float
    training_core_s: float


def resolved_distil_spec(path: Path | str) -> DistilSpec:
    """Read a spec file and make its paths absolute."""
    spec = read_spec(path, DistilSpec)
    folder = Path(path).resolve().parent
    changed: dict[str, object] = {}
    if spec.base is not None:
        changed["base"] = str((folder / spec.base).resolve())
    replay = spec.finetuning.replay
    if replay is not None:
        replay = replay.model_copy(update={"file": str((folder / replay.file).resolve())})
        changed["finetuning"] = spec.finetuning.model_copy(update={"replay": replay})
    return spec.model_copy(update=changed)


def distil(
    teacher: Path | str,
    frames: Path | str,
    spec: DistilSpec,
    out_dir: Path | str,
    *,
    workers: int | None = None,
    threads: int = 1,
    progress: bool = True,
) -> Path:
    """Make a student of a teacher and few frames; return the student's ``best.ckpt``.

    Every stage that is finished is left as it is, so the same command goes on where it was
    stopped. The folder holds ``teacher.nequip.pth``, ``augmented.extxyz``, ``labelled.extxyz``,
    ``train.extxyz``, ``val.extxyz``, ``student/`` (a training) and ``distillation.json``.

    Parameters
    ----------
    teacher
        A checkpoint (a pickle: opening it runs code in it), usually a fine-tuned one.
    frames
        The few labelled frames that the teacher was fine-tuned on: where chains start.
    """
    teacher, frames, folder = Path(teacher), Path(frames), Path(out_dir)
    model = deployed_teacher(teacher, folder / "teacher.nequip.pth")
    write_spec(folder / "spec.toml", spec)
    made = augment(model, frames, spec.augment, folder / "augmented.extxyz", spec.seed, workers)
    labelled = label_by(model, made, folder / "labelled.extxyz", spec.accept_failures, workers)
    write_parts(labelled, frames, spec, folder)
    student = _train(spec, folder, threads, progress)
    record = _describe(teacher, frames, spec, folder)
    write_record(folder / "distillation.json", record)
    return student


def deployed_teacher(checkpoint: Path, output: Path) -> Path:
    """Deploy a teacher for LAMMPS, unless that has been done; another's file is refused."""
    from tempermd.deploy import deploy, model_info

    if not output.exists():
        deploy(checkpoint, output)
    elif model_info(output).get("checkpoint_sha256") != sha256_file(checkpoint):
        raise UserError(f"{output}: made from another teacher; name another output folder")
    return output


def augment(
    model: Path,
    frames: Path,
    spec: AugmentSpec,
    output: Path,
    seed: int = 0,
    workers: int | None = None,
) -> Path:
    """Write structures from chains that start at every frame: rattled, relaxed by the model.

    Parameters
    ----------
    model
        A deployed model, which relaxes.
    output
        The extxyz to write; ``info["trajectory"]`` names each frame's chain.
    """
    from tempermd.dataset import iter_structures

    n_starts = sum(1 for _ in iter_structures(frames))
    entry = RattleRelaxSpec(
        file=str(frames.resolve()),
        chains=math.ceil(spec.n_frames / (n_starts * spec.rounds)),
        rounds=spec.rounds,
        rattle_A=spec.rattle_A,
        strain=spec.strain,
        relax_steps=spec.relax_steps,
    )
    driver = PotentialSpec(name="nequip", file=str(model.resolve()))
    make(StructureSpec(seed=seed, driver=driver, rattle_relax=[entry]), output, workers)
    return output


def label_by(
    model: Path,
    structures: Path,
    output: Path,
    accept_failures: float = 0.0,
    workers: int | None = None,
) -> Path:
    """Label structures by a deployed model; see `labels.label`."""
    from tempermd.dataset import iter_structures
    from tempermd.labels import FrameFiles, LabelOptions, SourceSpec, label

    source = SourceSpec(name=f"nequip:{model.resolve()}")
    options = LabelOptions(accept_failures=accept_failures)
    files = FrameFiles((structures,), iter_structures)
    return label(files, source, output, options, workers=workers)


def write_parts(labelled: Path, true_frames: Path, spec: DistilSpec, folder: Path) -> None:
    """Split the teacher's labels by chain; add copies of the true frames to the training part.

    The teacher's energies are on the zero of its own labels, so that both may stand in one set.
    """
    from tempermd.dataset import read_labelled, split, write_structures

    fractions = {"train": 1 - spec.val_fraction, "val": spec.val_fraction}
    parts = split(read_labelled(labelled), fractions, spec.seed)
    if not parts["val"]:
        raise UserError(
            "augment.n_frames gives too few chains to hold any out; raise it or val_fraction"
        )
    true = read_labelled(true_frames) if spec.true_copies else []
    write_structures(folder / "train.extxyz", parts["train"] + spec.true_copies * true)
    write_structures(folder / "val.extxyz", parts["val"])


def _train(spec: DistilSpec, folder: Path, threads: int, progress: bool) -> Path:
    """Train the student; its data lie in the folder."""
    from tempermd.training import DataSpec, TrainSpec, finetune, train

    paths = {name: str((folder / f"{name}.extxyz").resolve()) for name in ("train", "val")}
    asked = TrainSpec(
        model=spec.model,
        data=DataSpec(**paths),
        training=spec.training,
        finetuning=spec.finetuning,
    )
    if spec.base is None:
        return train(asked, folder / "student", threads=threads, progress=progress)
    return finetune(spec.base, asked, folder / "student", threads=threads, progress=progress)


def _describe(teacher: Path, frames: Path, spec: DistilSpec, folder: Path) -> Distillation:
    from tempermd.dataset import iter_structures
    from tempermd.labels import LabelRecord
    from tempermd.training import Training

    training = read_record(folder / "student" / "training.json", Training)
    labels = read_record(folder / "labelled.extxyz.json", LabelRecord)
    n_true = sum(1 for _ in iter_structures(frames))
    return Distillation(
        teacher_sha256=sha256_file(teacher),
        frames_sha256=sha256_file(frames),
        student_sha256=training.checkpoint_sha256,
        n_true=n_true,
        true_copies=spec.true_copies,
        n_synthetic_train=training.n_train - spec.true_copies * n_true,
        n_synthetic_val=training.n_val,
        student_against_teacher_force_rmse_eV_per_A=training.val.force_rmse_eV_per_A,
        student_against_teacher_energy_rmse_meV_per_atom=training.val.energy_rmse_meV_per_atom,
        label_core_s=labels.core_seconds,
        training_core_s=training.core_s,
    )
