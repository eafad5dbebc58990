"""Constants of ML programs: plain, quantized, from palettes, sparse.

Semantics as in the published operator reference (constexpr_* of the iOS 16 and iOS 18 sets). Each
function takes an operator's arguments and gives the dense constant; floats are float32, unrounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from vera_mobile.export.mil.arguments import Arguments
from vera_mobile.export.mil.types import BY_NAME, unpack


def _const(a: Arguments) -> Tensor | str:
    return a.value("val")


def _spread(values: Tensor, shape: torch.Size) -> Tensor:
    """Values per block, one for each element of `shape`."""
    for axis, (count, size) in enumerate(zip(values.shape, shape, strict=True)):
        if size % count:
            raise ValueError(f"{count} blocks along axis {axis} of {size} elements")
        if count not in (1, size):
            values = values.repeat_interleave(size // count, axis)
    return values


def _blockwise_shift_scale(a: Arguments) -> Tensor:
    data, scale, offset = a["data"].float(), a["scale"].float(), a.get("offset")
    if offset is not None:
        data = data - _spread(offset.float(), data.shape)
    return data * _spread(scale, data.shape)


def _affine_dequantize(a: Arguments) -> Tensor:
    data = a["quantized_data"].float()
    along = [1] * data.dim()
    along[a.integer("axis", 0)] = -1

    def per_channel(values: Tensor) -> Tensor:
        return values.float().reshape(along) if values.dim() else values.float()

    return (data - per_channel(a["zero_point"])) * per_channel(a["scale"])


def _lut_to_dense(a: Arguments) -> Tensor:
    if "shape" in a:
        return _packed_lut(a)
    indices, lut = a["indices"].long(), a["lut"]
    tables, vector = lut.shape[:-2], lut.shape[-1]
    if len(tables) != indices.dim():
        raise ValueError(f"table of rank {lut.dim()} for places of rank {indices.dim()}")
    numbers = torch.arange(math.prod(tables)).reshape(tables)
    flat = lut.reshape(-1, *lut.shape[-2:])
    # table number and place in one index: a pair of index tensors takes twice the memory
    dense = flat.reshape(-1, vector)[_spread(numbers, indices.shape) * lut.shape[-2] + indices]
    if vector == 1:
        return dense.squeeze(-1)
    axis = a.integer("vector_axis") % indices.dim()
    moved = dense.movedim(-1, axis + 1)
    return moved.flatten(axis, axis + 1)


def _packed_lut(a: Arguments) -> Tensor:
    lut, shape = a["lut"], a.ints("shape")
    bits = int(math.log2(lut.numel()))
    kind = next(one for one in BY_NAME.values() if one.name == f"uint{bits}")
    raw = a["indices"].numpy().tobytes()
    indices = unpack(raw, kind, math.prod(shape)).astype(np.int64)
    return lut[torch.from_numpy(indices)].reshape(shape)


def _sparse_to_dense(a: Arguments) -> Tensor:
    data, mask = a["nonzero_data"], a["mask"]
    if "shape" in a:
        shape = a.ints("shape")
        bits = unpack(mask.numpy().tobytes(), BY_NAME["uint1"], math.prod(shape))
        mask = torch.from_numpy(bits.reshape(shape))
    dense = torch.zeros(mask.shape, dtype=data.dtype)
    dense[mask.bool()] = data
    return dense


def _cast(a: Arguments) -> Tensor:
    return a["source_val"].to(a.dtype())


CONSTANTS: Mapping[str, Callable[[Arguments], Tensor | str]] = MappingProxyType(
    {
        "const": _const,
        "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
        "constexpr_affine_dequantize": _affine_dequantize,
        "constexpr_lut_to_dense": _lut_to_dense,
        "constexpr_sparse_to_dense": _sparse_to_dense,
        "constexpr_cast": _cast,
    }
)
