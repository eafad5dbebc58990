"""Counts of ExecuTorch programs, from their flatbuffers: operators, shapes, types, constants.

XNNPACK delegates hold a graph of their own, which is read with the schema of the installed
ExecuTorch; libvera's operators are counted from the shapes of their tensors, its bake from the
renderer's file. A dimension that the program leaves open has its upper bound in the file and is set
to the case's.

Multiply-adds are those of convolutions and matrix products, as PyTorch's FlopCounterMode has them.
Small beside those and left out: activation functions, norms, softmax, means, scales, residuals, and
what finding codes of 8 bits takes.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vera_mobile.bench.counts import BAKE_POINTS, FORCED, Case, Count, Counted, bake_calls
from vera_mobile.bench.xnnpack_graph import count_delegate
from vera_mobile.bundle import Bundle
from vera_mobile.errors import BundleError
from vera_mobile.runtime import BAKE_POINTS as POINTS_PER_CALL
from vera_mobile.runtime import PREFILL_TOKENS, RENDERER_FILE, quiet_stderr

LANES = 16
_BYTES = {"BYTE": 1, "CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 8, "HALF": 2, "FLOAT": 4,
          "DOUBLE": 8, "BOOL": 1, "BFLOAT16": 2, "UINT16": 2, "BITS16": 2}  # fmt: skip
# operators that only move or pass values: bytes and no multiply-adds worth counting
_MOVES = ("copy", "layer_norm", "softmax", "cat", "slice", "select", "view", "expand", "index",
          "add", "sub", "mul", "div", "embedding", "sigmoid", "relu", "gelu", "mean", "rsqrt",
          "pow", "arange", "full", "where", "to_dim", "quantize", "choose_qparams", "cos", "sin",
          "update_cache", "local_scalar", "sym_size", "neg", "le.", "eq.", "logical", "scalar",
          "et_view", "squeeze", "empty", "clone", "permute", "transpose", "pad")  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """Shape, bytes and whether the file holds its values."""

    shape: tuple[int, ...]
    item_bytes: int
    constant: bool

    @property
    def size_bytes(self) -> int:
        """All elements."""
        return math.prod(self.shape) * self.item_bytes


@dataclass(frozen=True)
class Step:
    """What a run of the decoder is given: tokens in, tokens that the cache then holds, and whether
    logits are asked for."""

    tokens: int
    context: int
    logits: bool = True


Rule = Callable[[Sequence[Any], Step], Count]


def count_programs(bundle: Bundle, case: Case) -> Counted:
    """Counts of vision, prefill, decode, decode_per_token, head and bake. Raises BundleError."""
    limits = bundle.manifest.limits
    unknown: Counter[str] = Counter()

    def run(name: str, step: Step, method: str = "forward") -> Count:
        count, missed = count_method(load_program(bundle, name), method, step)
        unknown.update(missed)
        return count

    own = "embed" not in bundle.manifest.files
    embed = ("decoder", "embed") if own else ("embed", "forward")

    def step(tokens: int, context: int, logits: bool) -> Count:
        given = Step(tokens, context, logits)
        return run("decoder", given) + run(embed[0], given, embed[1])

    chunk = limits.get("prefill_tokens", PREFILL_TOKENS)
    prefill = Count()
    for begin in range(0, case.prompt_tokens, chunk):
        end = min(begin + chunk, case.prompt_tokens)
        prefill += step(end - begin, end, end == case.prompt_tokens)
    steps = case.answer_tokens + FORCED
    middle = step(1, case.prompt_tokens + (steps + 1) // 2, True)  # costs grow evenly with context
    points = limits.get("bake_points", POINTS_PER_CALL)
    if RENDERER_FILE in bundle.manifest.files:  # libvera bakes: its calls take any number of points
        bake = count_renderer(bundle.file(RENDERER_FILE), BAKE_POINTS)
    else:
        bake = run("bake", Step(points, points)) * bake_calls(points)
    stages = {
        "vision": run("vision", Step(1, 1)),
        "prefill": prefill,
        "decode": middle * steps,
        "decode_per_token": middle,
        "head": run("head", Step(1, 1)),
        "bake": bake,
    }
    return Counted(stages, dict(unknown))


@functools.lru_cache(maxsize=8)
def _load(path: str, stamp: int) -> Any:
    with quiet_stderr():  # its imports say what they could not load
        from executorch.exir._serialize._program import deserialize_pte_binary

    try:
        return deserialize_pte_binary(Path(path).read_bytes()).program
    except (OSError, ValueError, RuntimeError, AssertionError, IndexError) as error:
        raise BundleError(f"Program {path} cannot be read ({error}): export it again.") from error


def load_program(bundle: Bundle, name: str) -> Any:
    """The program's flatbuffer as objects (executorch.exir.schema.Program). Raises BundleError."""
    path = bundle.file(name)
    return _load(str(path), path.stat().st_mtime_ns)


