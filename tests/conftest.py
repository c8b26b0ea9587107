"""Models with random weights, deployed once per session, for every test that needs one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pair_style_cases import start  # noqa: F401  (a fixture)
from source_cases import opened  # noqa: F401  (a fixture)


def random_model(
    dtype: str = "float64",
    type_names: tuple[str, ...] = ("C",),
    layers: int = 2,
    features: int = 4,
    cutoff_A: float = 4.0,
    seed: int = 1,
    edge_cutoffs_A: tuple[tuple[float, ...], ...] | None = None,
    cutoff_power: int = 6,
    n_neighbors: float = 20.0,
    energy_scale_eV: float = 30.0,
):
    """Build an untrained eager model whose forces are of ordinary size (eV/Å).

    ``edge_cutoffs_A`` (types, types) has a row for each type of centre, none above ``cutoff_A``.
    With a high ``cutoff_power`` and few ``n_neighbors``, atoms far away count for more.
    """
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    edge_cutoffs = edge_cutoffs_A and {
        centre: dict(zip(type_names, row, strict=True))
        for centre, row in zip(type_names, edge_cutoffs_A, strict=True)
    }
    return NequIPGNNModel(
        seed=seed,
        model_dtype=dtype,
        type_names=list(type_names),
        r_max=cutoff_A,
        per_edge_type_cutoff=edge_cutoffs,
        num_layers=layers,
        l_max=1,
        parity=False,
        num_features=features,
        radial_mlp_depth=1,
        radial_mlp_width=8,
        num_bessels=8,
        polynomial_cutoff_p=cutoff_power,
        avg_num_neighbors=n_neighbors,
        per_type_energy_scales=dict.fromkeys(type_names, energy_scale_eV),
        per_type_energy_shifts={name: -7.0 - i for i, name in enumerate(type_names)},
    )


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return ``make_model(dtype=..., type_names=..., layers=..., ...)`` -> a deployed file.

    The same arguments give the same file; treat it as read-only. A first positional
    argument (a folder) makes a copy of your own there instead.
    """
    import shutil

    from tempermd.deploy import deploy_model

    folder = tmp_path_factory.mktemp("models")
    made: dict[tuple, Path] = {}

    def make(target: Path | None = None, **arguments) -> Path:
        arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
        key = tuple(sorted(arguments.items()))
        if key not in made:
            made[key] = folder / f"model{len(made)}.nequip.pth"
            deploy_model(random_model(**arguments), made[key])
        if target is None:
            return made[key]
        return Path(shutil.copy(made[key], Path(target) / "model.nequip.pth"))

    return make


EXTRAS = {
    "gap": ("quippy", "gap"),
    "nep": ("calorine", "nep"),
    "sevennet-0": ("sevenn", "sevennet"),
    "xtb": ("tblite", "xtb"),
}


def skip_without(source: str) -> None:
    """Skip a test whose label source is an extra that is not installed."""
    from importlib.util import find_spec

    package, extra = EXTRAS.get(source, ("", ""))
    if package and find_spec(package) is None:
        pytest.skip(f"label source {source} needs pip install 'tempermd[{extra}]'")
