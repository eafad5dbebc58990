"""The 38 sliders as differentiable, vectorised operators on encoded sRGB.

Order: white balance and exposure in linear light, tone on the encoded values, saturation and
vibrance, then the eight hue bands. Every operator is the identity at 0. The formulas are our own,
shaped to move a photo the way that sliders of the same name do; each is stated where it is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vera_mobile.develop.sliders import GROUP_SLICES, GROUPS, HUES, INDEX, STOPS_AT_100

LUMA = (0.2126, 0.7152, 0.0722)  # Rec. 709, applied to linear or encoded values as named
SHOULDER = 0.7  # linear level above which a raised exposure rolls off instead of clipping
HUE_CENTRES_DEG = (0.0, 30.0, 60.0, 120.0, 180.0, 240.0, 280.0, 320.0)
HUE_SHIFT_DEG = 30.0
BAND_CHROMA = 0.1  # chroma at which a hue band takes full hold; greys have no hue


def develop(rgb: Tensor, sliders: Tensor) -> Tensor:
    """Pixels with the sliders applied.

    rgb: (B, N, 3) float, encoded sRGB in [0, 1]. sliders: (B, 38) float, percent in -100..100 in
    the order of `SLIDERS`. Returns (B, N, 3) in [0, 1]. Differentiable in both; no randomness.
    """
    s = sliders.to(rgb.dtype)[:, None, :] / 100.0
    x = to_linear(rgb.clamp(0.0, 1.0))
    x = _white_balance(x, s)
    x = _exposure(x, s)
    x = to_encoded(x)
    x = _tone(x, s)
    x = _saturation(x, s)
    x = _hue_bands(x, s)
    return x.clamp(0.0, 1.0)


def mask_groups(sliders: Tensor, mask: Tensor) -> Tensor:
    """Sliders (B, 38) with whole groups switched off; mask: (B, 3) of 0/1 as in `GROUPS`."""
    parts = [sliders[:, GROUP_SLICES[g]] * mask[:, i : i + 1] for i, g in enumerate(GROUPS)]
    return torch.cat(parts, dim=1)


def to_linear(x: Tensor) -> Tensor:
    """sRGB decoding, IEC 61966-2-1."""
    low = x / 12.92
    high = ((x.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(x <= 0.04045, low, high)


def to_encoded(x: Tensor) -> Tensor:
    """sRGB encoding, IEC 61966-2-1; values above 1 are kept above 1."""
    low = x * 12.92
    high = 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(x <= 0.0031308, low, high)


def _pick(s: Tensor, name: str) -> Tensor:
    i = INDEX[name]
    return s[..., i : i + 1]


def _luma(x: Tensor) -> Tensor:
    return x[..., 0:1] * LUMA[0] + x[..., 1:2] * LUMA[1] + x[..., 2:3] * LUMA[2]


def _white_balance(x: Tensor, s: Tensor) -> Tensor:
    """Gains 2^(0.6 t) on red, 2^(-0.8 t) on blue, 2^(-0.5 tint) on green; luma of white is kept."""
    t, tint = _pick(s, "IncrementalTemperature"), _pick(s, "IncrementalTint")
    gains = torch.cat([2 ** (0.6 * t), 2 ** (-0.5 * tint), 2 ** (-0.8 * t)], dim=-1)
    return x * (gains / _luma(gains))


def _exposure(x: Tensor, s: Tensor) -> Tensor:
    """x * 2^stops; above `SHOULDER` a raised exposure follows k + (1-k) a u / (1 + (a-1) u).

    u runs from 0 at the shoulder to 1 at the brightest value that the gain makes of white, a is
    chosen so that the slope is continuous: white stays white and nothing clips.
    """
    gain = 2 ** (_pick(s, "Exposure2012") * STOPS_AT_100)
    y = x * gain
    top = gain.clamp_min(1.0)
    a = (top - SHOULDER) / (1.0 - SHOULDER)
    u = (y - SHOULDER).clamp_min(0.0) / (top - SHOULDER)
    rolled = SHOULDER + (1.0 - SHOULDER) * a * u / (1.0 + (a - 1.0) * u)
    return torch.where(y > SHOULDER, rolled, y)


def _tone(x: Tensor, s: Tensor) -> Tensor:
    """Sum of smooth bumps on each encoded channel, then a contrast S-curve around middle grey.

    The bumps' slopes add up to less than 1 for any single slider, so each is monotone by itself.
    """
    x = x.clamp(0.0, 1.5)
    y = x.clamp(0.0, 1.0)
    z = 1.0 - y
    x = x + 0.85 * _pick(s, "Shadows2012") * y * z**3
    x = x + 0.85 * _pick(s, "Highlights2012") * z * y**3
    x = x + 0.18 * _pick(s, "Whites2012") * y**4
    x = x + 0.14 * _pick(s, "Blacks2012") * z**6
    for name, centre in (
        ("ParametricShadows", 0.125),
        ("ParametricDarks", 0.375),
        ("ParametricLights", 0.625),
        ("ParametricHighlights", 0.875),
    ):
        bump = torch.exp(-(((y - centre) / 0.16) ** 2)) * (4.0 * y * z).clamp_max(1.0)
        x = x + 0.08 * _pick(s, name) * bump
    x = x.clamp(0.0, 1.0)
    return x + 0.9 * _pick(s, "Contrast2012") * x * (1.0 - x) * (2.0 * x - 1.0)


def _saturation(x: Tensor, s: Tensor) -> Tensor:
    """Scales the distance to luma by (1 + saturation) (1 + 0.8 vibrance (1 - chroma)^2)."""
    luma = _luma(x)
    chroma = x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True)
    vibrance = 1.0 + 0.8 * _pick(s, "Vibrance") * (1.0 - chroma.clamp(0.0, 1.0)) ** 2
    return luma + (x - luma) * (1.0 + _pick(s, "Saturation")) * vibrance


def hue_chroma(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Opponent axes (u, v), hue in degrees [0, 360) and chroma of encoded RGB (..., 3).

    u = R - (G + B) / 2, v = sqrt(3)/2 (G - B): red lies at 0, yellow at 60, green at 120 degrees.
    """
    u = x[..., 0:1] - 0.5 * (x[..., 1:2] + x[..., 2:3])
    v = (math.sqrt(3.0) / 2.0) * (x[..., 1:2] - x[..., 2:3])
    square = u * u + v * v
    grey = square < 1e-12
    hue = (
        torch.rad2deg(
            torch.atan2(
                torch.where(grey, torch.zeros_like(v), v), torch.where(grey, torch.ones_like(u), u)
            )
        )
        % 360.0
    )
    return u, v, hue, torch.where(grey, torch.full_like(u, 1e-12), square).sqrt()


