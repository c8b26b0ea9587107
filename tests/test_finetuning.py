"""The switches of fine-tuning: what each changes, leaves alone and refuses."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tempermd.records import UserError, read_record
from tempermd.training import (
    FineTuningSpec,
    Training,
    TrainSpec,
    evaluate,
    finetune,
    load_checkpoint,
    train,
)
from tempermd.training.finetuning import (
    ReplaySpec,
    parameter_groups,
    part_of,
    parts_from_output,
)
from tempermd.training.models import energy_shifts
from training_cases import morse_frames, residuals_eV_per_atom, shifted, write_case

QUIET = {"progress": False}
PARTS = ["embedding", "layer0", "layer1", "readout"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec, its data, and a finished training in ``out``."""
    folder = tmp_path_factory.mktemp("base")
    train(write_case(folder, max_epochs=60, learning_rate=0.03), folder / "out", **QUIET)
    return folder


def target_frames(shift_eV: float = 2.0) -> tuple[list, list, list]:
    return tuple(shifted(morse_frames(*one), shift_eV) for one in ((6, 4), (2, 5), (2, 6)))


def tune(
    base: Path,
    folder: Path,
    switches: dict[str, Any],
    frames: tuple[list, list, list] | None = None,
    **training: Any,
) -> Training:
    """Fine-tune the base's model with these switches; return what it reports."""
    spec = _with_switches(folder, switches, frames, **training)
    finetune(base / "out" / "best.ckpt", spec, folder / "out", **QUIET)
    return read_record(folder / "out" / "training.json", Training)


def _with_switches(
    folder: Path,
    switches: dict[str, Any],
    frames: tuple[list, list, list] | None = None,
    **training: Any,
) -> Path:
    """Write a spec of fine-tuning and its data; return the spec's path."""
    import tomli_w

    spec = write_case(folder, frames or target_frames(), **({"max_epochs": 2} | training))
    raw = tomllib.loads(spec.read_text()) | {"finetuning": switches}
    spec.write_text(tomli_w.dumps(raw))
    return spec


def weights_of(checkpoint: Path) -> dict[str, np.ndarray]:
    model = load_checkpoint(checkpoint)
    return {name: one.detach().numpy() for name, one in model.named_parameters()}


# --- reference energies ---------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["refit", "keep"])
def test_reference_energies(base: Path, tmp_path: Path, choice: str) -> None:
    """Oracle: what the labels lie above the parent's energies in the mean is added, or is not."""
    record = tune(base, tmp_path, {"reference_energies": choice}, learning_rate=1e-12)
    parent = load_checkpoint(base / "out" / "best.ckpt")
    tuned = load_checkpoint(tmp_path / "out" / "best.ckpt")
    rise_eV = energy_shifts(tuned)["C"] - energy_shifts(parent)["C"]
    if choice == "keep":
        assert rise_eV == 0
        assert record.reference_energies_from == "parent"
    else:
        above = residuals_eV_per_atom(parent, target_frames()[0]).mean()
        assert above > 1
        assert rise_eV == pytest.approx(above, abs=1e-5)
        assert record.reference_energies_from == "labels minus parent"


# --- parts of a model -----------------------------------------------------------------------


def test_every_weight_has_its_part(base: Path) -> None:
    """Oracle: nequip's modules, listed by hand for a model of two layers."""
    model = load_checkpoint(base / "out" / "best.ckpt")
    names = [name for name, _ in model.named_parameters()]
    assert parts_from_output(names) == PARTS[::-1]
    expected = {
        "model.func.type_embed.embed_module.weight": "embedding",
        "model.func.layer0_convnet.conv.linear_1.weight": "layer0",
        "model.func.layer1_convnet.conv.edge_mlp.mlp.0.weight": "layer1",
        "model.func.per_atom_energy_readout.mlp_module.mlp.0.weight": "readout",
    }
    assert expected.keys() <= set(names)
    assert {name: part_of(name) for name in expected} == expected
    assert part_of("model.func.bessel_encode.bessel_weights") == "embedding"
    assert parts_from_output([f"m.layer{n}_convnet.w" for n in range(11)])[0] == "layer10"


