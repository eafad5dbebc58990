"""Develop sliders that bring a photo near the colours of another picture."""

from __future__ import annotations

import numpy as np

from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.develop.sliders import INDEX, SLIDERS

FITTED = (
    "Exposure2012",
    "Contrast2012",
    "Highlights2012",
    "Shadows2012",
    "IncrementalTemperature",
    "IncrementalTint",
    "Saturation",
)
LIMIT = 60.0  # percent; beyond it a retouch looks forced
_PERCENTILES = (5, 25, 50, 75, 95)
_POINTS = 1024
_ROUNDS = 6
_STEP = 4.0  # percent, of the finite differences
_RIDGE = 0.002  # pulls sliders that change little back to 0


def sliders_towards(photo: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Whole percent per slider of `FITTED`, in -60..60, that move `photo` towards `wanted`.

    Both (1, 3, E, E) float32 encoded sRGB in [0, 1]. Least squares (Gauss-Newton with finite
    differences) on what describes a picture's colours: percentiles of L*, means of a*, b* and
    chroma. Contents may differ; what matters is the distribution. Cost: about 60 developments of
    1024 points.
    """
    points, goal = _points(photo), _described(_points(wanted))
    values = np.zeros(len(FITTED))
    for _ in range(_ROUNDS):
        trials = values + np.vstack([np.zeros(len(FITTED)), _STEP * np.eye(len(FITTED))])
        found = np.stack([_described(rgb) for rgb in _developed(points, trials)])
        slope = (found[1:] - found[0]).T / _STEP
        ridge = _RIDGE * np.eye(len(FITTED))
        change = np.linalg.solve(
            slope.T @ slope + ridge, slope.T @ (goal - found[0]) - _RIDGE * values
        )
        values = np.clip(values + np.clip(change, -25, 25), -LIMIT, LIMIT)
    return dict(zip(FITTED, np.round(values).tolist(), strict=True))


def _points(pixels: np.ndarray) -> np.ndarray:
    flat = pixels[0].reshape(3, -1).T
    return flat[:: max(1, len(flat) // _POINTS)]


def _described(rgb: np.ndarray) -> np.ndarray:
    lab = rgb_to_lab(rgb.astype(np.float64))
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    return np.array([*np.percentile(lab[:, 0], _PERCENTILES), *lab[:, 1:].mean(0), chroma.mean()])


def _developed(points: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """(T, N, 3): the points with each row of slider values."""
    import torch

    from vera_mobile.develop.operators import develop

    sliders = np.zeros((len(trials), len(SLIDERS)), np.float32)
    sliders[:, [INDEX[name] for name in FITTED]] = trials
    rgb = torch.from_numpy(np.ascontiguousarray(points, np.float32))
    with torch.inference_mode():
        out = develop(rgb.expand(len(trials), -1, -1), torch.from_numpy(sliders))
    return np.clip(out.numpy(), 0, 1)
