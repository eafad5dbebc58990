"""The decoder for the GPU: its cache in states, any number of tokens in a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vera_mobile.export.coreml.decoder import MASKED, DecoderBuilder, Steps, edges
from vera_mobile.export.coreml.weights import Weights
from vera_mobile.export.coreml.writer import fresh_names
from vera_mobile.quant.schemes import scheme

if TYPE_CHECKING:
    from vera_mobile.model.language import Decoder


def gpu_program(decoder: Decoder, language: str, logits: str, limit: int) -> Any:
    """The decoder for the GPU: a cache in states, any number of tokens from 1 to `limit`.

    Inputs embeds (1, n, H) float32 and start (1,) int32; outputs logits (1, V) and hidden (1, H)
    float32, of the last position. States keys_<layer> and values_<layer> (1, kv, L, D) in halves.
    """
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types

    fresh_names()
    config = decoder.config
    steps_symbol = get_new_symbol()
    inputs = {
        "embeds": mb.placeholder((1, steps_symbol, config.hidden_size), types.fp32),
        "start": mb.placeholder((1,), types.int32),
    }
    shape = (1, config.kv_heads, config.max_length, config.head_dim)
    for index in range(config.layers):
        for kind in ("keys", "values"):
            inputs[f"{kind}_{index}"] = mb.state_tensor_placeholder(shape, types.fp16)
    builder = DecoderBuilder(decoder, scheme(language), scheme(logits), Weights(), columns=False)
    with Function(inputs, opset_version=ct.target.iOS18) as function:
        function.set_outputs(_gpu_body(builder, function.inputs))
    flexible = ct.Shape((1, ct.RangeDim(1, limit, default=1), config.hidden_size))
    function.set_input_types(
        (ct.TensorType("embeds", flexible), ct.TensorType("start", (1,), dtype=np.int32))
    )
    program = Program()
    program.add_function("main", function)
    return program


def _gpu_body(builder: DecoderBuilder, inputs: Any) -> list[Any]:
    from coremltools.converters.mil.mil import Builder as mb

    config = builder.config
    start = inputs["start"]
    sizes = mb.shape(x=inputs["embeds"])
    end = mb.add(x=start, y=mb.slice_by_index(x=sizes, begin=[1], end=[2]))

    def rows(table: np.ndarray, name: str) -> Any:
        whole = builder.weights.plain(name, table)
        begin = mb.concat(values=[start, _integers([0])], axis=0)
        stop = mb.concat(values=[end, _integers([table.shape[1]])], axis=0)
        return mb.slice_by_index(x=whole, begin=begin, end=stop)

    cosines, sines = builder.rope()
    key_rope = (rows(cosines, "rope_cosines"), rows(sines, "rope_sines"))
    query_rope = tuple(builder.tiled(one, 0) for one in key_rope)
    slots = np.arange(config.max_length, dtype=np.int32)
    own = rows(slots[:, None], "positions")
    unseen = mb.greater(x=slots[None], y=own)
    mask = builder.tiled(mb.mul(x=mb.cast(x=unseen, dtype="fp16"), y=MASKED), 0)
    steps = Steps(cast(tuple[Any, Any], query_rope), key_rope, mask)
    begin = mb.concat(values=[_integers([0, 0]), start, _integers([0])], axis=0)
    stop = mb.concat(
        values=[_integers([1, config.kv_heads]), end, _integers([config.head_dim])], axis=0
    )

    def cached(name: str, update: Any) -> Any:
        state = inputs[name]
        kept = mb.read_state(input=state)
        written = mb.slice_update(x=kept, update=update, begin=begin, end=stop)
        return mb.coreml_update_state(state=state, value=written)

    x = mb.cast(x=inputs["embeds"], dtype="fp16")
    for index in range(config.layers):

        def attend(query: Any, key: Any, value: Any, index: int = index) -> Any:
            keys, values = cached(f"keys_{index}", key), cached(f"values_{index}", value)
            return builder.attention(query, keys, values, mask)

        x = builder.layer(index, x, steps, attend)
    last = mb.slice_by_index(
        x=x, begin=[0, -1, 0], end=[0, 0, 0], end_mask=[True] * 3, squeeze_mask=[False, True, False]
    )
    hidden = builder.norm("final_norm", builder.decoder.norm.weight, last)
    return edges(builder.logits(hidden), hidden)


def _integers(values: list[int]) -> np.ndarray:
    return np.array(values, np.int32)
