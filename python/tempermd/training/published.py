"""Published weights (state dictionaries of nequip 0.5 and 0.6) as checkpoints of today."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveFloat

from tempermd.records import Spec, UserError, parse_spec
from tempermd.training.models import (
    SOFTPLUS_BUILDER,
    ModelSpec,
    builder_config,
    first_line,
    save_module,
    set_weights,
)
from tempermd.training.nequip_06 import OldShape, new_weights, old_shape
from tempermd.training.specs import TrainingSpec
from tempermd.training.start import lightning_module

if TYPE_CHECKING:
    from tempermd.training.nequip_06 import State


class ImportSpec(Spec):
    """What a state dictionary does not say of its model.

    ``reference_energies_eV`` are added per atom: the paper's weights give energies relative
    to isolated atoms. ``nonlinearity`` is what nequip took by default: ``ssp`` (shifted
    softplus) up to 0.5, which trained the paper's models, ``silu`` from 0.6 on.
    """

    type_names: list[str] = Field(min_length=1)
    avg_num_neighbors: PositiveFloat
    cutoff_A: PositiveFloat = 4.0
    cutoff_power: int = Field(6, ge=2)
    nonlinearity: Literal["ssp", "silu"] = "ssp"
    reference_energies_eV: dict[str, float] = Field(default_factory=dict)
    model_dtype: Literal["float32", "float64"] = "float32"


def import_spec(**values: Any) -> ImportSpec:
    """Return a checked `ImportSpec`; a wrong value is the user's mistake."""
    return parse_spec(values, ImportSpec, "import-weights")


def parse_energies(texts: list[str]) -> dict[str, float]:
    """Read ``ELEMENT=eV`` texts: ``["C=-7.5"]`` -> ``{"C": -7.5}``."""
    energies = {}
    for text in texts:
        found = re.fullmatch(r"([A-Z][a-z]?)=([-+0-9.eE]+)", text)
        try:
            energies[found[1]] = float(found[2])
        except (TypeError, ValueError):
            raise UserError(
                f"'{text}' is no reference energy; write ELEMENT=eV, e.g. C=-1.5"
            ) from None
    return energies


def import_weights(path: Path | str, spec: ImportSpec, output: Path | str) -> Path:
    """Write a checkpoint of today's NequIP from a state dictionary of nequip 0.5 or 0.6.

    The checkpoint stands alone like ``best.ckpt``: it can be fine-tuned and deployed. The
    state dictionary is read without running code in it.

    Raises
    ------
    UserError
        Where the file is none of this kind, or its tensors do not fit the spec.
    """
    output = Path(output)
    if output.suffix != ".ckpt":
        raise UserError(f"{output}: a checkpoint's name must end in .ckpt")
    if output.exists():
        raise UserError(f"{output}: exists already; name another output")
    module = imported_module(read_state(path), spec, str(path))
    save_module(module, output)
    return output


def read_state(path: Path | str) -> State:
    """Read a state dictionary without running code in it.

    Names begin with ``radial_basis``, ``layer0_convnet`` and so on: wrappers are cut off.
    """
    import pickle

    import torch

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    wanted = "expected a state dictionary of nequip 0.5 or 0.6 (name -> tensor)"
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read safely, {wanted} ({first_line(error)})") from None
    if not isinstance(stored, Mapping) or not stored:
        raise UserError(f"{path}: holds a {type(stored).__name__}, {wanted}")
    odd = [name for name, value in stored.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise UserError(f"{path}: '{odd[0]}' in it is no tensor, {wanted}")
    state = {re.sub(r"^(model\.)*(func\.)?", "", name): value for name, value in stored.items()}
    bad = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if bad:
        raise UserError(f"{path}: tensor '{bad[0]}' has NaN or Inf; the file is damaged")
    return state


def imported_module(state: State, spec: ImportSpec, origin: str) -> Any:
    """Return nequip's Lightning module with a state's weights, raw and EMA alike."""
    from nequip.utils.global_state import set_global_state

    shape = old_shape(state, origin)
    if shape.num_types != len(spec.type_names):
        raise UserError(
            f"{origin}: its model has {shape.num_types} atom type(s), but type_names names "
            f"{len(spec.type_names)} ({', '.join(spec.type_names)}); name them all, in the order "
            "of its training"
        )
    new = new_weights(state, shape, spec.nonlinearity, origin)
    set_global_state()
    module = lightning_module(_config(state, shape, spec, origin), TrainingSpec(max_epochs=1))
    (model,) = module.model.values()
    weights = dict(model.state_dict())
    for name, value in new.items():
        (full,) = (one for one in weights if one.endswith(f"func.{name}"))
        weights[full] = value.reshape(weights[full].shape).to(weights[full].dtype)
    set_weights(module, weights)
    return module


def _config(state: State, shape: OldShape, spec: ImportSpec, origin: str) -> dict[str, Any]:
    """Return builder arguments: what the shapes tell and what the spec adds."""
    known = {
        "type_names": spec.type_names,
        "cutoff_A": spec.cutoff_A,
        "num_layers": shape.num_layers,
        "l_max": 1,
        "parity": True,
        "num_features": shape.num_features,
        "radial_mlp_depth": shape.radial_mlp_depth,
        "radial_mlp_width": shape.radial_mlp_width,
        "num_bessels": shape.num_bessels,
        "model_dtype": spec.model_dtype,
    }
    model = parse_spec(known, ModelSpec, origin)
    scales, shifts = _energy_scale(state, spec, origin)
    config = builder_config(
        model,
        seed=0,
        avg_num_neighbors=spec.avg_num_neighbors,
        energy_scale_eV=1.0,
        energy_shifts_eV=shifts,
    )
    builder = {"_target_": SOFTPLUS_BUILDER} if spec.nonlinearity == "ssp" else {}
    return (
        config
        | builder
        | {
            "per_type_energy_scales": scales,
            "polynomial_cutoff_p": spec.cutoff_power,
            "bessel_trainable": True,
            "learnable_shift": True,  # the first layer has a self-connection too
        }
    )


def _energy_scale(
    state: State, spec: ImportSpec, origin: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Return scale and shift of each type (eV), as energy = scale * network + shift."""
    names = spec.type_names
    strange = sorted(set(spec.reference_energies_eV) - set(names))
    if strange:
        raise UserError(
            f"a reference energy is given for {', '.join(strange)}, but the model's types are "
            f"{', '.join(names)}"
        )
    if any(_values(state, "shift_by", 0.0, 1)):
        raise UserError(
            f"{origin}: shifts total energies by a constant (shift_by), whatever the number of "
            "atoms; today's NequIP has no such model"
        )
    (factor,) = _values(state, "scale_by", 1.0, 1)
    scales = _values(state, "per_species_rescale.scales", 1.0, len(names))
    shifts = _values(state, "per_species_rescale.shifts", 0.0, len(names))
    references = [spec.reference_energies_eV.get(name, 0.0) for name in names]
    shifts = [factor * one + own for one, own in zip(shifts, references, strict=True)]
    scales = [factor * one for one in scales]
    return dict(zip(names, scales, strict=True)), dict(zip(names, shifts, strict=True))


def _values(state: State, name: str, default: float, count: int) -> list[float]:
    """Return a tensor's values; the default where it is absent or empty."""
    values = state[name].reshape(-1).double().tolist() if name in state else []
    return values or [default] * count
