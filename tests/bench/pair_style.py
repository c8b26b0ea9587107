"""Speed of pair_style nequip against upstream's way, over sizes, ranks and threads, in one run.

``python tests/bench/pair_style.py [--sizes 100 400 3200] [--pairs 3] [--aotinductor]`` prints
Markdown; ``--folder`` keeps the models for the next run. Upstream's way is its pair style's call
of the compiled model, with positions in and forces out, optimized and warm; only that call is
timed, not LAMMPS around it, which favours upstream. Ours is LAMMPS's own loop time. The C
library's allocator is set alike for both.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tempermd import lmp as lmp_room

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(1024**3),
    "OMP_WAIT_POLICY": "passive",
}

SPINS = 10_000  # some tenths of a millisecond

INPUT = """
units metal
read_data {data}
pair_style nequip {style}
pair_coeff * * {model} C
neighbor 1.0 bin
velocity all create 300 1
timestep 0.0005
fix 1 all nve
run 2
run {steps}
"""

UPSTREAM = """
import sys, time, torch
import numpy as np
torch.set_num_threads(int(sys.argv[3]))
arrays = np.load(sys.argv[2])
inputs = {key: torch.tensor(arrays[key]) for key in arrays.files}
model = torch.jit.freeze(torch.jit.load(sys.argv[1]).eval())
for _ in range(4):
    model(dict(inputs))["forces"]
begin = time.perf_counter()
for _ in range(int(sys.argv[4])):
    model(dict(inputs))["forces"]
print((time.perf_counter() - begin) / int(sys.argv[4]))
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


@dataclass(frozen=True)
class Layout:
    """MPI ranks, threads of each, and how often an idle thread looks for work before it sleeps."""

    ranks: int = 1
    threads: int = 1
    spins: int = 0

    def __str__(self) -> str:
        return f"{self.ranks} | {self.threads}{' (spinning)' if self.spins else ''}"


@dataclass(frozen=True)
class Timing:
    """Seconds per step, peak memory of the largest process (MiB), and what was printed."""

    step_s: float
    peak_MiB: float
    output: str

    def rate(self, n_atoms: int) -> float:
        """Return atom-steps per second."""
        return n_atoms / self.step_s


def network(layers: int, features: int, parity: bool, l_max: int = 1):
    """Build an untrained model: speed does not depend on the weights."""
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    return NequIPGNNModel(
        seed=1,
        model_dtype="float32",
        type_names=["C"],
        r_max=4.0,
        num_layers=layers,
        l_max=l_max,
        parity=parity,
        num_features=features,
        radial_mlp_depth=2,
        radial_mlp_width=64,
        avg_num_neighbors=18.0,
        per_type_energy_scales={"C": 1.0},
        per_type_energy_shifts={"C": 0.0},
    ).eval()


MODELS = {
    "4x32, parity": (4, 32, True),
    "3x16": (3, 16, False),
    "4x32, parity, l = 2": (4, 32, True, 2),
}

# what follows `pair_style nequip`; the native engine and TorchScript read the same file
STYLES = {"native": "engine native", "torchscript": "engine torch", "aotinductor": "engine torch"}


def write_models(folder: Path, shape: tuple, aotinductor: bool) -> dict[str, Path]:
    """Write one network as upstream's file and as ours, unless they are there."""
    from nequip.model.inference_models.torchscript import save_torchscript_model
    from nequip.utils.global_state import get_latest_global_state

    from tempermd.deploy import deploy_model

    folder.mkdir(parents=True, exist_ok=True)
    ours = folder / "ours.nequip.pth"
    paths = {"upstream": folder / "upstream.nequip.pth", "native": ours, "torchscript": ours}
    if not paths["upstream"].is_file():
        model = network(*shape)
        state = get_latest_global_state(only_metadata_related=True)
        metadata = model.metadata | {key: str(int(value)) for key, value in state.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            save_torchscript_model(model, metadata, str(paths["upstream"]), "cpu")
    if aotinductor:
        paths["aotinductor"] = folder / "ours.nequip.pt2"
    for name, path in paths.items():
        if name != "upstream" and not path.is_file():
            deploy_model(network(*shape), path)
    return paths


def write_tube(folder: Path, n_atoms: int) -> tuple[Path, Path, int]:
    """Write a (10,10) tube for LAMMPS and its graph for upstream; return its number of atoms."""
    import numpy as np
    from ase.build import nanotube
    from ase.io import write

    from tempermd.training.graphs import build_graph

    atoms = nanotube(10, 10, length=max(round(n_atoms / 40), 2), bond=1.42)
    atoms.center(vacuum=10.0, axis=(0, 1))
    atoms.pbc = True
    atoms.rattle(0.02, seed=1)
    data = folder / f"tube{len(atoms)}.data"
    write(data, atoms, format="lammps-data", masses=True)
    graph = build_graph(atoms, ["C"], 4.0)
    arrays = data.with_suffix(".npz")
    np.savez(
        arrays,
        pos=atoms.positions,
        cell=atoms.cell.array.reshape(1, 3, 3),
        edge_index=graph.edge_index,
        edge_cell_shift=graph.edge_shifts,
        atom_types=graph.types,
    )
    return data, arrays, len(atoms)


def output_of(command: list[str], folder: Path, layout: Layout) -> str:
    """Run a command and return what it printed."""
    threads = {"OMP_NUM_THREADS": str(layout.threads), "GOMP_SPINCOUNT": str(layout.spins)}
    environment = os.environ | ALLOCATOR | threads
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stdout}")
    return result.stdout


