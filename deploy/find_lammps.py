"""Print what the LAMMPS in a folder is, as lines of CMake, or say what it lacks.

    python find_lammps.py FOLDER [SIZES]

FOLDER is a source tree, its build folder, or an installed prefix. SIZES (smallbig, bigbig or
smallsmall) is asked for only where nothing in FOLDER tells.
"""

import re
import sys
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = date(2023, 8, 2)  # the first tried that has Pair::extract_peratom and Pair::finish
SIZES = ("SMALLBIG", "BIGBIG", "SMALLSMALL")


@dataclass
class Lammps:
    """A LAMMPS to compile for; ``libraries`` are files that may hold its compiled code."""

    folder: Path
    include: Path
    version: date
    definitions: list[str]
    libraries: list[Path]
    stubs: Path | None = None
    mpi_compiler: str = ""
    mpi: str = ""
    with_plugins: bool | None = None


def stop(folder: Path, sentence: str) -> None:
    """End with one sentence about a folder."""
    sys.exit(f"LAMMPS_ROOT={folder} {sentence}")


def headers_wanted() -> list[str]:
    """Return the LAMMPS headers that our sources include."""
    sources = [path for path in HERE.iterdir() if path.suffix in (".h", ".cpp")]
    included = {
        name for path in sources for name in re.findall(r'^#include "(.+)"', path.read_text(), re.M)
    }
    return sorted(included - {path.name for path in sources})


def version_of_text(text: str) -> date | None:
    """Return the day of a version such as '22 Jul 2025', '20250722' or '2025.7.22.4'."""
    if found := re.fullmatch(r"(\d{4})\.(\d+)\.(\d+)(\.\d+)?|(\d{4})(\d\d)(\d\d)", text):
        parts = [part for part in found.groups() if part and not part.startswith(".")]
        return date(*(int(part) for part in parts))
    try:
        return datetime.strptime(text, "%d %b %Y").date()
    except ValueError:
        return None


def first_match(pattern: str, path: Path) -> str:
    """Return the first group of the first match in a text file, or nothing."""
    found = re.search(pattern, path.read_text(errors="replace"), re.M) if path.is_file() else None
    return found[1] if found else ""


def compiled_code(*folders: Path) -> list[Path]:
    """Return the LAMMPS libraries and programs in folders, libraries first."""
    patterns = ("liblammps*.so*", "liblammps*.a", "lmp", "lmp_*")
    files = [path for folder in folders for one in patterns for path in sorted(folder.glob(one))]
    return [path for path in files if path.is_file()]


def from_source(folder: Path) -> Lammps:
    """Describe a source tree; what was compiled from it is told by CMake's cache or by make."""
    caches = [
        path
        for path in sorted(folder.glob("*/CMakeCache.txt"))
        if first_match(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)", path) == str(folder / "cmake")
    ]
    if len(caches) > 1:
        names = ", ".join(path.parent.name for path in caches)
        stop(folder, f"has several build folders ({names}): give one of them as LAMMPS_ROOT")
    if caches:
        return from_build(caches[0].parent)
    source = folder / "src"
    found = in_source(folder, source, compiled_code(source))
    # 'make yes-plugin' copies the package's files there
    found.with_plugins = (source / "plugin.h").is_file()
    return found


def in_source(folder: Path, source: Path, libraries: list[Path]) -> Lammps:
    """Describe the headers and the version of a source tree."""
    text = first_match(r'^#define LAMMPS_VERSION "(.*)"', source / "version.h")
    version = version_of_text(text)
    if version is None:
        stop(folder, f"has no version in {source / 'version.h'}: expected a source tree of LAMMPS")
    return Lammps(folder, source, version, [], libraries)


def from_build(folder: Path) -> Lammps:
    """Describe a folder in which CMake has configured or built LAMMPS."""
    cache = dict(
        re.findall(r"^([\w-]+):\w+=(.*)$", (folder / "CMakeCache.txt").read_text(), re.MULTILINE)
    )
    source = Path(cache.get("CMAKE_HOME_DIRECTORY", "")).parent / "src"
    if not (source / "lammps.h").is_file():
        stop(folder, "is a build folder of something else than LAMMPS")
    found = in_source(folder, source, compiled_code(folder))

    def on(name: str) -> bool:
        return cache.get(name, "").upper() in ("ON", "YES", "TRUE", "1", "Y")

    found.definitions = ["LAMMPS_" + cache.get("LAMMPS_SIZES", "smallbig").upper()]
    found.definitions += ["LAMMPS_EXCEPTIONS"] * on("LAMMPS_EXCEPTIONS")
    found.with_plugins = on("PKG_PLUGIN")
    found.mpi_compiler = cache.get("MPI_CXX_COMPILER", "")
    if "BUILD_MPI" in cache and not on("BUILD_MPI"):
        found.mpi, found.stubs = "STUBS", source / "STUBS"
    return found


