"""GPTQ: weights rounded so that a layer's outputs, not its weights, stay near.

torchao has GPTQ for CUDA only and not for symmetric groups with 8-bit activations, hence this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vera_mobile.errors import InvalidArgument, ModelError

DAMPING = 0.01
_BLOCK = 128
# a smaller step clips the largest weights and rounds all others finer
_SHRINK = tuple(1.0 - 0.025 * i for i in range(21))


@dataclass(frozen=True, eq=False)
class Rounded:
    """Weights as codes and scales: weight[n, k] is about codes[n, k] * scales[n, k // group].

    codes: (N, K) int8 in [-2^(bits-1), 2^(bits-1) - 1]; scales: (N, K / group) float32, above 0.
    """

    codes: Tensor
    scales: Tensor

    def weight(self) -> Tensor:
        """(N, K) float32."""
        groups = self.codes.float().view(*self.scales.shape, -1)
        return (groups * self.scales[..., None]).view(self.codes.shape)


def gptq(
    weight: Tensor, moments: Tensor, *, bits: int, group_size: int, damping: float = DAMPING
) -> Rounded:
    """The weights of a linear layer rounded column by column; the error of each is made up for by
    the columns that are not rounded yet.

    weight: (N, K) float; moments: (K, K) float, the sum of x x^T over the layer's inputs x (see
    `vera_mobile.quant.calibrate`); group_size: weights per scale, dividing K, 0 for one scale per
    row; damping: share of the mean diagonal that is added to it. Scales of groups are bfloat16
    values, which is how XNNPACK keeps them. Source: arXiv 2210.17323, algorithm 1. Raises
    InvalidArgument for shapes that do not fit, ModelError for moments that are not finite. Cost:
    about K^3 + N K^2 multiply-adds in float64.
    """
    rows, columns = weight.shape
    group = group_size or columns
    _check(weight, moments, group, bits)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    left = weight.detach().double().clone()
    damped = _damped(moments.double(), damping)
    importance, upper = damped.diagonal() / damped.diagonal().max(), _inverse_factor(damped)
    codes = torch.empty(rows, columns, dtype=torch.int8)
    scales = torch.empty(rows, columns // group)
    scale = torch.ones(rows, 1, dtype=torch.float64)
    for begin in range(0, columns, _BLOCK):
        end = min(begin + _BLOCK, columns)
        errors = torch.zeros(rows, end - begin, dtype=torch.float64)
        for k in range(begin, end):
            if k % group == 0:
                part = slice(k, k + group)
                # groups wider than a block see the updates of earlier blocks only, as do their rows
                scale = _best_scales(left[:, part], importance[part], low, high, bool(group_size))
                scales[:, k // group] = scale[:, 0].float()
            code = (left[:, k : k + 1] / scale).round().clamp(low, high)
            codes[:, k] = code[:, 0].to(torch.int8)
            error = (left[:, k : k + 1] - code * scale) / upper[k, k]
            left[:, k:end] -= error * upper[k, k:end]
            errors[:, k - begin] = error[:, 0]
        left[:, end:] -= errors @ upper[begin:end, end:]
    return Rounded(codes, scales)


def round_nearest(weight: Tensor, *, bits: int, group_size: int) -> Rounded:
    """Each weight to its nearest code, with the scales that `gptq` would take: what calibration
    is measured against. Arguments as there."""
    rows, columns = weight.shape
    group = group_size or columns
    _check(weight, torch.eye(columns), group, bits)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    parts = weight.detach().double().view(rows * (columns // group), group)
    scale = _best_scales(parts, torch.ones(group).double(), low, high, bool(group_size))
    codes = (parts / scale).round().clamp(low, high).to(torch.int8)
    return Rounded(codes.view(rows, columns), scale.float().view(rows, -1))


def _best_scales(weight: Tensor, importance: Tensor, low: int, high: int, short: bool) -> Tensor:
    """(R, C) -> (R, 1): the scales of the least squared error, columns weighted by `importance`."""
    largest = torch.maximum(weight.amax(1, keepdim=True) / high, weight.amin(1, keepdim=True) / low)
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    best, least = largest, torch.full_like(largest, torch.inf)
    for share in _SHRINK:
        scale = largest * share
        if short:
            scale = scale.to(torch.bfloat16).double()
        gap = (weight / scale).round().clamp(low, high) * scale - weight
        cost = (gap.square() * importance).sum(1, keepdim=True)
        better = cost < least
        best, least = torch.where(better, scale, best), torch.where(better, cost, least)
    return best


def _damped(moments: Tensor, damping: float) -> Tensor:
    """Moments that can be inverted: an input that is always 0 counts as an average one."""
    diagonal = moments.diagonal()
    mean = diagonal.mean() if diagonal.any() else diagonal.new_ones(())
    return moments + torch.diag((diagonal == 0) * mean + damping * mean)


def _inverse_factor(damped: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse."""
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
        return torch.linalg.cholesky(inverse, upper=True)
    except torch.linalg.LinAlgError as error:
        raise ModelError(
            f"Calibration gave moments that cannot be inverted ({error}): use more photos."
        ) from error


def _check(weight: Tensor, moments: Tensor, group: int, bits: int) -> None:
    columns = weight.shape[-1]
    if weight.dim() != 2 or moments.shape != (columns, columns):
        raise InvalidArgument(
            f"Weights {tuple(weight.shape)} and moments {tuple(moments.shape)} do not fit: use "
            "(N, K) and (K, K)."
        )
    if not 2 <= bits <= 8 or columns % group:
        raise InvalidArgument(
            f"{bits} bits in groups of {group} not allowed for rows of {columns} weights: use 2..8 "
            "bits and a group that divides the row."
        )
    if not torch.isfinite(moments).all():
        raise ModelError("Calibration gave moments that are not finite: check the checkpoint.")