def count_method(program: Any, method: str, step: Step) -> tuple[Count, Mapping[str, int]]:
    """Counts of one run of a method, and operators without a rule."""
    plan = next((one for one in program.execution_plan if one.name == method), None)
    if plan is None:
        raise BundleError(f"The program has no method '{method}': export it again.")
    values = [_value(entry.val) for entry in plan.values]
    total, unknown = Count(), Counter[str]()
    for chain in plan.chains:
        for instruction in chain.instructions:
            call = instruction.instr_args
            kind = type(call).__name__
            if kind == "KernelCall":
                operator = plan.operators[call.op_index]
                name = f"{operator.name}.{operator.overload}"
                total += _count_kernel(name, [values[i] for i in call.args], step, unknown)
            elif kind == "DelegateCall":
                delegate = plan.delegates[call.delegate_index]
                data = program.backend_delegate_data[delegate.processed.index].data
                if delegate.id != "XnnpackBackend":
                    unknown[f"delegate {delegate.id}"] += 1
                    continue
                part, missed = count_delegate(bytes(data))
                total += part
                unknown.update(missed)
    return total, unknown


def count_renderer(path: Path, calls: Sequence[int]) -> Count:
    """Counts of libvera's bake of a renderer file: calls of so many points each.

    Each call reads all weights and takes the latents' products once; its other products are taken
    at every point. Raises BundleError for a file that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read ({error}): export it again.") from error
    matrices = {name: tensor for name, tensor in tensors.items() if tensor.ndim == 2}
    steered = {name for name in matrices if name.startswith("latent_projections.")}
    per_call = sum(matrices[name].size for name in steered)
    per_point = sum(matrix.size for name, matrix in matrices.items() if name not in steered)
    weights = sum(tensor.nbytes for tensor in tensors.values())
    total, points = Count(), 4 * 3 * 2  # float32 colours in and out
    for count in calls:
        total += Count(weights, points * count, 0, per_call + per_point * count)
    return total


def _value(entry: Any) -> Any:
    kind = type(entry).__name__
    if kind == "Tensor":
        name = getattr(entry.scalar_type, "name", str(entry.scalar_type))
        return Tensor(tuple(entry.sizes), _BYTES.get(name, 4), entry.data_buffer_idx != 0)
    if hasattr(entry, "int_val"):
        return entry.int_val
    return None


def _count_kernel(name: str, args: Sequence[Any], step: Step, unknown: Counter[str]) -> Count:
    rule = next((rule for key, rule in _RULES.items() if name.startswith(key)), None)
    if rule is not None:
        return rule(args, step)
    if not any(part in name for part in _MOVES):
        unknown[name] += 1
    return _traffic([a for a in args if isinstance(a, Tensor)])


def _traffic(tensors: Sequence[Tensor]) -> Count:
    weights = sum(t.size_bytes for t in tensors if t.constant)
    return Count(weights, sum(t.size_bytes for t in tensors if not t.constant))


def _decoder_layer(args: Sequence[Any], step: Step) -> Count:
    """The packed layer: four matrices, the cache, activations of float32.

    Arguments as in the operator's schema (x, start, attention_norm, qkv, qkv_scales, qkv_bias,
    output, output_scales, mlp_norm, gate_up, gate_up_scales, down, down_scales, cosines, sines,
    keys, values, eps, out)."""
    x, bias, gate_up, cosines, values = (args[i] for i in (0, 5, 9, 13, 16))
    hidden, qkv_rows = x.shape[-1], math.prod(bias.shape)
    kv_width = math.prod(values.shape) // cosines.shape[0]  # the angles have a row per position
    query = qkv_rows - 2 * kv_width
    inner_rows = gate_up.shape[0] * LANES
    per_token = hidden * qkv_rows + query * hidden + hidden * inner_rows + inner_rows // 2 * hidden
    weights = sum(args[i].size_bytes for i in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12))
    # each token looks back at those before it and itself; the tokens of a chunk are the last ones
    looks = step.tokens * step.context - step.tokens * (step.tokens - 1) // 2
    cache = 2 * kv_width * values.item_bytes * (step.context + step.tokens)
    activations = 4 * step.tokens * (4 * hidden + 2 * qkv_rows + 2 * inner_rows)
    multiply_adds = per_token * step.tokens + 2 * query * looks
    return Count(weights, activations, cache, multiply_adds)


def _logits(args: Sequence[Any], step: Step) -> Count:
    """(hidden, wanted, table, scales, blocks, rows, out): rows in blocks of 16, of which only those
    that answers use are computed."""
    if not step.logits:
        return Count()
    hidden, table, scales, blocks = args[0], args[2], args[3], args[4]
    share = min(blocks.shape[0] / table.shape[0], 1.0)
    weights = round((table.size_bytes + scales.size_bytes) * share)
    rows = blocks.shape[0] * LANES
    columns = hidden.shape[-1]
    return Count(weights, 4 * (rows + columns), 0, rows * columns)


def _embed(args: Sequence[Any], step: Step) -> Count:
    """(ids, table, scales, rows, out): one row of the table for each token."""
    table, scales, out = args[1], args[2], args[-1]
    rows = table.shape[0] * LANES
    read = round((table.size_bytes + scales.size_bytes) / rows * step.tokens)
    return Count(read, 4 * step.tokens * out.shape[-1])


def _last_norm(args: Sequence[Any], step: Step) -> Count:
    return Count(args[1].size_bytes, 8 * args[0].shape[-1])


def _product(args: Sequence[Any], step: Step) -> Count:
    """mm, bmm, linear, addmm: out elements x the shared dimension, open dimensions set."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    left, out = tensors[-3], tensors[-1]
    if len(tensors) > 3 and tensors[0].shape and len(tensors[0].shape) == 1:
        left = tensors[1]
    count = _traffic(tensors)
    adds = math.prod(out.shape) * left.shape[-1]
    return Count(count.weight_bytes, count.activation_bytes, 0, adds)


