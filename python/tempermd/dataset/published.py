"""Published datasets by name: their keys, offsets and filters, from the network or from a file."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from tempermd.dataset.frames import close_pairs, iter_structures
from tempermd.dataset.importing import LabelKeys, take_labels
from tempermd.dataset.plain import labels_of
from tempermd.dataset.writing import XyzWriter, new_file
from tempermd.records import Spec, UserError

if TYPE_CHECKING:
    from ase import Atoms

BINDING_EV = (-15.0, 3.0)
"""Mean energy per atom above isolated atoms that a stated offset must give."""


class PublishedSet(Spec):
    """What one must know of a published set to use it right.

    Attributes
    ----------
    keys
        Where its labels are. Without an energy, the energies of atoms are summed.
    isolated_energies_eV
        Isolated atoms with the set's own method; empty where nobody has published them.
    without_kinds, without_lone_atoms_A, from_time_ps
        The filters: kinds to leave out, structures to leave out that have an atom with no other
        so near, frames to leave out before a time.
    """

    name: str
    source: str
    keys: LabelKeys
    isolated_energies_eV: dict[str, float] = Field(default_factory=dict)
    kind: str | None = None
    without_kinds: tuple[str, ...] = ()
    without_lone_atoms_A: float | None = None
    from_time_ps: float | None = None
    licence: str
    citation: str
    where: str


_DFT_KEYS = LabelKeys(
    energy=("energy", "DFT_energy", "dft_energy"),
    forces=("forces", "force", "DFT_force", "dft_force"),
)
_LOCAL_KEYS = LabelKeys(
    forces=("forces", "gap17_forces"), energies=("local_energies", "gap17_energy")
)
_SYNTHETIC = {
    "source": "c-gap-17",
    "keys": _LOCAL_KEYS,
    "kind": "melt-quench",
    "from_time_ps": 10.0,
    "citation": "Gardner, Faure Beaulieu, Deringer, Digital Discovery (2023), "
    "doi:10.1039/D2DD00137C",
}
_SETS = (
    PublishedSet(
        name="C-GAP-17",
        source="dft-c-gap-17",
        keys=_DFT_KEYS,
        isolated_energies_eV={"C": -148.314002},
        without_kinds=("dimer",),
        licence="CC BY-NC-SA 4.0",
        citation="Deringer, Csanyi, Phys. Rev. B 95, 094203 (2017)",
        where="C-GAP-17.extxyz of load-atoms' database, or doi:10.17863/CAM.7453",
    ),
    PublishedSet(
        name="C-GAP-20U",
        source="dft-c-gap-20u",
        keys=LabelKeys(energy=("energy",), forces=("forces",), stress=("stress",)),
        licence="GPLv3",
        citation="Rowe, Deringer, Gasparotto, Csanyi, Michaelides, J. Chem. Phys. 153, 034702 "
        "(2020)",
        where="C-GAP-20U.xyz of load-atoms' database, or doi:10.17863/CAM.84096",
    ),
    PublishedSet(
        name="Si-GAP-18",
        source="dft-si-gap-18",
        keys=_DFT_KEYS,
        isolated_energies_eV={"Si": -158.54496821},
        without_lone_atoms_A=6.0,
        licence="CC BY-NC-SA 4.0",
        citation="Bartok, Kermode, Bernstein, Csanyi, Phys. Rev. X 8, 041048 (2018)",
        where="models/GAP/gp_iter6_sparse9k.xml.xyz in the archive zenodo.org/record/1250555",
    ),
    PublishedSet(
        name="C-SYNTH-1M",
        licence="MIT",
        where="C-SYNTH-1M-1.extxyz and C-SYNTH-1M-2.extxyz of load-atoms' database",
        **_SYNTHETIC,
    ),
    PublishedSet(
        name="C-SYNTH-23M",
        licence="MIT",
        where="carbon-data-v1.0.zip of zenodo.org/records/7704087 (unpack it and give the folder)",
        **_SYNTHETIC,
    ),
)
SETS = {one.name: one for one in _SETS}
"""Keys, kinds and licences are those that load-atoms 0.3.10 and its database state; offsets and
filters are those of the paper's own scripts (Gardner, Baker, Deringer 2024)."""


@dataclass
class _Counts:
    """What was read and what was left out, for the sentence at the end."""

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def fetch(name: str, output: Path | str, file: Path | str | None = None) -> list[Path]:
    """Write a published set as extxyz, ready for `build`.

    Frames carry ``source``, ``kind``, ``licence``, the trajectory where the set has one, and
    ``isolated_energies_eV`` where they are known. A set with its own split becomes two files,
    ``X.extxyz`` and ``X.test.extxyz``.

    Parameters
    ----------
    file
        A copy that you have: a file, or a folder whose extxyz files are read in order. Without
        it, load-atoms downloads the set.

    Returns
    -------
    list of Path
        The files written.
    """
    output = Path(output)
    if name not in SETS:
        raise UserError(f"published set '{name}' is unknown; choose one of {', '.join(SETS)}")
    if output.suffix not in (".extxyz", ".xyz"):
        raise UserError(f"{output}: expected an output that ends in .extxyz")
    one = SETS[name]
    frames = _downloaded(one) if file is None else _from_file(Path(file))
    return _write(one, frames, output)


