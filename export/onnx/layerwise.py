"""Which matrix products cannot have 8-bit activations: the error of each, measured on samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vera_mobile.export.onnx.forms import Product

# Products below this keep float activations and 8-bit weights. nano, equalized: 33.3 to 36.6 dB for
# the four down projections, 43 to 52 dB for all others; normal random numbers have about 38 dB.
# With those four kept float the logits of nano's whole line go from 34.6 to 42.9 dB, next tokens
# equal to the checkpoint's from 97.3 to 98.8 % (8 photos, 32 tokens each).
FLOOR_DB = 37.0
_LEVELS = 255


@dataclass
class _Seen:
    """Range of a product's input, then energy of its output and of the error."""

    low: float = 0.0
    high: float = 0.0
    signal: float = 0.0
    noise: float = 0.0

    @property
    def sqnr_db(self) -> float:
        return 10 * float(torch.tensor(self.signal / max(self.noise, 1e-30)).log10())


@torch.no_grad()
def product_sqnr_db(form: nn.Module, run: Callable[[], None]) -> dict[str, float]:
    """By weight's name, the SQNR of each product with static 8-bit input and weights of 8 bits.

    run: calls `form` on samples; it is called twice, for the ranges and for the errors.
    """
    products = {name: m for name, m in form.named_modules() if isinstance(m, Product)}
    seen = {name: _Seen() for name in products}

    def note_range(name: str) -> Callable[..., None]:
        def hook(module: Product, inputs: tuple[Tensor, ...]) -> None:
            low, high = (float(value) for value in inputs[0].aminmax())
            seen[name].low, seen[name].high = min(seen[name].low, low), max(seen[name].high, high)

        return hook

    def note_error(name: str) -> Callable[..., None]:
        def hook(module: Product, inputs: tuple[Tensor, ...]) -> None:
            exact = inputs[0] @ module.weight
            weight = _rounded_weight(module.weight)  # anew each time: all together are gigabytes
            coarse = _rounded(inputs[0], seen[name].low, seen[name].high) @ weight
            seen[name].signal += float(exact.square().sum())
            seen[name].noise += float((exact - coarse).square().sum())

        return hook

    for note in (note_range, note_error):
        handles = [m.register_forward_pre_hook(note(name)) for name, m in products.items()]
        try:
            run()
        finally:
            for handle in handles:
                handle.remove()
    return {f"{name}.weight": one.sqnr_db for name, one in seen.items()}


def _rounded(x: Tensor, low: float, high: float) -> Tensor:
    step = (high - low) / _LEVELS
    if step == 0:
        return x
    zero = round(-low / step)
    return ((x / step).round() + zero).clamp(0, _LEVELS).sub(zero) * step


def _rounded_weight(weight: Tensor) -> Tensor:
    step = weight.abs().amax(0) / 127
    return (weight / torch.where(step > 0, step, 1.0)).round() * step
