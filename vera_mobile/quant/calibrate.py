"""Weights rounded with calibration: what the layers see on real inputs decides how they round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.quant.gptq import Rounded, gptq
from vera_mobile.quant.schemes import Scheme

Inputs = Sequence[tuple[Tensor, ...]]


class _Seen(Exception):
    """Ends a forward pass: all that was asked for has been seen."""


@torch.no_grad()
def second_moments(module: nn.Module, inputs: Inputs, names: Sequence[str]) -> dict[str, Tensor]:
    """The sum of x x^T over all inputs x of the linear layers `names`, (K, K) float64 each.

    inputs: one tuple of arguments per call of `module`. A pass ends once the last of the layers,
    in the order of `names`, has been reached: name them in the order in which they run. Raises
    InvalidArgument for no inputs.
    """
    if not inputs:
        raise InvalidArgument("Calibration without inputs: give at least one photo.")
    layers = {name: module.get_submodule(name) for name in names}
    sums: dict[str, Tensor] = {}

    def listen(name: str, layer: nn.Linear) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        sums[name] = torch.zeros(layer.in_features, layer.in_features, dtype=torch.float64)

        def add(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            rows = arguments[0].detach().reshape(-1, layer.in_features)
            sums[name] += (rows.T @ rows).double()
            if name == names[-1]:
                raise _Seen

        return add

    with ExitStack() as stack:
        for name, layer in layers.items():
            if not isinstance(layer, nn.Linear):
                raise InvalidArgument(f"Layer {name} is no linear layer: calibrate linear layers.")
            stack.callback(layer.register_forward_pre_hook(listen(name, layer)).remove)
        for arguments in inputs:
            try:
                module(*arguments)
            except _Seen:
                continue
    return sums


def calibrated_weights(
    module: nn.Module, used: Scheme, inputs: Inputs, names: Sequence[str]
) -> dict[str, Rounded]:
    """GPTQ of the layers `names`, all seeing what they see in the module as it is."""
    moments = second_moments(module, inputs, names)
    return {
        name: gptq(
            module.get_submodule(name).get_parameter("weight"),
            moments[name],
            bits=used.weight_bits,
            group_size=used.group_size,
        )
        for name in names
    }


@torch.no_grad()
def quantize_calibrated_(
    module: nn.Module,
    used: Scheme,
    inputs: Inputs,
    *,
    only: Callable[[str], bool] = lambda name: True,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Replace the weights of the linear layers in `module`, in place, by calibrated ones.

    As `quantize_linears_`, with GPTQ in place of the nearest code. inputs: arguments of `module`,
    one tuple per call; layers with one parent are rounded together, after those before them, so
    that each sees the rounding of what precedes it. Layers must run in the order in which
    they are registered. Raises InvalidArgument for a scheme without dynamic activations and for
    no inputs. Cost: a pass over the inputs up to each parent, and GPTQ of each layer.
    """
    if used.activations != "dynamic":
        raise InvalidArgument(
            f"Scheme '{used.name}' not allowed for calibrated linear layers: use one with int8dyn."
        )
    names = [n for n, m in module.named_modules() if isinstance(m, nn.Linear) and only(n)]
    parents = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    for done, parent in enumerate(parents):
        together = [name for name in names if name.rpartition(".")[0] == parent]
        for name, rounded in calibrated_weights(module, used, inputs, together).items():
            set_weight_(module.get_submodule(name), rounded, used)
        on_step(done + 1, len(parents))


def set_weight_(layer: nn.Module, rounded: Rounded, used: Scheme) -> None:
    """Give a linear layer these codes and scales, in the form that lowers to XNNPACK."""
    from torchao.quantization import IntxUnpackedToInt8Tensor
    from torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor import (
        IntxUnpackedToInt8TensorActivationQuantization as Activations,
    )

    weight = IntxUnpackedToInt8Tensor(
        qdata=rounded.codes,
        scale=rounded.scales,
        zero_point=torch.zeros_like(rounded.scales, dtype=torch.int8),
        target_dtype=getattr(torch, f"int{used.weight_bits}"),
        block_size=(1, rounded.codes.shape[1] // rounded.scales.shape[1]),
        dtype=torch.float32,
        activation_quantization=Activations.INT8_ASYM_PER_TOKEN,
    )
    layer.weight = nn.Parameter(weight, requires_grad=False)