def band_weights(hue: Tensor) -> Tensor:
    """Share of each of the 8 hue bands, (..., 8), adding up to 1: linear between the centres."""
    centres = torch.tensor(HUE_CENTRES_DEG, dtype=hue.dtype, device=hue.device)
    before = torch.roll(centres, 1)
    after = torch.roll(centres, -1)
    rise_width = (centres - before) % 360.0
    fall_width = (after - centres) % 360.0
    offset = (hue - centres + 180.0) % 360.0 - 180.0
    rise = 1.0 + offset / rise_width
    fall = 1.0 - offset / fall_width
    return torch.where(offset < 0, rise, fall).clamp(0.0, 1.0)


def _hue_bands(x: Tensor, s: Tensor) -> Tensor:
    """Per band: hue rotated by up to 30 degrees at constant luma, chroma scaled, luma scaled."""
    if not bool(s[..., GROUP_SLICES["specific_color"]].abs().sum() > 0) and not s.requires_grad:
        return x
    u, v, hue, chroma = hue_chroma(x)
    hold = (chroma / BAND_CHROMA).clamp_max(1.0)
    weights = band_weights(hue) * hold * hold * (3.0 - 2.0 * hold)
    base = GROUP_SLICES["specific_color"].start
    n = len(HUES)
    shift, scale, light = (
        (weights * s[..., base + k * n : base + (k + 1) * n]).sum(-1, keepdim=True)
        for k in range(3)
    )
    angle = torch.deg2rad(HUE_SHIFT_DEG * shift)
    cos, sin = torch.cos(angle), torch.sin(angle)
    u, v = (u * cos - v * sin) * (1.0 + scale), (u * sin + v * cos) * (1.0 + scale)
    root3 = math.sqrt(3.0)
    y = torch.cat([2.0 / 3.0 * u, -u / 3.0 + v / root3, -u / 3.0 - v / root3], dim=-1)
    luma = _luma(x) * (1.0 + 0.5 * light * chroma.clamp_max(1.0) ** 0.5)
    return y + (luma - _luma(y))
