"""Alchemical transfer: a base for other elements, made from a checkpoint by scaling its lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveFloat, field_validator

from tempermd.dataset import read_labelled
from tempermd.records import (
    Record,
    Spec,
    UserError,
    parse_spec,
    read_record,
    sha256_file,
    write_record,
)
from tempermd.training.graphs import build_graph, predict
from tempermd.training.models import (
    config_of_checkpoint,
    energy_only,
    energy_scales,
    energy_shifts,
    load_checkpoint,
    save_module,
    set_weights,
    spec_of_config,
)
from tempermd.training.specs import TrainingSpec

if TYPE_CHECKING:
    import torch
    from ase import Atoms

ZBL = "nequip.nn.pair_potential.ZBL"
LENGTHS_TRIED = (0.8, 1.25)  # of the elements' own ratio, when the ratio is fitted


class AlchemySpec(Spec):
    """Which element becomes which, and by what factors lengths and energies grow.

    Every element of the base must be named (``Si = "Si"`` keeps one). ``length_ratio`` None
    takes the elements' nearest-neighbour distances; "fit" searches from 0.8 to 1.25 of that.
    """

    elements: dict[str, str] = Field(min_length=1)
    length_ratio: PositiveFloat | Literal["fit"] | None = None
    energy_ratio: PositiveFloat | Literal["fit"] = 1.0

    @field_validator("elements")
    @classmethod
    def _are_elements(cls, elements: dict[str, str]) -> dict[str, str]:
        from ase.data import atomic_numbers

        for name in [*elements, *elements.values()]:
            if atomic_numbers.get(name, 0) < 1:
                raise ValueError(f"'{name}' is no chemical element; write e.g. C=Si")
        if len(set(elements.values())) < len(elements):
            raise ValueError("two elements become the same one; name another for each")
        return elements


class Transmutation(Record):
    """Where a transmuted checkpoint came from: its parent, the ratios, and how they were found.

    ``fit_rms_eV_per_A`` is what remains of the forces of the fit's frames (whose own rms is
    ``fit_forces_rms_eV_per_A``) at the chosen ratios, before any training.
    """

    format_name: ClassVar[str] = "tempermd-transmutation"

    parent: str
    parent_sha256: str
    checkpoint_sha256: str
    elements: dict[str, str]
    length_ratio: float
    length_ratio_from: str
    energy_ratio: float
    energy_ratio_from: str
    parent_cutoff_A: float
    cutoff_A: float
    zbl: bool
    fit_sha256: str | None = None
    fit_n_frames: int = 0
    fit_forces_rms_eV_per_A: float | None = None
    fit_rms_eV_per_A: float | None = None


def alchemy_spec(
    elements: Sequence[str],
    length_ratio: float | Literal["fit"] | None = None,
    energy_ratio: float | Literal["fit"] = 1.0,
) -> AlchemySpec:
    """Return a checked `AlchemySpec` of texts such as ``["C=Si"]``."""
    pairs = [text.split("=") for text in elements]
    for text, pair in zip(elements, pairs, strict=True):
        if len(pair) != 2:
            raise UserError(f"'{text}' names no change of element; write OLD=NEW, e.g. C=Si")
    known = {
        "elements": dict(pairs),
        "length_ratio": length_ratio,
        "energy_ratio": energy_ratio,
    }
    return parse_spec(known, AlchemySpec, "transmute")


def transmute(
    base: Path | str,
    spec: AlchemySpec | Mapping[str, Any],
    out: Path | str,
    frames: Path | str | Sequence[Atoms] | None = None,
) -> Path:
    """Write a checkpoint for other elements, with all lengths of the base scaled.

    With length ratio s and energy ratio y the new model obeys, exactly,
    :math:`E'(sR) = y E(R)` and :math:`F'(sR) = (y/s) F(R)`, so it takes structures of the new
    element as they are. A ZBL term is the exception: it becomes the new elements' own. A
    record `Transmutation` is written beside it (``out`` with the suffix ``.json``).

    Parameters
    ----------
    base
        A checkpoint (a pickle: opening it runs code in it).
    spec
        A spec, or the table of one, as studies hold it.
    frames
        Labelled structures of the new elements, or their file: needed where a ratio is "fit".

    Raises
    ------
    UserError
        Where the elements are not the base's, the output exists, or frames are missing.
    """
    base, out = Path(base), Path(out)
    if not isinstance(spec, AlchemySpec):
        spec = parse_spec(dict(spec), AlchemySpec, "alchemy")
    record_path = out.with_suffix(".json")
    if out.suffix != ".ckpt":
        raise UserError(f"{out}: a checkpoint's name must end in .ckpt")
    for path in (out, record_path):
        if path.exists():
            raise UserError(f"{path}: exists already; name another output")
    config = _checked_config(base, spec)
    parent = load_checkpoint(base)
    ratios = _chosen_ratios(parent, spec, _fit_frames(spec, frames))
    new_config = _new_config(config, parent, spec.elements, ratios)
    save_module(_module(new_config, parent, ratios.length), out)
    record = Transmutation(
        parent=base.name,
        parent_sha256=sha256_file(base),
        checkpoint_sha256=sha256_file(out),
        elements=spec.elements,
        length_ratio=ratios.length,
        length_ratio_from=ratios.length_from,
        energy_ratio=ratios.energy,
        energy_ratio_from=ratios.energy_from,
        parent_cutoff_A=config["r_max"],
        cutoff_A=new_config["r_max"],
        zbl=config.get("pair_potential") is not None,
        fit_sha256=sha256_file(frames) if isinstance(frames, str | Path) else None,
        fit_n_frames=ratios.n_frames,
        fit_forces_rms_eV_per_A=ratios.forces_rms,
        fit_rms_eV_per_A=ratios.rms,
    )
    write_record(record_path, record)
    return out


def transmutation_text(checkpoint: Path | str) -> str:
    """Say in a few lines what became of a base: elements, ratios, cutoff."""
    found = read_record(Path(checkpoint).with_suffix(".json"), Transmutation)
    pairs = ", ".join(f"{old} -> {new}" for old, new in found.elements.items())
    lines = [
        f"{pairs}: lengths x {found.length_ratio:.4g} ({found.length_ratio_from}), "
        f"energies x {found.energy_ratio:.4g} ({found.energy_ratio_from})",
        f"cutoff: {found.parent_cutoff_A:g} A in {found.parent}, {found.cutoff_A:.6g} A now; "
        "fine-tuning keeps it: leave [model] out of the spec, or give that cutoff_A and "
        "these type_names",
    ]
    if found.fit_rms_eV_per_A is not None and found.fit_forces_rms_eV_per_A is not None:
        lines.append(
            f"forces of {found.fit_n_frames} frames ({found.fit_forces_rms_eV_per_A:.3f} eV/A "
            f"rms): {found.fit_rms_eV_per_A:.3f} eV/A rms are left before any training"
        )
    if found.zbl:
        lines.append("the ZBL term is that of the new elements; it is not scaled")
    return "\n".join(lines)


def default_length_ratio(elements: Mapping[str, str]) -> tuple[float, str]:
    """Return the ratio of nearest-neighbour distances, new to old, and where it is from.

    Where an element and its successor have the same cubic structure in ASE's reference states,
    the ratio of their lattice constants, else of their covalent radii (ASE's, Cordero et al.,
    Dalton Trans. 2008, 2832). Of several elements, the geometric mean.
    """
    from ase.data import atomic_numbers, covalent_radii, reference_states

    ratios, origins = [], set()
    for pair in elements.items():
        old, new = (atomic_numbers[name] for name in pair)
        states = [reference_states[number] or {} for number in (old, new)]
        kinds = {state.get("symmetry") for state in states}
        if len(kinds) == 1 and kinds <= {"diamond", "fcc", "bcc", "sc"}:
            ratios.append(states[1]["a"] / states[0]["a"])
            origins.add(f"lattice constants, {kinds.pop()}")
        else:
            ratios.append(float(covalent_radii[new] / covalent_radii[old]))
            origins.add("covalent radii")
    mean = float(np.exp(np.mean(np.log(ratios))))
    return mean, "; ".join(sorted(origins)) + ("; geometric mean" if len(ratios) > 1 else "")


@dataclass(frozen=True)
class _Ratios:
    length: float
    length_from: str
    energy: float
    energy_from: str
    n_frames: int = 0
    forces_rms: float | None = None
    rms: float | None = None


def _checked_config(base: Path, spec: AlchemySpec) -> dict[str, Any]:
    """Return the base's builder arguments; refuse what cannot be scaled."""
    config = config_of_checkpoint(base)
    spec_of_config(config, str(base))
    names = list(config["type_names"])
    if set(names) != set(spec.elements):
        raise UserError(
            f"{base}: its elements are {', '.join(names)}, but the change names "
            f"{', '.join(spec.elements)}; name each of them once (OLD=OLD keeps one)"
        )
    pair = config.get("pair_potential")
    if pair is not None and pair.get("_target_") != ZBL:
        raise UserError(
            f"{base}: holds the pair potential {pair.get('_target_')}, whose lengths cannot be "
            "scaled here; only ZBL can be taken along"
        )
    return config