def test_rates_fall_towards_the_input(base: Path) -> None:
    model = load_checkpoint(base / "out" / "best.ckpt")
    groups = parameter_groups(model, 0.5)
    assert [one["name"] for one in groups] == PARTS[::-1]
    assert [one["rate_factor"] for one in groups] == [1, 0.5, 0.25, 0.125]
    assert sum(len(one["params"]) for one in groups) == len(list(model.parameters()))


def test_first_step_moves_each_part_by_its_rate(base: Path, tmp_path: Path) -> None:
    """Oracle: Adam's first step is its rate times the gradient's sign, whatever its size."""
    import torch

    decay, rate = 0.1, 1e-3
    frames = target_frames()[0][:1], *target_frames()[1:]
    one_step = {"max_epochs": 1, "learning_rate": rate, "warmup_steps": 0, "decay": "constant"}
    tune(base, tmp_path, {"layer_rate_decay": decay}, frames, ema_decay=0.0, **one_step)
    stored = torch.load(tmp_path / "out" / "last.ckpt", weights_only=False)
    groups = stored["optimizer_states"][0]["param_groups"]
    assert [one["lr"] for one in groups] == pytest.approx([rate * decay**k for k in range(4)])
    before = weights_of(base / "out" / "best.ckpt")
    for name, after in weights_of(tmp_path / "out" / "best.ckpt").items():
        k = PARTS[::-1].index(part_of(name))
        step = np.abs(after - before[name]).max()
        assert step == pytest.approx(rate * decay**k, rel=0.02), name


@pytest.mark.parametrize("frozen", [["embedding", "layer0"], ["layer1"], ["readout"]])
def test_frozen_parts_do_not_move(base: Path, tmp_path: Path, frozen: list[str]) -> None:
    """Frozen weights are the parent's to the bit, raw and averaged; all others move."""
    import torch

    tune(base, tmp_path, {"freeze": frozen, "layer_rate_decay": 0.7})
    before = weights_of(base / "out" / "best.ckpt")
    stored = torch.load(tmp_path / "out" / "last.ckpt", weights_only=False)["state_dict"]
    averaged = weights_of(tmp_path / "out" / "best.ckpt")
    for number, (name, weight) in enumerate(before.items()):
        raw = stored[f"model.sole_model.{name}"].numpy()
        mean = stored[f"ema.ema_weight_{number}"].numpy()
        for after in (raw, mean, averaged[name]):
            assert np.array_equal(after, weight) == (part_of(name) in frozen), name


