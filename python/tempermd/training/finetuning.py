"""What may change at fine-tuning: reference energies, rates by layer, frozen parts, replay."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tempermd.records import Spec, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

EMBEDDING, READOUT = "embedding", "readout"
_LAYER = re.compile(r"\.layer(\d+)_")
_EMBEDDING = re.compile(r"embed|bessel|edge_norm|spharm")


class ReplaySpec(Spec):
    """Frames of the pre-training source that are trained on among the new ones.

    Attributes
    ----------
    file
        Labelled frames (any structures where ``pseudo_labels`` is set), relative to the spec.
    fraction
        Share of replayed frames among those of an epoch.
    n_frames
        At most so many are drawn from the file, once.
    weight
        Of a replayed frame's squared errors in the loss; a new frame's is 1.
    energy_weight
        Of its energy's instead, if given; 0 trains on the forces of replayed frames alone.
    pseudo_labels
        Whether the parent labels the frames, instead of the file.
    """

    file: str
    fraction: float = Field(0.5, gt=0, lt=1)
    n_frames: PositiveInt = 200
    weight: PositiveFloat = 1.0
    energy_weight: float | None = Field(None, ge=0)
    pseudo_labels: bool = False

    @property
    def weights(self) -> tuple[float, float]:
        """The weights of a replayed frame's forces and of its energy."""
        return self.weight, self.weight if self.energy_weight is None else self.energy_weight


class FineTuningSpec(Spec):
    """How fine-tuning differs from training on; the defaults train all weights alike.

    Attributes
    ----------
    reference_energies
        ``refit``: so that the parent's mean residual on the new frames vanishes; ``keep``: the
        parent's.
    layer_rate_decay
        A part's learning rate is this to the power of its distance from the output.
    freeze
        Parts whose weights stay the parent's: embedding, layer0, layer1, ..., readout.
    """

    reference_energies: Literal["refit", "keep"] = "refit"
    layer_rate_decay: float = Field(1.0, gt=0, le=1)
    freeze: list[str] = Field(default_factory=list)
    replay: ReplaySpec | None = None


def part_of(parameter: str) -> str:
    """Return the part of a NequIP model that a parameter belongs to, by its name."""
    layer = _LAYER.search(parameter)
    if layer is not None:
        return f"layer{layer.group(1)}"
    return EMBEDDING if _EMBEDDING.search(parameter) else READOUT


def parts_from_output(parameters: Iterable[str]) -> list[str]:
    """Return the parts that hold these parameters, the readout first, the embedding last."""
    found = {part_of(name) for name in parameters}
    layers = sorted((one for one in found if one.startswith("layer")), key=lambda one: int(one[5:]))
    ordered = [READOUT, *reversed(layers), EMBEDDING]
    return [part for part in ordered if part in found]


def check_parts(names: Iterable[str], num_layers: int) -> None:
    """Refuse to freeze parts that a model of so many layers does not have, or all of them."""
    parts = [EMBEDDING, *(f"layer{number}" for number in range(num_layers)), READOUT]
    unknown = sorted(set(names) - set(parts))
    if unknown:
        raise UserError(
            f"key 'finetuning.freeze': the model has no part {', '.join(unknown)}; its parts are "
            f"{', '.join(parts)}"
        )
    if set(names) == set(parts):
        raise UserError(
            "key 'finetuning.freeze': all parts are frozen, so nothing is left to train; leave "
            f"at least one of {', '.join(parts)} out"
        )


def apply_finetuning(module: Any, spec: FineTuningSpec) -> None:
    """Freeze parts of a Lightning module's model and set how fast the others learn.

    The groups of the optimizer that it will make carry ``rate_factor``, by which the schedule's
    rate is to be multiplied.
    """
    for name, weight in module.model.named_parameters():
        if part_of(name) in spec.freeze:
            weight.requires_grad_(False)
    if spec.layer_rate_decay != 1 or spec.freeze:
        factory = f"{__name__}.{parameter_groups.__name__}"
        groups = {"_target_": factory, "layer_rate_decay": spec.layer_rate_decay}
        # not among the hyperparameters: a checkpoint shall not need this package to be opened
        module.optimizer_config = dict(module.optimizer_config) | {"param_groups": groups}


def parameter_groups(model: torch.nn.Module, layer_rate_decay: float) -> list[dict[str, Any]]:
    """Return an optimizer's groups, a part each, with ``rate_factor`` = decay to the k.

    k counts parts from the output: 0 for the readout, which comes first.
    """
    parameters = dict(model.named_parameters())
    groups = []
    for k, part in enumerate(parts_from_output(parameters)):
        own = [w for name, w in parameters.items() if part_of(name) == part and w.requires_grad]
        if own:
            groups.append({"params": own, "name": part, "rate_factor": layer_rate_decay**k})
    return groups
