"""The contract of an AOTInductor file: its inputs and outputs, before and after compiling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# (2, E) int64; (E, 3) f64, Å; (N,) int64; (N, 1) f64, 1 for atoms whose energies count
INPUTS = ("edge_index", "edge_vectors", "atom_types", "local_mask")

# (N, 1) f64, eV; (E, 3) f64, eV/Å: derivative of the energy that counts by each edge vector
OUTPUTS = ("atomic_energy", "edge_gradients")


def gradient_module(model: torch.nn.Module) -> torch.nn.Module:
    """Return a module of these inputs and outputs around an energy-only model."""
    import torch

    class GradientModule(torch.nn.Module):
        """Energies, and the gradients of those that count."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self,
            edge_index: torch.Tensor,
            edge_vectors: torch.Tensor,
            atom_types: torch.Tensor,
            local_mask: torch.Tensor,
        ) -> tuple[torch.Tensor, torch.Tensor]:
            vectors = edge_vectors.detach().requires_grad_(True)
            inputs = {"edge_index": edge_index, "atom_types": atom_types, "edge_vectors": vectors}
            energies = self.model(inputs)["atomic_energy"]  # (N, 1)
            (gradients,) = torch.autograd.grad([(energies * local_mask).sum()], [vectors])
            return energies.detach(), gradients

    return GradientModule()


class CompiledModel:
    """A compiled model that can be called, and differentiated, like a scripted one.

    Parameters
    ----------
    package
        Takes ``INPUTS``, returns ``OUTPUTS``.
    cutoff_A
        The model's cutoff.
    """

    def __init__(self, package: Any, cutoff_A: float) -> None:
        self.package = package
        self.cutoff_A = cutoff_A
        self._function = _differentiable(self.evaluate)

    def __call__(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``atomic_energy`` (N, 1), differentiable by ``edge_vectors``."""
        order = (inputs["edge_vectors"], inputs["edge_index"], inputs["atom_types"])
        return {"atomic_energy": self._function.apply(*order)}

    def evaluate(
        self,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        atom_types: torch.Tensor,
        local_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return atomic energies (N, 1) and gradients of those that count (E, 3)."""
        n_atoms, n_edges = len(atom_types), len(edge_vectors)
        arguments = (edge_index, edge_vectors, atom_types, local_mask)
        if n_atoms < 2 or n_edges < 2:
            arguments = self._with_a_pair_far_away(*arguments)
        energies, gradients = self.package(*(one.detach().contiguous() for one in arguments))
        return energies[:n_atoms], gradients[:n_edges]

    def _with_a_pair_far_away(
        self,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        atom_types: torch.Tensor,
        local_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Append two atoms that do not count, since less than two of a kind is not compiled."""
        import torch

        n_atoms = len(atom_types)
        vector = edge_vectors.new_tensor([[2 * self.cutoff_A, 0.0, 0.0]])
        index = edge_index.new_tensor([[n_atoms, n_atoms + 1], [n_atoms + 1, n_atoms]])
        return (
            torch.cat([edge_index, index], dim=1),
            torch.cat([edge_vectors, vector, -vector]),
            torch.cat([atom_types, atom_types.new_zeros(2)]),
            torch.cat([local_mask, local_mask.new_zeros(2, 1)]),
        )


def _differentiable(evaluate: Any) -> Any:
    """Return an autograd function of energies: a mask is what its backward pass asks for."""
    import torch

    class Energies(torch.autograd.Function):
        """Atomic energies as a function of edge vectors."""

        @staticmethod
        def forward(
            context: Any, vectors: torch.Tensor, index: torch.Tensor, types: torch.Tensor
        ) -> torch.Tensor:
            ones = vectors.new_ones(len(types), 1)
            energies, gradients = evaluate(index, vectors, types, ones)
            context.save_for_backward(vectors, index, types, gradients)
            return energies

        @staticmethod
        def backward(context: Any, weights: torch.Tensor) -> tuple:
            vectors, index, types, gradients = context.saved_tensors
            if not bool((weights == 1).all()):
                _, gradients = evaluate(index, vectors, types, weights)
            return gradients, None, None

    return Energies
