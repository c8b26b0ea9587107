"""What a user asks of a label source, and what a label keeps of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from tempermd.records import Spec, UserError, sha256_file


class SourceSpec(Spec):
    """A label source: its name, with an argument where it needs one, and its settings."""

    name: str = Field(description="NAME or NAME:ARGUMENT, see `tempermd sources`")
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return the name without its argument."""
        return self.name.split(":", 1)[0]

    @property
    def argument(self) -> str | None:
        """Return what follows the name's colon: a file, a model or an import path."""
        return self.name.split(":", 1)[1] if ":" in self.name else None


class Source(Spec):
    """A source that is ready to label; this description is kept with every label.

    Attributes
    ----------
    name
        ``KIND`` or ``KIND:ARGUMENT``, a file without its folder.
    version
        Package and version.
    settings
        All settings, defaults included.
    files
        Name -> sha256 of each parameter file in use.
    gamma_only
        Whether its labels must pass the convergence gate.
    """

    name: str
    version: str
    settings: dict[str, Any]
    files: dict[str, str] = Field(default_factory=dict)
    gamma_only: bool = False


def no_argument(spec: SourceSpec) -> None:
    """Refuse an argument where a source takes none."""
    if spec.argument is not None:
        raise UserError(f"label source '{spec.kind}' takes no argument, got '{spec.name}'")


def needed_file(spec: SourceSpec, example: str) -> Path:
    """Return the parameter file that is the argument of a source, which must be there."""
    if not spec.argument:
        raise UserError(
            f"label source '{spec.kind}' needs its parameter file: {spec.kind}:{example}"
        )
    path = Path(spec.argument)
    if not path.is_file():
        raise UserError(f"label source '{spec.name}': no such file; expected {example} there")
    return path.resolve()


def hashes(paths: list[Path]) -> dict[str, str]:
    """Return name -> sha256 of parameter files."""
    return {path.name: sha256_file(path) for path in paths}


def package_version(package: str) -> str:
    """Return a package's name and version."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} (version unknown)"
