"""SevenNet models as label sources: by the name that sevenn gives them, or a checkpoint."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.data import chemical_symbols

from tempermd.labels.specs import Source, SourceSpec, hashes, no_argument, package_version
from tempermd.records import Spec, UserError, parse_spec

DEFAULT_MODEL = "7net-0"


class SevennetSettings(Spec):
    """Settings of SevenNet: the fidelity of a model that has several, and where to compute."""

    modal: str | None = None
    device: str = "cpu"


def open_sevennet(spec: SourceSpec) -> tuple[Source, Any]:
    """Open a SevenNet model, ``sevennet:NAME`` or ``sevennet:CHECKPOINT``."""
    import torch

    if spec.kind == "sevennet-0":
        no_argument(spec)
    origin = f"settings of label source '{spec.name}'"
    settings = parse_spec(spec.settings, SevennetSettings, origin)
    originals = torch.index_select, torch.select
    from sevenn.calculator import SevenNetCalculator

    # torch_geometric, which sevenn imports, puts Python functions in their place that
    # TorchScript cannot compile: no model could be deployed in this process any more
    torch.index_select, torch.select = originals
    model = spec.argument or DEFAULT_MODEL
    path = _weights(model)
    try:
        with warnings.catch_warnings(), _default_single_precision():
            # accelerators are for GPUs; on the CPU there is nothing to be advised of
            warnings.filterwarnings("ignore", "No tensor product accelerator")
            calculator = _single_precision(SevenNetCalculator)(
                str(path), modal=settings.modal, device=settings.device
            )
    except (ValueError, RuntimeError, KeyError, EOFError, OSError, UnpicklingError) as error:
        raise UserError(f"label source '{spec.name}' ({path.name}): {error}") from None
    calculator.known_elements = tuple(chemical_symbols[z] for z in sorted(calculator.type_map))
    named = "sevennet-0" if model == DEFAULT_MODEL else f"sevennet:{Path(model).name}"
    source = Source(
        name=named,
        version=package_version("sevenn"),
        settings=settings.model_dump(),
        files=hashes([path]),
    )
    return source, calculator


def _weights(model: str) -> Path:
    """Return the file of a model's weights: a checkpoint, or what sevenn has or fetches."""
    from sevenn import util

    path = Path(model)
    if path.is_file():
        return path.resolve()
    known = util.get_available_pretrained_models()
    if model.lower() not in known:
        raise UserError(
            f"label source 'sevennet:{model}': neither a checkpoint file nor a model of sevenn "
            f"({', '.join(known)})"
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it reports a download there
            return Path(util.pretrained_name_to_path(model))
    except OSError as error:
        raise UserError(
            f"label source 'sevennet:{model}': its weights are not in the package and could not "
            f"be fetched ({type(error).__name__}); give a checkpoint file instead"
        ) from None


def _single_precision(base: type) -> type:
    class SinglePrecision(base):
        """SevenNet, which breaks where nequip has made double precision torch's default."""

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: Sequence[str] | None = None,
            system_changes: Sequence[str] = all_changes,
        ) -> None:
            """Compute all that the model gives."""
            with _default_single_precision():
                super().calculate(atoms, properties, system_changes)

    return SinglePrecision


@contextmanager
def _default_single_precision() -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
