"""Commands that make models: training, fine-tuning, deployment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tempermd.cli.application import Workers, app

Device = Annotated[str | None, typer.Option(help="cpu or cuda; as the spec says.")]
Devices = Annotated[
    int | None, typer.Option(help="Processes or GPUs that share each step; as the spec says.")
]


@app.command()
def train(
    spec: Annotated[Path, typer.Argument(help="TOML: model, data, budget.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    threads: Annotated[int, typer.Option(help="Threads of the tensor library.")] = 1,
    device: Device = None,
    devices: Devices = None,
) -> None:
    """Train a NequIP model from nothing; the same command goes on where it was stopped.

    Example: tempermd train studies/synthetic/train.toml -o base/
    """
    from tempermd import cards, training

    path = training.train(spec, output, threads=threads, device=device, devices=devices)
    cards.write_card(path)
    print(path)


@app.command()
def finetune(
    spec: Annotated[Path, typer.Argument(help="TOML: model, data, budget.")],
    base: Annotated[
        Path, typer.Option("--from", help="The pre-trained checkpoint (a pickle: it runs code).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    threads: Annotated[int, typer.Option(help="Threads of the tensor library.")] = 1,
    device: Device = None,
    devices: Devices = None,
    train_direct: Annotated[
        bool,
        typer.Option(
            "--guard/--no-guard",
            help="Train directly on the same data, too, and compare: about the same time again.",
        ),
    ] = True,
    source: Annotated[
        str | None,
        typer.Option(help="The source of the base's labels, compared as well: nep:FILE"),
    ] = None,
) -> None:
    """Fine-tune a pre-trained checkpoint on a spec's data, and say whether it was worth it.

    Example: tempermd finetune --from base/best.ckpt tubes.toml -o tuned/
    """
    from tempermd import cards, training

    where = {"threads": threads, "device": device, "devices": devices}
    path = training.finetune(base, spec, output, **where)
    options = cards.GuardOptions(train_direct=train_direct, source=source)
    found = cards.guard(output, base, options, cards.find_card(base), threads=threads)
    cards.write_card(path, options=cards.CardOptions(parent=base))
    print(path)
    print(found.sentence, file=sys.stderr)


@app.command()
def card(
    model: Annotated[Path, typer.Argument(help="A training's folder, or a checkpoint.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="card.html, with card.json beside it; or .json")
    ],
    parent: Annotated[
        Path | None, typer.Option(help="The checkpoint that it was made from, if not known yet.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Labelled structures to judge on; else the training's.")
    ] = None,
    committee: Annotated[
        list[Path] | None,
        typer.Option(help="Another member of a committee; repeat for each (the model is one)."),
    ] = None,
    robustness: Annotated[
        Path | None, typer.Option(help="The folder of a robustness report of this model.")
    ] = None,
    notes: Annotated[str, typer.Option(help="Licence, limits: any text.")] = "",
) -> None:
    """Write a model's card: data, lineage, errors, calibration, cost, verdicts.

    Example: tempermd card tuned/ -o card.html --notes "For tubes below 3000 K."
    """
    from tempermd import cards

    options = cards.CardOptions(
        parent=parent,
        test=test,
        committee=committee or [],
        robustness=robustness,
        notes=notes,
    )
    print(cards.write_card(model, output, options))


@app.command()
def transmute(
    base: Annotated[Path, typer.Argument(help="A checkpoint (a pickle: it runs code).")],
    to: Annotated[list[str], typer.Option(help="OLD=NEW for each element of the base: C=Si")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The checkpoint to write (.ckpt).")
    ],
    length_ratio: Annotated[
        float | None,
        typer.Option(help="New lengths over old; from the elements' own distances if not given."),
    ] = None,
    energy_ratio: Annotated[
        float | None,
        typer.Option(help="New energies over old; 1, or fitted where there is --fit-to."),
    ] = None,
    fit_to: Annotated[
        Path | None,
        typer.Option(help="Labelled structures: ratios that fit their forces best."),
    ] = None,
    fit_lengths: Annotated[
        bool, typer.Option("--fit-lengths", help="Fit the length ratio, too.")
    ] = False,
) -> None:
    """Make a base for another element: new names, all lengths scaled, the cutoff with them.

    Example: tempermd transmute base/best.ckpt --to C=Si -o si_base.ckpt
    """
    from tempermd import cards, training

    spec = training.alchemy_spec(
        to,
        "fit" if fit_lengths else length_ratio,
        energy_ratio or ("fit" if fit_to else 1.0),
    )
    path = training.transmute(base, spec, output, fit_to)
    cards.write_card(path, options=cards.CardOptions(parent=base))
    print(training.transmutation_text(path), file=sys.stderr)
    print(path)


@app.command()
def distil(
    teacher: Annotated[Path, typer.Argument(help="A checkpoint (a pickle: it runs code).")],
    frames: Annotated[Path, typer.Option(help="The few labelled frames that it was tuned on.")],
    spec: Annotated[Path, typer.Option(help="TOML: what to make of them, the student, budget.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    workers: Workers = None,
    threads: Annotated[int, typer.Option(help="Threads of the tensor library.")] = 1,
) -> None:
    """Teach a student by a tuned model: on rattled, relaxed copies of few frames.

    Example: tempermd distil tuned/best.ckpt --frames few.extxyz --spec distil.toml -o student/
    """
    from tempermd import distillation

    asked = distillation.resolved_distil_spec(spec)
    print(distillation.distil(teacher, frames, asked, output, workers=workers, threads=threads))


@app.command()
def select(
    pool: Annotated[Path, typer.Argument(help="Structures, labelled or not.")],
    number: Annotated[int, typer.Option("-n", min=1, help="How many to choose.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The extxyz to write.")],
    base: Annotated[
        Path | None,
        typer.Option("--from", help="The model whose features decide (a pickle: it runs code)."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="farthest: farthest points in the model's features; or random.")
    ] = "farthest",
    seed: Annotated[int, typer.Option(help="Of the first choice, or of all random ones.")] = 0,
) -> None:
    """Choose structures that are worth labelling; info keeps their number as pool_frame.

    Example: tempermd select pool.extxyz --from base/best.ckpt -n 20 -o chosen.extxyz
    """
    from tempermd import training

    print(training.select_file(pool, output, number, base, method, seed))


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
    modifier: Annotated[
        list[str] | None,
        typer.Option(help="One that speeds nequip up, e.g. enable_OpenEquivariance on a GPU."),
    ] = None,
) -> None:
    """Turn a checkpoint into a model that LAMMPS runs, checked against the original.

    Example: deploy-model best.ckpt -o carbon.nequip.pth
    """
    from tempermd import deploy as station

    made = station.deploy(checkpoint, output, device, file_format, modifier or ())
    print(made, file=sys.stderr)
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


@app.command("import-weights")
def import_weights(
    weights: Annotated[
        Path, typer.Argument(help="A state dictionary (.pth) of nequip 0.5 or 0.6.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The checkpoint to write (.ckpt).")
    ],
    avg_num_neighbors: Annotated[
        float, typer.Option(help="That of its training: the file does not hold it.")
    ],
    type_names: Annotated[
        str, typer.Option(help="Elements in the order of its training: C or Si,C")
    ],
    cutoff: Annotated[float, typer.Option(help="Å; the file does not hold it.")] = 4.0,
    cutoff_power: Annotated[int, typer.Option(help="p of its polynomial cutoff.")] = 6,
    nonlinearity: Annotated[
        str, typer.Option(help="ssp (default of nequip 0.5, and the paper's) or silu (of 0.6).")
    ] = "ssp",
    reference_energy: Annotated[
        list[str] | None,
        typer.Option(help="ELEMENT=eV, added per atom: the paper's isolated atoms are at 0."),
    ] = None,
    double: Annotated[bool, typer.Option("--double", help="A model in double precision.")] = False,
) -> None:
    """Turn published weights of an older nequip into a checkpoint of today's.

    Example: tempermd import-weights ace.pth --avg-num-neighbors 32 --type-names C -o ace.ckpt
    """
    from tempermd.training import published

    spec = published.import_spec(
        type_names=type_names.replace(" ", "").split(","),
        avg_num_neighbors=avg_num_neighbors,
        cutoff_A=cutoff,
        cutoff_power=cutoff_power,
        nonlinearity=nonlinearity,
        reference_energies_eV=published.parse_energies(reference_energy or []),
        model_dtype="float64" if double else "float32",
    )
    print(published.import_weights(weights, spec, output))
