"""What each choice in the native engine brings: the engine with it against the engine without it.

``python tests/bench/engine_choices.py [--models "4x32, parity"] [--pairs 3]`` prints Markdown.
Without a choice means: with one of the patches in ``engine_choices/``, compiled for an older
processor, or with another setting of the pair style. All are compiled alike, without torch and
for this processor, and run one after the other in rounds; a variant must give the same energy.
It takes ten minutes or more, most of them for compiling.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pair_style as bench

from tempermd import lmp as lmp_room

TREE = Path(__file__).parents[2]
PATCHES = Path(__file__).parent / "engine_choices"
FLAGS = {"compiled for AVX2": "-march=x86-64-v3", "compiled for SSE2": "-march=x86-64"}
IN_TURN = "blocks of atoms in turn"  # makes a difference to more than one thread
ENERGY_TOLERANCE = 1e-5  # relative


def run(*command: object, folder: Path | None = None) -> None:
    """Run a command; what it says ends the benchmark when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def build(sources: Path, plugin: Path, flags: str = "-march=native") -> None:
    """Compile the plugin without torch; only what a patch changed is compiled anew."""
    folder = sources / f"build{flags}"
    ninja = Path(sys.executable).with_name("ninja")
    options = [f"-DCMAKE_CXX_FLAGS={flags}", "-DCMAKE_BUILD_TYPE=Release", "-DTEMPERMD_TORCH=OFF"]
    options += [f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    cmake = [ninja.with_name("cmake"), "-G", "Ninja", "-S", sources, "-B", folder]
    run(*cmake, "-DTEMPERMD_BASELINE=ON", *options)
    run(ninja, "-C", folder)
    plugin.write_bytes((folder / "deploy" / "nequipplugin.so").read_bytes())


def build_all(folder: Path) -> dict[str, Path]:
    """Compile the engine as it is and without each choice; the key says what is left out."""
    sources = folder / "sources"
    shutil.copytree(TREE / "deploy", sources / "deploy")
    shutil.copy(TREE / "CMakeLists.txt", sources)
    plugins = {"": folder / "as_it_is.so"}
    plugins |= {patch.stem.replace("_", " "): patch for patch in sorted(PATCHES.glob("*.patch"))}
    for name, patch in plugins.items():
        plugins[name] = plugin = folder / f"{patch.stem}.so"
        print(f"compiling: {name or 'as it is'}", file=sys.stderr, flush=True)
        if name:
            run("patch", "-p1", "-i", patch, folder=sources)
        build(sources, plugin)
        if name:
            run("patch", "-p1", "-R", "-i", patch, folder=sources)
    for name, flags in FLAGS.items():
        plugins[name] = folder / f"{flags}.so"
        print(name, file=sys.stderr, flush=True)
        build(sources, plugins[name], flags)
    return plugins


def energy_of(timing: bench.Timing) -> float:
    """Return the total energy that the last run ended with."""
    return float(re.findall(r"^ *\d+ +\S+ +\S+ +\S+ +(\S+)", timing.output, re.MULTILINE)[-1])


def report(model: Path, data: Path, n_atoms: int, plugins: dict[str, Path], pairs: int) -> None:
    """Print a row for each choice that is left out."""
    steps = bench.steps_for(n_atoms)
    as_it_is, native = plugins[""], "engine native"
    one, ranks, threads = bench.Layout(), bench.Layout(ranks=2), bench.Layout(threads=2)
    tries = {name: (native, one, plugin) for name, plugin in plugins.items() if name != IN_TURN}
    tries["radial networks evaluated"] = (f"{native} radial network", one, as_it_is)
    tries["two ranks"] = (native, ranks, as_it_is)
    tries["two ranks, ghosts extended"] = (f"{native} ghosts extended", ranks, as_it_is)
    tries["two threads"] = (native, threads, as_it_is)
    tries[f"two threads, {IN_TURN}"] = (native, threads, plugins[IN_TURN])
    rounds = [
        {name: bench.time_ours(model, data, steps, *how) for name, how in tries.items()}
        for _ in range(pairs)
    ]
    print("| without the choice | atom-steps/s | time, as it is = 1: median (all) |")
    print("| --- | --- | --- |")
    for name in tries:
        base = name.rpartition(", ")[0]
        found, wanted = energy_of(rounds[0][name]), energy_of(rounds[0][base])
        if abs(found - wanted) > ENERGY_TOLERANCE * abs(wanted):
            sys.exit(f"{name}: energy {found}, as it is: {wanted}")
        ratios = sorted(one[name].step_s / one[base].step_s for one in rounds)
        every = ", ".join(f"{one:.2f}" for one in ratios)
        rate = max(one[name].rate(n_atoms) for one in rounds)
        print(f"| {name or 'as it is'} | {rate:.0f} | {statistics.median(ratios):.2f} ({every}) |")


def main() -> None:
    """Print a table for each model as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(bench.MODELS))
    parser.add_argument("--atoms", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        plugins = build_all(folder)
        versions = ", ".join(f"{name} {version}" for name, version in lmp_room.versions().items())
        print(f"{bench.machine()}; {versions}; {options.atoms} atoms")
        for name in options.models:
            models = folder / re.sub(r"\W", "_", name)
            paths = bench.write_models(models, bench.MODELS[name], False)
            data, _, n_atoms = bench.write_tube(folder, options.atoms)
            print(f"\n## {name}\n", flush=True)
            report(paths["native"], data, n_atoms, plugins, options.pairs)


if __name__ == "__main__":
    main()
