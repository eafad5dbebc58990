"""Layers that give the results of quantized ones in float: fast enough to try every layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.quant.gptq import Rounded


class DynamicLinear(nn.Module):
    """A linear layer with the given weights whose inputs are rounded to 8 bits, per row."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(rounded_rows(x), self.weight, self.bias)


class StaticConv(nn.Module):
    """A convolution with 8-bit weights per output channel, input and output rounded to 8 bits with
    fixed ranges (low, high)."""

    def __init__(
        self, conv: nn.Conv2d, inputs: tuple[float, float], outputs: tuple[float, float]
    ) -> None:
        super().__init__()
        self.conv, self.inputs, self.outputs = conv, inputs, outputs
        largest = conv.weight.detach().abs().amax((1, 2, 3), keepdim=True)
        scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
        self.weight = (conv.weight.detach() / scale).round() * scale

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        y = F.conv2d(
            _rounded_range(x, *self.inputs), self.weight, conv.bias, conv.stride,
            conv.padding, conv.dilation, conv.groups,
        )  # fmt: skip
        return _rounded_range(y, *self.outputs)


def rounded_rows(x: Tensor) -> Tensor:
    """x rounded to 256 steps between each row's least and largest value, 0 included: what 8-bit
    dynamic activations keep. The same values as torchao's per-token asymmetric rounding."""
    low = x.amin(-1, keepdim=True).clamp(max=0)
    high = x.amax(-1, keepdim=True).clamp(min=0)
    return _rounded(x, low, high)


def simulate_dynamic_(module: nn.Module) -> None:
    """Replace the linear layers that `quantize_linears_` or `quantize_calibrated_` made by
    `DynamicLinear`, in place: equal results without unpacking the weights at every call."""
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.Linear) and hasattr(layer.weight, "qdata"):
            put_(module, name, DynamicLinear(layer.weight.dequantize().detach(), layer.bias))


def dynamic_linear(layer: nn.Linear, rounded: Rounded) -> DynamicLinear:
    """The layer with these codes as weights."""
    return DynamicLinear(rounded.weight(), layer.bias)


def put_(module: nn.Module, name: str, layer: nn.Module) -> None:
    """Put `layer` in the place called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, layer)


@contextmanager
def replaced(module: nn.Module, layers: dict[str, nn.Module]) -> Iterator[None]:
    """Within the block `module` has these layers at these names."""
    before = {name: module.get_submodule(name) for name in layers}
    try:
        for name, layer in layers.items():
            put_(module, name, layer)
        yield
    finally:
        for name, layer in before.items():
            put_(module, name, layer)


@torch.no_grad()
def conv_ranges(
    module: nn.Module, inputs: Sequence[tuple[Tensor, ...]]
) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
    """Least and largest value that goes into and comes out of each convolution of `module`."""
    seen: dict[str, list[float]] = {}
    handles = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):

            def listen(
                _: nn.Module, arguments: tuple[Tensor, ...], output: Tensor, key: str = name
            ) -> None:
                now = [*arguments[0].aminmax(), *output.aminmax()]
                was = seen.get(key, [0.0, 0.0, 0.0, 0.0])
                picks = (min, max, min, max)
                seen[key] = [p(a, float(b)) for p, a, b in zip(picks, was, now, strict=True)]

            handles.append(layer.register_forward_hook(listen))
    for arguments in inputs:
        module(*arguments)
    for handle in handles:
        handle.remove()
    return {name: ((v[0], v[1]), (v[2], v[3])) for name, v in seen.items()}


def _rounded_range(x: Tensor, low: float, high: float) -> Tensor:
    return _rounded(x, x.new_tensor(min(low, 0.0)), x.new_tensor(max(high, 0.0)))


def _rounded(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    scale = ((high - low) / 255).clamp(min=torch.finfo(x.dtype).eps)
    zero = (-128 - torch.round(low / scale)).clamp(-128, 127)
    codes = (torch.round(x * (1 / scale)) + zero).clamp(-128, 127)
    return (codes - zero) * scale