def _from_file(path: Path) -> Iterator[Atoms]:
    files = [path]
    if path.is_dir():
        files = sorted([*path.rglob("*.extxyz"), *path.rglob("*.xyz")])
        if not files:
            raise UserError(f"{path}: holds no .extxyz or .xyz file")
    for one in files:
        yield from iter_structures(one)


def _downloaded(one: PublishedSet) -> Iterable[Atoms]:
    try:
        from load_atoms import load_dataset
        from load_atoms.utils import UnknownDatasetException
    except ImportError:
        raise UserError(
            f"{one.name} needs the package load-atoms (pip install 'tempermd[datasets]'), or a "
            f"copy by --file: {one.where}"
        ) from None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return load_dataset(one.name)
    except (OSError, UnknownDatasetException, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{one.name} could not be downloaded ({reason[:120]}); where the network allows, get "
            f"{one.where}, and give it by --file"
        ) from None


def _write(one: PublishedSet, frames: Iterable[Atoms], output: Path) -> list[Path]:
    test = output.with_name(output.stem + ".test" + output.suffix)
    for path in (output, test):
        if path.exists():
            raise UserError(f"{path}: exists already; name another output or remove it first")
    counts = _Counts()
    isolated = one.isolated_energies_eV
    with new_file(output) as main, new_file(test) as other:
        n_test = 0
        with XyzWriter(main) as main_writer, XyzWriter(other) as test_writer:
            for number, raw in enumerate(frames):
                counts.read += 1
                atoms = _labelled(one, raw, f"{one.name}: frame {number}")
                if reason := _why_not(one, atoms):
                    counts.left_out[reason] += 1
                    continue
                _state(one, atoms, isolated)
                is_test = atoms.info.pop("split", "train") == "test"
                n_test += is_test
                (test_writer if is_test else main_writer).add(atoms)
        _report(one, counts)
    if n_test == 0:
        test.unlink()
    return [output] if n_test == 0 else [output, test]


def _labelled(one: PublishedSet, raw: Atoms, origin: str) -> Atoms:
    atoms = raw.copy()
    atoms.info = dict(raw.info)
    atoms.calc = raw.calc
    atoms = take_labels(atoms, one.keys, origin)
    results = labels_of(atoms)
    if not one.keys.energy:
        if "energies" not in results:
            raise UserError(
                f"{origin} has none of {', '.join(one.keys.energies)}; it has arrays "
                f"{', '.join(atoms.arrays)}, so it is not of this set"
            )
        results["energy"] = float(np.sum(results["energies"]))
        atoms.calc.results.update(results)
    return atoms


def _why_not(one: PublishedSet, atoms: Atoms) -> str | None:
    """Return why a frame is left out, if it is."""
    kind = str(atoms.info.get("config_type", ""))
    if kind in one.without_kinds:
        return f"of kind {kind}"
    if float(atoms.info.get("time", np.inf)) < (one.from_time_ps or -np.inf):
        return f"before {one.from_time_ps:g} ps"
    if one.without_lone_atoms_A is not None:
        near = close_pairs(atoms, one.without_lone_atoms_A)[0]
        if len(np.unique(near)) < len(atoms):
            return f"with an atom alone within {one.without_lone_atoms_A:g} A"
    return None


def _state(one: PublishedSet, atoms: Atoms, isolated: dict[str, float]) -> None:
    """Write into a frame's info what this package's stations look for."""
    info = atoms.info
    info["source"] = one.source
    info["source_version"] = one.name
    info["licence"] = one.licence
    info["kind"] = one.kind or str(info.get("config_type", one.name))
    if "run_id" in info:
        info["trajectory"] = f"{one.name}-{info['run_id']}"
    if "density" in info:
        info["density_g_cm3"] = float(info["density"])
    for name in ("anneal_T", "temperature"):
        if name in info:
            info["temperature_K"] = float(info[name])
    if isolated:
        zero = sum(isolated[symbol] for symbol in atoms.symbols)
        above = (float(atoms.calc.results["energy"]) - zero) / len(atoms)
        if not BINDING_EV[0] < above < BINDING_EV[1]:
            raise UserError(
                f"{one.name}: an energy is {above:.1f} eV/atom from isolated atoms "
                f"({isolated}); this is not the published file, or its energies were shifted"
            )
        info["isolated_energies_eV"] = json.dumps(isolated)


def _report(one: PublishedSet, counts: _Counts) -> None:
    """Say on stderr what was kept, and whose work it is."""
    left = "".join(f", {n} {why} left out" for why, n in sorted(counts.left_out.items()))
    kept = counts.read - counts.left_out.total()
    if kept == 0:
        raise UserError(f"{one.name}: none of {counts.read} frames passes its filters{left}")
    print(
        f"{one.name}: {kept} of {counts.read} frames{left}; licence {one.licence}; "
        f"cite {one.citation}",
        file=sys.stderr,
    )
