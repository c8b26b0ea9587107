"""NequIP models: their hyperparameters, building them, and loading them from checkpoints.

Opening a checkpoint runs code that it contains (it is a pickle): open only those you trust.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from tempermd.records import Spec, UserError, atomic_write, parse_spec

if TYPE_CHECKING:
    import torch


_SCALES = "per_type_energy_scale_shift.scales"
_SHIFTS = "per_type_energy_scale_shift.shifts"
BUILDER = "nequip.model.NequIPGNNModel"
SOFTPLUS_BUILDER = "tempermd.training.softplus.softplus_model"
LIGHTNING_MODULE = "nequip.train.EMALightningModule"
LINEAGE = "tempermd_lineage"


class ModelSpec(Spec):
    """Hyperparameters of a NequIP model."""

    type_names: list[str] = Field(min_length=1)
    cutoff_A: float = Field(4.0, gt=0)
    num_layers: PositiveInt = 3
    l_max: int = Field(1, ge=0)
    parity: bool = False
    num_features: PositiveInt = 16
    radial_mlp_depth: PositiveInt = 1
    radial_mlp_width: PositiveInt = 32
    num_bessels: PositiveInt = 8
    model_dtype: Literal["float32", "float64"] = "float32"
    zbl: bool = False

    @field_validator("type_names")
    @classmethod
    def _are_elements(cls, names: list[str]) -> list[str]:
        from ase.data import atomic_numbers

        for name in names:
            if atomic_numbers.get(name, 0) < 1:
                raise ValueError(f"'{name}' is no chemical element; name elements, e.g. C")
        if len(set(names)) < len(names):
            raise ValueError("an element is named twice; name each once")
        return names


# our name of a hyperparameter -> nequip's, where they differ
_NEQUIP_NAMES = {"cutoff_A": "r_max"}

# what nequip 0.19 takes where a checkpoint of nequip-train names no value
_NEQUIP_DEFAULTS = {
    "num_layers": 4,
    "l_max": 1,
    "parity": True,
    "num_features": 32,
    "radial_mlp_depth": 1,
    "radial_mlp_width": 128,
    "num_bessels": 8,
}


def builder_config(
    spec: ModelSpec,
    *,
    seed: int,
    avg_num_neighbors: float,
    energy_scale_eV: float,
    energy_shifts_eV: Mapping[str, float],
) -> dict[str, Any]:
    """Return the arguments from which nequip builds this model, as checkpoints store them."""
    config: dict[str, Any] = {
        "_target_": BUILDER,
        "seed": seed,
        "avg_num_neighbors": avg_num_neighbors,
        "per_type_energy_scales": dict.fromkeys(spec.type_names, energy_scale_eV),
        "per_type_energy_shifts": dict(energy_shifts_eV),
    }
    for name, value in spec.model_dump(exclude={"zbl"}).items():
        config[_NEQUIP_NAMES.get(name, name)] = value
    if spec.zbl:
        config["pair_potential"] = {
            "_target_": "nequip.nn.pair_potential.ZBL",
            "units": "metal",
            "chemical_species": list(spec.type_names),
        }
    return config


def spec_of_config(config: Mapping[str, Any], origin: str) -> ModelSpec:
    """Read our hyperparameters back from a checkpoint's builder arguments."""
    if config.get("_target_") not in (BUILDER, SOFTPLUS_BUILDER):
        raise UserError(
            f"{origin}: its model was built by {config.get('_target_')}, and only models of "
            f"{BUILDER} can be fine-tuned here; fine-tune it with nequip-train"
        )
    known = _NEQUIP_DEFAULTS | {"zbl": config.get("pair_potential") is not None}
    for name in ModelSpec.model_fields:
        nequip_name = _NEQUIP_NAMES.get(name, name)
        if nequip_name in config:
            known[name] = config[nequip_name]
    return parse_spec(known, ModelSpec, origin)


def load_checkpoint(path: Path | str) -> torch.nn.Module:
    """Build the eager model of a checkpoint, with EMA weights where it has them.

    The checkpoint is a pickle: opening it runs code that it contains.
    """
    import pickle

    from nequip.model.saved_models.load_utils import load_saved_model
    from nequip.utils.global_state import set_global_state

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not a checkpoint, or a truncated one; expected a .ckpt of nequip")
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise UserError(f"{path}: a TorchScript model, not a checkpoint; give the .ckpt file")
    set_global_state()
    try:
        return load_saved_model(str(path))
    except (RuntimeError, KeyError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a checkpoint of nequip 0.19 ({first_line(error)})") from error
    except (pickle.UnpicklingError, ImportError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: the checkpoint cannot be read ({first_line(error)})") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def config_of_checkpoint(path: Path | str) -> dict[str, Any]:
    """Return the builder arguments that a checkpoint stores.

    The checkpoint is a pickle: opening it runs code that it contains.
    """
    import torch

    load_checkpoint(path)  # names every fault of a foreign or damaged file
    stored = torch.load(path, map_location="cpu", weights_only=False)
    return dict(stored["hyper_parameters"]["model"])


def lineage_of_checkpoint(path: Path | str) -> tuple[str, ...]:
    """Return the sha256 of a checkpoint's parent, its parent's parent, ... as far as known.

    The checkpoint is a pickle: opening it runs code that it contains.
    """
    import torch

    stored = torch.load(path, map_location="cpu", weights_only=False)
    return tuple((stored["hyper_parameters"].get("info_dict") or {}).get(LINEAGE, ()))


def energy_only(model: torch.nn.Module) -> torch.nn.Module:
    """Return the part of an eager model that turns edge vectors into energies."""
    from nequip.nn import ForceStressOutput

    inner = model.eval().model
    return inner.func if isinstance(inner, ForceStressOutput) else inner


def energy_shifts(model: torch.nn.Module) -> dict[str, float]:
    """Return the reference energy of each type in a model, eV."""
    return _per_type(model, _SHIFTS, 0.0)


def energy_scales(model: torch.nn.Module) -> dict[str, float]:
    """Return the factor of each type's network energy in a model, eV."""
    return _per_type(model, _SCALES, 1.0)


def _per_type(model: torch.nn.Module, ending: str, default: float) -> dict[str, float]:
    """Return a number for each type; the default where the model was built without any."""
    (found,) = (value for name, value in model.state_dict().items() if name.endswith(ending))
    if found.numel() == 0:
        return dict.fromkeys(model.type_names, default)
    values = found.reshape(-1).expand(len(model.type_names)).tolist()
    return dict(zip(model.type_names, values, strict=True))


def take_weights(module: Any, parent: torch.nn.Module) -> None:
    """Give a Lightning module the parent's weights, but not its reference energies."""
    (model,) = module.model.values()
    weights = dict(parent.state_dict())
    for name, value in model.state_dict().items():
        if name.endswith(_SHIFTS):
            weights[name] = value
    set_weights(module, weights)


def set_weights(module: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Set a Lightning module's weights, raw and EMA alike."""
    (model,) = module.model.values()
    model.load_state_dict(weights)
    module.ema.num_updates = 0  # the next update copies instead of averaging
    module.ema.update_parameters(module.model)


def save_module(module: Any, output: Path) -> None:
    """Write a module as Lightning writes ``best.ckpt``: weights and builder arguments."""
    import lightning
    from lightning.pytorch.plugins.environments import LightningEnvironment

    from tempermd.training.noise import lightning_noise_explained

    with lightning_noise_explained():
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            plugins=[LightningEnvironment()],  # a job of Slurm's has no say in it
        )
        trainer.strategy.connect(module)
        with atomic_write(output) as temporary:
            trainer.save_checkpoint(temporary, weights_only=True)
