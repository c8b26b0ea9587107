"""Commands of the station of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tempermd.cli.application import app, group

if TYPE_CHECKING:
    from tempermd.dataset import ImportSpec

dataset_app = group("Datasets: build, describe, convert, fetch.")
app.add_typer(dataset_app, name="dataset")

Names = list[str] | None
EnergyKey = Annotated[
    Names, typer.Option(help="Name of the energy in the file; repeat it for several names.")
]
ForcesKey = Annotated[Names, typer.Option(help="Name of the forces in the file.")]
EnergiesKey = Annotated[Names, typer.Option(help="Name of the energies of atoms.")]
StressKey = Annotated[Names, typer.Option(help="Name of the stress.")]
VirialKey = Annotated[Names, typer.Option(help="Name of the virial (minus stress times volume).")]
LengthUnit = Annotated[str | None, typer.Option(help="Of positions: A, Bohr or nm.")]
EnergyUnit = Annotated[str | None, typer.Option(help="eV, Ha, Ry, kcal/mol or kJ/mol.")]
ForceUnit = Annotated[
    str | None, typer.Option(help="ENERGY/LENGTH, as Ha/Bohr; by default of the other two.")
]
Source = Annotated[str | None, typer.Option(help="Of frames that do not name their source.")]


@dataset_app.command()
def build(
    inputs: Annotated[list[Path], typer.Argument(help="Labelled frames (extxyz, db, lmdb, json).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    val: Annotated[float, typer.Option(help="Fraction of the frames to validate on.")] = 0.1,
    test: Annotated[float, typer.Option(help="Fraction of the frames to test on.")] = 0.0,
    test_file: Annotated[
        list[Path] | None, typer.Option(help="Labelled frames that all go to the test.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the trajectories of each part.")] = 1,
    scale: Annotated[
        str | None, typer.Option(help="With labels of several sources: whose zero all take.")
    ] = None,
    stratify: Annotated[
        str | None,
        typer.Option(help="Info whose values each part shall have; kind or composition if none."),
    ] = None,
    references: Annotated[
        str, typer.Option(help="Reference energies: auto, isolated or fitted.")
    ] = "auto",
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="extxyz, or lmdb for large sets; by size if not given."),
    ] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    length_unit: LengthUnit = None,
    energy_unit: EnergyUnit = None,
    force_unit: ForceUnit = None,
    source: Source = None,
) -> None:
    """Split labelled frames by trajectory and kind into train, val and test.

    LMDB parts hold pickles: other programs run what is in them, so pass on only your own.

    Example: tempermd dataset build tubes_xtb.extxyz --val 0.25 -o tubes/
    """
    from tempermd import dataset as station
    from tempermd.records import parse_spec

    keys = {"energy": energy_key, "forces": forces_key}
    imported = _import_spec(keys, (length_unit, energy_unit, force_unit), source)
    fractions = {"train": 1.0 - val - test} | ({"test": test} if test else {})
    fractions |= {"val": val} if val else {}
    request = {
        "fractions": fractions,
        "seed": seed,
        "scale": scale,
        "stratify": stratify,
        "references": references,
        "file_format": file_format,
        "imported": imported,
    }
    spec = parse_spec(request, station.BuildSpec, "dataset build")
    print(station.build_dataset(inputs, output, spec, test_file or []))


@dataset_app.command()
def convert(
    source_file: Annotated[
        Path, typer.Argument(metavar="IN", help="extxyz, db, lmdb, json (mlearn), any of ASE's.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help=".extxyz, .db or .lmdb")],
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    energies_key: EnergiesKey = None,
    stress_key: StressKey = None,
    virial_key: VirialKey = None,
    length_unit: LengthUnit = None,
    energy_unit: EnergyUnit = None,
    force_unit: ForceUnit = None,
    source: Source = None,
) -> None:
    """Convert frames from one file format to another, in eV and A.

    Entries of LMDB are pickles: only plain data in them is read, anything else is refused.

    Example: tempermd dataset convert vasp.db frames.extxyz --energy-key dft_energy
    """
    from tempermd import dataset as station

    keys = {
        "energy": energy_key,
        "forces": forces_key,
        "energies": energies_key,
        "stress": stress_key,
        "virial": virial_key,
    }
    spec = _import_spec(keys, (length_unit, energy_unit, force_unit), source)
    print(station.convert(source_file, target, spec))


@dataset_app.command()
def describe(
    path: Annotated[Path, typer.Argument(help="A dataset folder or a file of frames.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A page with plots (.html).")
    ] = None,
) -> None:
    """Tell what a dataset holds: composition, ranges, outliers, duplicates.

    Entries of LMDB are pickles: only plain data in them is read, anything else is refused.

    Example: tempermd dataset describe tubes/ -o tubes.html
    """
    from tempermd import dataset as station

    if output is None:
        print(station.description_text(station.describe(path)))
        return
    print(station.describe_on_page(path, output))


@dataset_app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="C-GAP-17, C-GAP-20U, Si-GAP-18, C-SYNTH-1M, C-SYNTH-23M")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The extxyz to write.")],
    file: Annotated[
        Path | None, typer.Option(help="A copy that you have; without it, from the network.")
    ] = None,
) -> None:
    """Write a published dataset with its labels, offsets and filters set right.

    Example: tempermd dataset fetch C-GAP-17 -o c_gap_17.extxyz
    """
    from tempermd import dataset as station

    for path in station.fetch(name, output, file):
        print(path)


def _import_spec(
    keys: dict[str, list[str] | None],
    units: tuple[str | None, str | None, str | None],
    source: str | None,
) -> ImportSpec:
    from tempermd.dataset import ImportSpec
    from tempermd.records import parse_spec

    length_unit, energy_unit, force_unit = units
    request = {
        "keys": {label: names for label, names in keys.items() if names},
        "units": {
            "length_unit": length_unit,
            "energy_unit": energy_unit,
            "force_unit": force_unit,
        },
        "source": source,
    }
    return parse_spec(request, ImportSpec, "options")
