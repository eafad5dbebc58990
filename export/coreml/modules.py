"""Parts that are plain PyTorch modules: exported, converted, then their weights packed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vera_mobile.export.coreml.weights import Weights, pack
from vera_mobile.export.coreml.writer import fresh_names, quiet
from vera_mobile.quant.schemes import Scheme

# smaller weights are not worth their scales or tables
_MIN_WEIGHTS = 2048
_WITH_WEIGHTS = {"conv": "weight", "linear": "weight", "matmul": "y"}


@dataclass(frozen=True)
class Input:
    """name, an example, and by axis the largest size that is allowed (from 1)."""

    name: str
    example: Tensor
    ranges: tuple[tuple[int, int], ...] = ()


def module_program(
    module: nn.Module, inputs: Sequence[Input], outputs: Sequence[str], *, half: bool
) -> Any:
    """The module as a MIL program; float32 in and out, computed in half floats if `half`."""
    import coremltools as ct

    fresh_names()
    with torch.no_grad(), quiet():
        # not from torch.jit.trace: there the shapes of a module are arithmetic in the program
        exported = torch.export.export(
            module.eval(),
            tuple(one.example for one in inputs),
            dynamic_shapes=tuple(_dimensions(one) for one in inputs),
            strict=False,
        ).run_decompositions({})
        return ct.convert(
            exported,
            source="pytorch",
            inputs=[_input_type(one) for one in inputs],
            outputs=[ct.TensorType(name=name, dtype=np.float32) for name in outputs],
            convert_to="milinternal",
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        )


def compress_(program: Any, chosen: Callable[[str], Scheme | None]) -> None:
    """Packs the weights of convolutions and products in the program, in place.

    chosen: the scheme for a weight by its name (the path of the module, with underscores),
    or None to leave it. Grouped convolutions stay as they are: their channels differ too much in
    range, and they hold few weights.
    """
    from coremltools.converters.mil.mil import Builder as mb

    for function in program.functions.values():
        # else each operator that is added must name the line of Python that it comes from
        function._essential_scope_sources.clear()
        for operation in list(function.operations):
            weight = _weight(operation)
            used = None if weight is None else chosen(weight.name)
            if weight is None or used is None or used.weight_bits >= 16:
                continue
            packed = pack(torch.from_numpy(weight.val.astype(np.float32)), used)
            with function, mb.set_before_op(operation):
                dense = Weights.emit(f"{weight.name}_packed", packed)
            function.replace_uses_of_var_after_op(
                anchor_op=dense.op, old_var=weight, new_var=dense, no_check_var_types=True
            )


def _weight(operation: Any) -> Any:
    parameter = _WITH_WEIGHTS.get(operation.op_type)
    if parameter is None:
        return None
    value = operation.inputs[parameter]
    if value is None or value.val is None or value.op.op_type != "const":
        return None
    grouped = operation.op_type == "conv" and operation.groups.val > 1
    return None if grouped or value.val.size < _MIN_WEIGHTS else value


def _dimensions(one: Input) -> dict[int, Any] | None:
    return {axis: torch.export.Dim("n", min=1, max=size) for axis, size in one.ranges} or None


def _input_type(one: Input) -> Any:
    import coremltools as ct

    limits = dict(one.ranges)
    shape = [
        ct.RangeDim(1, limits[axis], default=size) if axis in limits else size
        for axis, size in enumerate(one.example.shape)
    ]
    return ct.TensorType(name=one.name, shape=tuple(shape), dtype=np.float32)
