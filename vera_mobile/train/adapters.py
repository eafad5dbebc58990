"""Changes to the decoder's linear layers for training only: LoRA, and rounding to int4.

Both replace a layer's forward on the instance and leave its weights under their names, so that a
state file of a plain run can be read, and a checkpoint is plain again after `merge_lora_`. peft
renames every wrapped weight, which would make two kinds of state files; this is shorter.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.quant.gptq import round_nearest

INT4_GROUP = 32


def linears(module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers with their names."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            yield name, layer


class LoraLinear:
    """y = W x + (alpha / rank) B A x (arXiv 2106.09685); B starts at zero, so nothing changes."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        self.layer, self.scale = layer, alpha / rank
        shape = (rank, layer.in_features)
        layer.register_parameter("lora_a", nn.Parameter(torch.empty(shape)))
        layer.register_parameter("lora_b", nn.Parameter(torch.zeros(layer.out_features, rank)))
        nn.init.kaiming_uniform_(layer.lora_a, a=5**0.5)  # type: ignore[arg-type]

    def __call__(self, x: Tensor) -> Tensor:
        a, b = self._pair()
        added = F.linear(F.linear(x, a.to(x.dtype)), b.to(x.dtype))
        return F.linear(x, self.layer.weight, self.layer.bias) + self.scale * added

    def _pair(self) -> tuple[Tensor, Tensor]:
        return self.layer.get_parameter("lora_a"), self.layer.get_parameter("lora_b")

    @torch.no_grad()
    def merge_(self) -> None:
        """Adds the product to the weight and makes the layer plain again."""
        a, b = self._pair()
        self.layer.weight += self.scale * (b @ a)
        del self.layer.lora_a, self.layer.lora_b, self.layer.forward


def add_lora_(module: nn.Module, rank: int, alpha: float) -> None:
    """Freezes the linear layers of `module` and puts a learned pair beside each, in place.

    Draws from torch's generator. Raises InvalidArgument for a rank of 0 or less.
    """
    if rank < 1 or alpha <= 0:
        raise InvalidArgument(f"lora_rank {rank} and lora_alpha {alpha} must be above 0")
    for _, layer in list(linears(module)):
        layer.requires_grad_(False)
        layer.forward = LoraLinear(layer, rank, alpha)  # type: ignore[method-assign, assignment]


def merge_lora_(module: nn.Module) -> None:
    """Adds what the pairs have learned to the weights; the module is plain again."""
    for _, layer in list(linears(module)):
        if isinstance(layer.forward, LoraLinear):
            layer.forward.merge_()


class RoundedLinear:
    """The layer with its weights rounded to int4 in groups of 32 along the inputs, as an export
    rounds them; the gradient goes to the exact weights as if nothing had been rounded
    (straight-through, arXiv 1308.3432)."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        weight = self.layer.weight
        rounded = round_nearest(weight.detach().float().cpu(), bits=4, group_size=INT4_GROUP)
        gap = rounded.weight().to(weight.device, weight.dtype) - weight.detach()
        return F.linear(x, weight + gap, self.layer.bias)


def round_weights_(module: nn.Module) -> None:
    """From now on the linear layers compute with int4 weights, in place; calling twice is once.

    Raises InvalidArgument for a layer whose inputs are no multiple of 32.
    """
    for name, layer in list(linears(module)):
        if layer.in_features % INT4_GROUP:
            raise InvalidArgument(
                f"qat_from_step: {name} has {layer.in_features} inputs, no multiple of {INT4_GROUP}"
            )
        if isinstance(layer.forward, LoraLinear):
            raise InvalidArgument("qat_from_step and lora_rank do not go together: use one")
        if not isinstance(layer.forward, RoundedLinear):
            layer.forward = RoundedLinear(layer)  # type: ignore[method-assign, assignment]


def exact_weights_(module: nn.Module) -> None:
    """Undoes `round_weights_`."""
    for _, layer in list(linears(module)):
        if isinstance(layer.forward, RoundedLinear):
            del layer.forward
