"""Static 8-bit quantization of an ONNX file by Optimum and ONNX Runtime's tools.

Optimum's configuration and ORTQuantizer take any graph and do the work. Only its way to calibrate
does not serve: it adds a batch axis to every input, and its session needs too much memory. So ONNX
Runtime's calibrator is used without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vera_mobile.export.onnx.graphs import INLINE_LIMIT, quiet_tools

if TYPE_CHECKING:
    import onnx

OPERATORS = ["Conv", "MatMul"]

Feed = Mapping[str, np.ndarray]


def quantize(
    path: Path,
    feeds: Iterable[Feed],
    wanted: Callable[[str | None], bool],
    weights_only: Collection[str] = (),
) -> onnx.ModelProto:
    """The graph of a float32 file with int8 weights per output and uint8 activations.

    feeds: inputs by name; activations have the range from the smallest to the largest value seen
    (MinMax: percentiles of 99.99 and 99.999 bring nano's image tokens 0.4 dB at most, and cost a
    histogram of every activation).
    wanted: takes the name of a product's or convolution's weight, None for products of two
    activations, and is False for what stays float. weights_only: names of weights whose products
    read and write float. What the graph gives out stays float too: logits of 8 bits tie. Writes
    scratch files beside `path`.
    """
    import onnx

    with quiet_tools():
        from optimum.onnxruntime import ORTQuantizer
        from transformers import PretrainedConfig

        graph = onnx.load(path, load_external_data=False)
        large = _stored_bytes(path) > INLINE_LIMIT
        quantizer = ORTQuantizer(path, PretrainedConfig())
        folder = quantizer.quantize(
            _settings(list(_unwanted(graph, wanted))),
            path.parent / "quantized",
            file_suffix="",
            calibration_tensors_range=_ranges(path, feeds, large),
            use_external_data_format=large,
        )
    made = onnx.load(folder / path.name)
    _float_outputs_(made)
    _float_activations_(made, weights_only)
    _remove_unread_(made)
    return made


def _settings(exclude: list[str]) -> Any:
    from onnxruntime.quantization import QuantFormat, QuantType
    from optimum.onnxruntime.configuration import QuantizationConfig

    return QuantizationConfig(
        is_static=True,
        format=QuantFormat.QDQ,
        activations_dtype=QuantType.QUInt8,
        weights_dtype=QuantType.QInt8,
        weights_symmetric=True,
        per_channel=True,
        operators_to_quantize=OPERATORS,
        nodes_to_exclude=exclude,
    )


def _ranges(path: Path, feeds: Iterable[Feed], large: bool) -> Any:
    from onnxruntime.quantization.calibrate import MinMaxCalibrater

    augmented = path.with_suffix(".augmented.onnx")
    calibrator = MinMaxCalibrater(
        path,
        OPERATORS,
        augmented_model_path=augmented.as_posix(),
        use_external_data_format=large,
    )
    calibrator.augment_graph()
    calibrator.model = None  # gigabytes, not needed any more
    calibrator.infer_session = _calibration_session(augmented)
    calibrator.collect_data(_Reader(feeds))
    return calibrator.compute_data()


def _calibration_session(path: Path) -> Any:
    """Runs the nodes as they stand in the file, so that each range is taken while its tensor lives.

    The calibrator's own session keeps every activation to the end (16.8 GB for the vision tower of
    the 0.5B shape in place of 5.4 GB, model included) and a second, packed copy of the weights.
    """
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class _Reader:
    """Calibration data as ONNX Runtime reads it: one feed a call, None at the end."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


def _unwanted(graph: onnx.ModelProto, wanted: Callable[[str | None], bool]) -> Iterator[str]:
    weights = {tensor.name for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        weight = node.input[1] if node.op_type in OPERATORS else None
        if not wanted(weight if weight in weights else None):
            yield node.name


def _float_outputs_(model: onnx.ModelProto) -> None:
    """Removes the quantize/dequantize pair before each output of the graph, in place."""
    graph = model.graph
    writer = {output: node for node in graph.node for output in node.output}
    for output in graph.output:
        last = writer[output.name]
        if last.op_type != "DequantizeLinear":
            continue
        first = writer[last.input[0]]
        source = writer[first.input[0]]
        source.output[list(source.output).index(first.input[0])] = output.name
        graph.node.remove(last)
        graph.node.remove(first)


def _float_activations_(model: onnx.ModelProto, weights: Collection[str]) -> None:
    """Lets the products that read `weights` read and write float, in place."""
    writer = {output: node for node in model.graph.node for output in node.output}
    stored = {f"{name}_quantized" for name in weights}
    plain = set()
    for node in model.graph.node:
        reads = writer.get(node.input[1]) if node.op_type in OPERATORS else None
        if reads is not None and reads.input[0] in stored:
            node.input[0] = _before_pair(node.input[0], writer)
            plain.add(node.output[0])
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if node.op_type != "QuantizeLinear" and _before_pair(name, writer) in plain:
                node.input[index] = _before_pair(name, writer)


def _before_pair(name: str, writer: Mapping[str, onnx.NodeProto]) -> str:
    """The tensor that a quantize/dequantize pair gave `name` from; `name` where there is none."""
    last = writer.get(name)
    first = writer.get(last.input[0]) if last and last.op_type == "DequantizeLinear" else None
    return first.input[0] if first and first.op_type == "QuantizeLinear" else name


def _remove_unread_(model: onnx.ModelProto) -> None:
    """Removes nodes, from the last on, and initializers that nothing reads, in place."""
    graph = model.graph
    read = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if read.intersection(node.output):
            read.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    for tensor in [one for one in graph.initializer if one.name not in read]:
        graph.initializer.remove(tensor)


def _stored_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))