def _convolution(args: Sequence[Any], step: Step) -> Count:
    tensors = [a for a in args if isinstance(a, Tensor)]
    count = _traffic(tensors)
    adds = math.prod(tensors[-1].shape) * math.prod(tensors[1].shape[1:])
    return Count(count.weight_bytes, count.activation_bytes, 0, adds)


def _attention(args: Sequence[Any], step: Step) -> Count:
    """llama::custom_sdpa (query (1, n, heads, d), key (1, max, kv heads, d), value ...)."""
    query, key = args[0], args[1]
    width = math.prod(query.shape[-2:])
    looks = step.tokens * step.context - step.tokens * (step.tokens - 1) // 2
    cache = 2 * math.prod(key.shape[-2:]) * key.item_bytes * step.context
    return Count(0, 2 * step.tokens * width * query.item_bytes, cache, 2 * width * looks)


def _called(args: Sequence[Any], multiply_adds: int) -> Count:
    """A call of an operator that keeps what is between its layers to itself: its constants, the
    image that it takes and the one that it gives."""
    weights = sum(a.size_bytes for a in args if isinstance(a, Tensor) and a.constant)
    return Count(weights, args[0].size_bytes + args[-1].size_bytes, 0, multiply_adds)


def _pixels(image: Tensor) -> int:
    """Of an image (1, H, W, C)."""
    return math.prod(image.shape[1:3])


