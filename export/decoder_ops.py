"""vera:: operators of the packed decoder for torch.export, run by libvera in PyTorch too.

The ExecuTorch kernels are in kernels/executorch/decoder_executorch.cc. PyTorch runs the same C
functions through ctypes, so a graph gives the same bytes before and after its export.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vera_mobile.native import decoder as native
from vera_mobile.runtime import ALL_LOGITS, NO_LOGITS

_LAYER = (
    "Tensor x, Tensor start, Tensor attention_norm, Tensor qkv, Tensor qkv_scales, "
    "Tensor qkv_bias, Tensor output, Tensor output_scales, Tensor mlp_norm, Tensor gate_up, "
    "Tensor gate_up_scales, Tensor down, Tensor down_scales, Tensor cosines, Tensor sines, "
    "Tensor(a!) keys, Tensor(b!) values, float eps"
)
_SCHEMAS = {
    "decoder_layer": (_LAYER, "Tensor"),
    "embed": ("Tensor ids, Tensor table, Tensor scales, int rows", "Tensor"),
    "last_norm": ("Tensor x, Tensor weight, float eps", "Tensor"),
    "logits": (
        "Tensor hidden, Tensor wanted, Tensor table, Tensor scales, Tensor blocks, int rows",
        "Tensor",
    ),
}


@functools.cache
def register() -> torch.library.Library:
    """Makes torch.ops.vera.decoder_layer, embed, last_norm and logits usable and exportable."""
    library = torch.library.Library("vera", "FRAGMENT")
    for name, (arguments, result) in _SCHEMAS.items():
        library.define(f"{name}({arguments}) -> {result}")
        library.define(f"{name}.out({arguments}, *, Tensor(z!) out) -> Tensor(z!)")
        run: Any = _RUN[name]
        shape: Any = _SHAPES[name]
        library.impl(name, run, "CPU")
        library.impl(f"{name}.out", functools.partial(_run_out, run), "CPU")
        torch.library.register_fake(f"vera::{name}", shape, lib=library)
        torch.library.register_fake(f"vera::{name}.out", _out_shape, lib=library)
    return library


def _run_out(run: Any, *arguments: Any, out: Tensor) -> Tensor:
    return out.copy_(run(*arguments))


def _out_shape(*arguments: Any, out: Tensor) -> Tensor:
    return out


def _matrix(weights: Tensor, scales: Tensor, rows: int) -> native.Matrix:
    return native.Matrix(weights.numpy(), scales.numpy(), rows)


def _run_layer(
    x: Tensor, start: Tensor, attention_norm: Tensor, qkv: Tensor, qkv_scales: Tensor,
    qkv_bias: Tensor, output: Tensor, output_scales: Tensor, mlp_norm: Tensor, gate_up: Tensor,
    gate_up_scales: Tensor, down: Tensor, down_scales: Tensor, cosines: Tensor, sines: Tensor,
    keys: Tensor, values: Tensor, eps: float,
) -> Tensor:  # fmt: skip
    layer = native.Layer(
        attention_norm.numpy(),
        _matrix(qkv, qkv_scales, len(qkv_bias)),
        qkv_bias.numpy(),
        _matrix(output, output_scales, x.shape[2]),
        mlp_norm.numpy(),
        _matrix(gate_up, gate_up_scales, len(gate_up) * native.LANES),
        _matrix(down, down_scales, x.shape[2]),
        keys.numpy(),
        values.numpy(),
        cosines.numpy(),
        sines.numpy(),
        eps,
    )
    return torch.from_numpy(layer.run(x[0].numpy(), int(start)))[None]


def _run_embed(ids: Tensor, table: Tensor, scales: Tensor, rows: int) -> Tensor:
    return torch.from_numpy(native.rows(_matrix(table, scales, rows), ids[0].numpy()))[None]


def _run_last_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.from_numpy(native.rms_norm(x[0, -1].numpy(), weight.numpy(), eps))[None]


def _run_logits(
    hidden: Tensor, wanted: Tensor, table: Tensor, scales: Tensor, blocks: Tensor, rows: int
) -> Tensor:
    mode = int(wanted)
    if mode == NO_LOGITS:
        return torch.zeros(1, rows)
    some: np.ndarray | None = blocks.numpy()
    if mode == ALL_LOGITS or len(blocks) == len(table):
        some = None
    return torch.from_numpy(native.multiply(_matrix(table, scales, rows), hidden.numpy(), some))


def _layer_shape(x: Tensor, *others: Any) -> Tensor:
    return torch.empty_like(x)


def _embed_shape(ids: Tensor, table: Tensor, scales: Tensor, rows: int) -> Tensor:
    columns = table.shape[1] * (4 if scales.dim() == 2 else 8)
    return torch.empty(1, ids.shape[1], columns)


def _last_norm_shape(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x.new_empty(1, x.shape[2])


def _logits_shape(
    hidden: Tensor, wanted: Tensor, table: Tensor, scales: Tensor, blocks: Tensor, rows: int
) -> Tensor:
    return hidden.new_empty(1, rows)


_RUN = {
    "decoder_layer": _run_layer,
    "embed": _run_embed,
    "last_norm": _run_last_norm,
    "logits": _run_logits,
}
_SHAPES = {
    "decoder_layer": _layer_shape,
    "embed": _embed_shape,
    "last_norm": _last_norm_shape,
    "logits": _logits_shape,
}
