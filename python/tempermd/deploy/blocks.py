"""Equivariant vectors ordered by component, and the maps between them.

A block of ``mul`` channels of an irrep of dimension d is stored as (d, mul), where e3nn stores
(mul, d), so that every product runs over contiguous channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class NotLayeredError(Exception):
    """The model has a part that the layered form does not know; export it as it is."""


@dataclass(frozen=True)
class Block:
    """Channels of one irrep in a vector ordered by component: shape (dim, mul) at ``offset``."""

    ir: Any
    mul: int
    offset: int

    @property
    def dim(self) -> int:
        return self.ir.dim

    @property
    def size(self) -> int:
        return self.dim * self.mul


def blocks_of(irreps: Any) -> list[Block]:
    """Return one block per irrep, in the order in which the irreps first come."""
    muls: dict[Any, int] = {}
    for mul, ir in irreps:
        muls[ir] = muls.get(ir, 0) + mul
    blocks, offset = [], 0
    for ir, mul in muls.items():
        blocks.append(Block(ir, mul, offset))
        offset += mul * ir.dim
    return blocks


def component_order(irreps: Any) -> list[int]:
    """Return, for each entry of the vector ordered by component, its index in e3nn's order."""
    order = []
    for block in blocks_of(irreps):
        for component in range(block.dim):
            for (mul, ir), part in zip(irreps, irreps.slices(), strict=True):
                if ir == block.ir:
                    order += [part.start + u * ir.dim + component for u in range(mul)]
    return order


def matrices_of(dense: Tensor, irreps_in: Any, irreps_out: Any) -> dict[Any, Tensor]:
    """Split an equivariant linear map, rows in, columns out, into one matrix per irrep.

    Schur's lemma: channels of one irrep mix alike in each component, and with no other irrep.
    """
    ordered = dense[component_order(irreps_in)][:, component_order(irreps_out)]
    rebuilt = torch.zeros_like(ordered)
    matrices = {}
    outs = {block.ir: block for block in blocks_of(irreps_out)}
    for block in blocks_of(irreps_in):
        if block.ir not in outs:
            continue
        out = outs[block.ir]
        rows, columns = (
            slice(block.offset, block.offset + block.size),
            slice(out.offset, out.offset + out.size),
        )
        shape = (block.dim, block.mul, out.dim, out.mul)
        matrix = ordered[rows, columns].reshape(shape)[0, :, 0, :].clone()
        eye = torch.eye(block.dim, dtype=dense.dtype)
        rebuilt[rows, columns] = torch.kron(eye, matrix)
        matrices[block.ir] = matrix
    if not torch.allclose(rebuilt, ordered, rtol=1e-5, atol=1e-6 * float(ordered.abs().max())):
        raise NotLayeredError("a linear map mixes irreps")
    return matrices


def channel_of(irreps: Any, index: int) -> tuple[Block, int]:
    """Return the block of the ``index``-th entry of ``irreps`` and its first channel in it."""
    ir = irreps[index].ir
    block = next(one for one in blocks_of(irreps) if one.ir == ir)
    return block, sum(mul for mul, other in irreps[:index] if other == ir)


@dataclass(frozen=True)
class Piece:
    """What a ``Mix`` writes next: channels of one irrep, one (in, mul) matrix per mixing number.

    No matrices: zeros.
    """

    ir: Any
    mul: int
    matrices: tuple[Tensor, ...]


class PieceMap(torch.nn.Module):
    """The linear map onto one piece: (N, in) -> (N, dim * mul)."""

    def __init__(self, piece: Piece, block: Block | None) -> None:
        super().__init__()
        self.empty = block is None
        self.offset = block.offset if block else 0
        self.dim, self.mul = piece.ir.dim, block.mul if block else 0
        self.size = piece.ir.dim * piece.mul
        self.n_mixing = len(piece.matrices)
        weight = torch.cat(piece.matrices) if block else torch.zeros(1, 1)
        self.weight = torch.nn.Parameter(weight.contiguous(), requires_grad=False)

    def forward(self, x: Tensor, mixing: Tensor) -> Tensor:
        n_atoms = x.size(0)
        if self.empty:
            return x.new_zeros(n_atoms, self.size)
        block = x.narrow(1, self.offset, self.dim * self.mul).reshape(n_atoms, self.dim, self.mul)
        if self.n_mixing > 1:
            # (N, dim, V, mul)
            block = block.unsqueeze(2) * mixing.view(n_atoms, 1, self.n_mixing, 1)
        rows = block.reshape(n_atoms * self.dim, self.weight.size(0))
        return rows.mm(self.weight).view(n_atoms, self.size)


class Mix(torch.nn.Module):
    """Linear maps of each irrep: (N, in) -> (N, out), weighted by V mixing numbers per atom.

    With matrices :math:`W_v` of an irrep, :math:`y = \\sum_v c_v\\, x W_v` for every component.
    """

    def __init__(self, irreps_in: Any, pieces: list[Piece]) -> None:
        super().__init__()
        inputs = {block.ir: block for block in blocks_of(irreps_in)}
        self.pieces = torch.nn.ModuleList(
            [PieceMap(one, inputs[one.ir] if one.matrices else None) for one in pieces]
        )

    def forward(self, x: Tensor, mixing: Tensor) -> Tensor:
        """``mixing`` has shape (N, V); it is not read where V is 1."""
        outputs = []
        for piece in self.pieces:
            outputs.append(piece(x, mixing))
        return torch.cat(outputs, 1)


class Activation(torch.nn.Module):
    """A nonlinearity of e3nn: a function times the number that keeps its second moment at 1."""

    def __init__(self, normalized: Any, mul: int) -> None:
        super().__init__()
        self.mul = mul
        names = {"silu": "silu", "tanh": "tanh", "abs": "abs", "shifted_softplus": "ssp"}
        function = getattr(normalized, "f", None)
        self.name = names.get(getattr(function, "__name__", ""), "")
        if not self.name:
            raise NotLayeredError(f"unknown nonlinearity {normalized}")
        self.factor = float(normalized.cst)

    def forward(self, x: Tensor) -> Tensor:
        if self.name == "silu":
            return torch.nn.functional.silu(x) * self.factor
        if self.name == "tanh":
            return torch.tanh(x) * self.factor
        if self.name == "abs":
            return torch.abs(x) * self.factor
        return (torch.nn.functional.softplus(x) - 0.6931471805599453) * self.factor