def _rows(outputs: Tensor) -> int:
    """Of the matrix with these multipliers and biases (2, rows)."""
    return outputs.shape[1]


def _vision_stem(args: Sequence[Any], step: Step) -> Count:
    """(pixels, conv, depthwise, weights, inverses, outputs, out): 3x3 of stride 2 on 3 colours, 3x3
    per channel of stride 2, 1x1."""
    conv, outputs, out = args[1], args[5], args[-1]
    channels, pixels = conv.shape[1], _pixels(out)
    return _called(args, pixels * channels * (4 * 27 + 9 + _rows(outputs)))


def _vision_down(args: Sequence[Any], step: Step) -> Count:
    """(x, spatial, weights, inverses, outputs, out): 7x7 per channel of stride 2, 1x1."""
    channels, outputs, out = args[3].shape[0], args[4], args[-1]
    return _called(args, _pixels(out) * channels * (49 + _rows(outputs)))


def _vision_depthwise(args: Sequence[Any], step: Step) -> Count:
    """(x, filter (taps and a bias, C), out)."""
    x, taps = args[0], args[1].shape[0] - 1
    return _called(args, math.prod(x.shape) * taps)


def _vision_block(args: Sequence[Any], step: Step) -> Count:
    """(x, mixer, codes, taps, expand, expand outputs, reduce, reduce inverses, reduce outputs,
    zero, out): 3x3 per channel in blocks with a mixer, 7x7 per channel, and two 1x1."""
    x, mixer, expand, reduce = args[0], args[1], args[5], args[8]
    mixed = 9 if mixer.shape[0] else 0
    return _called(
        args,
        math.prod(x.shape) * (mixed + 49)
        + _pixels(x) * _rows(expand) * (x.shape[3] + _rows(reduce)),
    )


def _vision_attention(args: Sequence[Any], step: Step) -> Count:
    """(x, norm, qkv, qkv outputs, mix, mix outputs, head_dim, eps, out): every position looks at
    all, for its scores and for the mix of their values."""
    x, qkv, mix = args[0], args[3], args[5]
    values = math.prod(x.shape)
    return _called(args, values * (_rows(qkv) + _rows(mix) + 2 * _pixels(x)))


def _vision_tokens(args: Sequence[Any], step: Step) -> Count:
    """(x, expand, squeeze, squeeze outputs, excite, excite outputs, up, up inverses, up outputs,
    last, last outputs, out): 3x3 per channel to the features, squeeze and excite of their means,
    then two products per token."""
    x, squeeze, excite, up, last = (args[i] for i in (0, 3, 5, 8, 10))
    features = _rows(excite)
    per_token = features * (9 + _rows(up)) + _rows(up) * _rows(last)
    return _called(args, _pixels(x) * per_token + 2 * features * _rows(squeeze))


_RULES: dict[str, Rule] = {
    "vera::decoder_layer": _decoder_layer,
    "vera::logits": _logits,
    "vera::embed": _embed,
    "vera::last_norm": _last_norm,
    "vera::vision_stem": _vision_stem,
    "vera::vision_down": _vision_down,
    "vera::vision_depthwise": _vision_depthwise,
    "vera::vision_block": _vision_block,
    "vera::vision_attention": _vision_attention,
    "vera::vision_tokens": _vision_tokens,
    "llama::custom_sdpa": _attention,
    "aten::mm": _product,
    "aten::bmm": _product,
    "aten::linear": _product,
    "aten::addmm": _product,
    "aten::convolution": _convolution,
}
