"""Operators of ML programs that sum: convolutions, matrix products, norms, pools, reductions.

Semantics: the published MIL reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from vera_mobile.export.mil.arguments import Arguments
from vera_mobile.export.mil.elementwise import Operator

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_LARGEST = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _padding(a: Arguments, window: list[int], strides: list[int], sizes: list[int]) -> list[int]:
    """[before, after] per spatial axis, in this order."""
    kind, axes = a.text("pad_type", "valid"), len(window)
    if kind == "custom":
        return a.ints("pad", [0] * (2 * axes))
    if kind == "valid":
        return [0] * (2 * axes)
    if kind not in ("same", "same_lower"):
        raise a.wrong(f"pad_type '{kind}' is unknown")
    pads = []
    for extent, step, size in zip(window, strides, sizes, strict=True):
        total = max(0, (-(-size // step) - 1) * step + extent - size)
        less, more = total // 2, total - total // 2
        pads += [less, more] if kind == "same" else [more, less]
    return pads


def _reversed_pairs(pads: list[int]) -> list[int]:
    """As F.pad takes them: last axis first."""
    pairs = [pads[i : i + 2] for i in range(0, len(pads), 2)]
    return [value for pair in reversed(pairs) for value in pair]


def _conv(a: Arguments) -> Tensor:
    x, weight, bias = a["x"], a["weight"], a.get("bias")
    axes = x.dim() - 2
    strides, dilations = a.ints("strides", [1] * axes), a.ints("dilations", [1] * axes)
    window = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    pads = _padding(a, window, strides, list(x.shape[2:]))
    padding: list[int] = pads[::2]
    if pads[::2] != pads[1::2]:
        x, padding = F.pad(x, _reversed_pairs(pads)), [0] * axes
    convolve: Callable[..., Tensor] = _CONVOLVE[axes]
    return convolve(x, weight, bias, strides, padding, dilations, a.integer("groups", 1))


def _conv_transpose(a: Arguments) -> Tensor:
    x, weight, bias = a["x"], a["weight"], a.get("bias")
    axes = x.dim() - 2
    strides, dilations = a.ints("strides", [1] * axes), a.ints("dilations", [1] * axes)
    if a.text("pad_type", "valid") not in ("valid", "custom"):
        raise a.wrong("pad_type 'same' of a transposed convolution is not evaluated")
    pads = _padding(a, list(weight.shape[2:]), strides, list(x.shape[2:]))
    convolve: Callable[..., Tensor] = _TRANSPOSED[axes]
    full = convolve(x, weight, bias, strides, 0, 0, a.integer("groups", 1), dilations)
    wanted = a.ints("output_shape", [])[-axes:] if "output_shape" in a else None
    for axis in range(axes):
        begin, end = pads[2 * axis : 2 * axis + 2]
        size = wanted[axis] if wanted else full.shape[axis + 2] - begin - end
        full = full.narrow(axis + 2, begin, size)
    return full


def _linear(a: Arguments) -> Tensor:
    return F.linear(a["x"], a["weight"], a.get("bias"))


def _matmul(a: Arguments) -> Tensor:
    x, y = a["x"], a["y"]
    if a.flag("transpose_x", False):
        x = x.transpose(-1, -2)
    if a.flag("transpose_y", False):
        y = y.transpose(-1, -2)
    return torch.matmul(x, y)


def _attention(a: Arguments) -> Tensor:
    query, key, value, mask = a["query"], a["key"], a["value"], a.get("attn_mask")
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, float("-inf"))
    elif mask is not None:
        scores = scores + mask
    return torch.softmax(scores, -1) @ value


def _einsum(a: Arguments) -> Tensor:
    return torch.einsum(a.text("equation"), *a.many("values"))


def _layer_norm(a: Arguments) -> Tensor:
    x = a["x"]
    axes = sorted(axis % x.dim() for axis in a.ints("axes", list(range(x.dim()))))
    centred = x - x.mean(axes, keepdim=True)
    scaled = centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + _epsilon(a))
    shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.dim())]
    gamma, beta = a.get("gamma"), a.get("beta")
    scaled = scaled if gamma is None else scaled * gamma.reshape(shape)
    return scaled if beta is None else scaled + beta.reshape(shape)


def _batch_norm(a: Arguments) -> Tensor:
    return F.batch_norm(
        a["x"], a["mean"], a["variance"], a.get("gamma"), a.get("beta"), eps=_epsilon(a)
    )


def _instance_norm(a: Arguments) -> Tensor:
    return F.instance_norm(a["x"], weight=a.get("gamma"), bias=a.get("beta"), eps=_epsilon(a))


def _l2_norm(a: Arguments) -> Tensor:
    x = a["x"]
    axes = list(range(max(0, x.dim() - 3), x.dim()))
    return x * torch.rsqrt(x.square().sum(axes, keepdim=True) + a.number("epsilon", 1e-6))


def _epsilon(a: Arguments) -> float:
    return a.number("epsilon", 1e-5)


def _softmax(a: Arguments) -> Tensor:
    return torch.softmax(a["x"], a.integer("axis", -1))


def _pool(a: Arguments, largest: bool) -> Tensor:
    x, window = a["x"], a.ints("kernel_sizes")
    axes = len(window)
    if a.flag("ceil_mode", False):
        raise a.wrong("pools with ceil_mode are not evaluated")
    strides = a.ints("strides", [1] * axes)
    pads = _padding(a, window, strides, list(x.shape[2:]))
    if largest:
        padded = F.pad(x, _reversed_pairs(pads), value=float("-inf"))
        pick: Callable[..., Tensor] = _LARGEST[axes]
        return pick(padded, window, strides)
    average: Callable[..., Tensor] = _AVERAGE[axes]
    mean = average(F.pad(x, _reversed_pairs(pads)), window, strides)
    if not a.flag("exclude_padding_from_average", False) or not any(pads):
        return mean
    inside = F.pad(torch.ones_like(x[:1, :1]), _reversed_pairs(pads))
    return mean / average(inside, window, strides)


def _reduction(compute: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def reduce(a: Arguments) -> Tensor:
        x = a["x"]
        axes = a.ints("axes", list(range(x.dim())))
        return compute(x, axes, a.flag("keep_dims", False))

    return reduce


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _place_of(compute: Callable[..., Tensor]) -> Operator:
    def find(a: Arguments) -> Tensor:
        return compute(a["x"], a.integer("axis", -1), keepdim=a.flag("keep_dims", False))

    return find


def _cumsum(a: Arguments) -> Tensor:
    x, axis = a["x"], a.integer("axis", 0)
    backwards = a.flag("reverse", False)
    x = x.flip(axis) if backwards else x
    total = x.cumsum(axis)
    total = total - x if a.flag("exclusive", False) else total
    return total.flip(axis) if backwards else total


def _topk(a: Arguments) -> tuple[Tensor, ...]:
    x, axis = a["x"], a.integer("axis", -1)
    values, places = torch.topk(x, a.integer("k", 1), axis, largest=not a.flag("ascending", False))
    both = (values, places)
    return both if a.flag("return_indices", True) else (values,)


def _argsort(a: Arguments) -> Tensor:
    return torch.argsort(
        a["x"], dim=a.integer("axis", -1), descending=not a.flag("ascending", False), stable=True
    )


PRODUCTS: Mapping[str, Operator] = MappingProxyType(
    {
        "conv": _conv,
        "conv_transpose": _conv_transpose,
        "linear": _linear,
        "matmul": _matmul,
        "einsum": _einsum,
        "scaled_dot_product_attention": _attention,
        "layer_norm": _layer_norm,
        "batch_norm": _batch_norm,
        "instance_norm": _instance_norm,
        "l2_norm": _l2_norm,
        "softmax": _softmax,
        "avg_pool": lambda a: _pool(a, largest=False),
        "max_pool": lambda a: _pool(a, largest=True),
        "reduce_mean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
        "reduce_sum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
        "reduce_max": _reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
        "reduce_min": _reduction(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
        "reduce_prod": _reduction(_product),
        "reduce_l1_norm": _reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
        "reduce_l2_norm": _reduction(
            lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()
        ),
        "reduce_sum_square": _reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
        "reduce_log_sum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep).log()),
        "reduce_log_sum_exp": _reduction(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
        "reduce_argmax": _place_of(torch.argmax),
        "reduce_argmin": _place_of(torch.argmin),
        "cumsum": _cumsum,
        "topk": _topk,
        "argsort": _argsort,
    }
)
