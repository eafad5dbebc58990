"""The decoder as a MIL program, written operator by operator.

By hand and not from a trace: the weights go into the file as they are packed (a trace carries 2 GB
of floats through some 60 passes), every step is known to fit half floats, and the cache is written
the way that the chosen compute unit can do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from vera_mobile.export.coreml.weights import Weights
from vera_mobile.model.language import DecoderLayer, rope_tables
from vera_mobile.quant.schemes import Scheme

if TYPE_CHECKING:
    from vera_mobile.model.config import LanguageConfig
    from vera_mobile.model.language import Decoder

# added to scores that may not be seen; -inf would turn to NaN where a row has nothing else, and
# anything below -65504 is -inf in half floats
MASKED = np.float16(-3e4)
_HEAD_ROWS = 16_384  # the Neural Engine's limit for one axis
HALF = np.float16


@dataclass(frozen=True)
class Steps:
    """What a layer reads beside its input: rotary tables of the queries' rows and the keys' rows,
    the mask of the scores."""

    query_rope: tuple[Any, Any]
    key_rope: tuple[Any, Any]
    mask: Any


class DecoderBuilder:
    """Emits the operators of a decoder into the function that is being built.

    Rows: values are (1, n, C) and projections are `linear`, which the GPU runs best. columns=True:
    values are (1, C, 1, n) and projections are 1x1 convolutions, the layout that the Neural Engine
    is made for.
    """

    def __init__(
        self,
        decoder: Decoder,
        language: Scheme,
        logits: Scheme,
        weights: Weights,
        *,
        columns: bool,
    ) -> None:
        self.decoder = decoder
        self.config: LanguageConfig = decoder.config
        self.groups = self.config.heads // self.config.kv_heads
        self.language = language
        self.logits_scheme = logits
        self.weights = weights
        self.columns = columns
        self.axis = 1 if columns else -1

    def layer(self, index: int, x: Any, steps: Steps, attend: Any) -> Any:
        """One layer. attend(query, key, value): the mixed values, with the cache in its hands;
        query (1, kv, groups * n, D), key and value (1, kv, n, D)."""
        from coremltools.converters.mil.mil import Builder as mb

        source = cast(DecoderLayer, self.decoder.layers[index])
        name = f"layer_{index}"
        inner = self.norm(f"{name}_attention_norm", source.attention_norm.weight, x)
        query, key, value = self._heads(self._qkv(name, source, inner))
        query, key = _rotate(query, steps.query_rope), _rotate(key, steps.key_rope)
        mixed = self._merged(attend(query, key, value))
        x = mb.add(x=x, y=self._project(f"{name}_o", source.attention.o_proj.weight, mixed))
        inner = self.norm(f"{name}_mlp_norm", source.mlp_norm.weight, x)
        gate = mb.silu(x=self._project(f"{name}_gate", source.mlp.gate_proj.weight, inner))
        up = self._project(f"{name}_up", source.mlp.up_proj.weight, inner)
        down = self._project(f"{name}_down", source.mlp.down_proj.weight, mb.mul(x=gate, y=up))
        return mb.add(x=x, y=down)

    def norm(self, name: str, weight: torch.Tensor, x: Any) -> Any:
        """RMSNorm that half floats cannot break.

        The residual stream of trained models holds values in the thousands, whose squares are
        beyond 65504. So the squares are of x divided by its largest magnitude; epsilon is divided
        by that magnitude's square, which gives the same quotient.
        """
        from coremltools.converters.mil.mil import Builder as mb

        root = np.sqrt(self.config.rms_eps)
        largest = mb.reduce_max(x=mb.abs(x=x), axes=[self.axis], keep_dims=True)
        largest = mb.maximum(x=largest, y=HALF(root))
        scaled = mb.real_div(x=x, y=largest)
        mean = mb.reduce_mean(x=mb.mul(x=scaled, y=scaled), axes=[self.axis], keep_dims=True)
        epsilon = mb.real_div(x=HALF(root), y=largest)
        mean = mb.add(x=mean, y=mb.mul(x=epsilon, y=epsilon))
        scaled = mb.mul(x=scaled, y=mb.rsqrt(x=mean, epsilon=HALF(0)))
        shape = (1, -1, 1, 1) if self.columns else (-1,)
        return mb.mul(x=scaled, y=self.weights.plain(name, half(weight).reshape(shape)))

    def attention(self, query: Any, key: Any, value: Any, mask: Any) -> Any:
        """softmax(query key^T + mask) value; the scale is in the query's weights."""
        from coremltools.converters.mil.mil import Builder as mb

        scores = mb.matmul(x=query, y=key, transpose_y=True)
        return mb.matmul(x=mb.softmax(x=mb.add(x=scores, y=mask), axis=-1), y=value)

    def rope(self) -> tuple[np.ndarray, np.ndarray]:
        """Cosines, and sines with the sign of the half that they are applied to: (L, D) halves."""
        cosines, sines = rope_tables(self.config)
        middle = self.config.head_dim // 2
        signed = torch.cat((-sines[:, :middle], sines[:, middle:]), 1)
        return half(cosines), half(signed)

    def logits(self, hidden: Any) -> Any:
        """hidden (1, H), or (1, H, 1, 1) in columns -> logits (1, V)."""
        from coremltools.converters.mil.mil import Builder as mb

        table = self.decoder.embedding.weight
        if not self.columns:
            weight = self.weights.constant("logits", table, self.logits_scheme)
            return mb.linear(x=hidden, weight=weight)
        parts = [
            self._project(f"logits_{begin}", rows, hidden, self.logits_scheme)
            for begin, rows in zip(
                range(0, len(table), _HEAD_ROWS), table.split(_HEAD_ROWS), strict=True
            )
        ]
        joined = mb.concat(values=parts, axis=1) if len(parts) > 1 else parts[0]
        return mb.reshape(x=joined, shape=[1, len(table)])

    def tiled(self, x: Any, axis: int) -> Any:
        """x once for each query head of a key head: rows of a group lie side by side."""
        from coremltools.converters.mil.mil import Builder as mb

        return mb.concat(values=[x] * self.groups, axis=axis) if self.groups > 1 else x

    def _qkv(self, name: str, layer: DecoderLayer, x: Any) -> Any:
        # a power of two for every head size in use: exact, and products stay small in half floats
        scale = self.config.head_dim**-0.5
        parts = layer.attention
        weight = torch.cat((parts.q_proj.weight * scale, parts.k_proj.weight, parts.v_proj.weight))
        bias = torch.cat((parts.q_proj.bias * scale, parts.k_proj.bias, parts.v_proj.bias))
        return self._project(f"{name}_qkv", weight, x, bias=bias)

    def _project(
        self,
        name: str,
        weight: torch.Tensor,
        x: Any,
        used: Scheme | None = None,
        bias: torch.Tensor | None = None,
    ) -> Any:
        from coremltools.converters.mil.mil import Builder as mb

        shaped = weight[:, :, None, None] if self.columns else weight
        given = {"weight": self.weights.constant(name, shaped, used or self.language)}
        if bias is not None:
            given["bias"] = self.weights.plain(f"{name}_bias", half(bias))
        return mb.conv(x=x, **given) if self.columns else mb.linear(x=x, **given)

    def _heads(self, joined: Any) -> Any:
        """Queries (1, kv, groups * n, D), keys and values (1, kv, n, D) of what `_qkv` gives."""
        from coremltools.converters.mil.mil import Builder as mb

        config = self.config
        count = config.heads + 2 * config.kv_heads
        if self.columns:
            split = mb.reshape(x=joined, shape=[1, count, config.head_dim, -1])
            heads = mb.transpose(x=split, perm=[0, 1, 3, 2])
        else:
            split = mb.reshape(x=joined, shape=[1, -1, count, config.head_dim])
            heads = mb.transpose(x=split, perm=[0, 2, 1, 3])
        sizes = [config.heads, config.kv_heads, config.kv_heads]
        query, key, value = mb.split(x=heads, split_sizes=sizes, axis=1)
        grouped = mb.reshape(x=query, shape=[1, config.kv_heads, -1, config.head_dim])
        return grouped, key, value

    def _merged(self, mixed: Any) -> Any:
        """(1, kv, groups * n, D) -> the input of the output projection."""
        from coremltools.converters.mil.mil import Builder as mb

        config = self.config
        # n is the only size that is not known; it comes third, so it is the one that is left open
        heads = mb.reshape(x=mixed, shape=[1, config.heads, -1, config.head_dim])
        width = config.heads * config.head_dim
        if self.columns:
            turned = mb.transpose(x=heads, perm=[0, 1, 3, 2])
            return mb.reshape(x=turned, shape=[1, width, 1, -1])
        turned = mb.transpose(x=heads, perm=[0, 2, 1, 3])
        return mb.reshape(x=turned, shape=[1, -1, width])


def _rotate(x: Any, rope: tuple[Any, Any]) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    cosines, signed_sines = rope
    first, second = mb.split(x=x, num_splits=2, axis=-1)
    swapped = mb.concat(values=[second, first], axis=-1)
    return mb.add(x=mb.mul(x=x, y=cosines), y=mb.mul(x=swapped, y=signed_sines))


def edges(logits: Any, hidden: Any) -> list[Any]:
    """The two outputs in single floats, under their names."""
    from coremltools.converters.mil.mil import Builder as mb

    return [
        mb.cast(x=logits, dtype="fp32", name="logits"),
        mb.cast(x=hidden, dtype="fp32", name="hidden"),
    ]


def half(value: torch.Tensor) -> np.ndarray:
    """A tensor as an array of half floats."""
    return value.detach().float().numpy().astype(HALF)
