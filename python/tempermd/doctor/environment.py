"""This environment: what `lmp`, training and pictures need, what is missing, how to get it."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from tempermd import lmp
from tempermd.doctor.finding import Finding, finding_of
from tempermd.records import UserError

RENDERER_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libfontconfig.so.1": "libfontconfig1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libglib-2.0.so.0": "libglib2.0-0",
}
"""System libraries that OVITO loads, and the Debian package of each."""


def examine() -> list[Finding]:
    """Look at everything and return a finding for each; nothing is raised."""
    findings = list(_requirements())
    for subject, check in _CHECKS.items():
        findings.append(finding_of(subject, check))
    findings += [_library(name, package) for name, package in RENDERER_LIBRARIES.items()]
    return findings


def _requirements() -> Iterator[Finding]:
    """Compare the installed packages with what this version of tempermd requires."""
    from packaging.requirements import Requirement

    try:
        declared = metadata.requires("tempermd") or []
    except metadata.PackageNotFoundError:
        yield Finding("tempermd", False, "not installed: pip install --no-build-isolation .")
        return
    for text in declared:
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            yield Finding(need.name, False, f"not installed: pip install '{need}'")
            continue
        good = need.specifier.contains(found, prereleases=True)
        yield Finding(need.name, good, found if good else f"{found}, but: pip install '{need}'")


def _mpi() -> str:
    lmp.load_mpi()
    return "libmpi.so.12 of the mpich wheel loads"


def _torch() -> str:
    folder = Path(str(metadata.distribution("torch").locate_file("torch"))) / "lib"
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(folder / name))
    return "libc10 and libtorch_cpu load"


def _plugin() -> str:
    path = lmp.plugin_path()
    result = subprocess.run(
        ["ldd", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    missing = [line.split()[0] for line in result.stdout.splitlines() if "not found" in line]
    if missing:
        raise UserError(
            f"{path.name} lacks {', '.join(missing)}: pip install --no-build-isolation . again"
        )
    return str(path.name)


def _lammps() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "in.doctor"
        script.write_text("units metal\npair_style nequip\n")
        result = lmp.run_process(["-in", "in.doctor"], cwd=scratch)
    if result.exit_code != 0:
        raise UserError(f"lmp does not know pair_style nequip: {result.stdout_tail.strip()}")
    return "lmp runs and knows pair_style nequip"


_CHECKS: dict[str, Callable[[], str]] = {
    "MPI library": _mpi,
    "torch libraries": _torch,
    "plugin": _plugin,
    "LAMMPS": _lammps,
}


def _library(name: str, package: str) -> Finding:
    try:
        ctypes.CDLL(name)
    except OSError:
        return Finding(name, False, f"pictures need it: apt-get install {package}")
    return Finding(name, True, "loads (pictures)")
