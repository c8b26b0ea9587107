"""What each kind of stage does; any stage runs from the store by its key alone."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tempermd.engine import GRACE_S
from tempermd.records import UserError, only_one, sha256_json
from tempermd.study.stages import DONE, LOG, Done, Store

Facts = dict[str, Any]
Work = Callable[[dict[str, Any], Path, int], Facts]


def run_stage(root: Path | str, key: str, cores: int = 1) -> Facts:
    """Run a stage of a store unless it is done; what was begun is gone on with.

    Parameters
    ----------
    root
        The store.
    key
        Of a stage that is written down there, with all that it needs done.
    cores
        How many processes it may start.

    Returns
    -------
    dict
        What others ask of the stage.
    """
    store = Store(root)
    folder, stage = store.read(key)
    with _held(folder):
        done = store.done(stage)
        if done is not None:
            return done.facts
        start_s, start_core_s = time.monotonic(), _core_s()
        facts = WORK[stage.kind](store.resolved(stage.parameters), folder, cores)
        core_s = facts.pop("core_s", None)
        done = Done(
            kind=stage.kind,
            title=stage.title,
            wall_s=time.monotonic() - start_s,
            core_s=_core_s() - start_core_s if core_s is None else core_s,
            facts=facts,
        )
        store.finish(folder, done)
    return facts


def run_logged(task: tuple[tuple[str, str], int]) -> Facts:
    """Run a stage in a worker, with all that it prints in the log of its folder."""
    (root, key), cores = task
    folder = Store(root).read(key)[0]
    log = folder / LOG
    with _output_to(log):
        try:
            return run_stage(root, key, cores)
        except UserError as error:
            raise UserError(f"{error} (log: {log})") from None
        except Exception as error:
            with log.open("a") as stream:
                stream.write(traceback.format_exc())
            raise UserError(f"{type(error).__name__}: {error} (log: {log})") from error


def _core_s() -> float:
    """Return the processor time of this process and its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Send the standard streams of this process and its children to a file."""
    import sys

    saved = [os.dup(1), os.dup(2)]
    with log.open("a") as stream:
        try:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, old in zip((1, 2), saved, strict=True):
                os.dup2(old, number)
                os.close(old)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a stage's folder; a worker of a run that was killed may need a moment to let go."""
    deadline_s = time.monotonic() + 3 * GRACE_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(only_one(folder))
                break
            except UserError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.2)
        yield


