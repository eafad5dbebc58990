"""ONNX graphs: made from PyTorch modules, given fixed shapes, cleaned, written and checked."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vera_mobile.bundle import OperatorCount, TensorSpec
from vera_mobile.errors import InternalError

if TYPE_CHECKING:
    import onnx

    from vera_mobile.export.onnx.sources import Source

# What PyTorch's exporter writes without conversion, and what the compilers that matter read (QNN,
# SNPE, Vitis AI, OpenVINO, TensorRT). It has what we need: layer norm as one operator (17) and
# DequantizeLinear per channel (13). Gelu as one (20) is no gain: its parts are fused by all.
OPSET = 18
# protobuf ends at 2 GB; past this size weights go to a file beside the graph
INLINE_LIMIT = 1 << 30
_SMALL_BYTES = 1024  # shapes and scalars stay in the graph, where shape inference needs them


def capture(source: Source, path: Path) -> None:
    """Writes the module in float32 as an ONNX file, its weights in `path` + ".data"."""
    import onnx

    assert source.form is not None
    form = source.form.eval().requires_grad_(False)
    with torch.no_grad(), quiet_tools():
        program = torch.export.export(
            form, source.inputs, dynamic_shapes=source.dynamic, strict=False
        )
        exported = torch.onnx.export(
            program,
            (),
            input_names=list(source.input_names),
            output_names=list(source.output_names),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if exported is None:
        raise InternalError(f"No ONNX graph came of {path.stem}: please report this.")
    exported.save(str(path), external_data=True)
    graph = onnx.load(path, load_external_data=False)
    clean_(graph)
    graph = onnx.shape_inference.infer_shapes(graph, strict_mode=True)
    # says that shapes are known: the quantizer would copy the whole model, twice, to infer them
    onnx.helper.set_model_props(graph, {"onnx.infer": "onnxruntime.quant"})
    onnx.save(graph, path)


def clean_(model: onnx.ModelProto) -> None:
    """Removes, in place, what is not part of the computation: source lines, notes, producers."""
    graph = model.graph
    for entry in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    del graph.value_info[:]
    del graph.quantization_annotation[:]
    model.producer_name, model.producer_version = "vera-mobile", ""
    graph.name = "vera"
    used = {node.domain for node in graph.node}
    kept = [one for one in model.opset_import if one.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def fix_dimensions_(model: onnx.ModelProto, sizes: Mapping[tuple[str, int], int]) -> None:
    """Gives free dimensions a size wherever they occur, in place.

    sizes: by (input's name, axis).
    """
    symbols = _symbols(model, sizes)
    for dimension in _dimensions(model):
        if dimension.dim_param in symbols:
            dimension.dim_value = symbols[dimension.dim_param]


def name_dimensions_(model: onnx.ModelProto, names: Mapping[tuple[str, int], str]) -> None:
    """Renames free dimensions wherever they occur, in place; inputs that are not there are none."""
    symbols = _symbols(model, names)
    for dimension in _dimensions(model):
        if dimension.dim_param in symbols:
            dimension.dim_param = symbols[dimension.dim_param]


def weight_bytes(model: onnx.ModelProto) -> int:
    """Size of the weights that are in memory."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def save(model: onnx.ModelProto, path: Path, weights: str | None = None) -> onnx.ModelProto:
    """Writes a graph, cleaned, and checks it; `weights` names the file beside it for the weights.

    Returns the graph (without weights where they went to a file). Raises InternalError.
    """
    import onnx

    clean_(model)
    if weights is not None:
        onnx.external_data_helper.convert_model_to_external_data(
            model, location=weights, size_threshold=_SMALL_BYTES
        )
    onnx.save(model, path)
    if weights is not None:  # written for the owner only
        (path.parent / weights).chmod(path.stat().st_mode)
    check(path)
    return model


def check(path: Path) -> None:
    """InternalError unless ONNX's checker, with full shape inference, passes the file."""
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InternalError(f"{path.name} is no valid ONNX graph ({error}): report this.") from (
            error
        )


def specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Name, type and shape of inputs or outputs; a free dimension has its name."""
    import onnx

    made = []
    for value in values:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
        made.append(TensorSpec(value.name, dtype, shape))
    return tuple(made)


def operators(model: onnx.ModelProto) -> tuple[OperatorCount, ...]:
    """How often each operator occurs, by name."""
    counts = Counter(node.op_type for node in model.graph.node)
    return tuple(OperatorCount(name, counts[name], "onnx") for name in sorted(counts))


@contextmanager
def quiet_tools() -> Iterator[None]:
    """Drops what exporter and quantizer say to their own users, within the block."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _symbols(model: onnx.ModelProto, by_input: Mapping[tuple[str, int], Any]) -> dict[str, Any]:
    inputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    return {
        inputs[name][axis].dim_param: value
        for (name, axis), value in by_input.items()
        if name in inputs
    }


def _dimensions(model: onnx.ModelProto) -> list[Any]:
    values = (*model.graph.input, *model.graph.output)
    return [dimension for value in values for dimension in value.type.tensor_type.shape.dim]