@pytest.mark.parametrize(
    ("frozen", "named"),
    [
        (["layer2"], "no part layer2; its parts are embedding, layer0, layer1, readout"),
        (["head"], "no part head"),
        (PARTS, "nothing is left to train"),
    ],
)
def test_refuses_parts(base: Path, tmp_path: Path, frozen: list[str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        tune(base, tmp_path, {"freeze": frozen})
    assert not (tmp_path / "out").exists()  # the mended spec may take the same name


def test_switches_need_a_parent(tmp_path: Path) -> None:
    from tempermd.training import resolved_spec

    spec = resolved_spec(write_case(tmp_path))
    spec = spec.model_copy(update={"finetuning": FineTuningSpec(layer_rate_decay=0.5)})
    with pytest.raises(UserError, match="needs a parent"):
        train(spec, tmp_path / "out", **QUIET)


def test_checkpoint_needs_no_package_of_ours(base: Path, tmp_path: Path) -> None:
    """nequip alone opens what was trained with every switch: nothing in it names tempermd."""
    import pickle
    import zipfile

    tune(base, tmp_path, every_switch(base))
    with zipfile.ZipFile(tmp_path / "out" / "best.ckpt") as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/data.pkl"))
        text = archive.read(name)
    assert b"nequip.train" in text
    assert b"tempermd.training" not in text
    assert pickle.PROTO in text


def every_switch(base: Path) -> dict[str, Any]:
    replay = {"file": str(base / "train.xyz"), "fraction": 0.25, "weight": 0.5}
    replay["energy_weight"] = 0.1
    return {"layer_rate_decay": 0.5, "freeze": ["embedding"], "replay": replay}


# --- replay ---------------------------------------------------------------------------------


class ListFrames:
    """Stands in for frames whose tensors are given."""

    streamed = False

    def __init__(self, tensors: list) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, number: int) -> dict:
        return self.tensors[number]


def replayed_frames(
    n_new: int, n_replay: int, n_per_epoch: int, weights: tuple[float, float] = (1.0, 1.0)
) -> Any:
    import torch

    from tempermd.training.replay import ReplayedFrames

    def frame(energy_eV: float) -> dict:
        types = torch.tensor([0, 1, 1])
        return {"atom_types": types, "total_energy": torch.full((1, 1), energy_eV).double()}

    new = ListFrames([frame(float(one)) for one in range(n_new)])
    old = ListFrames([frame(100.0 + one) for one in range(n_replay)])
    return ReplayedFrames(new, old, {"H": 0.5, "C": -2.0}, weights, n_per_epoch)


def test_an_epoch_is_all_new_frames_and_some_replayed_ones() -> None:
    import torch

    frames = replayed_frames(4, 10, 6)
    generator = torch.Generator().manual_seed(0)
    assert frames.n_per_epoch == 10
    drawn = [frames.epoch_numbers(generator) for _ in range(30)]
    for numbers in drawn:
        assert numbers[:4] == [0, 1, 2, 3]
        assert len(set(numbers)) == 10
        assert all(4 <= one < 14 for one in numbers[4:])
    assert {one for numbers in drawn for one in numbers} == set(range(14))
    assert drawn[0] != drawn[1]
    again = torch.Generator().manual_seed(0)
    assert [frames.epoch_numbers(again) for _ in range(30)] == drawn


def test_few_replayed_frames_are_repeated_evenly() -> None:
    import torch

    numbers = replayed_frames(2, 3, 8).epoch_numbers(torch.Generator().manual_seed(1))
    counts = np.bincount(np.array(numbers[2:]) - 2)
    assert sorted(counts) == [2, 3, 3]


def test_only_replayed_energies_are_shifted() -> None:
    """Oracle: H C2 with 0.5 eV for H and -2 eV for C."""
    frames = replayed_frames(2, 2, 1)
    energies = [float(frames[number]["total_energy"]) for number in range(4)]
    assert energies == [0.0, 1.0, 96.5, 97.5]
    assert "frame_weight" not in frames[0]


def test_only_replayed_frames_have_other_weights() -> None:
    frames = replayed_frames(1, 1, 1, (0.5, 0.0))
    for name, old in (("frame_weight", 0.5), ("frame_energy_weight", 0.0)):
        assert [float(frames[number][name]) for number in range(2)] == [1.0, old]


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, (1.0, 1.0)), ({"weight": 0.5}, (0.5, 0.5)), ({"energy_weight": 0.0}, (1.0, 0.0))],
)
def test_energies_weigh_as_forces_unless_told(given: dict, found: tuple[float, float]) -> None:
    assert ReplaySpec(file="x", **given).weights == found


def test_weights_multiply_squared_errors(base: Path) -> None:
    """Oracle: the weighted means of the squared errors, by numpy."""
    import torch

    from tempermd.training.replay import weigh_frames
    from tempermd.training.specs import resolved_spec
    from tempermd.training.start import lightning_module, starting_point

    spec = resolved_spec(base / "spec.toml")
    start = starting_point(spec, base / "out" / "best.ckpt")
    module = lightning_module(start.parent_config, spec.training)
    weigh_frames(module)
    random = np.random.default_rng(0)
    sizes, weights, energy_weights = [2, 3], np.array([1.0, 0.25]), np.array([1.0, 0.0])
    energies, forces = random.normal(size=(2, 2, 1)), random.normal(size=(2, 5, 3))
    batch = np.repeat([0, 1], sizes)
    fixed = {
        "batch": torch.tensor(batch),
        "num_atoms": torch.tensor(sizes),
        "frame_weight": torch.tensor(weights).reshape(2, 1),
        "frame_energy_weight": torch.tensor(energy_weights).reshape(2, 1),
    }
    predicted, target = (
        {"total_energy": torch.tensor(e), "forces": torch.tensor(f)} | fixed
        for e, f in zip(energies, forces, strict=True)
    )
    found = float(module.loss(predicted, target)["weighted_sum"])
    per_atom = (energies[0] - energies[1])[:, 0] / sizes
    by_energy = (energy_weights * per_atom**2).mean()
    by_force = (weights[batch][:, None] * (forces[0] - forces[1]) ** 2).mean()
    assert found == pytest.approx(0.5 * by_energy + 0.5 * by_force, rel=1e-6)


