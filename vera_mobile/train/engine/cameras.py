"""Faults as cameras make them, in develop sliders: what `data.degradation` draws blindly is drawn
here after the scene.

A meter pulls every scene towards middle grey, so snow comes out too dark and night too bright;
the white balance misses along the daylight locus, with a little green or magenta; haze and flat
profiles lower contrast and colour together; phones overdo both.
"""

from __future__ import annotations

import numpy as np

from vera_mobile.color.spaces import XYZ_TO_RGB, rgb_to_lab, srgb_to_linear
from vera_mobile.develop.sliders import HUES, INDEX, SLIDERS, STOPS_AT_100

MIDDLE_GREY = 0.18
DAYLIGHT_K = (4000.0, 25000.0)  # where the formula of the locus is defined
D65_MIRED = 1e6 / 6504.0
FAULTS = ("meter", "backlight", "over", "flat", "phone", "cast")
SHARES = (0.30, 0.14, 0.10, 0.18, 0.12, 0.16)


def daylight_xy(kelvin: float) -> tuple[float, float]:
    """Chromaticity of CIE daylight of a colour temperature of 4000..25000 K (CIE 15:2004)."""
    t = float(np.clip(kelvin, *DAYLIGHT_K))
    k = (-4.6070e9, 2.9678e6, 0.09911e3, 0.244063)
    if t > 7000:
        k = (-2.0064e9, 1.9018e6, 0.24748e3, 0.237040)
    x = k[0] / t**3 + k[1] / t**2 + k[2] / t + k[3]
    return x, -3.000 * x * x + 2.870 * x - 0.275


def daylight_cast(mired_shift: float) -> tuple[float, float]:
    """Temperature and tint sliders (percent) that tint a photo as a wrong daylight does.

    mired_shift: distance from D65 in mired (10^6 / K), positive is warmer. The gains of linear sRGB
    that turn D65 white into daylight of that temperature are met exactly in their ratios: the
    sliders' gains are 2^(0.6 t) on red, 2^(-0.8 t) on blue and 2^(-0.5 tint) on green.
    """
    white = [_linear_white(1e6 / (D65_MIRED + shift)) for shift in (mired_shift, 0.0)]
    red, green, blue = white[0] / white[1]
    warm = (np.log2(red / green) - np.log2(blue / green)) / 1.4
    tint = 2.0 * (np.log2(red / green) - 0.6 * warm)
    return float(warm * 100), float(tint * 100)


def _linear_white(kelvin: float) -> np.ndarray:
    x, y = daylight_xy(kelvin)
    return XYZ_TO_RGB @ np.array([x / y, 1.0, (1 - x - y) / y])