def _fit_frames(
    spec: AlchemySpec, frames: Path | str | Sequence[Atoms] | None
) -> list[Atoms] | None:
    fitted = "fit" in (spec.length_ratio, spec.energy_ratio)
    if fitted and frames is None:
        raise UserError(
            "a ratio is to be fitted, but no frames are given; name a file of labelled "
            "structures of the new elements (--fit-to)"
        )
    if frames is None:
        return None
    return read_labelled(frames) if isinstance(frames, str | Path) else list(frames)


def _chosen_ratios(
    parent: torch.nn.Module, spec: AlchemySpec, frames: list[Atoms] | None
) -> _Ratios:
    ratio, origin = default_length_ratio(spec.elements)
    given = spec.length_ratio if spec.length_ratio not in (None, "fit") else None
    if given is not None:
        ratio, origin = float(given), "given"
    fixed = None if spec.energy_ratio == "fit" else float(spec.energy_ratio)
    if frames is None:
        return _Ratios(ratio, origin, fixed or 1.0, "given")
    fit = _ForceFit(parent, spec.elements, frames, fixed)
    if spec.length_ratio == "fit":
        ratio, origin = fit.best_length_ratio(ratio), f"fitted; the elements' own is {ratio:.4g}"
    energy, rms = fit.at(ratio)
    if energy <= 0:
        raise UserError(
            "the frames' forces point against those of the base, whatever the energy ratio: "
            "check their labels and the length ratio, or give --energy-ratio"
        )
    origin_energy = "fitted" if fixed is None else "given"
    return _Ratios(ratio, origin, energy, origin_energy, len(frames), fit.forces_rms, rms)


