"""Token ids to embeddings as a MIL program: the table stays as small in memory as in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vera_mobile.errors import InvalidArgument
from vera_mobile.export.coreml.weights import Weights, pack
from vera_mobile.export.coreml.writer import fresh_names
from vera_mobile.quant.schemes import scheme

if TYPE_CHECKING:
    from vera_mobile.model.language import Decoder


def embed_program(decoder: Decoder, embedding: str, limit: int) -> Any:
    """ids (1, n) int32 -> embeds (1, n, H) float32, n from 1 to `limit`.

    embedding: "fp16", or "int8w" for rows of 8 bits with a scale each. Rows are taken out and then
    scaled: a constexpr operator before the gather would make the whole table half floats in memory.
    """
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types

    used = scheme(embedding)
    if used.palette or used.group_size or used.weight_bits not in (8, 16):
        raise InvalidArgument(
            f"Scheme '{embedding}' not allowed for the embedding on Core ML: use int8w or fp16."
        )
    fresh_names()
    packed, weights = pack(decoder.embedding.weight, used), Weights()
    program = Program()
    inputs = {"ids": mb.placeholder((1, get_new_symbol()), types.int32)}
    with Function(inputs, opset_version=ct.target.iOS18) as function:

        def rows(name: str, table: np.ndarray) -> Any:
            whole = weights.plain(name, table)
            return mb.gather(
                x=whole, indices=function.inputs["ids"], axis=0, validate_indices=False
            )

        if not packed.operator:
            values = rows("table", packed.arrays["val"])
        else:
            integers = mb.cast(x=rows("table", packed.arrays["data"]), dtype="fp16")
            values = mb.mul(x=integers, y=rows("scales", packed.arrays["scale"]))
        function.set_outputs([mb.cast(x=values, dtype="fp32", name="embeds")])
    flexible = ct.Shape((1, ct.RangeDim(1, limit, default=1)))
    function.set_input_types((ct.TensorType("ids", flexible, dtype=np.int32),))
    program.add_function("main", function)
    return program
