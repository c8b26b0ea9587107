"""Traced training steps against eager ones.

Without inductor, which takes minutes: that its kernels are right is checked at every compilation
(`compile_steps`), and by ``tests/bench/train_step.py``.
"""

from __future__ import annotations

import pytest

from training_cases import morse_frames


@pytest.fixture(scope="module", autouse=True)
def pretended_compiler():
    """A machine has a compiler or not; none is used here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempermd.training.compiled.has_compiler", lambda: True)
        yield


@pytest.fixture(scope="module")
def two_modules():
    """An eager and a compiled module of equal weights (double precision), and their frames."""
    from tempermd.training import DataSpec, ModelSpec, TrainingSpec, TrainSpec
    from tempermd.training.compiled import compile_steps
    from tempermd.training.data import FramesInMemory
    from tempermd.training.products import speed_up
    from tempermd.training.start import Start, build_module

    frames = FramesInMemory(morse_frames(9, 1), ["C"], 2.6)
    model = ModelSpec(
        type_names=["C"],
        cutoff_A=2.6,
        num_layers=1,
        num_features=2,
        radial_mlp_width=3,
        num_bessels=2,
        model_dtype="float64",
    )
    modules = []
    for compiled in (False, True):
        asked = TrainSpec(
            model=model,
            data=DataSpec(train="a", val="b"),
            training=TrainingSpec(max_epochs=1, seed=3),
        )
        config, module = build_module(Start(model, None, None), asked, frames, progress=False)
        module.log_dict = lambda *_: None
        speed_up(module.model)
        names = list(module.state_dict())
        if compiled:
            compile_steps(module, config, progress=False, backend="aot_eager")
            assert list(module.state_dict()) == names
            assert all(one.grad is None for one in module.parameters())
        modules.append(module)
    return (*modules, frames, config)


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3], [4], [0, 2, 5, 6, 7, 8, 1]])
def test_equals_the_eager_step(two_modules, numbers: list[int]) -> None:
    """Oracle: the eager model's loss, energies, forces and gradients; one structure included."""
    import torch
    from nequip.data import AtomicDataDict

    eager, compiled, frames, _ = two_modules
    batch = AtomicDataDict.batched_from_list([frames[number] for number in numbers])
    results = []
    for module in (eager, compiled):
        module.zero_grad(set_to_none=True)
        loss = module.training_step(dict(batch), 0)
        loss.backward()
        with torch.no_grad():
            found = module(dict(batch))
        gradients = [one.grad for one in module.parameters()]
        assert found["total_energy"].shape == (len(numbers), 1)
        results.append([loss.detach(), found["total_energy"], found["forces"], *gradients])
    assert len(results[0]) > 8
    for one, other in zip(*results, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.allclose(one.detach(), other.detach(), rtol=1e-10, atol=1e-12)
    assert results[0][2].abs().max() > 0.1


def test_refuses_a_wrong_compilation(two_modules, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose compiled forces are 1 % off is refused, and so is a machine without g++."""
    from tempermd.records import UserError
    from tempermd.training import compiled

    eager, _, _, config = two_modules
    (model,) = eager.model.values()

    class Wrong:
        def __init__(self, model, *_) -> None:
            self.right, self.model = type(model).forward, model

        def __call__(self, data):
            found = self.right(self.model, data)
            return found | {"forces": 1.01 * found["forces"]}

    monkeypatch.setattr(compiled, "CompiledForward", Wrong)
    try:
        with pytest.raises(UserError, match="other forces than the eager one"):
            compiled.compile_steps(eager, config, progress=False)
    finally:
        del model.forward
    monkeypatch.setattr(compiled, "has_compiler", lambda: False)
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        compiled.compile_steps(eager, config, progress=False)


def test_compiles_where_it_pays() -> None:
    from tempermd.training.compiled import pays

    assert pays(2000, 800.0)
    assert not pays(100, 800.0)
