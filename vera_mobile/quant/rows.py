"""Embedding tables of 4 bits: two codes per byte, read row by row.

A table is only looked up, so what counts is its size and what each row loses, not products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vera_mobile.errors import InvalidArgument
from vera_mobile.quant.gptq import round_nearest

_OFFSET = 8  # codes -8..7 are kept as 0..15


@dataclass(frozen=True, eq=False)
class PackedRows:
    """packed: (R, C / 2) uint8, columns 0 .. C/2 - 1 in the low halves of the bytes and the others
    in the high halves; scales: (R, C / group) float16, one per `group` columns."""

    packed: Tensor
    scales: Tensor

    @property
    def size_bytes(self) -> int:
        """Bytes of packed codes and scales."""
        return self.packed.numel() + 2 * self.scales.numel()


def pack_rows(weight: Tensor, *, group_size: int = 32) -> PackedRows:
    """A table in 4 bits with the scales of the least squared error.

    weight: (R, C) float, C even; group_size: columns per scale, dividing C, 0 for one scale per
    row. Raises InvalidArgument for other sizes, for scales that float16 cannot hold and for values
    that are not finite.
    """
    if weight.dim() != 2 or weight.shape[1] % 2:
        raise InvalidArgument(f"Table of shape {tuple(weight.shape)}: use (R, C) with an even C.")
    if not torch.isfinite(weight).all():
        raise InvalidArgument("The table holds NaN or infinity: check the checkpoint.")
    rounded = round_nearest(weight, bits=4, group_size=group_size)
    scales = rounded.scales.to(torch.float16)
    if not torch.isfinite(scales).all() or (scales <= 0).any():
        raise InvalidArgument(
            f"Scales {rounded.scales.min():.3g}..{rounded.scales.max():.3g} do not fit float16: "
            "use 8 bits for this table."
        )
    parts = weight.detach().float().view(*scales.shape, -1)
    # rounded again: the codes belong to the scales as they are kept
    codes = (parts / scales.float()[..., None]).round().clamp(-_OFFSET, _OFFSET - 1)
    unsigned = (codes + _OFFSET).to(torch.uint8).view(weight.shape)
    low, high = unsigned.chunk(2, dim=1)
    return PackedRows(low + high * 16, scales)


def unpack_rows(rows: PackedRows, ids: Tensor | None = None) -> Tensor:
    """The rows `ids` (n,) int64, all by default, as (n, C) float32.

    Uses a look-up, products, floor and sums only, which every ExecuTorch build has.
    """
    packed = rows.packed if ids is None else rows.packed.index_select(0, ids)
    scales = rows.scales if ids is None else rows.scales.index_select(0, ids)
    pairs = packed.to(torch.float32)
    high = torch.floor(pairs * (1 / 16))
    codes = torch.cat((pairs - high * 16, high), dim=1) - _OFFSET
    groups = codes.view(codes.shape[0], scales.shape[1], -1)
    return (groups * scales.to(torch.float32).unsqueeze(-1)).view(codes.shape)


def row_errors(weight: Tensor, rows: PackedRows) -> dict[str, float]:
    """What packing costs: sqnr_db of the whole table and of its worst row, bits per weight."""
    signal = weight.detach().double().square().sum(1)
    noise = (weight.detach().double() - unpack_rows(rows).double()).square().sum(1)
    kept = signal > 0
    ratios = signal[kept] / noise[kept].clamp(min=torch.finfo(torch.float64).tiny)
    total = signal.sum() / noise.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return {
        "sqnr_db": float(10 * torch.log10(total)),
        "worst_row_sqnr_db": float(10 * torch.log10(ratios.min())) if kept.any() else 0.0,
        "bits_per_weight": 8 * rows.size_bytes / weight.numel(),
    }
