"""Weights of 8, 6 or 4 bits in the layout of our vision kernel (kernels/include/vera/vision.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from vera_mobile.errors import InvalidArgument

ROWS = 16  # that lie together
GROUP = 32  # columns that lie together, and share a multiplier where there are fewer than 8 bits
GROUP_BYTES = {8: 512, 6: 400, 4: 272}
# parts of the multiplier at which a group's largest weight is met exactly
_TRIED = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.75, 0.7)


def pack_rows(weight: Tensor, bits: int, importance: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The matrix (rows, columns) float as uint8 (blocks, groups, bytes) and a scale per row.

    importance: (columns,) mean square of each input, which weighs the rounding error of 6 and 4
    bits; None: equal. Raises InvalidArgument for other bits and rows that are no multiple of 16.
    """
    if bits not in GROUP_BYTES or weight.dim() != 2 or weight.shape[0] % ROWS:
        raise InvalidArgument(
            f"Packing {tuple(weight.shape)} in {bits} bits: use 8, 6 or 4 bits and a multiple of "
            f"{ROWS} rows."
        )
    values = weight.detach().float()
    largest = values.abs().amax(1).clamp_min(1e-20)
    if bits == 8:
        scales = largest / 127
        return _pieces(
            torch.round(values / scales[:, None]).to(torch.int8).view(torch.uint8)
        ), scales
    scales = largest / _reach(bits)
    codes, multipliers = _search(_groups(values / scales[:, None]), bits, importance)
    return _pack_codes(codes, multipliers, bits), scales


def unpack_rows(packed: Tensor, scales: Tensor, columns: int) -> Tensor:
    """The matrix (rows, columns) float32 that the packed one stands for."""
    bits = {size: bits for bits, size in GROUP_BYTES.items()}[packed.shape[2]]
    blocks, groups = packed.shape[:2]
    if bits == 8:
        pieces = packed.view(torch.int8).view(blocks, groups, 8, ROWS, 4)
        weights = pieces.permute(0, 3, 1, 2, 4).reshape(blocks * ROWS, -1).float()
    else:
        codes, multipliers = _unpack_codes(packed, bits)
        weights = decode(codes, multipliers, bits).reshape(blocks * ROWS, -1)
    return weights[:, :columns] * scales[:, None]


def decode(codes: Tensor, multipliers: Tensor, bits: int) -> Tensor:
    """Whole numbers that codes (..., 32) and multipliers (...) mean, as float."""
    return torch.floor(codes * multipliers[..., None] / 2**bits + 0.5)


def _reach(bits: int) -> float:
    """The largest weight, in the unit of the row's scale."""
    return float((255 * (2 ** (bits - 1) - 1)) >> bits)


def _groups(values: Tensor) -> Tensor:
    """(rows, columns) padded with zeros as (rows, groups, 32)."""
    padded = torch.nn.functional.pad(values, (0, -values.shape[1] % GROUP))
    return padded.view(len(values), -1, GROUP)


def _search(groups: Tensor, bits: int, importance: Tensor | None) -> tuple[Tensor, Tensor]:
    top = 2 ** (bits - 1) - 1
    weights = torch.ones_like(groups[0]) if importance is None else _groups(importance[None])[0]
    exact = groups.abs().amax(2) * 2**bits / top
    best = torch.full_like(exact, torch.inf)
    codes, multipliers = torch.zeros_like(groups), torch.ones_like(exact)
    for part in _TRIED:
        tried = torch.round(exact * part).clamp(1, 255)
        rounded = torch.round(groups * 2**bits / tried[..., None]).clamp(-top - 1, top)
        error = ((decode(rounded, tried, bits) - groups).square() * weights).sum(2)
        better = error < best
        best = torch.where(better, error, best)
        multipliers = torch.where(better, tried, multipliers)
        codes = torch.where(better[..., None], rounded, codes)
    return codes, multipliers


def _pieces(codes: Tensor) -> Tensor:
    """uint8 (rows, columns) as (blocks, groups, 8 pieces * 64): byte 4 * row + j is column j."""
    padded = torch.nn.functional.pad(codes, (0, -codes.shape[1] % GROUP))
    blocks = padded.view(len(codes) // ROWS, ROWS, -1, 8, 4).permute(0, 2, 3, 1, 4)
    return blocks.reshape(len(codes) // ROWS, -1, 512).contiguous()


def _pack_codes(codes: Tensor, multipliers: Tensor, bits: int) -> Tensor:
    rows, groups = multipliers.shape
    bytes_ = (codes.view(rows, -1) + 2 ** (bits - 1)).to(torch.uint8)
    pieces = _pieces(bytes_).view(rows // ROWS, groups, 8, 64)
    parts = [(pieces[:, :, 0::2] & 15 | (pieces[:, :, 1::2] & 15) << 4).flatten(2)]
    if bits == 6:
        upper = (pieces >> 4).view(rows // ROWS, groups, 2, 4, 64)
        first, second, third, fourth = upper.unbind(3)
        both = first | second << 2 | third << 4 | fourth << 6
        parts.append(both.flatten(2))
    lanes = multipliers.view(rows // ROWS, ROWS, groups).transpose(1, 2)
    return torch.cat((*parts, lanes.to(torch.uint8)), 2).contiguous()


def _unpack_codes(packed: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """codes (rows, groups, 32) and multipliers (rows, groups), float."""
    blocks, groups = packed.shape[:2]
    both = packed[:, :, :256].view(blocks, groups, 4, 64)
    pieces = torch.stack((both & 15, both >> 4), 3).view(blocks, groups, 8, 64)
    if bits == 6:
        upper = packed[:, :, 256:384].view(blocks, groups, 2, 1, 64)
        shifts = torch.arange(0, 8, 2, dtype=torch.uint8).view(4, 1)
        pieces = pieces | (((upper >> shifts) & 3) << 4).view(blocks, groups, 8, 64)
    codes = pieces.view(blocks, groups, 8, ROWS, 4).permute(0, 3, 1, 2, 4).float() - 2 ** (bits - 1)
    multipliers = packed[:, :, -ROWS:].transpose(1, 2).float()
    return codes.reshape(blocks * ROWS, groups, GROUP), multipliers.reshape(blocks * ROWS, groups)