def _structures(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    from tempermd import structures

    spec = structures.StructureSpec.model_validate(given["spec"])
    made = structures.make(spec, folder / "frames.extxyz", cores)
    return {"frames": made.frames, "atoms": made.atoms}


def _labels(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    from tempermd import dataset, labels
    from tempermd.records import read_record

    frames = labels.FrameFiles((Path(given["frames"]),), dataset.iter_structures)
    source = labels.SourceSpec.model_validate(given["source"])
    options = labels.LabelOptions.model_validate(given["options"])
    output = folder / "labelled.extxyz"
    labels.label(frames, source, output, options, workers=cores)
    record = read_record(output.with_name(output.name + ".json"), labels.LabelRecord)
    return {"frames": record.labelled, "atoms": record.atoms, "core_s": record.core_seconds}


def _split(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    """Split labelled frames by trajectory; frames of a test file are never trained on."""
    from tempermd import dataset, labels

    def counted(path: str) -> int:
        return labels.FrameFiles((Path(path),), dataset.iter_structures).count()

    total = counted(given["frames"])
    shares = {"val": given["n_val"] / total, "test": given["test_fraction"] or 0.0}
    if sum(shares.values()) >= 1:
        raise UserError(
            f"{given['frames']}: {total} frames cannot give {given['n_val']} for validation and "
            f"{shares['test']:g} of them for tests and leave any to train on"
        )
    fractions = {"train": 1 - sum(shares.values())} | {k: v for k, v in shares.items() if v}
    output = folder / "set"
    spec = dataset.BuildSpec(
        fractions=fractions, seed=given["seed"], file_format=given["file_format"]
    )
    tests = []
    if given["test"] is not None:
        link = folder / f"test_part{Path(given['test']).suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(given["test"])  # inputs of a dataset need names of their own
        tests = [link]
    dataset.build_dataset([Path(given["frames"])], output, spec, tests)
    record = dataset.read_dataset_record(output)
    return {"frames": record.frames, "atoms": record.atoms}


def _draw(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    from tempermd.study.draws import draw

    suffix = Path(given["pool"]).suffix
    return draw(given, folder / f"train{suffix}")


def _training(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    """Train in a folder named by the whole spec, defaults included, renamed when finished."""
    from tempermd import training
    from tempermd.records import read_record

    final = folder / "training"
    spec = _train_spec(given)
    if not final.exists():
        begun = folder / f"begun-{sha256_json(spec.model_dump(mode='json'))[:8]}"
        for other in folder.glob("begun-*"):
            if other != begun:
                shutil.rmtree(other)  # of a tempermd with other defaults: it cannot go on
        options: dict[str, Any] = {"resume": True, "threads": 1, "progress": False}
        try:
            if given["parent"] is None:
                training.train(spec, begun, **options)
            else:
                training.finetune(Path(given["parent"]), spec, begun, **options)
        except UserError as error:
            if "diverged" not in str(error):
                raise
            return {"diverged": str(error)}
        begun.replace(final)
    record = read_record(final / "training.json", training.Training)
    return {
        "val_force_rmse_eV_per_A": record.val.force_rmse_eV_per_A,
        "steps": record.n_steps,
        "core_s": record.core_s,
        "gpu_s": record.gpu_s,
    }


def _train_spec(given: dict[str, Any]) -> Any:
    """Return the spec of a training stage; paths in it are whole."""
    from tempermd import training

    raw = {
        "model": given["model"],
        "data": {"train": given["train"], "val": given["val"]},
        "training": given["training"],
    }
    if given["finetuning"]:
        raw["finetuning"] = given["finetuning"]
    return training.TrainSpec.model_validate(raw)


def _transmute(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    from tempermd import training

    for left in (folder / "base.ckpt", folder / "base.json"):
        left.unlink(missing_ok=True)  # of a stage that was killed
    training.transmute(Path(given["base"]), given["spec"], folder / "base.ckpt", given["frames"])
    return {}


def _distil(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    from tempermd import distillation
    from tempermd.records import read_record

    spec = distillation.DistilSpec.model_validate(given["spec"])
    teacher, frames = Path(given["teacher"]), Path(given["frames"])
    distillation.distil(teacher, frames, spec, folder, workers=cores, progress=False)
    record = read_record(folder / "distillation.json", distillation.Distillation)
    return {"label_core_s": record.label_core_s}


def _judge(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    from tempermd.study.judging import judge

    if not Path(given["checkpoint"]).is_file():
        raise UserError("there is no model to judge: its training diverged at every rate")
    return judge(Path(given["checkpoint"]), Path(given["frames"]), folder / "judged.json")


def _source(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    """Judge a label source on a test set; what it cannot label is no fault of the study."""
    from tempermd import dataset, labels
    from tempermd.cards.judged import judge_source

    source, calculator = labels.open_source(labels.SourceSpec.model_validate(given["source"]))
    frames = dataset.read_labelled(given["frames"])
    elements = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    try:
        errors = judge_source(calculator, frames, elements).errors()
    except labels.LabelFailureError as error:
        return {"source": source.name, "not_compared": str(error)}
    return {"source": source.name, "errors": errors.model_dump()}


def _deploy(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    from tempermd import deploy

    model = folder / "model.nequip.pth"
    deploy.deploy(Path(given["checkpoint"]), model)
    return {}


def _md(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    from tempermd import campaign

    models = {} if given["model"] is None else {"model": given["model"]}
    spec = campaign.RobustnessSpec.model_validate(given["robustness"] | {"models": models})
    for case in campaign.plan(spec, folder):
        result = campaign.run_one(case, folder / "runs")
        if result.outcome == "infrastructure_failure":
            raise UserError(
                f"the run with seed {case.seed} broke off ({result.reason}); the same command "
                "tries it again"
            )
    return {}


def _analysis(given: dict[str, Any], folder: Path, cores: int) -> Facts:
    from tempermd import events
    from tempermd.records import write_record

    runs = sorted(path.parent for path in Path(given["runs"]).glob("*/case.json"))
    for number, run in enumerate(runs):
        write_record(folder / "analyses" / f"{number}.json", events.analyse_run(run))
    return {"runs": len(runs)}


WORK: dict[str, Work] = {
    "structures": _structures,
    "labels": _labels,
    "split": _split,
    "draw": _draw,
    "training": _training,
    "transmute": _transmute,
    "distil": _distil,
    "judge": _judge,
    "source": _source,
    "deploy": _deploy,
    "md": _md,
    "analysis": _analysis,
}
"""Kind of stage -> its work: (parameters with paths, folder, cores) -> facts."""

__all__ = ["DONE", "WORK", "run_logged", "run_stage"]
