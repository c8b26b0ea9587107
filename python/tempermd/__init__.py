"""Pre-train, fine-tune, deploy and stress machine-learned potentials in LAMMPS."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tempermd")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0"
