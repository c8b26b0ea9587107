"""nequip's modifiers, and the operators of other packages that they bring into a model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tempermd.records import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

# in a file's metadata: nequip's name for the packages whose operators it calls
OPERATOR_PACKAGES = "nequip_custom_ops_libs"

# what such a package raises where it is missing, or where torch or the machine is not what it needs
UNUSABLE = (ImportError, OSError, AssertionError, RuntimeError)


def checked_modifiers(
    model: torch.nn.Module, modifiers: Sequence[str], device: str, file_format: str
) -> None:
    """Refuse modifiers that do not speed a model up, or not on a device or in a format."""
    from nequip.model.modify_utils import get_all_modifiers
    from nequip.nn import model_modifier_utils as marks

    known = {
        name: one
        for name, one in get_all_modifiers(model).items()
        # persistent ones change what a model computes
        if not (marks.is_persistent_model_modifier(one) or marks.is_private_model_modifier(one))
    }
    for name in modifiers:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise UserError(f"'{name}' is no modifier that speeds this model up; it has {names}")
        if device in marks.get_model_modifier_unsupported_devices(known[name]):
            raise UserError(f"modifier {name} is not for device {device}; choose another --device")
        formats = marks.get_model_modifier_supported_compile_modes(known[name])
        if formats is not None and file_format not in formats:
            raise UserError(
                f"modifier {name} is not for format {file_format}; choose {' or '.join(formats)}"
            )


def modified(model: torch.nn.Module, modifiers: Sequence[str]) -> torch.nn.Module:
    """Apply nequip's modifiers, by name, to a model; it is changed in place."""
    from nequip.model.modify_utils import modify

    for name in modifiers:
        try:
            model = modify(model, [{"modifier": name}])
        except (*UNUSABLE, TypeError) as error:
            raise UserError(
                f"modifier {name} cannot be applied here ({type(error).__name__}: {error}); "
                "install what it needs, or deploy without it"
            ) from None
    return model


def operator_packages(model: torch.nn.Module) -> str:
    """Return the packages whose operators a model calls, separated by spaces."""
    return model.metadata.get(OPERATOR_PACKAGES, "")


def import_operators(packages: str) -> None:
    """Import packages, which makes torch know their operators."""
    for package in packages.split():
        try:
            if not all(part.isidentifier() for part in package.split(".")):
                raise ImportError("that is no name of a package")
            importlib.import_module(package)
        except UNUSABLE as error:
            raise UserError(
                f"the model needs operators of the package '{package}', which cannot be imported "
                f"({error}); install it, or deploy the checkpoint without that modifier"
            ) from None
