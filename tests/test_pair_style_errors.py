"""What pair_style nequip refuses, and the sentence that says why."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import pytest
from ase.io import write

from pair_style_cases import Start, small_box, tube
from tempermd import lmp as lmp_room
from tempermd.deploy import FORMAT_VERSION


def test_nonfinite_energy_stops_and_names_atom_and_step(start: Start, make_model):
    atoms = tube()
    atoms.positions[9] = atoms.positions[4]
    with pytest.raises(Exception, match=r"not finite for atom \d+ at step 0"):
        start(atoms, make_model()).command("run 0")


# each case: the file it makes, and the sentence that must come
def missing(_: Path, folder: Path) -> Path:
    return folder / "nowhere.nequip.pth"


def a_folder(_: Path, folder: Path) -> Path:
    (folder / "folder.nequip.pth").mkdir()
    return folder / "folder.nequip.pth"


def empty(_: Path, folder: Path) -> Path:
    (folder / "empty.nequip.pth").touch()
    return folder / "empty.nequip.pth"


def not_torch(_: Path, folder: Path) -> Path:
    path = folder / "text.nequip.pth"
    path.write_text("this is no model\n")
    return path


def wrong_extension(model: Path, folder: Path) -> Path:
    return Path(shutil.copy(model, folder / "model.pth"))


def torchscript(folder: Path, extra: dict[str, str]) -> Path:
    """Write a scripted module that is no NequIP model, with these extra files."""
    import torch

    path = folder / "foreign.nequip.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path), _extra_files=extra)
    return path


def foreign(_: Path, folder: Path) -> Path:
    return torchscript(folder, {})


METADATA = {"r_max": "4.0", "type_names": "C", "units": "metal", "num_layers": "1"}


def of_the_future(_: Path, folder: Path) -> Path:
    return torchscript(folder, METADATA | {"tempermd_format": "99"})


def of_the_past(_: Path, folder: Path) -> Path:
    return torchscript(folder, METADATA | {"tempermd_format": "1"})


def in_other_units(_: Path, folder: Path) -> Path:
    return torchscript(folder, METADATA | {"tempermd_format": FORMAT_VERSION, "units": "real"})


def without_layers(_: Path, folder: Path) -> Path:
    extra = METADATA | {"tempermd_format": FORMAT_VERSION, "num_layers": "none"}
    return torchscript(folder, extra)


def with_too_few_cutoffs(_: Path, folder: Path) -> Path:
    extra = METADATA | {"tempermd_format": FORMAT_VERSION, "per_edge_type_cutoff": "4.0 3.0"}
    return torchscript(folder, extra)


def without_test_configuration(_: Path, folder: Path) -> Path:
    return torchscript(folder, METADATA | {"tempermd_format": FORMAT_VERSION})


def other_network(_: Path, folder: Path) -> Path:
    one_edge = "1 1 1e-5\n0\n0 0 1.0 0.0 0.0\n-1.0\n0.0 0.0 0.0\n"
    extra = METADATA | {"tempermd_format": FORMAT_VERSION, "test_configuration": one_edge}
    return torchscript(folder, extra)


def altered_weights(model: Path, folder: Path) -> Path:
    import torch

    path = folder / "altered.nequip.pth"
    extra = dict.fromkeys(
        ["r_max", "type_names", "num_types", "model_dtype", "tempermd_format", "num_layers"], ""
    ) | dict.fromkeys(["units", "versions", "checkpoint_sha256", "test_configuration"], "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(model), _extra_files=extra)
        with torch.no_grad():
            next(p for p in module.parameters() if p.numel() > 1).mul_(1.01)
        torch.jit.save(module, str(path), _extra_files=extra)
    return path


UNREADABLE = "not a readable TorchScript file, truncated or foreign"
BAD_FILES = [
    (missing, "does not exist or is not readable"),
    (a_folder, "it is a folder, expected a file made by deploy-model"),
    (empty, UNREADABLE),
    (not_torch, UNREADABLE),
    (wrong_extension, "wrong extension: expected NAME.nequip.pth"),
    (foreign, "not a file of a NequIP model"),
    (of_the_future, "tempermd_format is 99, this pair style reads 2; deploy"),
    (of_the_past, "tempermd_format is 1, this pair style reads 2; deploy"),
    (in_other_units, "units are 'real', expected 'metal'"),
    (without_layers, "num_layers is 'none', expected a positive number"),
    (with_too_few_cutoffs, "per_edge_type_cutoff has 2 numbers, expected 1"),
    (without_test_configuration, "test configuration is damaged"),
    (other_network, "torch stopped: "),
    (altered_weights, "forces differ from those recorded at deployment"),
]


@pytest.mark.parametrize(("make", "sentence"), BAD_FILES, ids=lambda v: getattr(v, "__name__", ""))
def test_bad_model_file(make, sentence: str, start: Start, make_model, tmp_path: Path):
    path = make(make_model(), tmp_path)
    with pytest.raises(Exception, match=sentence):
        start(small_box(), path)


@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        (["pair_coeff * * MODEL Si"], "Element Si is unknown to model .*, which knows: C"),
        (["pair_coeff * * MODEL C C"], "one element for each of the 1 atom types, got 2"),
        (["pair_coeff * * MODEL"], "one element for each of the 1 atom types, got 0"),
        (["pair_coeff 1 1 MODEL C"], r"\* \*"),
        (["pair_coeff * * MODEL NULL"], "every atom type to NULL"),
        (
            ["pair_style nequip 4.0"],
            "expects device, engine, radial, ghosts, committee or guard, got '4.0'",
        ),
        (
            ["pair_coeff * * MODEL C", "compute c all centroid/stress/atom NULL virial", "run 0"],
            "does not give centroid/stress/atom: .* heat flux .*; use stress/atom",
        ),
    ],
)
def test_bad_commands(commands: list[str], sentence: str, start: Start, make_model):
    instance = start(small_box(), None)
    with pytest.raises(Exception, match=sentence):
        instance.commands_list([one.replace("MODEL", str(make_model())) for one in commands])


def test_other_units_are_refused(start: Start, make_model):
    with pytest.raises(Exception, match=r"needs 'units metal' or 'units real', got 'units lj'"):
        start(small_box(), make_model(), before=["units lj"])


@pytest.mark.parametrize("units", ["lj", "si", "cgs", "electron", "micro", "nano"])
def test_units_without_a_conversion_are_refused(units: str, start: Start, make_model):
    with pytest.raises(Exception, match=rf"needs 'units metal'.*got 'units {units}'"):
        start(small_box(), make_model(), before=[f"units {units}"])


def test_atoms_without_ids_are_refused(start: Start, make_model):
    instance = lmp_room.lammps_instance()
    try:
        instance.commands_list(
            [
                "units metal",
                "atom_modify id no",
                "lattice diamond 3.57",
                "region box block 0 1 0 1 0 1",
                "create_box 1 box",
                "create_atoms 1 box",
                "mass 1 12.011",
                "pair_style nequip",
                f"pair_coeff * * {make_model()} C",
            ]
        )
        with pytest.raises(Exception, match="needs atom IDs"):
            instance.command("run 0")
    finally:
        instance.close()


def test_foreign_file_with_nequips_metadata_fails_at_its_first_step(start: Start, tmp_path: Path):
    path = torchscript(tmp_path, {"r_max": "4.0", "type_names": "C", "num_types": "1"})
    instance = start(small_box(), path)
    with pytest.raises(Exception, match=r"foreign\.nequip\.pth failed at step 0: torch stopped: "):
        instance.command("run 0")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_truncated_model_file(share: float, start: Start, make_model, tmp_path: Path):
    content = make_model().read_bytes()
    path = tmp_path / "short.nequip.pth"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(Exception, match=UNREADABLE):
        start(small_box(), path)


def test_file_without_read_permission(start: Start, make_model, tmp_path: Path):
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    path = make_model(tmp_path)
    path.chmod(0)
    with pytest.raises(Exception, match="does not exist or is not readable"):
        start(small_box(), path)


def test_excluded_pairs_are_warned_of(make_model, tmp_path: Path):
    write(tmp_path / "box.data", small_box(), format="lammps-data", masses=True)
    (tmp_path / "in.exclude").write_text(
        f"units metal\nread_data box.data\npair_style nequip\npair_coeff * * {make_model()} C\n"
        "group some id 1 2\nneigh_modify exclude group some some\nrun 0\n"
    )
    result = lmp_room.run_process(["-in", "in.exclude"], tmp_path)
    assert result.exit_code == 0, result.stdout_tail
    assert "WARNING: neigh_modify exclude takes pairs out" in result.stdout_tail