def time_upstream(model: Path, arrays: Path, steps: int, threads: int = 1) -> Timing:
    """Time the call that upstream's pair style makes in each step."""
    script = arrays.parent / "upstream.py"
    script.write_text(UPSTREAM)
    arguments = [str(model), str(arrays), str(threads), str(steps)]
    command = [sys.executable, str(script), *arguments]
    text = output_of(command, arrays.parent, Layout(threads=threads))
    step_s, peak_kB = text.split()[-2:]
    return Timing(float(step_s), float(peak_kB) / 1024, text)


def time_ours(
    model: Path,
    data: Path,
    steps: int,
    style: str,
    layout: Layout = Layout(),
    plugin: Path | None = None,
) -> Timing:
    """Time LAMMPS with our pair style, the installed one or that of another plugin."""
    script = data.parent / "in.bench"
    load = f"plugin clear\nplugin load {plugin}\n" if plugin else ""
    script.write_text(load + INPUT.format(model=model, data=data, steps=steps, style=style))
    prefix = lmp_room.mpirun_command(layout.ranks) if layout.ranks > 1 else []
    command = [*prefix, *lmp_room.lmp_command(), "-in", "in.bench", "-log", "none"]
    text = output_of(command, data.parent, layout)
    loop = re.findall(r"Loop time of (\S+) on", text)[-1]
    peak = re.findall(r"peak memory (\d+) MiB per rank", text)[-1]
    return Timing(float(loop) / steps, float(peak), text)


