"""Operators of ML programs that work value by value. Semantics: the published MIL reference."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from vera_mobile.export.mil.arguments import Arguments
from vera_mobile.export.mil.types import BY_NAME

Operator = Callable[[Arguments], Tensor | tuple[Tensor, ...]]


def _unary(compute: Callable[[Tensor], Tensor]) -> Operator:
    return lambda a: compute(a["x"])


def _binary(compute: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda a: compute(a["x"], a["y"])


def _scaled(
    compute: Callable[[Tensor, float, float], Tensor], alpha: float, beta: float
) -> Operator:
    return lambda a: compute(a["x"], a.number("alpha", alpha), a.number("beta", beta))


def _cast(a: Arguments) -> Tensor:
    wanted = a.text("dtype")
    if wanted not in BY_NAME:
        raise a.wrong(f"element type '{wanted}' is unknown")
    value = a["x"]
    return value.to(BY_NAME[wanted].compute)  # floats to integers towards zero


def _gelu(a: Arguments) -> Tensor:
    mode, x = a.text("mode", "EXACT"), a["x"]
    if mode == "EXACT":
        return F.gelu(x)
    if mode == "TANH_APPROXIMATION":
        return F.gelu(x, approximate="tanh")
    return x * torch.sigmoid(1.702 * x)


def _real_div(a: Arguments) -> Tensor:
    x, y = a["x"], a["y"]
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="floor")


def _rsqrt(a: Arguments) -> Tensor:
    return torch.rsqrt(a["x"] + a.number("epsilon", 1e-12))


def _inverse(a: Arguments) -> Tensor:
    return 1.0 / (a["x"] + a.number("epsilon", 1e-4))


def _log(a: Arguments) -> Tensor:
    return torch.log(a["x"] + a.number("epsilon", 1e-45))


def _prelu(a: Arguments) -> Tensor:
    return F.prelu(a["x"], a["alpha"])


def _softplus_parametric(a: Arguments) -> Tensor:
    x = a["x"]
    along = (1, -1, *([1] * (x.dim() - 2)))
    return a["alpha"].reshape(along) * F.softplus(x * a["beta"].reshape(along))


def _quantize(a: Arguments) -> Tensor:
    scale, zero = _per_channel(a)
    limits = torch.iinfo(a.dtype())
    return torch.round(a["input"] / scale + zero).clamp(limits.min, limits.max)


def _dequantize(a: Arguments) -> Tensor:
    scale, zero = _per_channel(a)
    return (a["input"].float() - zero) * scale


def _per_channel(a: Arguments) -> tuple[Tensor, Tensor]:
    scale, zero = a["scale"].float(), a.get("zero_point")
    offset = torch.zeros(()) if zero is None else zero.float()
    if not scale.dim():
        return scale, offset
    along = [1] * a["input"].dim()
    along[a.integer("axis")] = -1
    return scale.reshape(along), offset.reshape(along) if offset.dim() else offset


def _select(a: Arguments) -> Tensor:
    return torch.where(a["cond"].bool(), a["a"], a["b"])


def _clip(a: Arguments) -> Tensor:
    return a["x"].clamp(a.number("alpha"), a.number("beta"))


ELEMENTWISE: Mapping[str, Operator] = MappingProxyType(
    {
        "identity": _unary(lambda x: x),
        "abs": _unary(torch.abs),
        "acos": _unary(torch.acos),
        "asin": _unary(torch.asin),
        "atan": _unary(torch.atan),
        "atanh": _unary(torch.atanh),
        "ceil": _unary(torch.ceil),
        "cos": _unary(torch.cos),
        "cosh": _unary(torch.cosh),
        "erf": _unary(torch.erf),
        "exp": _unary(torch.exp),
        "exp2": _unary(torch.exp2),
        "floor": _unary(torch.floor),
        "round": _unary(torch.round),
        "sign": _unary(torch.sign),
        "sin": _unary(torch.sin),
        "sinh": _unary(torch.sinh),
        "sqrt": _unary(torch.sqrt),
        "square": _unary(torch.square),
        "tan": _unary(torch.tan),
        "tanh": _unary(torch.tanh),
        "logical_not": _unary(torch.logical_not),
        "rsqrt": _rsqrt,
        "inverse": _inverse,
        "log": _log,
        "cast": _cast,
        "clip": _clip,
        "select": _select,
        "quantize": _quantize,
        "dequantize": _dequantize,
        # activations
        "gelu": _gelu,
        "prelu": _prelu,
        "relu": _unary(torch.relu),
        "relu6": _unary(F.relu6),
        "sigmoid": _unary(torch.sigmoid),
        "silu": _unary(F.silu),
        "softplus": _unary(F.softplus),
        "softplus_parametric": _softplus_parametric,
        "softsign": _unary(F.softsign),
        "elu": lambda a: F.elu(a["x"], a.number("alpha", 1.0)),
        "leaky_relu": lambda a: F.leaky_relu(a["x"], a.number("alpha", 0.01)),
        "thresholded_relu": lambda a: F.threshold(a["x"], a.number("alpha", 1.0), 0.0),
        "threshold": lambda a: a["x"].clamp(min=a.number("alpha")),
        "clamped_relu": _scaled(
            lambda x, alpha, beta: torch.where(x < 0, x * alpha, x).clamp(max=beta), 0.0, 0.0
        ),
        "linear_activation": _scaled(lambda x, alpha, beta: x * alpha + beta, 1.0, 0.0),
        "scaled_tanh": _scaled(lambda x, alpha, beta: alpha * torch.tanh(beta * x), 1.0, 1.0),
        "sigmoid_hard": _scaled(lambda x, alpha, beta: (x * alpha + beta).clamp(0, 1), 0.2, 0.5),
        # two values
        "add": _binary(torch.add),
        "sub": _binary(torch.sub),
        "mul": _binary(torch.mul),
        "real_div": _real_div,
        "floor_div": _binary(functools.partial(torch.div, rounding_mode="floor")),
        "mod": _binary(torch.remainder),
        "pow": _binary(torch.pow),
        "maximum": _binary(torch.maximum),
        "minimum": _binary(torch.minimum),
        "equal": _binary(torch.eq),
        "not_equal": _binary(torch.ne),
        "less": _binary(torch.lt),
        "less_equal": _binary(torch.le),
        "greater": _binary(torch.gt),
        "greater_equal": _binary(torch.ge),
        "logical_and": _binary(torch.logical_and),
        "logical_or": _binary(torch.logical_or),
        "logical_xor": _binary(torch.logical_xor),
    }
)
