"""Checkpoints to TorchScript files that LAMMPS runs, each checked against the model it came from.

Opening a checkpoint runs code that it contains (it is a pickle): open only those you trust.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tempermd.records import Record, UserError, atomic_write, sha256_file
from tempermd.training.graphs import Graph, Prediction, build_graph, predict
from tempermd.training.models import first_line, load_checkpoint

if TYPE_CHECKING:
    import torch
    from ase import Atoms

SUFFIX = ".nequip.pth"
FORMAT_VERSION = "2"

# eV/Å at forces of ordinary size: what rounding leaves, with a margin of about ten
TOLERANCES_EV_A = {"float32": 5e-5, "float64": 1e-8}

# forces above this (eV/Å) widen the tolerance in proportion, since rounding is relative
ORDINARY_FORCE_EV_A = 10.0

# the profiling executor settles after the third call with other edge counts
WARM_UP_CALLS = 3


class Deployed(Record):
    """A deployed model: its file, and how far it is from the model that it came from."""

    format_name: ClassVar[str] = "tempermd-deployed"

    path: str
    sha256: str
    checkpoint_sha256: str
    device: str
    model_dtype: str
    type_names: list[str]
    cutoff_A: float
    num_layers: int
    max_energy_difference_eV_per_atom: float
    max_force_difference_eV_per_A: float
    max_stress_difference_eV_per_A3: float


def deploy(checkpoint: Path | str, output: Path | str, device: str = "cpu") -> Deployed:
    """Write the EMA weights of a checkpoint as TorchScript, and check the file.

    The checkpoint is a pickle: opening it runs code that it contains.

    Parameters
    ----------
    checkpoint
        A nequip checkpoint (``best.ckpt`` of a training, or any other of nequip 0.19).
    output
        The file to write; its name must end in ``.nequip.pth``.
    device
        ``cpu`` or ``cuda``: where the model will run.
    """
    output = checked_output(output)
    checked_device(device)
    checkpoint_sha256 = sha256_file(checkpoint)
    return deploy_model(
        load_checkpoint(checkpoint), output, device=device, checkpoint_sha256=checkpoint_sha256
    )


def checked_output(output: Path | str) -> Path:
    """Refuse an output whose name other loaders would not recognise."""
    output = Path(output)
    if not output.name.endswith(SUFFIX) or output.name == SUFFIX:
        raise UserError(f"{output}: a deployed model's name must end in {SUFFIX}")
    return output


def checked_device(device: str) -> None:
    """Refuse a device that this machine's torch cannot use."""
    import torch

    if device not in ("cpu", "cuda"):
        raise UserError(f"device '{device}' is unknown; choose cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device cuda was asked for, but torch {torch.__version__} sees no GPU; "
            "use --device cpu, or a machine and a torch build with CUDA"
        )


def deploy_model(
    model: torch.nn.Module,
    output: Path | str,
    *,
    device: str = "cpu",
    checkpoint_sha256: str = "",
) -> Deployed:
    """Write an eager nequip model as TorchScript; the model itself becomes energy-only."""
    from nequip.model.inference_models.torchscript import save_torchscript_model
    from nequip.model.modify_utils import modify

    output = checked_output(output)
    model.eval().to(device)
    described = _describe(model, device, checkpoint_sha256)
    type_names = described["type_names"].split()
    cutoff_A = float(described["r_max"])
    structures = check_structures(type_names)
    references = [_eager(model, atoms, type_names, cutoff_A, device) for atoms in structures]
    tolerance = _tolerance(described["model_dtype"], references)
    graph = build_graph(structures[0], type_names, cutoff_A)
    described["test_configuration"] = format_configuration(graph, references[0], tolerance)

    energy_only = modify(model, [{"modifier": "disable_ForceStressOutput"}])
    with atomic_write(output) as temporary:
        with torchscript_deprecation_known():
            save_torchscript_model(energy_only, described, str(temporary), device)
        _strip_debug_records(temporary)
        differences = _compare(temporary, structures, references, device)
        # one number bounds all three: energies per atom and stresses are smaller than forces
        if not all(difference <= tolerance for difference in differences):
            found = ", ".join(f"{one:.2g}" for one in differences)
            raise UserError(
                f"{output}: not written, since the TorchScript model differs from the "
                f"checkpoint by {found} (eV/atom, eV/Å, eV/Å³; allowed: {tolerance:.2g}); "
                "deploy with the torch and nequip versions of constraints.txt"
            )
    return Deployed(
        path=str(output),
        sha256=sha256_file(output),
        checkpoint_sha256=checkpoint_sha256,
        device=device,
        model_dtype=described["model_dtype"],
        type_names=type_names,
        cutoff_A=cutoff_A,
        num_layers=int(described["num_layers"]),
        max_energy_difference_eV_per_atom=differences[0],
        max_force_difference_eV_per_A=differences[1],
        max_stress_difference_eV_per_A3=differences[2],
    )