class _ForceFit:
    """How well the base's forces on shrunken frames, times y/s, meet the labels."""

    def __init__(
        self,
        parent: torch.nn.Module,
        elements: Mapping[str, str],
        frames: list[Atoms],
        energy_ratio: float | None,
    ) -> None:
        self.parent, self.frames, self.energy_ratio = parent, frames, energy_ratio
        self.new_names = [elements[name] for name in parent.type_names]
        self.cutoff_A = float(parent.metadata["r_max"])
        self.labels = np.concatenate([atoms.calc.results["forces"] for atoms in frames])
        self.forces_rms = float(np.sqrt((self.labels**2).mean()))

    def base_forces(self, length_ratio: float) -> np.ndarray:
        """Return the base's forces on the frames shrunk by the ratio, eV/Å, (N, 3)."""
        inner, forces = energy_only(self.parent), []
        for atoms in self.frames:
            small = atoms.copy()
            small.set_cell(atoms.cell.array / length_ratio, scale_atoms=False)
            small.positions = atoms.positions / length_ratio
            graph = build_graph(small, self.new_names, self.cutoff_A)
            forces.append(predict(inner, graph).forces_eV_A)
        return np.concatenate(forces)

    def at(self, length_ratio: float) -> tuple[float, float]:
        """Return the least-squares (or given) energy ratio, and the rms left, eV/Å."""
        base = self.base_forces(length_ratio)
        energy = self.energy_ratio
        if energy is None:
            square = float((base**2).sum())
            if square == 0:
                raise UserError("the base finds no forces in the frames; give --energy-ratio")
            energy = length_ratio * float((base * self.labels).sum()) / square
        left = self.labels - energy / length_ratio * base
        return energy, float(np.sqrt((left**2).mean()))

    def best_length_ratio(self, around: float) -> float:
        """Search the ratio of least rms: a grid, then between the best point's neighbours."""
        from scipy.optimize import minimize_scalar

        tried = around * np.linspace(*LENGTHS_TRIED, 9)
        best = int(np.argmin([self.at(ratio)[1] for ratio in tried]))
        bounds = tried[max(0, best - 1)], tried[min(len(tried) - 1, best + 1)]
        found = minimize_scalar(
            lambda ratio: self.at(float(ratio))[1],
            bounds=bounds,
            method="bounded",
            options={"xatol": 1e-3},
        )
        return round(float(found.x), 4)


