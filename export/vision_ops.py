"""vera:: operators of the vision tower for torch.export, run by libvera in PyTorch too.

The ExecuTorch kernels are in kernels/executorch/vision_executorch.cc. PyTorch runs the same C
functions through ctypes, so a graph gives the same bytes before and after its export. Images are
float16 (1, H, W, C), C a multiple of 16; what the arguments hold: kernels/include/vera/vision.h.

A product is `weights` uint8 (blocks, groups, bytes of a group), `outputs` float32 (2, rows):
multipliers and biases, and sometimes `inverses` float32 (columns,), factors of its input. A
convolution per channel is one float32 tensor (parts * (kernel^2 + 1), C): the taps of
all parts, then their biases.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor

from vera_mobile.export.vision_pack import GROUP_BYTES
from vera_mobile.native import check_status, library

_SCHEMAS = {
    "vision_stem": "Tensor pixels, Tensor conv, Tensor depthwise, Tensor weights, Tensor inverses, "
    "Tensor outputs",
    "vision_down": "Tensor x, Tensor spatial, Tensor weights, Tensor inverses, Tensor outputs",
    "vision_depthwise": "Tensor x, Tensor filter",
    "vision_block": "Tensor x, Tensor mixer, Tensor codes, Tensor taps, Tensor expand, "
    "Tensor expand_outputs, Tensor reduce, Tensor reduce_inverses, Tensor reduce_outputs, "
    "int zero",
    "vision_attention": "Tensor x, Tensor norm, Tensor qkv, Tensor qkv_outputs, Tensor mix, "
    "Tensor mix_outputs, int head_dim, float eps",
    "vision_tokens": "Tensor x, Tensor expand, Tensor squeeze, Tensor squeeze_outputs, "
    "Tensor excite, Tensor excite_outputs, Tensor up, Tensor up_inverses, Tensor up_outputs, "
    "Tensor last, Tensor last_outputs",
}


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("rows", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("bits", ctypes.c_int32),
    )


class _Product(ctypes.Structure):
    _fields_ = (
        ("matrix", _Matrix),
        ("inverses", ctypes.c_void_p),
        ("zero", ctypes.c_float),
        ("multipliers", ctypes.c_void_p),
        ("biases", ctypes.c_void_p),
    )


class _Depthwise(ctypes.Structure):
    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("biases", ctypes.c_void_p),
        ("kernel", ctypes.c_int32),
        ("stride", ctypes.c_int32),
        ("multiplier", ctypes.c_int32),
    )


class _Stem(ctypes.Structure):
    _fields_ = (
        ("channels", ctypes.c_int32),
        ("weights", ctypes.c_void_p),
        ("biases", ctypes.c_void_p),
        ("depthwise", _Depthwise),
        ("pointwise", _Product),
    )


class _Down(ctypes.Structure):
    _fields_ = (("spatial", _Depthwise), ("pointwise", _Product))


class _Block(ctypes.Structure):
    _fields_ = (
        ("mixer", _Depthwise),
        ("inverses", ctypes.c_void_p),
        ("taps", ctypes.c_void_p),
        ("tap_multipliers", ctypes.c_void_p),
        ("tap_offsets", ctypes.c_void_p),
        ("expand", _Product),
        ("reduce", _Product),
    )


class _Attention(ctypes.Structure):
    _fields_ = (
        ("norm_weights", ctypes.c_void_p),
        ("norm_biases", ctypes.c_void_p),
        ("norm_eps", ctypes.c_float),
        ("head_dim", ctypes.c_int32),
        ("qkv", _Product),
        ("out", _Product),
    )


class _Tokens(ctypes.Structure):
    _fields_ = (
        ("expand", _Depthwise),
        ("squeeze", _Product),
        ("excite", _Product),
        ("up", _Product),
        ("out", _Product),
    )


@functools.cache
def register() -> torch.library.Library:
    """Makes torch.ops.vera.vision_stem, vision_down, vision_depthwise, vision_block,
    vision_attention and vision_tokens usable and exportable."""
    made = torch.library.Library("vera", "FRAGMENT")
    for name, arguments in _SCHEMAS.items():
        made.define(f"{name}({arguments}) -> Tensor")
        made.define(f"{name}.out({arguments}, *, Tensor(z!) out) -> Tensor(z!)")
        run, shape = _RUN[name], _SHAPES[name]
        made.impl(name, run, "CPU")
        made.impl(f"{name}.out", functools.partial(_run_out, run), "CPU")
        torch.library.register_fake(f"vera::{name}", shape, lib=made)
        torch.library.register_fake(f"vera::{name}.out", _out_shape, lib=made)
    return made


def _run_out(run: Any, *arguments: Any, out: Tensor) -> Tensor:
    return out.copy_(run(*arguments))


def _out_shape(*arguments: Any, out: Tensor) -> Tensor:
    return out


def _product(
    weights: Tensor, outputs: Tensor, columns: int, inverses: Tensor | None = None, zero: int = 0
) -> _Product:
    rows = outputs.shape[1]
    bits = {size: bits for bits, size in GROUP_BYTES.items()}[weights.shape[2]]
    scales = outputs.data_ptr()
    given = None if inverses is None else inverses.data_ptr()
    return _Product(
        _Matrix(weights.data_ptr(), rows, columns, bits), given, zero, scales, scales + 4 * rows
    )


def _depthwise(filters: Tensor, kernel: int, stride: int) -> _Depthwise:
    rows, channels = filters.shape
    parts = rows // (kernel * kernel + 1)
    biases = filters.data_ptr() + 4 * parts * kernel * kernel * channels
    return _Depthwise(filters.data_ptr(), biases, kernel, stride, parts)


def _row(table: Tensor, row: int) -> int:
    return int(table.data_ptr()) + 4 * row * table.shape[1]


def _call(
    name: str, layer: ctypes.Structure, x: Tensor, sizes: tuple[int, ...], out: Tensor
) -> Tensor:
    function = getattr(library(), f"vera_{name}_run")
    status = function(
        ctypes.byref(layer), ctypes.c_void_p(x.data_ptr()), *sizes, ctypes.c_void_p(out.data_ptr())
    )
    check_status(status, f"{name} for x {tuple(x.shape)}")
    return out


def _run_stem(
    pixels: Tensor, conv: Tensor, depthwise: Tensor, weights: Tensor, inverses: Tensor,
    outputs: Tensor,
) -> Tensor:  # fmt: skip
    channels, given = conv.shape[1], pixels.contiguous()
    stem = _Stem(
        channels,
        conv.data_ptr(),
        _row(conv, 27),
        _depthwise(depthwise, 3, 2),
        _product(weights, outputs, channels, inverses),
    )
    out = _stem_shape(pixels, conv, depthwise, weights, inverses, outputs)
    return _call("vision_stem", stem, given, (pixels.shape[3],), out)


def _run_down(
    x: Tensor, spatial: Tensor, weights: Tensor, inverses: Tensor, outputs: Tensor
) -> Tensor:
    down = _Down(_depthwise(spatial, 7, 2), _product(weights, outputs, len(inverses), inverses))
    out = _down_shape(x, spatial, weights, inverses, outputs)
    return _call("vision_down", down, x, tuple(x.shape[1:]), out)


def _run_depthwise(x: Tensor, filters: Tensor) -> Tensor:
    kernel = 3 if len(filters) == 10 else 7
    layer = _depthwise(filters, kernel, 1)
    return _call("vision_depthwise", layer, x, tuple(x.shape[1:]), torch.empty_like(x))


def _run_block(
    x: Tensor, mixer: Tensor, codes: Tensor, taps: Tensor, expand: Tensor, expand_outputs: Tensor,
    reduce: Tensor, reduce_inverses: Tensor, reduce_outputs: Tensor, zero: int,
) -> Tensor:  # fmt: skip
    block = _Block(
        _depthwise(mixer, 3, 1) if len(mixer) else _Depthwise(),
        _row(codes, 0),
        taps.data_ptr(),
        _row(codes, 1),
        _row(codes, 2),
        _product(expand, expand_outputs, x.shape[3]),
        _product(reduce, reduce_outputs, len(reduce_inverses), reduce_inverses, zero),
    )
    return _call("vision_block", block, x, tuple(x.shape[1:]), torch.empty_like(x))


def _run_attention(
    x: Tensor, norm: Tensor, qkv: Tensor, qkv_outputs: Tensor, mix: Tensor, mix_outputs: Tensor,
    head_dim: int, eps: float,
) -> Tensor:  # fmt: skip
    height, width, channels = x.shape[1:]
    attention = _Attention(
        _row(norm, 0),
        _row(norm, 1),
        eps,
        head_dim,
        _product(qkv, qkv_outputs, channels),
        _product(mix, mix_outputs, channels),
    )
    out = torch.empty_like(x)
    return _call("vision_attention", attention, x, (height * width, channels), out)


def _run_tokens(
    x: Tensor, expand: Tensor, squeeze: Tensor, squeeze_outputs: Tensor, excite: Tensor,
    excite_outputs: Tensor, up: Tensor, up_inverses: Tensor, up_outputs: Tensor, last: Tensor,
    last_outputs: Tensor,
) -> Tensor:  # fmt: skip
    features = excite_outputs.shape[1]
    tokens = _Tokens(
        _depthwise(expand, 3, 1),
        _product(squeeze, squeeze_outputs, features),
        _product(excite, excite_outputs, squeeze_outputs.shape[1]),
        _product(up, up_outputs, features, up_inverses),
        _product(last, last_outputs, up_outputs.shape[1]),
    )
    out = x.new_empty(1, x.shape[1] * x.shape[2], last_outputs.shape[1], dtype=torch.float32)
    return _call("vision_tokens", tokens, x, tuple(x.shape[1:]), out)


def _stem_shape(
    pixels: Tensor, conv: Tensor, depthwise: Tensor, weights: Tensor, inverses: Tensor,
    outputs: Tensor,
) -> Tensor:  # fmt: skip
    side = pixels.shape[3] // 4
    return pixels.new_empty(1, side, side, outputs.shape[1], dtype=torch.float16)


def _down_shape(
    x: Tensor, spatial: Tensor, weights: Tensor, inverses: Tensor, outputs: Tensor
) -> Tensor:
    return x.new_empty(1, x.shape[1] // 2, x.shape[2] // 2, outputs.shape[1])


def _same_shape(x: Tensor, *others: Any) -> Tensor:
    return torch.empty_like(x)


def _tokens_shape(x: Tensor, *others: Any) -> Tensor:
    return x.new_empty(1, x.shape[1] * x.shape[2], others[-1].shape[1], dtype=torch.float32)


_RUN: dict[str, Any] = {
    "vision_stem": _run_stem,
    "vision_down": _run_down,
    "vision_depthwise": _run_depthwise,
    "vision_block": _run_block,
    "vision_attention": _run_attention,
    "vision_tokens": _run_tokens,
}
_SHAPES: dict[str, Any] = {
    "vision_stem": _stem_shape,
    "vision_down": _down_shape,
    "vision_depthwise": _same_shape,
    "vision_block": _same_shape,
    "vision_attention": _same_shape,
    "vision_tokens": _tokens_shape,
}
