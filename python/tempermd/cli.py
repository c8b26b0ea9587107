"""The command line: one subcommand per station, no logic of its own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from tempermd.records import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Pre-train, fine-tune, deploy and stress machine-learned potentials in LAMMPS.",
)
sources_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Label sources.")
study_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Whole studies.")
app.add_typer(sources_app, name="sources")
app.add_typer(study_app, name="study")

Workers = Annotated[
    int | None, typer.Option("--workers", "-j", help="Processes at a time; all cores if not given.")
]


def main() -> NoReturn:
    """Run ``tempermd``: a user's mistake is one sentence on stderr and exit code 1."""
    _run(app, "tempermd")


def deploy_main() -> NoReturn:
    """Run ``deploy-model``, the same as ``tempermd deploy``."""
    deploy_app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    deploy_app.command()(deploy)
    _run(deploy_app, "deploy-model")


def _run(application: typer.Typer, name: str) -> NoReturn:
    """Give every way to end its exit code; 2 is kept for the verdict FAIL."""
    try:
        code = application(prog_name=name, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except TyperException as error:
        error.show()
        sys.exit(1)
    except (UserError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        print(f"{name}: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


@app.command()
def structures(
    spec: Annotated[Path, typer.Argument(help="TOML: which tubes and amorphous cells.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The extxyz to write.")],
    workers: Workers = None,
) -> None:
    """Make structures from a spec; goes on where it was stopped.

    Example: tempermd structures studies/tubes/structures.toml -o tubes.extxyz
    """
    from tempermd import dataset
    from tempermd import structures as station
    from tempermd.records import read_spec

    parts = output.with_name(output.name + ".parts")
    frames = station.make(read_spec(spec, station.StructureSpec), workers, parts)
    print(dataset.write_structures(output, frames))
    shutil.rmtree(parts)


@app.command()
def tube(
    n: Annotated[int, typer.Argument(help="First chiral index.")],
    m: Annotated[int, typer.Argument(help="Second chiral index, at most the first.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="LAMMPS data file (.data).")],
    length: Annotated[float, typer.Option(help="At least this long (A).")] = 10.0,
    open_ends: Annotated[bool, typer.Option("--open", help="Open ends, not periodic.")] = False,
    vacancies: Annotated[int, typer.Option(help="Atoms to take out.")] = 0,
    seed: Annotated[int, typer.Option(help="Draws the vacancies.")] = 0,
) -> None:
    """Write one nanotube as a LAMMPS data file.

    Example: tempermd tube 10 10 --length 25 -o tube_10_10.data
    """
    from tempermd import structures as station

    atoms = station.nanotube(n, m, length, periodic=not open_ends, vacancies=vacancies, seed=seed)
    print(station.write_data(output, atoms))


@app.command()
def label(
    frames: Annotated[Path, typer.Argument(help="Structures, any format that ASE reads.")],
    source: Annotated[
        str, typer.Option(help="lcbop, tersoff, xtb, sevennet-0 or ase:module:Class.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The extxyz to write.")],
    settings: Annotated[str, typer.Option(help="Settings of the source, as JSON.")] = "{}",
    gate: Annotated[
        float | None, typer.Option(help="Limit of the convergence gate (eV/A).")
    ] = None,
    workers: Workers = None,
) -> None:
    """Label structures with energies, forces and stresses; goes on where it was stopped.

    Example: tempermd label tubes.extxyz --source xtb -o tubes_xtb.extxyz
    """
    from tempermd import dataset, labels

    spec = labels.SourceSpec(name=source, settings=_json(settings))
    limit = labels.GATE_LIMIT_EV_PER_A if gate is None else gate
    structures_ = dataset.read_structures(frames)
    print(labels.label(structures_, spec, output, workers=workers, gate_limit_eV_per_A=limit))


def _json(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"--settings: expected a JSON object, got {text!r} ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"--settings: expected a JSON object, got {text!r}")
    return value


@sources_app.command("list")
def sources_list() -> None:
    """List the label sources and what each needs."""
    from tempermd import labels

    print(labels.sources_text())


@sources_app.command("compare")
def sources_compare(
    truth: Annotated[Path, typer.Argument(help="Labelled frames that count as the truth.")],
    source: Annotated[list[str], typer.Option(help="A source to judge; repeat the option.")],
    workers: Workers = None,
) -> None:
    """Measure the error of label sources against labelled frames.

    Example: tempermd sources compare tubes_xtb.extxyz --source lcbop --source tersoff
    """
    from tempermd import dataset, labels

    specs = [labels.SourceSpec(name=name) for name in source]
    print(labels.compare(dataset.read_labelled(truth), specs, workers))


@app.command("dataset")
def dataset_command(
    inputs: Annotated[list[Path], typer.Argument(help="Labelled extxyz files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    val: Annotated[float, typer.Option(help="Fraction of the frames to validate on.")] = 0.1,
    test: Annotated[float, typer.Option(help="Fraction of the frames to test on.")] = 0.0,
    test_file: Annotated[
        list[Path] | None, typer.Option(help="Labelled frames that all go to the test.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Shuffles the trajectories.")] = 1,
    scale: Annotated[
        str | None, typer.Option(help="With labels of several sources: whose zero all take.")
    ] = None,
) -> None:
    """Split labelled frames by trajectory into train, val and test.

    Example: tempermd dataset tubes_xtb.extxyz --val 0.25 -o tubes/
    """
    from tempermd import dataset as station

    fractions = {"train": 1.0 - val - test} | ({"test": test} if test else {}) | {"val": val}
    print(
        station.build(
            inputs, output, fractions=fractions, seed=seed, scale=scale, test_inputs=test_file
        )
    )


@app.command()
def train(
    spec: Annotated[Path, typer.Argument(help="TOML: model, data, budget.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    threads: Annotated[int, typer.Option(help="Threads of the tensor library.")] = 1,
) -> None:
    """Train a NequIP model from nothing; the same command goes on where it was stopped.

    Example: tempermd train studies/synthetic/train.toml -o base/
    """
    from tempermd import training

    print(training.train(spec, output, threads=threads))


@app.command()
def finetune(
    spec: Annotated[Path, typer.Argument(help="TOML: model, data, budget.")],
    base: Annotated[
        Path, typer.Option("--from", help="The pre-trained checkpoint (a pickle: it runs code).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    threads: Annotated[int, typer.Option(help="Threads of the tensor library.")] = 1,
) -> None:
    """Fine-tune a pre-trained checkpoint on a spec's data.

    Example: tempermd finetune --from base/best.ckpt tubes.toml -o tuned/
    """
    from tempermd import training

    print(training.finetune(base, spec, output, threads=threads))


@app.command()
def deploy(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint (a pickle: it runs code).")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="MODEL.nequip.pth or MODEL.nequip.pt2")
    ],
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="torchscript (.nequip.pth) or aotinductor (.nequip.pt2: a C++ compiler makes it "
            "for this machine's kind of processor, in minutes); by the output's name if not given.",
        ),
    ] = None,
) -> None:
    """Turn a checkpoint into a model that LAMMPS runs, checked against the original.

    Example: deploy-model best.ckpt -o carbon.nequip.pth
    """
    from tempermd import deploy as station

    station.deploy(checkpoint, output, device, file_format)
    print(output)


@app.command("model-info")
def model_info(
    model: Annotated[Path, typer.Argument(help="A deployed model.")],
) -> None:
    """Print what is inside a deployed model.

    Example: tempermd model-info carbon.nequip.pth
    """
    from tempermd import deploy as station

    print(json.dumps(station.model_info(model), indent=1))


@app.command()
def robustness(
    models: Annotated[list[Path], typer.Argument(help="Deployed models (*.nequip.pth).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of the report.")],
    structure: Annotated[
        list[Path] | None,
        typer.Option(help="LAMMPS data file or any format of ASE; the shipped tube if none."),
    ] = None,
    temperature: Annotated[
        list[float] | None, typer.Option("--temperature", "-T", help="Hold (K); repeatable.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Repeatable.")] = None,
    ramp_ps: Annotated[float, typer.Option(help="Length of the ramp (ps).")] = 2.0,
    hold_ps: Annotated[float, typer.Option(help="Length of the hold (ps).")] = 4.0,
    timestep_fs: Annotated[float, typer.Option(help="Timestep (fs).")] = 0.5,
    control: Annotated[bool, typer.Option("--control", help="Also run LCBOP.")] = False,
    thresholds: Annotated[Path | None, typer.Option(help="TOML of limits.")] = None,
    workers: Workers = None,
) -> None:
    """Heat and hold a tube with each model and judge it; exit code 2 when one fails.

    Example: tempermd robustness carbon.nequip.pth -o report/
    """
    from tempermd import campaign
    from tempermd.records import parse_spec

    raw = {
        "models": [str(path) for path in models],
        "temperatures_K": temperature or [3000.0],
        "seeds": seed or [1, 2],
        "ramp_ps": ramp_ps,
        "hold_ps": hold_ps,
        "timestep_fs": timestep_fs,
        "control": control,
    }
    raw |= {"structures": [str(path) for path in structure]} if structure else {}
    spec = parse_spec(raw, campaign.RobustnessSpec, "options")
    page, code = campaign.robustness(spec, output, thresholds=thresholds, workers=workers)
    print(page)
    raise typer.Exit(code)


@app.command("run-one")
def run_one(
    case: Annotated[Path, typer.Argument(help="case.json of a run directory.")],
    root: Annotated[Path, typer.Option(help="Folder of run directories.")],
) -> None:
    """Run one case, or give back its result if it is there.

    Example: tempermd run-one runs/0123456789abcdef/case.json --root runs
    """
    from tempermd import campaign, md

    found = md.read_case(case.parent)
    campaign.run_one(found, root)
    print(root / found.id)


@app.command()
def collect(
    root: Annotated[Path, typer.Argument(help="Folder of run directories.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of the report.")],
    thresholds: Annotated[Path | None, typer.Option(help="TOML of limits.")] = None,
    workers: Workers = None,
) -> None:
    """Analyse the runs that are there and write their report.

    Example: tempermd collect report/runs -o report/
    """
    from tempermd import campaign

    page = campaign.collect(root, output, thresholds=thresholds, workers=workers)
    print(page)
    raise typer.Exit(campaign.exit_code(page.parent / "summary.json"))


@app.command()
def analyse(
    dump: Annotated[Path, typer.Argument(help="LAMMPS text dump, plain or .gz.")],
    log: Annotated[Path | None, typer.Argument(help="Its log file.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")] = Path(
        "analysis"
    ),
    timestep_fs: Annotated[
        float | None, typer.Option(help="If neither dump nor log tells the time (fs).")
    ] = None,
    thresholds: Annotated[Path | None, typer.Option(help="TOML of limits.")] = None,
) -> None:
    """Find unphysical events in the trajectory of any LAMMPS run.

    Example: tempermd analyse trajectory.lammpstrj log.lammps -o analysis/
    """
    from tempermd import campaign

    page, code = campaign.analyse(dump, log, output, timestep_fs=timestep_fs, thresholds=thresholds)
    print(page)
    raise typer.Exit(code)


@study_app.command("run")
def study_run(
    spec: Annotated[Path, typer.Argument(help="TOML: data, arms, MD.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    workers: Workers = None,
) -> None:
    """Train, tune, deploy and stress all arms of a study; goes on where it was stopped.

    Example: tempermd study run studies/demo.toml -o demo/
    """
    from tempermd import study

    page, code = study.run(spec, output, workers)
    print(study.table(output), file=sys.stderr)
    print(page)
    raise typer.Exit(code)


@study_app.command("table")
def study_table(
    output: Annotated[Path, typer.Argument(help="Folder of a finished study.")],
) -> None:
    """Print the table of a finished study as Markdown.

    Example: tempermd study table demo/
    """
    from tempermd import study

    print(study.table(output))


@app.command()
def doctor() -> None:
    """Check everything that a run needs, one line each; exit code 1 when something lacks.

    Example: tempermd doctor
    """
    from tempermd import doctor as station

    findings = station.examine()
    for finding in findings:
        print(finding.line())
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)