def _new_config(
    config: dict[str, Any], parent: torch.nn.Module, elements: Mapping[str, str], ratios: _Ratios
) -> dict[str, Any]:
    """Return builder arguments with new names, scaled cutoffs and energies."""
    names = [elements[name] for name in config["type_names"]]
    factors = {
        "per_type_energy_scales": energy_scales(parent),
        "per_type_energy_shifts": energy_shifts(parent),
    }
    changed: dict[str, Any] = {"type_names": names, "r_max": ratios.length * config["r_max"]}
    for key, values in factors.items():
        changed[key] = {elements[old]: ratios.energy * one for old, one in values.items()}
    if isinstance(config.get("avg_num_neighbors"), Mapping):
        counts = config["avg_num_neighbors"].items()
        changed["avg_num_neighbors"] = {elements[old]: one for old, one in counts}
    if config.get("per_edge_type_cutoff") is not None:
        cutoffs = config["per_edge_type_cutoff"]
        changed["per_edge_type_cutoff"] = _scaled_cutoffs(cutoffs, elements, ratios.length)
    if config.get("pair_potential") is not None:
        changed["pair_potential"] = dict(config["pair_potential"]) | {"chemical_species": names}
    return config | changed


def _scaled_cutoffs(value: Any, elements: Mapping[str, str], ratio: float) -> Any:
    """Return nequip's cutoffs by edge type (numbers, or a dict again) renamed and scaled."""
    if isinstance(value, Mapping):
        return {elements[old]: _scaled_cutoffs(one, elements, ratio) for old, one in value.items()}
    return ratio * value


def _module(config: dict[str, Any], parent: torch.nn.Module, length_ratio: float) -> Any:
    """Return nequip's Lightning module with the parent's weights for the scaled lengths.

    nequip multiplies its radial basis by 2π/r_max² (``ApplyFactor`` of `FullNequIPGNNModel`):
    a greater cutoff alone would weaken every filter by s². The first layer of each radial
    network, which is linear in the basis, takes the factor back. Reciprocal cutoffs, the ZBL
    term's nuclei and the energy scales are what the new arguments built.
    """
    from nequip.utils.global_state import set_global_state

    from tempermd.training.start import lightning_module

    set_global_state()
    module = lightning_module(config, TrainingSpec(max_epochs=1))
    (model,) = module.model.values()
    old, weights = parent.state_dict(), dict(model.state_dict())
    own = ("._rmax_recip", ".per_type_energy_scale_shift.", ".pair_potential.")
    for name in weights:
        if not any(part in name for part in own):
            weights[name] = old[name]
        if name.endswith(".edge_mlp.mlp.0.weight"):
            weights[name] = length_ratio**2 * old[name]
    set_weights(module, weights)
    return module