@pytest.mark.parametrize("pseudo_labels", [False, True])
def test_replayed_energies_are_on_the_new_zero(
    base: Path, tmp_path: Path, pseudo_labels: bool
) -> None:
    """Oracle: replayed labels 5 eV/atom off anything get the mean of the parent's energies there.

    So it does not matter on which zero the labels of the replayed source are.
    """
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    old = morse_frames(5, 7)
    ase.io.write(tmp_path / "old.xyz", shifted(old, 5.0), format="extxyz")
    replay = {"file": str(tmp_path / "old.xyz"), "pseudo_labels": pseudo_labels, "n_frames": 4}
    record = tune(base, tmp_path / "t", {"replay": replay}, learning_rate=1e-12)
    assert (record.n_train, record.n_replay, record.n_replay_per_epoch) == (6, 4, 6)
    assert record.n_steps == 2 * 3  # 12 frames an epoch in batches of 4
    frames = _replay_of(base, tmp_path / "t" / "spec.toml", record.reference_energies_eV)
    moved_eV = [float(frames[6 + one]["total_energy"]) for one in range(4)]
    model = load_checkpoint(tmp_path / "t" / "out" / "best.ckpt")
    structures = list(frames.replayed.structures())
    for atoms, energy in zip(structures, moved_eV, strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    residuals = residuals_eV_per_atom(model, structures)
    assert np.mean(residuals) == pytest.approx(0.0, abs=1e-5)
    if pseudo_labels:
        np.testing.assert_allclose(residuals, 0, atol=1e-5)
    else:
        assert np.std(residuals) > 1e-4


def test_replay_of_a_streamed_set(base: Path, tmp_path: Path) -> None:
    """Oracle: the same frames in extxyz: the same draws, energies and forces."""
    from tempermd.dataset import LmdbWriter, write_structures

    old = morse_frames(6, 7)
    write_structures(tmp_path / "old.extxyz", old)
    with LmdbWriter(tmp_path / "old.lmdb", stress=False, energies=False) as writer:
        for atoms in old:
            writer.add(atoms)
    found = []
    for name in ("old.extxyz", "old.lmdb"):
        replay = {"file": str(tmp_path / name), "n_frames": 4}
        spec = _with_switches(tmp_path / name.replace(".", "_"), {"replay": replay})
        found.append(_replay_of(base, spec, {"C": -1.0}))
    in_memory, streamed = found
    assert streamed.streamed
    assert not in_memory.streamed
    assert len(in_memory) == len(streamed) == 6 + 4
    assert in_memory.shifts_eV["C"] == pytest.approx(streamed.shifts_eV["C"], abs=1e-6)
    for number in range(10):
        one, other = in_memory[number], streamed[number]
        for name in ("pos", "total_energy", "forces"):
            np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def _replay_of(base: Path, spec_path: Path, shifts_eV: dict[str, float]) -> Any:
    from tempermd.training.data import read_frames
    from tempermd.training.replay import with_replay
    from tempermd.training.specs import resolved_spec

    spec: TrainSpec = resolved_spec(spec_path)
    new = read_frames(spec.data.train, ["C"], 2.6)
    return with_replay(new, base / "out" / "best.ckpt", spec, shifts_eV, progress=False)


def other_frames(n_frames: int, seed: int) -> list:
    """Return rattled simple cubic cells of 8 atoms, labelled by another Morse potential."""
    from ase.build import bulk
    from ase.calculators.morse import MorsePotential
    from ase.calculators.singlepoint import SinglePointCalculator

    random = np.random.default_rng(seed)
    frames = []
    for number in range(n_frames):
        lattice_A = 1.75 * random.uniform(0.97, 1.05)
        atoms = bulk("C", "sc", a=lattice_A, cubic=True) * (2, 2, 2)
        atoms.rattle(0.08, seed=1000 * seed + number)
        atoms.calc = MorsePotential(epsilon=4.0, r0=1.7, rho0=4.0, rcut1=2.0, rcut2=2.5)
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    return frames


def test_replay_keeps_what_plain_fine_tuning_forgets(base: Path, tmp_path: Path) -> None:
    """Oracle: errors on the parent's own kind of structures, against the parent's there."""
    sets = other_frames(6, 4), other_frames(2, 5), other_frames(3, 6)
    general = morse_frames(8, 3)
    replay = {"replay": {"file": str(base / "train.xyz"), "fraction": 0.5}}
    budget = {"max_steps": 60, "learning_rate": 0.02}
    errors = {}
    for name, switches in (("plain", {}), ("replay", replay)):
        record = tune(base, tmp_path / name, switches, sets, **budget)
        assert record.n_steps == 60  # steps are steps, whoever's frames they are made of
        found = [tmp_path / name / "out" / "best.ckpt", general]
        errors[name] = evaluate(*found).force_rmse_eV_per_A, record.test.force_rmse_eV_per_A
    parent = base / "out" / "best.ckpt"
    old, new = (evaluate(parent, one).force_rmse_eV_per_A for one in (general, sets[2]))
    assert errors["plain"][0] > 2.5 * old
    assert errors["replay"][0] < 0.6 * errors["plain"][0]
    assert errors["replay"][0] < 2 * old
    assert errors["replay"][1] < 0.95 * new


def test_resumes_with_every_switch(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: the same training without a stop, weight for weight, replayed frames included."""
    from tempermd.training.callbacks import Interruptible

    switches = every_switch(base)
    tune(base, tmp_path / "whole", switches, max_epochs=4)
    with monkeypatch.context() as patch:
        patch.setattr(Interruptible, "wanted", lambda _, done: done == 5)
        with pytest.raises(UserError, match="interrupted"):
            tune(base, tmp_path / "broken", switches, max_epochs=4)
    tune(base, tmp_path / "broken", switches, max_epochs=4)
    whole, broken = (
        weights_of(tmp_path / one / "out" / "best.ckpt") for one in ("whole", "broken")
    )
    for name, weight in whole.items():
        np.testing.assert_array_equal(broken[name], weight)


def test_another_replay_file_is_another_training(base: Path, tmp_path: Path) -> None:
    import ase.io

    replay = {"replay": {"file": str(tmp_path / "old.xyz"), "n_frames": 2}}
    for seed in (7, 8):
        ase.io.write(tmp_path / "old.xyz", morse_frames(2, seed), format="extxyz")
        if seed == 7:
            tune(base, tmp_path / "t", replay, max_epochs=1)
    with pytest.raises(UserError, match="another spec, data or parent"):
        tune(base, tmp_path / "t", replay, max_epochs=1)
    (tmp_path / "old.xyz").unlink()
    with pytest.raises(UserError, match=r"old.xyz: no such file"):
        tune(base, tmp_path / "u", replay, max_epochs=1)


@pytest.mark.slow  # tracing the step
def test_compiled_steps_know_frozen_parts_and_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: the eager step's gradients, with frozen parts and weighted, replayed frames."""
    from nequip.data import AtomicDataDict

    from tempermd.training.compiled import compile_steps
    from tempermd.training.data import read_frames
    from tempermd.training.specs import resolved_spec
    from tempermd.training.start import build_module, starting_point

    monkeypatch.setattr("tempermd.training.compiled.has_compiler", lambda: True)
    spec = resolved_spec(_with_switches(tmp_path, every_switch(base)))
    start = starting_point(spec, base / "out" / "best.ckpt")
    new = read_frames(spec.data.train, ["C"], 2.6)
    gradients = []
    for compiled in (False, True):
        config, module = build_module(start, spec, new, progress=False)
        frames = _replay_of(base, tmp_path / "spec.toml", config["per_type_energy_shifts"])
        module.log_dict = lambda *_: None
        if compiled:
            compile_steps(module, config, progress=False, backend="aot_eager")
        batch = AtomicDataDict.batched_from_list([frames[number] for number in (0, 7, 3, 9)])
        assert batch["frame_weight"].reshape(-1).tolist() == [1, 0.5, 1, 0.5]
        energy_weights = batch["frame_energy_weight"].reshape(-1).tolist()
        assert energy_weights == pytest.approx([1, 0.1, 1, 0.1])
        module.training_step(batch, 0).backward()
        gradients.append({name: one.grad for name, one in module.model.named_parameters()})
    for name, eager in gradients[0].items():
        other = gradients[1][name]
        assert (eager is None) == (other is None) == (part_of(name) == "embedding"), name
        if eager is not None:
            scale = float(eager.abs().max())
            np.testing.assert_allclose(other, eager, atol=1e-3 * scale)


# --- several teachers -----------------------------------------------------------------------


def test_one_source_after_another(base: Path, tmp_path: Path) -> None:
    """Lineage names every ancestor; zeros of energy do not add up along the way.

    Oracle: with weights that do not move, references after two sources are those of the last
    source alone.
    """
    from tempermd.records import sha256_file

    still = {"max_epochs": 1, "learning_rate": 1e-12}
    middle = tune(base, tmp_path / "middle", {}, target_frames(3.0), **still)
    direct = tune(base, tmp_path / "direct", {}, target_frames(-2.0), **still)
    second_base = tmp_path / "middle"
    last = tune(second_base, tmp_path / "last", {}, target_frames(-2.0), **still)
    first, second = (sha256_file(one / "out" / "best.ckpt") for one in (base, second_base))
    assert middle.lineage == direct.lineage == [first]
    assert last.lineage == [second, first]
    assert last.inputs.parent_sha256 == second == middle.checkpoint_sha256
    one, other = (found.reference_energies_eV["C"] for found in (last, direct))
    assert one == pytest.approx(other, abs=1e-5)
    assert middle.reference_energies_eV["C"] == pytest.approx(other + 5, abs=1e-5)


def test_two_teachers_in_one_set(base: Path, tmp_path: Path) -> None:
    """Oracle: teachers that differ by their zero only agree on one scale, and are one teacher."""
    from tempermd.dataset import on_one_scale, reference_energies

    one, other = morse_frames(6, 4), shifted(morse_frames(6, 4), 5.0)
    for source, frames in (("nep", one), ("lcbop", other)):
        for atoms in frames:
            atoms.info["source"] = source
    references = reference_energies([*one, *other])
    aligned = on_one_scale([*one, *other], references, "nep")
    energies = np.array([atoms.calc.results["energy"] for atoms in aligned])
    np.testing.assert_allclose(energies[6:], energies[:6], atol=1e-9)
    still = {"max_epochs": 1, "learning_rate": 1e-12}
    rest = morse_frames(2, 5), morse_frames(2, 6)
    mixed = tune(base, tmp_path / "mixed", {}, (aligned[:3] + aligned[9:], *rest), **still)
    alone = tune(base, tmp_path / "alone", {}, (one, *rest), **still)
    references_eV = [found.reference_energies_eV["C"] for found in (mixed, alone)]
    assert references_eV[0] == pytest.approx(references_eV[1], abs=1e-6)


# --- the page -------------------------------------------------------------------------------


def test_the_page_shows_specs_that_are_read() -> None:
    """Every TOML block of the page is a table of fine-tuning, or a spec of a distillation."""
    import re

    from tempermd.distillation import DistilSpec

    page = Path(__file__).parents[1] / "docs" / "finetuning.md"
    blocks = re.findall(r"^```toml\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    tables = [tomllib.loads(block) for block in blocks]
    assert len(tables) == 2
    switches = FineTuningSpec.model_validate(tables[0]["finetuning"])
    assert set(tables[0]["finetuning"]) == set(FineTuningSpec.model_fields)
    assert switches.replay is not None
    assert DistilSpec.model_validate(tables[1]).model is not None
