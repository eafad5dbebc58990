"""Do the three groups of a latent move what they are named after, and nothing else?

Edits with all three groups are rendered, each group is switched off in turn, and what moves is
measured in CIELAB beside what the exact develop operators move when that group's sliders are left
out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vera_mobile.color.metrics import ciede2000
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.develop.operators import band_weights, develop, hue_chroma, mask_groups
from vera_mobile.develop.sliders import GROUPS, HUES
from vera_mobile.train.renderer import StageModel

MIN_CHROMA = 0.06  # as in `words.measure`: a grey has no hue


@torch.no_grad()
def decoupling(model: StageModel, pixels: Tensor, sliders: Tensor) -> dict[str, Any]:
    """What switching off each group moves, by the renderer and by the exact operators.

    pixels: (K, N, 3) encoded sRGB in [0, 1]; sliders: (K, 38) percent. Per group and for `model`
    and `exact`: mean |L|, mean |(a, b)| and the share of lightness in both, in CIELAB units, and
    mean |(L, a, b)| per hue band of the pixels; `error_ciede2000`: mean distance of the two moves'
    results.
    """
    latents = model.teacher(sliders)
    full = model.renderer(pixels, latents)
    exact_full = develop(pixels, sliders)
    weights = _hue_weights(pixels)
    report: dict[str, Any] = {}
    for i, group in enumerate(GROUPS):
        on = torch.ones(len(sliders), 3)
        on[:, i] = 0
        without = model.renderer(pixels, latents * on[:, :, None])
        exact = develop(pixels, mask_groups(sliders, on))
        report[group] = {
            "model": moved(full, without, weights),
            "exact": moved(exact_full, exact, weights),
            "error_ciede2000": float(ciede2000(_lab(without), _lab(exact)).mean()),
        }
    return report


def moved(one: Tensor, other: Tensor, hue_weights: np.ndarray) -> dict[str, Any]:
    """How far pixels (K, N, 3) of `one` and `other` are apart; hue_weights: (K * N, 8)."""
    gap = _lab(one) - _lab(other)
    light, colour = np.abs(gap[:, 0]), np.hypot(gap[:, 1], gap[:, 2])
    size = np.sqrt((gap**2).sum(1))
    total = hue_weights.sum(0).clip(1e-6)
    bands = (hue_weights * size[:, None]).sum(0) / total
    both = light.mean() + colour.mean()
    return {
        "lightness": float(light.mean()),
        "colour": float(colour.mean()),
        "lightness_share": float(light.mean() / max(both, 1e-9)),
        "per_hue": {name: float(v) for name, v in zip(HUES, bands, strict=True)},
        "hue_spread": float(bands.std() / max(bands.mean(), 1e-9)),
    }


def _lab(rgb: Tensor) -> np.ndarray:
    return rgb_to_lab(rgb.clamp(0, 1).reshape(-1, 3).double().cpu().numpy())


def _hue_weights(pixels: Tensor) -> np.ndarray:
    _, _, hue, chroma = hue_chroma(pixels.reshape(-1, 3))
    return (band_weights(hue) * (chroma > MIN_CHROMA)).cpu().numpy()
