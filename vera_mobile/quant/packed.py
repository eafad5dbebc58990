"""Weights of 4 or 8 bits in the layout of our decoder kernel (kernels/include/vera/decoder.h)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vera_mobile.errors import InvalidArgument
from vera_mobile.native.decoder import quantize_groups

BLOCK = 16  # rows that lie together
_ROWS_AT_ONCE = 1 << 22  # weights looked at together, to bound memory


@dataclass(frozen=True)
class PackedMatrix:
    """weights uint8 (blocks, columns / 8 or / 4, 64); scales float16 (blocks, groups, 16) for 4
    bits, float32 (blocks, 16) for 8; rows: those that are meant, the last block may have more."""

    weights: Tensor
    scales: Tensor
    rows: int

    @property
    def bits(self) -> int:
        """4 or 8."""
        return 8 if self.scales.dim() == 2 else 4

    @property
    def columns(self) -> int:
        """Inputs of the matrix product."""
        return self.weights.shape[1] * (32 // self.bits)


def pack(
    weight: Tensor, bits: int, group: int = 32, importance: Tensor | None = None
) -> PackedMatrix:
    """The matrix (rows, columns) float in 4 bits with a scale per `group` columns, or in 8 bits
    with a scale per row (group is not used).

    importance: (columns,) mean square of each input, which weighs the rounding error; None: equal.
    Raises InvalidArgument for columns that are no multiple of group (4 bits) or of 32.
    """
    if bits not in (4, 8) or weight.dim() != 2:
        raise InvalidArgument(
            f"Packing {tuple(weight.shape)} in {bits} bits: use 4 or 8 bits, 2-D."
        )
    width = group if bits == 4 else 32
    if width < 32 or width % 32 or weight.shape[1] % width:
        raise InvalidArgument(
            f"A matrix of {weight.shape[1]} columns cannot have groups of {width}: use a multiple "
            "of 32 that divides the columns."
        )
    with torch.no_grad():
        if bits == 8:
            return _pack8(weight)
        weights = None if importance is None else importance.float().clamp_min(1e-12).numpy()
        codes, scales = quantize_groups(weight.detach().float().numpy(), group, weights)
        return pack_codes(torch.from_numpy(codes), torch.from_numpy(scales))


def pack_codes(codes: Tensor, scales: Tensor) -> PackedMatrix:
    """4-bit codes (rows, columns) in [-8, 7] and scales (rows, groups), packed."""
    rows, columns = codes.shape
    blocks = -(-rows // BLOCK)
    padded = torch.zeros((blocks * BLOCK, columns), dtype=torch.uint8)
    padded[:rows] = (codes + 8).to(torch.uint8)
    padded[rows:] = 8
    pairs = padded.view(blocks, BLOCK, columns // 8, 2, 4).permute(0, 2, 3, 1, 4)
    weights = pairs[:, :, 0] | (pairs[:, :, 1] << 4)
    lanes = torch.zeros((blocks * BLOCK, scales.shape[1]), dtype=torch.float16)
    lanes[:rows] = scales
    return PackedMatrix(
        weights.reshape(blocks, columns // 8, 64).contiguous(),
        lanes.view(blocks, BLOCK, -1).transpose(1, 2).contiguous(),
        rows,
    )


def unpack(packed: PackedMatrix) -> Tensor:
    """The matrix (rows, columns) float32 that the packed one stands for."""
    blocks, columns = packed.weights.shape[0], packed.columns
    if packed.bits == 8:
        lanes = packed.weights.view(blocks, columns // 4, BLOCK, 4).transpose(1, 2)
        codes = lanes.reshape(-1, columns).float() - 128
        return (codes * packed.scales.view(-1, 1))[: packed.rows]
    halves = torch.stack((packed.weights & 15, packed.weights >> 4), 2)
    lanes = halves.view(blocks, columns // 8, 2, BLOCK, 4).permute(0, 3, 1, 2, 4)
    codes = lanes.reshape(blocks * BLOCK, columns).float() - 8
    scales = packed.scales.transpose(1, 2).reshape(blocks * BLOCK, -1, 1).float()
    groups = codes.view(len(codes), scales.shape[1], -1)
    return (groups * scales).view(len(codes), columns)[: packed.rows]


def _pack8(weight: Tensor) -> PackedMatrix:
    rows, columns = weight.shape
    blocks = -(-rows // BLOCK)
    codes = torch.full((blocks * BLOCK, columns), 128, dtype=torch.uint8)
    scales = torch.zeros(blocks * BLOCK)
    for begin, end in _pieces(weight):
        part = weight[begin:end].detach().float()
        scale = part.abs().amax(1) / 127
        scales[begin:end] = scale
        safe = torch.where(scale > 0, scale, torch.ones_like(scale)).unsqueeze(1)
        codes[begin:end] = (torch.round(part / safe).clamp(-127, 127) + 128).to(torch.uint8)
    lanes = codes.view(blocks, BLOCK, columns // 4, 4).transpose(1, 2)
    return PackedMatrix(
        lanes.reshape(blocks, columns // 4, 64).contiguous(), scales.view(blocks, BLOCK), rows
    )


def _pieces(weight: Tensor) -> Iterator[tuple[int, int]]:
    rows = max(1, _ROWS_AT_ONCE // weight.shape[1])
    for begin in range(0, weight.shape[0], rows):
        yield begin, min(begin + rows, weight.shape[0])