def camera_fault(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sliders (38,) in whole percent that make a good photo look as a camera may have given it.

    rgb: (N, 3) encoded sRGB in [0, 1], a sample of the photo's pixels: its luminance decides about
    the exposure, its brightest part about highlights, its chroma about oversaturation.
    """
    s = np.zeros(len(SLIDERS), np.float32)
    fault = FAULTS[rng.choice(len(FAULTS), p=SHARES)]
    linear = srgb_to_linear(rgb) @ np.array([0.2126, 0.7152, 0.0722])
    {
        "meter": _meter, "backlight": _backlight, "over": _over, "flat": _flat, "phone": _phone,
        "cast": _cast_only,
    }[fault](s, rng, linear)  # fmt: skip
    if fault != "cast" and rng.random() < 0.45:
        _cast(s, rng, 24.0)
    if rng.random() < 0.25:
        _single_hues(s, rng, rgb)
    return np.clip(np.round(s), -100, 100)


def _put(s: np.ndarray, name: str, value: float) -> None:
    s[INDEX[name]] += np.float32(value)


def _stops(s: np.ndarray, stops: float) -> None:
    _put(s, "Exposure2012", stops / STOPS_AT_100 * 100)


def _meter(s: np.ndarray, rng: np.random.Generator, linear: np.ndarray) -> None:
    """The mean is pulled a part of the way to middle grey, and mostly some way below it."""
    pull = rng.uniform(0.3, 0.8) * np.log2(MIDDLE_GREY / max(float(linear.mean()), 0.01))
    stops = float(np.clip(pull - abs(rng.normal(0.35, 0.4)), -2.2, 1.0))
    _stops(s, stops if abs(stops) > 0.4 else -float(rng.uniform(0.5, 1.3)))
    if stops < -0.8:
        _put(s, "Shadows2012", -rng.uniform(5, 35))
        _put(s, "Saturation", -rng.uniform(0, 12))


def _backlight(s: np.ndarray, rng: np.random.Generator, linear: np.ndarray) -> None:
    """Shadows and darks sink while the highlights stay: metered for the light behind."""
    _stops(s, -float(rng.uniform(0.3, 0.9)))
    _put(s, "Shadows2012", -rng.uniform(30, 75))
    _put(s, "ParametricDarks", -rng.uniform(10, 50))
    _put(s, "Contrast2012", rng.uniform(5, 35))
    _put(s, "Highlights2012", rng.uniform(5, 30) * (1.0 if np.quantile(linear, 0.95) < 0.7 else 0))


def _over(s: np.ndarray, rng: np.random.Generator, linear: np.ndarray) -> None:
    room = 0.5 if np.quantile(linear, 0.95) > 0.85 else 1.0
    _stops(s, float(rng.uniform(0.5, 1.3)) * room)
    _put(s, "Highlights2012", rng.uniform(5, 40))
    _put(s, "Whites2012", rng.uniform(0, 25))
    _put(s, "Vibrance", -rng.uniform(0, 20))


def _flat(s: np.ndarray, rng: np.random.Generator, linear: np.ndarray) -> None:
    """Haze or a flat profile: less contrast, grey blacks and pale colours, in one strength."""
    depth = rng.uniform(0.35, 1.0)
    _put(s, "Contrast2012", -80 * depth)
    _put(s, "Blacks2012", depth * rng.uniform(30, 90))
    _put(s, "Highlights2012", -depth * rng.uniform(0, 40))
    _put(s, "Saturation", -depth * rng.uniform(10, 45))
    _stops(s, float(rng.normal(0, 0.2)))


def _phone(s: np.ndarray, rng: np.random.Generator, linear: np.ndarray) -> None:
    """Contrast and colour turned up together, shadows lifted without need."""
    depth = rng.uniform(0.4, 1.0)
    _put(s, "Saturation", depth * rng.uniform(20, 55))
    _put(s, "Vibrance", depth * rng.uniform(0, 30))
    _put(s, "Contrast2012", depth * rng.uniform(10, 45))
    _put(s, "Shadows2012", depth * rng.uniform(-10, 40))
    _stops(s, float(rng.uniform(-0.1, 0.35)))


def _cast(s: np.ndarray, rng: np.random.Generator, spread: float) -> None:
    """A miss along the daylight locus, most often to blue in shade and to yellow indoors."""
    shift = float(np.clip(rng.normal(0, spread), -80, 90))
    warm, tint = daylight_cast(shift)
    _put(s, "IncrementalTemperature", warm)
    _put(s, "IncrementalTint", tint + rng.normal(0, 7))


def _cast_only(s: np.ndarray, rng: np.random.Generator, linear: np.ndarray) -> None:
    sign = 1.0 if rng.random() < 0.5 else -1.0
    warm, tint = daylight_cast(sign * float(rng.uniform(18, 55)))
    _put(s, "IncrementalTemperature", warm)
    _put(s, "IncrementalTint", tint + rng.normal(0, 12))
    _stops(s, float(rng.normal(-0.1, 0.2)))


def _single_hues(s: np.ndarray, rng: np.random.Generator, rgb: np.ndarray) -> None:
    """One or two hues off, more likely dull ones in a strong photo and loud ones in a pale one."""
    lab = rgb_to_lab(rgb)
    strong = float(np.hypot(lab[:, 1], lab[:, 2]).mean()) > 25
    for hue in rng.choice(len(HUES), size=int(rng.integers(1, 3)), replace=False):
        dull = rng.random() < (0.7 if strong else 0.4)
        _put(s, f"SaturationAdjustment{HUES[hue]}", rng.uniform(20, 55) * (-1 if dull else 1))
        _put(s, f"LuminanceAdjustment{HUES[hue]}", rng.normal(0, 15))
        _put(s, f"HueAdjustment{HUES[hue]}", rng.normal(0, 12))