def steps_for(n_atoms: int) -> int:
    """Return a number of steps that takes some seconds."""
    return max(5, min(200, 60_000 // n_atoms))


def report_sizes(paths: dict[str, Path], folder: Path, options: argparse.Namespace) -> None:
    """Print one rank, one thread against upstream's way, in pairs."""
    print(
        "| atoms | format | upstream, atom-steps/s | ours | ratio, median of pairs (all) | ", end=""
    )
    print("upstream, peak MiB | ours |\n|" + " --- |" * 7)
    accounts = []
    for size in options.sizes:
        data, arrays, n_atoms = write_tube(folder, size)
        steps = steps_for(n_atoms)
        for name in (one for one in paths if one != "upstream"):
            rows = []
            for _ in range(options.pairs):
                ours = time_ours(paths[name], data, steps, STYLES[name])
                few = max(steps // 20, 2)
                small = n_atoms <= options.upstream_up_to
                theirs = time_upstream(paths["upstream"], arrays, few) if small else None
                rows.append((theirs, ours))
            print(f"| {n_atoms} | {name} | {size_row(rows, n_atoms)} |", flush=True)
            if name == "native":
                accounts.append((n_atoms, account_of(rows[-1][1])))
    print("\n| atoms | " + " | ".join(PARTS) + " | MFLOP per atom-step | GFLOP/s | of the peak |")
    print("|" + " --- |" * (len(PARTS) + 4))
    for n_atoms, account in accounts:
        print(f"| {n_atoms} | {' | '.join(account)} |")


PARTS = ("geometry", "edges forward", "atoms forward", "atoms backward", "edges backward")


def account_of(timing: Timing) -> list[str]:
    """Return where the native engine's time went, in %, and how fast it computed."""
    line = re.findall(r"NequIP native engine.*", timing.output)[-1]
    shares = [re.search(rf"{part} ([\d.]+) %", line)[1] for part in PARTS]
    operations, speed = re.search(r"; (\S+) MFLOP .*, (\S+) GFLOP/s", line).groups()
    return [*shares, operations, speed, f"{100 * float(speed) / core_peak_GFLOP_s():.0f} %"]


@cache
def core_peak_GFLOP_s() -> float:
    """Measure what one core does at best in single precision."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "core_peak"
        source = Path(__file__).with_name("core_peak.cpp")
        subprocess.run(["c++", "-O3", "-march=native", source, "-o", program], check=True)
        return float(subprocess.run([program], capture_output=True, check=True).stdout)


def size_row(rows: list[tuple[Timing | None, Timing]], n_atoms: int) -> str:
    """Return rates, ratios and memory of pairs."""
    rate = f"{max(ours.rate(n_atoms) for _, ours in rows):.0f}"
    peak = f"{max(ours.peak_MiB for _, ours in rows):.0f}"
    pairs = [(theirs, ours) for theirs, ours in rows if theirs is not None]
    if not pairs:
        return f"not run | {rate} | | | {peak}"
    ratios = sorted(theirs.step_s / ours.step_s for theirs, ours in pairs)
    every = ", ".join(f"{one:.2f}" for one in ratios)
    their_rate = max(theirs.rate(n_atoms) for theirs, _ in pairs)
    their_peak = max(theirs.peak_MiB for theirs, _ in pairs)
    median = statistics.median(ratios)
    return f"{their_rate:.0f} | {rate} | {median:.2f} ({every}) | {their_peak:.0f} | {peak}"


def report_scaling(paths: dict[str, Path], folder: Path, size: int, pairs: int) -> None:
    """Print ranks and threads against one of each, in one round after another."""
    data, _, n_atoms = write_tube(folder, size)
    steps = steps_for(n_atoms)
    layouts = [Layout(1, 1), Layout(1, 2), Layout(1, 2, SPINS), Layout(2, 1), Layout(4, 1)]
    layouts = [one for one in layouts if one.ranks * one.threads <= os.cpu_count()]
    rounds = [
        [time_ours(paths["native"], data, steps, "engine native", layout) for layout in layouts]
        for _ in range(pairs)
    ]
    print(f"\n{n_atoms} atoms, native engine:\n")
    print(
        "| ranks | threads | atom-steps/s | speed, median (all) | exchanged, MB per step ",
        end="",
    )
    print("| neighbor, communication: % of the loop | graph, network, sums: % of the pair style |")
    print("|" + " --- |" * 7)
    for k, layout in enumerate(layouts):
        speeds = sorted(one[0].step_s / one[k].step_s for one in rounds)
        every = ", ".join(f"{one:.2f}" for one in speeds)
        rate = max(one[k].rate(n_atoms) for one in rounds)
        speed = f"{statistics.median(speeds):.2f} ({every})"
        profile = " | ".join(profile_of(rounds[-1][k]))
        print(f"| {layout} | {rate:.0f} | {speed} | {profile} |", flush=True)


def profile_of(timing: Timing) -> tuple[str, str, str]:
    """Return what is exchanged, and the shares that LAMMPS and the pair style printed last."""
    exchanged = re.findall(r"exchange between layers: (\S+) MB", timing.output)
    shares = re.findall(
        r"NequIP: .*?graph ([\d.]+) %, network ([\d.]+) %, sums ([\d.]+) %", timing.output
    )
    loop = [
        re.findall(rf"^{name} .*\| *([\d.]+)$", timing.output, re.MULTILINE)[-1]
        for name in ("Neigh", "Comm")
    ]
    return (exchanged or ["0"])[-1], ", ".join(loop), ", ".join(shares[-1])


def machine() -> str:
    """Return the name of the processor and the number of cores."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{found[1] if found else 'unknown processor'}, {os.cpu_count()} cores"


def main() -> None:
    """Print all tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 400, 3200, 20_000])
    parser.add_argument("--scaling", type=int, nargs="*", default=[400, 3200])
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="some of the networks")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--aotinductor", action="store_true", help="compile for minutes, then time")
    parser.add_argument(
        "--upstream-up-to", type=int, default=4000, help="atoms; its memory ends it"
    )
    parser.add_argument("--folder", type=Path, help="where to keep the models")
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version}" for name, version in lmp_room.versions().items())
    print(f"{machine()}; {versions}; peak of one core {core_peak_GFLOP_s():.0f} GFLOP/s (f32)")
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        for name in options.models:
            shape = MODELS[name]
            print(f"\n## {name}\n")
            paths = write_models(folder / re.sub(r"\W", "_", name), shape, options.aotinductor)
            report_sizes(paths, folder, options)
            for size in options.scaling:
                report_scaling(paths, folder, size, options.pairs)


if __name__ == "__main__":
    main()