def from_prefix(folder: Path, include: Path) -> Lammps:
    """Describe an installed LAMMPS: headers, CMake or pkg-config files, library."""
    roots = [folder, *folder.glob("lib*"), *folder.glob("lib*/*")]
    cmake = [root / "cmake" / "LAMMPS" for root in roots]
    versions = [
        *(
            first_match(r'set\(PACKAGE_VERSION "([\d.]+)"', one / "LAMMPSConfigVersion.cmake")
            for one in cmake
        ),
        *(
            first_match(r"^Version: *([\d.]+)", root / "pkgconfig" / "liblammps.pc")
            for root in roots
        ),
    ]
    version = next((found for one in versions if (found := version_of_text(one))), None)
    if version is None:
        stop(
            folder,
            "tells no version: expected cmake/LAMMPS/LAMMPSConfigVersion.cmake or "
            "pkgconfig/liblammps.pc under it or its lib folder",
        )
    targets = (
        first_match(r'INTERFACE_COMPILE_DEFINITIONS "(.*)"', one / "LAMMPS_Targets.cmake")
        for one in cmake
    )
    definitions = next(filter(None, targets), "")
    libraries = compiled_code(*roots, folder / "bin")
    if not libraries:
        stop(folder, "has no LAMMPS library: expected liblammps.so under it or its lib folder")
    return Lammps(folder, include, version, re.findall(r"LAMMPS_\w+", definitions), libraries)


def describe(folder: Path) -> Lammps:
    """Describe the LAMMPS in a folder, whichever layout it has."""
    if not folder.is_dir():
        stop(folder, "is no folder")
    if (folder / "CMakeCache.txt").is_file():
        return from_build(folder)
    if (folder / "src" / "lammps.h").is_file():
        return from_source(folder)
    if (folder / "include" / "lammps").is_dir():
        return from_prefix(folder, folder / "include" / "lammps")
    stop(
        folder,
        "holds no LAMMPS: expected its source tree (src/lammps.h), its CMake build folder "
        "(CMakeCache.txt) or an installed prefix (include/lammps)",
    )
    raise AssertionError


def read_code(found: Lammps) -> None:
    """Learn from compiled code, where there is some, about its plugins, MPI and C++ library."""
    code = b"".join(path.read_bytes() for path in found.libraries[:1])
    if not code:
        return
    if found.with_plugins is None:
        found.with_plugins = b"plugin_load" in code
    if not found.mpi:
        if re.search(rb"\0libmpi[\w-]*\.so\.[2-9]\d\0", code):
            found.mpi = "OPEN_MPI"
        elif re.search(rb"\0libmpi(ch|cxx)?[\w-]*\.so\.1\d[\d.]*\0", code):
            found.mpi = "MPICH"
    if b"9LAMMPS_NS5Error3allERKSs" in code:
        stop(
            found.folder,
            f"is compiled with the C++ library's old strings (_GLIBCXX_USE_CXX11_ABI=0, in "
            f"{found.libraries[0]}), torch with the new ones: compile that LAMMPS anew, with a "
            "compiler of this system",
        )


def check(found: Lammps) -> None:
    """Stop with a sentence unless the plugin can be compiled for this LAMMPS."""
    if found.version < OLDEST:
        stop(
            found.folder,
            f"is LAMMPS {found.version:%Y-%m-%d}: needs {OLDEST:%Y-%m-%d} or later",
        )
    if not found.with_plugins:
        stop(
            found.folder,
            "is compiled without plugins: compile that LAMMPS with PKG_PLUGIN "
            "(cmake -DPKG_PLUGIN=on, or make yes-plugin)",
        )


def settle_sizes(found: Lammps, asked: str) -> None:
    """Take the integer sizes from the LAMMPS, else from LAMMPS_SIZES, else the usual ones."""
    told = [one.removeprefix("LAMMPS_") for one in found.definitions]
    told = [one for one in told if one in SIZES]
    asked = asked.upper()
    if asked and asked not in SIZES:
        sys.exit(f"LAMMPS_SIZES={asked.lower()}: expected smallbig, bigbig or smallsmall")
    if told and asked and told != [asked]:
        stop(
            found.folder,
            f"has the integer sizes {told[0].lower()}, but LAMMPS_SIZES={asked.lower()}: "
            "leave LAMMPS_SIZES out",
        )
    if not told:
        found.definitions.append("LAMMPS_" + (asked or SIZES[0]))


def main(folder: str, sizes: str = "") -> None:
    """Print set() commands for deploy/CMakeLists.txt."""
    found = describe(Path(folder).absolute())
    read_code(found)
    check(found)
    settle_sizes(found, sizes)
    day = found.version
    include = [path.as_posix() for path in (found.include, found.stubs) if path]
    print(f'set(TEMPERMD_LAMMPS_INCLUDE "{";".join(include)}")')
    print(f'set(TEMPERMD_LAMMPS_VERSION "{day.day} {day:%b} {day.year}")')
    print(f'set(TEMPERMD_LAMMPS_NUMBER "{day:%Y%m%d}")')
    print(f'set(TEMPERMD_LAMMPS_DEFINITIONS "{";".join(found.definitions)}")')
    print(f'set(TEMPERMD_LAMMPS_HEADERS "{";".join(headers_wanted())}")')
    print(f'set(TEMPERMD_LAMMPS_MPI "{found.mpi}")')
    print(f'set(TEMPERMD_LAMMPS_MPI_COMPILER "{found.mpi_compiler}")')


if __name__ == "__main__":
    main(*sys.argv[1:])
