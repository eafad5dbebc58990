"""The decoder for the Neural Engine: fixed shapes, and a cache that the app keeps.

States are not used: on some systems the Neural Engine refuses programs that have them or fails when
it compiles them (apple/coremltools issues 2325, 2553, 2631). So the cache comes in as an input and
what is new in it goes out. Nor is there a slice whose place is computed: places are picked
by products with rows of 0 and 1, made of additions and clips, which are exact in half floats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vera_mobile.errors import InvalidArgument
from vera_mobile.export.coreml.decoder import HALF, MASKED, DecoderBuilder, Steps, edges
from vera_mobile.export.coreml.weights import Weights
from vera_mobile.export.coreml.writer import fresh_names
from vera_mobile.quant.schemes import scheme

if TYPE_CHECKING:
    from vera_mobile.model.language import Decoder

PREFILL_STEPS = 64
_EXACT = 2048  # whole numbers up to here are exact in half floats


def neural_engine_program(decoder: Decoder, language: str, logits: str) -> Any:
    """Two functions over one set of weights: `prefill` for 64 tokens and `decode` for one.

    Inputs embeds (1, n, H) float32, start (1,) int32, keys and values (layers, kv, L, D) float16,
    of which positions from start on are not read; `prefill` also takes count (1,) int32, the tokens
    of the 64 that are real: they come first. Outputs logits (1, V) and hidden (1, H) float32 of the
    last real token, and new_keys and new_values (layers, kv, n, D) float16, which the caller writes
    to positions start .. start + count - 1. Raises InvalidArgument for a cache above 2,048 tokens.
    """
    from coremltools.converters.mil.mil import Program

    if decoder.config.max_length > _EXACT:
        raise InvalidArgument(
            f"{decoder.config.max_length} positions not allowed for the Neural Engine: use at most "
            f"{_EXACT} (max_length), which half floats count exactly."
        )
    fresh_names()
    weights = Weights()
    builder = DecoderBuilder(decoder, scheme(language), scheme(logits), weights, columns=True)
    program = Program()
    program.add_function("decode", _function(builder, 1))
    program.add_function("prefill", _function(builder, PREFILL_STEPS))
    program.default_function_name = "decode"
    program.export_as_multifunction = True
    return program


def _function(builder: DecoderBuilder, steps: int) -> Any:
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, types

    config = builder.config
    cache = (config.layers, config.kv_heads, config.max_length, config.head_dim)
    inputs = {
        "embeds": mb.placeholder((1, steps, config.hidden_size), types.fp32),
        "start": mb.placeholder((1,), types.int32),
        "keys": mb.placeholder(cache, types.fp16),
        "values": mb.placeholder(cache, types.fp16),
    }
    if steps > 1:
        inputs["count"] = mb.placeholder((1,), types.int32)
    with Function(inputs, opset_version=ct.target.iOS18) as function:
        function.set_outputs(_body(builder, function.inputs, steps))
    return function


def _body(builder: DecoderBuilder, inputs: Any, steps: int) -> list[Any]:
    from coremltools.converters.mil.mil import Builder as mb

    config = builder.config
    layers = config.layers
    cached_keys = _per_layer(inputs["keys"], layers)
    cached_values = _per_layer(inputs["values"], layers)
    places = _steps(builder, mb.cast(x=inputs["start"], dtype="fp16"), steps)
    new_keys, new_values = [], []
    x = mb.transpose(x=mb.cast(x=inputs["embeds"], dtype="fp16"), perm=[0, 2, 1])
    x = mb.expand_dims(x=x, axes=[2])
    for index in range(layers):

        def attend(query: Any, key: Any, value: Any, index: int = index) -> Any:
            new_keys.append(key)
            new_values.append(value)
            keys = mb.concat(values=[cached_keys[index], key], axis=2)
            values = mb.concat(values=[cached_values[index], value], axis=2)
            return builder.attention(query, keys, values, places.mask)

        x = builder.layer(index, x, places, attend)
    if steps > 1:
        last = mb.sub(x=mb.cast(x=inputs["count"], dtype="fp16"), y=HALF(1))
        rows = np.arange(steps, dtype=HALF).reshape(1, 1, steps, 1)
        x = mb.matmul(x=x, y=_one_hot(rows, last))
    hidden = builder.norm("final_norm", builder.decoder.norm.weight, x)
    logits = builder.logits(hidden)
    return [
        *edges(logits, mb.reshape(x=hidden, shape=[1, config.hidden_size])),
        _joined("new_keys", new_keys),
        _joined("new_values", new_values),
    ]


def _steps(builder: DecoderBuilder, start: Any, steps: int) -> Steps:
    """Rotary rows and the mask, (groups * n, L + n): the cache before `start`, then itself."""
    from coremltools.converters.mil.mil import Builder as mb

    length = builder.config.max_length
    slots = builder.weights.plain("slots", np.arange(length, dtype=HALF)[None])
    positions = mb.add(x=np.arange(steps, dtype=HALF)[:, None], y=start)
    chosen = _one_hot(slots, positions)
    cosines, sines = builder.rope()
    key_rope = tuple(
        mb.matmul(x=chosen, y=builder.weights.plain(name, table))
        for name, table in (("rope_cosines", cosines), ("rope_sines", sines))
    )
    # 1 from `start` on, 0 before it
    ahead = mb.clip(x=mb.add(x=mb.sub(x=slots, y=start), y=HALF(1)), alpha=HALF(0), beta=HALF(1))
    cached = mb.concat(values=[mb.mul(x=ahead, y=MASKED)] * (steps * builder.groups), axis=0)
    causal = np.triu(np.full((steps, steps), MASKED, HALF), 1)
    own = builder.weights.plain(f"causal_{steps}", np.tile(causal, (builder.groups, 1)))
    query_rope = tuple(builder.tiled(one, 0) for one in key_rope)
    return Steps(
        (query_rope[0], query_rope[1]),
        (key_rope[0], key_rope[1]),
        mb.concat(values=[cached, own], axis=1),
    )


def _one_hot(numbers: Any, wanted: Any) -> Any:
    """1 where a number is the wanted one, else 0: 1 - |difference|, not below 0."""
    from coremltools.converters.mil.mil import Builder as mb

    return mb.relu(x=mb.sub(x=HALF(1), y=mb.abs(x=mb.sub(x=numbers, y=wanted))))


def _per_layer(cache: Any, layers: int) -> list[Any]:
    from coremltools.converters.mil.mil import Builder as mb

    if layers == 1:
        return [cache]
    return list(mb.split(x=cache, num_splits=layers, axis=0))


def _joined(name: str, parts: list[Any]) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    if len(parts) == 1:
        return mb.identity(x=parts[0], name=name)
    return mb.concat(values=parts, axis=0, name=name)