def _strip_debug_records(path: Path) -> None:
    """Rewrite a TorchScript archive without its debug records, under a fixed inner name.

    Debug records hold source lines and absolute paths of the machine that deployed; no one who
    runs the model needs them.
    """
    import io

    import torch

    written_by_torch = ("version", "byteorder", ".data/serialization_id")
    reader = torch._C.PyTorchFileReader(str(path))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in written_by_torch:
            content = reader.get_record(name)
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    path.write_bytes(buffer.getvalue())


@contextmanager
def torchscript_deprecation_known() -> Iterator[None]:
    """Hide torch's notice that TorchScript is deprecated, once per submodule.

    We know: AOTInductor is no faster on the CPU and takes minutes to compile.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"`torch\.jit\.\w+` is deprecated", category=DeprecationWarning
        )
        yield


def _describe(model: torch.nn.Module, device: str, checkpoint_sha256: str) -> dict[str, str]:
    """Collect nequip's metadata and ours, all ASCII."""
    from nequip.utils.global_state import get_latest_global_state

    described = dict(model.metadata)
    state = get_latest_global_state(only_metadata_related=True)
    described |= {key: str(int(value)) for key, value in state.items()}
    layers = [name for name, _ in model.named_modules() if name.endswith("_convnet")]
    if not layers:
        raise UserError("the checkpoint's model has no NequIP layers; only NequIP models deploy")
    return described | {
        "tempermd_format": FORMAT_VERSION,
        "num_layers": str(len(layers)),
        "units": "metal",
        "versions": json.dumps(_versions()),
        "checkpoint_sha256": checkpoint_sha256,
        "device": device,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in ("tempermd", "torch", "nequip", "e3nn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from the source tree
            found[package] = "source"
    return found


def check_structures(type_names: list[str]) -> list[Atoms]:
    """Return the structures on which a deployed model is compared with its origin.

    The first, eight rattled atoms of diamond, becomes the file's test configuration. The
    second is a slab, periodic in two directions, with other numbers of atoms and edges.
    Elements take turns, on carbon's lattice whatever they are: only agreement is asked.
    """
    from ase.build import bulk

    cell = bulk("C", "diamond", a=3.57, cubic=True)
    slab = cell.repeat((2, 1, 1))
    slab.pbc = (True, True, False)
    slab.center(vacuum=5.0, axis=2)
    for seed, atoms in enumerate((cell, slab)):
        atoms.rattle(0.08, seed=seed + 1)
        atoms.symbols[:] = [type_names[i % len(type_names)] for i in range(len(atoms))]
    return [cell, slab]


def _eager(
    model: torch.nn.Module, atoms: Atoms, type_names: list[str], cutoff_A: float, device: str
) -> Prediction:
    """Evaluate a model by nequip's own route: positions in, forces and virial out."""
    import torch

    graph = build_graph(atoms, type_names, cutoff_A)
    inputs = {
        "pos": torch.tensor(atoms.positions),
        "cell": torch.tensor(atoms.cell.array).reshape(1, 3, 3),
        "edge_index": torch.tensor(graph.edge_index),
        "edge_cell_shift": torch.tensor(graph.edge_shifts),
        "atom_types": torch.tensor(graph.types),
    }
    output = model({key: value.to(device) for key, value in inputs.items()})
    arrays = {
        key: output[key].detach().cpu().numpy()
        for key in ("total_energy", "forces", "virial", "atomic_energy")
    }
    return Prediction(
        energy_eV=float(arrays["total_energy"].item()),
        forces_eV_A=arrays["forces"],
        virial_eV=arrays["virial"][0],
        atomic_energies_eV=arrays["atomic_energy"].reshape(-1),
    )


def _tolerance(model_dtype: str, references: list[Prediction]) -> float:
    largest = max(float(np.abs(one.forces_eV_A).max()) for one in references)
    if not np.isfinite(largest):
        raise UserError("the checkpoint's model gives forces that are not finite; train it anew")
    return TOLERANCES_EV_A[model_dtype] * max(1.0, largest / ORDINARY_FORCE_EV_A)


def _compare(
    path: Path, structures: list[Atoms], references: list[Prediction], device: str
) -> tuple[float, float, float]:
    """Reload a file and return its largest differences (eV/atom, eV/Å, eV/Å³)."""
    model, info = _load(path, device)
    for _ in range(WARM_UP_CALLS):
        for atoms in structures:
            predict(model, build_graph(atoms, info["type_names"], info["cutoff_A"]), device)
    differences = []
    for atoms, reference in zip(structures, references, strict=True):
        found = predict(model, build_graph(atoms, info["type_names"], info["cutoff_A"]), device)
        differences.append(
            (
                abs(found.energy_eV - reference.energy_eV) / len(atoms),
                np.abs(found.forces_eV_A - reference.forces_eV_A).max(),
                np.abs(found.virial_eV - reference.virial_eV).max() / atoms.get_volume(),
            )
        )
    energy, force, stress = np.max(differences, axis=0)  # unlike max(), it lets NaN through
    return float(energy), float(force), float(stress)


def format_configuration(graph: Graph, reference: Prediction, tolerance_eV_A: float) -> str:
    """Return a configuration and its forces as text that the pair style replays at load."""
    lines = [f"{len(graph.types)} {graph.edge_index.shape[1]} {tolerance_eV_A:.17g}"]
    lines.append(" ".join(str(int(one)) for one in graph.types))
    for (centre, neighbor), vector in zip(graph.edge_index.T, graph.edge_vectors_A, strict=True):
        lines.append(f"{centre} {neighbor} " + " ".join(f"{x:.17g}" for x in vector))
    lines.append(f"{reference.energy_eV:.17g}")
    lines += [" ".join(f"{x:.17g}" for x in force) for force in reference.forces_eV_A]
    return "\n".join(lines) + "\n"


def parse_configuration(text: str) -> tuple[Graph, float, np.ndarray, float]:
    """Return graph, energy (eV), forces (N, 3) (eV/Å) and tolerance (eV/Å) of such text."""
    words = text.split()
    n_atoms, n_edges, tolerance = int(words[0]), int(words[1]), float(words[2])
    types = np.array(words[3 : 3 + n_atoms], dtype=np.int64)
    start = 3 + n_atoms
    edges = np.array(words[start : start + 5 * n_edges], dtype=float).reshape(n_edges, 5)
    rest = np.array(words[start + 5 * n_edges :], dtype=float)
    graph = Graph(types, edges[:, :2].T.astype(np.int64), np.zeros((n_edges, 3)), edges[:, 2:])
    return graph, float(rest[0]), rest[1:].reshape(n_atoms, 3), tolerance


def model_info(path: Path | str) -> dict[str, Any]:
    """Read what a deployed model says of itself, without torch.

    Numbers are numbers, ``type_names`` a list, ``cutoff_A`` is nequip's ``r_max``; of the
    test configuration only the number of atoms is kept, as ``test_atoms``.
    """
    texts = _extra_files(Path(path))
    if "tempermd_format" not in texts:
        raise UserError(f"{path}: compiled by nequip, not by deploy-model; deploy it with us")
    if texts["tempermd_format"] != FORMAT_VERSION:
        raise UserError(
            f"{path}: format {texts['tempermd_format']}, this tempermd reads {FORMAT_VERSION}; "
            "deploy the checkpoint anew"
        )
    info: dict[str, Any] = dict(texts)
    info["cutoff_A"] = float(info.pop("r_max"))
    info["type_names"] = texts["type_names"].split()
    info["num_layers"] = int(texts["num_layers"])
    info["num_types"] = int(texts["num_types"])
    info["versions"] = json.loads(texts["versions"])
    info["test_atoms"] = int(info.pop("test_configuration").split()[0])
    return info


def _extra_files(path: Path) -> dict[str, str]:
    """Return the extra files of a TorchScript archive as text."""
    if not path.is_file():
        raise UserError(f"{path}: no such model file")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.split("/")[1:2] == ["extra"]]
            texts = {name.split("/", 2)[2]: archive.read(name).decode("ascii") for name in names}
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UserError(f"{path}: truncated, or no deployed model ({error})") from None
    missing = {"r_max", "type_names", "num_types", "model_dtype"} - set(texts)
    if missing:
        raise UserError(f"{path}: not a deployed model (no {', '.join(sorted(missing))} inside)")
    return texts


def load_deployed(path: Path | str, device: str = "cpu") -> tuple[torch.nn.Module, dict[str, Any]]:
    """Load a deployed model, warm it up and replay its test configuration.

    Returns
    -------
    tuple
        The scripted model (energy only) and ``model_info(path)``.
    """
    checked_device(device)
    model, info = _load(Path(path), device)
    text = _extra_files(Path(path))["test_configuration"]
    graph, energy_eV, forces_eV_A, tolerance = parse_configuration(text)
    for _ in range(WARM_UP_CALLS):
        found = predict(model, graph, device)
    difference = float(np.abs(found.forces_eV_A - forces_eV_A).max())
    energy_difference = abs(found.energy_eV - energy_eV) / len(graph.types)
    # an energy error of tolerance x 1 Å per atom would be as odd as such a force error
    if not max(difference, energy_difference) <= tolerance:
        raise UserError(
            f"{path}: the model does not give its own test configuration's forces (off by "
            f"{difference:.2g} eV/Å, allowed {tolerance:.2g}); the file is damaged or was made "
            "for other versions: deploy the checkpoint anew"
        )
    return model, info


def _load(path: Path, device: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    import torch

    info = model_info(path)
    try:
        with torchscript_deprecation_known():
            # a frozen model warms up ten times faster than a loaded one, and runs alike
            model = torch.jit.freeze(torch.jit.load(str(path), map_location=device))
    except RuntimeError as error:
        raise UserError(f"{path}: torch cannot read the model ({first_line(error)})") from None
    return model, info


def calculator(path: Path | str, device: str = "cpu") -> Any:
    """Return an ASE calculator of a deployed model: energy, energies, forces, stress.

    Example
    -------
    >>> atoms.calc = calculator("carbon.nequip.pth")
    >>> atoms.get_forces()  # (N, 3), eV/Å
    """
    from ase.calculators.calculator import Calculator, all_changes

    model, info = load_deployed(path, device)

    class DeployedCalculator(Calculator):
        """Energy and its derivatives from one deployed model."""

        implemented_properties: ClassVar[list[str]] = [
            "energy",
            "energies",
            "forces",
            "stress",
            "free_energy",
        ]

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: tuple[str, ...] = ("energy",),
            system_changes: list[str] = all_changes,
        ) -> None:
            super().calculate(atoms, list(properties), system_changes)
            graph = build_graph(self.atoms, info["type_names"], info["cutoff_A"])
            found = predict(model, graph, device)
            self.results = {
                "energy": found.energy_eV,
                "free_energy": found.energy_eV,
                "energies": found.atomic_energies_eV,
                "forces": found.forces_eV_A,
            }
            if self.atoms.cell.rank == 3:
                stress = -found.virial_eV / self.atoms.get_volume()
                self.results["stress"] = stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]

    return DeployedCalculator()
