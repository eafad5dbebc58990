"""Counts of an XNNPACK delegate: its graph is a flatbuffer behind a header of 30 bytes."""

from __future__ import annotations

import functools
import json
import math
import re
import struct
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vera_mobile.bench.counts import Count
from vera_mobile.errors import BundleError

_HEADER = struct.Struct("<4s4sHIIIQ")  # zeros, "XH00", its length, graph at, size, data at, size
_BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "qint8": 8, "quint8": 8, "qint32": 32, "qcint8": 8,
         "qcint32": 32, "qcint4": 4, "qdint8": 8, "qbint4": 4, "qpint8": 8, "int32": 32,
         "pfp32": 32}  # fmt: skip
_INPUTS = ("input_id", "input1_id", "input2_id", "input3_id", "input4_id", "input5_id", "filter_id",
           "bias_id", "query_id", "key_id", "value_id", "scale_id", "mask_id")  # fmt: skip
_OUTPUTS = ("output_id", "output_value_id", "output_index_id")
_INVALID = 2**32 - 1
_PRODUCTS = ("XNNFullyConnected", "XNNConv2d", "XNNDepthwiseConv2d", "XNNConvTranspose2d",
             "XNNBatchMatrixMultiply", "XNNScaledDotProductAttention")  # fmt: skip


def count_delegate(data: bytes) -> tuple[Count, Mapping[str, int]]:
    """Counts of one run, and products that no rule knows. Raises BundleError for a damaged one."""
    return _count(read_graph(data))


def read_graph(data: bytes) -> dict[str, Any]:
    """The graph as plain values, names as in XNNPACK's schema of ExecuTorch."""
    try:
        _, magic, _, start, size, _, _ = _HEADER.unpack_from(data)
    except struct.error as error:
        raise BundleError(f"An XNNPACK delegate is cut off ({error}): export again.") from error
    if magic != b"XH00" or start + size > len(data):
        raise BundleError("An XNNPACK delegate has no graph: export the bundle again.")
    return _decoded(data[start : start + size])


@functools.lru_cache(maxsize=256)
def _decoded(graph: bytes) -> dict[str, Any]:
    from executorch.backends.xnnpack import serialization
    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    schema = (Path(next(iter(serialization.__path__))) / "schema.fbs").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "schema.fbs").write_bytes(schema)
        (place / "graph.bin").write_bytes(graph)
        _flatc_decompile(
            folder, str(place / "schema.fbs"), str(place / "graph.bin"), ["--raw-binary"]
        )
        text = (place / "graph.json").read_text()
    # flatc writes open bounds as bare words, which JSON does not know
    return json.loads(re.sub(r"(?<=: )[-+]?(?:inf|nan)\b", "null", text))


def _count(graph: dict[str, Any]) -> tuple[Count, Mapping[str, int]]:
    values = {}
    for entry in graph["xvalues"]:
        union = entry["xvalue_union"]
        tensor = union.get("tensor_value", union)
        values[tensor["id_out"]] = (tensor, union.get("quant_params"))
    total, unknown, seen = Count(), Counter[str](), set[int]()
    for node in graph["xnodes"]:
        kind, fields = node["xnode_union_type"], node["xnode_union"]
        inputs = [fields[k] for k in _INPUTS if fields.get(k, _INVALID) in values]
        outputs = [fields[k] for k in _OUTPUTS if fields.get(k, _INVALID) in values]
        constants = [i for i in inputs if values[i][0]["constant_buffer_idx"]]
        weights = sum(_size(values[i]) for i in constants if i not in seen)
        seen.update(constants)
        moved = [i for i in (*inputs, *outputs) if i not in constants]
        total += Count(
            weights, sum(_size(values[i]) for i in moved), 0, _adds(kind, fields, values)
        )
        if kind not in _PRODUCTS and "Matrix" in kind:
            unknown[kind] += 1
    return total, unknown


def _size(value: tuple[dict[str, Any], dict[str, Any] | None]) -> int:
    """Bytes of a value with its scales (float32 per channel, bfloat16 per group)."""
    tensor, quantized = value
    kind = tensor["datatype"].removeprefix("xnn_datatype_")
    if kind not in _BITS:
        raise BundleError(f"An XNNPACK delegate has values of type '{kind}': unknown here.")
    size = math.prod(tensor["dims"]) * _BITS[kind] // 8
    if quantized and quantized.get("num_scales"):
        size += quantized["num_scales"] * (2 if "group_size" in quantized else 4)
    return size


def _adds(kind: str, fields: dict[str, Any], values: dict[int, Any]) -> int:
    def dims(name: str) -> list[int]:
        return values[fields[name]][0]["dims"]

    if kind == "XNNFullyConnected":
        return math.prod(dims("output_id")) * dims("filter_id")[-1]
    if kind == "XNNConv2d":  # filter (out, height, width, in of a group)
        return math.prod(dims("output_id")) * math.prod(dims("filter_id")[1:])
    if kind == "XNNDepthwiseConv2d":  # filter (1, height, width, channels)
        return math.prod(dims("output_id")) * math.prod(dims("filter_id")[1:3])
    if kind == "XNNConvTranspose2d":
        return math.prod(dims("input1_id")) * math.prod(dims("filter_id")[:3])
    if kind == "XNNBatchMatrixMultiply":
        return math.prod(dims("output_id")) * dims("input1_id")[-1]
    if kind == "XNNScaledDotProductAttention":
        query, key = dims("query_id"), dims("key_id")
        return 2 * math.prod(query) * key[-2]
    return 0
