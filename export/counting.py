"""Bytes and multiply-adds of Core ML bundles, for `vera bench project`.

Shapes are those of the program; a dimension that is open there is the number of tokens (of points,
in the bake). Weights are the package's weight file, read once a run; the attention of these
programs goes over the whole cache, however long the text is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from vera_mobile.bench.counts import BAKE_POINTS, FORCED, Case, Count, Counted
from vera_mobile.bundle import Bundle
from vera_mobile.export.mil.operators import OPERATORS
from vera_mobile.export.mil.package import Function, Operation, Package
from vera_mobile.export.mil.types import BY_NAME

_CACHE = ("keys", "values")
_PRODUCTS = ("linear", "conv", "conv_transpose", "matmul", "scaled_dot_product_attention")
_UNRULED = ("einsum",)
_KEEPS = (
    "reshape", "transpose", "expand_dims", "squeeze", "cast", "concat", "split", "linear", "matmul",
    "add", "sub", "mul", "real_div", "maximum", "minimum", "softmax", "silu", "gelu", "relu",
    "clip", "abs", "layer_norm", "sigmoid",
)  # fmt: skip

_Shapes = dict[str, tuple[int, ...]]


def count_package_bundle(bundle: Bundle, case: Case) -> Counted:
    """Counts of vision, prefill, decode, decode_per_token, head and bake of a Core ML bundle."""
    unknown: Counter[str] = Counter()
    packages = {
        name: Package.open(bundle.root / f"{name}.mlpackage")
        for name in ("vision", "embed", "decoder", "head", "bake")
    }

    def run(name: str, size: int, function: str | None = None) -> Count:
        chosen = packages[name].function(function)
        count, missed = count_function(packages[name], chosen, size)
        unknown.update(missed)
        return count

    decoder = packages["decoder"]
    stateful = "main" in decoder.functions
    one, many = ("main", "main") if stateful else ("decode", "prefill")
    chunk = _largest(decoder.function(many), "embeds", 1)
    prefill = Count()
    for begin in range(0, case.prompt_tokens, chunk):
        prefill += run("decoder", min(chunk, case.prompt_tokens - begin), many)
    token = run("decoder", 1, one) + _embed(packages["embed"])
    points = _largest(packages["bake"].function(), "points", 0)
    bake = Count()
    for total in BAKE_POINTS:
        for begin in range(0, total, points):
            bake += run("bake", min(points, total - begin))
    stages = {
        "vision": run("vision", 1),
        "prefill": prefill + _embed(packages["embed"]) * case.prompt_tokens,
        "decode": token * (case.answer_tokens + FORCED),
        "decode_per_token": token,
        "head": run("head", 1),
        "bake": bake,
    }
    return Counted(stages, dict(unknown))


def count_function(
    package: Package, function: Function, size: int
) -> tuple[Count, Mapping[str, int]]:
    """Counts of one run with `size` for open dimensions, and operators that no rule knows."""
    shapes: _Shapes = {}
    state = sum(_bytes(f.kind, _fixed(f.shapes[0], size)) for f in function.states.values())
    for name, feature in function.inputs.items():
        shapes[name] = _fixed(feature.shapes[0], size)
        if name in _CACHE:
            state += _bytes(feature.kind, shapes[name])
    constants = {o.outputs[0][0]: o for o in function.operations if o.kind == "const"}
    adds, moved, unknown = 0, 0, Counter[str]()
    for operation in function.operations:
        for name, declared in operation.outputs:
            if declared.kind is not None:
                shapes[name] = _resolved(operation, declared.shape, shapes, size)
        if operation.is_constant:
            continue
        adds += _adds(package, operation, shapes, constants)
        moved += sum(
            2 * _bytes(declared.kind.name, shapes[name])
            for name, declared in operation.outputs
            if declared.kind is not None
        )
        if operation.kind in _UNRULED or not _known(operation.kind):
            unknown[operation.kind] += 1
    return Count(_weight_bytes(package), moved, state, adds), unknown


def _resolved(
    operation: Operation, declared: tuple[int | None, ...], shapes: _Shapes, size: int
) -> tuple[int, ...]:
    """The shape of an output. One open dimension follows from the inputs' elements where the
    operator keeps their number (a reshape may fold heads into tokens); otherwise it is `size`."""
    inputs = [
        shapes[name]
        for parameter in ("x", "y", "values")
        for name in operation.arguments.get(parameter, ())
        if isinstance(name, str) and name in shapes
    ]
    open_size = size
    if declared.count(None) == 1 and inputs:
        known = math.prod(d for d in declared if d is not None)
        elements = [math.prod(shape) for shape in inputs]
        last = declared[-1] or 1
        total = {
            "concat": sum(elements),
            "split": elements[0] // len(operation.outputs),
            "linear": elements[0] // (inputs[0][-1] if inputs[0] else 1) * last,
            "matmul": elements[0] // (inputs[0][-1] if inputs[0] else 1) * last,
        }.get(operation.kind, max(elements))
        if operation.kind in _KEEPS and total and total % known == 0:
            open_size = total // known
    return tuple(open_size if d is None else d for d in declared)


def _known(kind: str) -> bool:
    return kind in OPERATORS or kind in ("read_state", "write_state")


def _adds(
    package: Package, operation: Operation, shapes: _Shapes, constants: Mapping[str, Operation]
) -> int:
    def shape(parameter: str) -> tuple[int, ...]:
        return shapes[operation.arguments[parameter][0]]

    if operation.kind not in _PRODUCTS:
        return 0
    out = math.prod(shapes[operation.outputs[0][0]])
    if operation.kind == "linear":
        return out * shape("weight")[-1]
    if operation.kind == "conv":
        return out * math.prod(shape("weight")[1:])
    if operation.kind == "conv_transpose":
        return math.prod(shape("x")) * math.prod(shape("weight")[1:])
    if operation.kind == "matmul":
        turned = _flag(package, operation.arguments.get("transpose_x"), constants)
        return out * shape("x")[-2 if turned else -1]
    return 2 * math.prod(shape("query")) * shape("key")[-2]


def _flag(
    package: Package, given: tuple[Any, ...] | None, constants: Mapping[str, Operation]
) -> bool:
    """The value of a boolean argument, which is a constant of the program; False where absent."""
    if not given:
        return False
    stored = constants[given[0]].arguments["val"][0] if isinstance(given[0], str) else given[0]
    return bool(package.value(stored))


def _embed(package: Package) -> Count:
    """One row of the table: the weight file over the rows of what is gathered from."""
    function = package.function()
    tables = [
        declared.shape[0]
        for operation in function.operations
        if operation.is_constant
        for _, declared in operation.outputs
        if len(declared.shape) == 2 and declared.shape[0]
    ]
    rows = max((size for size in tables if size), default=1)
    return Count(_weight_bytes(package) // rows)


def _weight_bytes(package: Package) -> int:
    return sum(file.stat().st_size for file in package.path.rglob("weight*.bin"))


def _largest(function: Function, name: str, axis: int) -> int:
    return max(shape[axis][1] or shape[axis][0] for shape in function.inputs[name].shapes)


def _fixed(shape: tuple[tuple[int, int | None], ...], size: int) -> tuple[int, ...]:
    return tuple(low if low == high else size for low, high in shape)


def _bytes(kind: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * BY_NAME[kind].bits // 8
