"""What photos give to the layers of the vision tower: the ranges that its own form is made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vera_mobile.model.vlm import VeraModel


@dataclass(frozen=True)
class Seen:
    """What photos gave to a layer's input, per channel: smallest, largest, mean square."""

    low: Tensor
    high: Tensor
    square: Tensor

    def ordered(self, order: Tensor) -> Seen:
        """With channels in another order."""
        return Seen(self.low[order], self.high[order], self.square[order])


def watch(model: VeraModel, photos: np.ndarray) -> dict[str, Seen]:
    """What the inputs of the tower's convolutions and of the projector were on photos (n, 3, S, S)
    float32, by the layer's name ("stages.0.blocks.0.ffn.expand", "projector.up")."""
    tower, projector = model.vision, model.projector
    with torch.no_grad(), _watched(tower, projector) as seen:
        for photo in photos:
            projector(tower(torch.from_numpy(photo)[None]))
    return {
        name: Seen(low, high, square / len(photos)) for name, (low, high, square) in seen.items()
    }


@contextmanager
def _watched(
    tower: nn.Module, projector: nn.Module
) -> Iterator[dict[str, tuple[Tensor, Tensor, Tensor]]]:
    seen: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def look(name: str, rows: Tensor) -> None:
        """rows: (channels, positions)"""
        now = (rows.amin(1), rows.amax(1), rows.square().mean(1))
        if name in seen:
            low, high, square = seen[name]
            now = (torch.minimum(low, now[0]), torch.maximum(high, now[1]), square + now[2])
        seen[name] = now

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach().float()[0]
            look(name, x.flatten(1) if isinstance(module, nn.Conv2d) else x.t())

        return see

    layers = [(name, module) for name, module in tower.named_modules()]
    layers += [(f"projector.{name}", module) for name, module in projector.named_modules()]
    handles = [
        module.register_forward_pre_hook(hook(name))
        for name, module in layers
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
