"""How far two pictures are apart: CIEDE2000, PSNR, SSIM and the largest code difference."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.errors import InvalidArgument

_CHUNK_PIXELS = 1 << 16
_SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5


class Comparison(TypedDict):
    """What `compare` measures; JSON-ready except that psnr_db is infinite for equal pictures."""

    psnr_db: float
    ciede2000_mean: float
    ciede2000_p99: float
    ciede2000_max: float
    max_code_difference: float
    max_code_at: tuple[int, int]


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise InvalidArgument(f"The pictures have shapes {a.shape} and {b.shape}; make them equal.")
    if a.size == 0:
        raise InvalidArgument(f"The pictures are empty (shape {a.shape}); give at least one pixel.")


def _hue_means(h1: np.ndarray, h2: np.ndarray, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed difference and mean of two hues in degrees, over the shorter way around."""
    difference = h2 - h1
    wide = np.abs(difference) > 180
    mean = (h1 + h2) / 2
    mean = np.where(wide, np.where(h1 + h2 < 360, mean + 180, mean - 180), mean)
    difference = np.where(wide, difference - np.copysign(360.0, difference), difference)
    return np.where(grey, 0.0, difference), np.where(grey, h1 + h2, mean)


def _ciede2000_block(lab1: np.ndarray, lab2: np.ndarray) -> np.ndarray:
    """(N,) differences of two (N, 3) blocks; the names follow the paper's symbols."""
    l1, a1, b1 = lab1.T
    l2, a2, b2 = lab2.T
    mean_c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(mean_c7 / (mean_c7 + 25.0**7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1 = np.degrees(np.arctan2(b1, a1)) % 360
    h2 = np.degrees(np.arctan2(b2, a2)) % 360
    dh, h = _hue_means(h1, h2, c1 * c2 == 0)
    d_hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2))
    c, offset = (c1 + c2) / 2, ((l1 + l2) / 2 - 50) ** 2
    t = (
        1
        - 0.17 * np.cos(np.radians(h - 30))
        + 0.24 * np.cos(np.radians(2 * h))
        + 0.32 * np.cos(np.radians(3 * h + 6))
        - 0.20 * np.cos(np.radians(4 * h - 63))
    )
    light = (l2 - l1) / (1 + 0.015 * offset / np.sqrt(20 + offset))
    chroma = (c2 - c1) / (1 + 0.045 * c)
    hue = d_hue / (1 + 0.015 * c * t)
    turn = np.radians(60 * np.exp(-(((h - 275) / 25) ** 2)))
    rotation = -2 * np.sqrt(c**7 / (c**7 + 25.0**7)) * np.sin(turn)
    squared = light**2 + chroma**2 + hue**2 + rotation * chroma * hue
    return np.sqrt(np.maximum(squared, 0.0))


def ciede2000(lab1: np.ndarray, lab2: np.ndarray) -> np.ndarray:
    """Colour differences (...), float64, of CIELAB (..., 3) and (..., 3); shapes broadcast.

    About 1.0 is just noticeable. kL = kC = kH = 1. Works in blocks of 65,536 colours, so a 12 MP
    picture needs some 50 MB beyond its arguments and result. Formula: Sharma, Wu and Dalal, Color
    Research and Application 30 (1), 2005.

    Errors: InvalidArgument if a last axis is not 3 or the shapes do not fit each other.
    """
    a, b = np.asarray(lab1, np.float64), np.asarray(lab2, np.float64)
    if a.shape[-1:] != (3,) or b.shape[-1:] != (3,):
        raise InvalidArgument(f"CIELAB needs (..., 3) arrays, got shapes {a.shape} and {b.shape}.")
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError as error:
        raise InvalidArgument(
            f"CIELAB arrays of shapes {a.shape} and {b.shape} do not fit; make them equal."
        ) from error
    a = np.broadcast_to(a, shape).reshape(-1, 3)
    b = np.broadcast_to(b, shape).reshape(-1, 3)
    out = np.empty(len(a))
    for start in range(0, len(a), _CHUNK_PIXELS):
        part = slice(start, start + _CHUNK_PIXELS)
        out[part] = _ciede2000_block(a[part], b[part])
    return out.reshape(shape[:-1])


def psnr(a: np.ndarray, b: np.ndarray, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB over all values; infinite for equal pictures.

    a, b: equal shapes, any number type; peak: the code of white (1.0, 255, 65535).
    """
    x, y = np.asarray(a), np.asarray(b)
    _same_shape(x, y)
    if not peak > 0:
        raise InvalidArgument(f"peak is {peak}; it must be the positive code of white.")
    x, y = x.reshape(-1), y.reshape(-1)
    total = 0.0
    for start in range(0, x.size, 3 * _CHUNK_PIXELS):
        part = slice(start, start + 3 * _CHUNK_PIXELS)
        total += float(np.sum((x[part].astype(np.float64) - y[part]) ** 2))
    mean = total / x.size
    return float(10 * np.log10(peak**2 / mean)) if mean else float("inf")


def _blur(plane: np.ndarray) -> np.ndarray:
    """A (H, W) plane under the Gaussian window, (H - 10, W - 10): only whole windows."""
    radius = _SSIM_WINDOW // 2
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / _SSIM_SIGMA) ** 2)
    taps /= taps.sum()
    height, width = plane.shape[0] - 2 * radius, plane.shape[1] - 2 * radius
    rows = np.zeros((height, plane.shape[1]))
    for i, tap in enumerate(taps):
        rows += tap * plane[i : i + height]
    out = np.zeros((height, width))
    for i, tap in enumerate(taps):
        out += tap * rows[:, i : i + width]
    return out


def _ssim_plane(x: np.ndarray, y: np.ndarray, peak: float) -> float:
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    variances = _blur(x * x) - mean_x**2 + _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(numerator / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))))


def ssim(a: np.ndarray, b: np.ndarray, peak: float = 1.0) -> float:
    """Mean structural similarity, 1.0 for equal pictures; the mean over channels.

    a, b: (H, W) or (H, W, C), equal shapes, at least 11 x 11. Gaussian window 11 x 11, sigma 1.5,
    K1 = 0.01, K2 = 0.03, whole windows only. Formula: Wang, Bovik, Sheikh and Simoncelli, IEEE TIP
    13 (4), 2004.
    """
    x, y = np.asarray(a), np.asarray(b)
    _same_shape(x, y)
    if x.ndim not in (2, 3) or min(x.shape[:2]) < _SSIM_WINDOW:
        raise InvalidArgument(
            f"SSIM of shape {x.shape}: it needs (H, W) or (H, W, C), at least 11 x 11 pixels."
        )
    x, y = np.atleast_3d(x), np.atleast_3d(y)
    planes = range(x.shape[2])
    values = [
        _ssim_plane(x[..., c].astype(np.float64), y[..., c].astype(np.float64), peak)
        for c in planes
    ]
    return float(np.mean(values))


def _peak_of(a: np.ndarray) -> float:
    if a.dtype == np.uint8 or a.dtype == np.uint16:
        return float(np.iinfo(a.dtype).max)
    if np.issubdtype(a.dtype, np.floating):
        return 1.0
    raise InvalidArgument(f"Pictures of {a.dtype} are not compared; use uint8, uint16 or float.")


def _colour_differences(x: np.ndarray, y: np.ndarray, peak: float) -> np.ndarray:
    """(N,) float32 CIEDE2000 of two (N, 3) lists of codes, without a float64 copy of all."""
    out = np.empty(len(x), np.float32)
    for start in range(0, len(x), _CHUNK_PIXELS):
        part = slice(start, start + _CHUNK_PIXELS)
        lab1 = rgb_to_lab(x[part].astype(np.float64) / peak)
        lab2 = rgb_to_lab(y[part].astype(np.float64) / peak)
        out[part] = _ciede2000_block(lab1, lab2)
    return out


def compare(a: np.ndarray, b: np.ndarray) -> Comparison:
    """Distances between two pictures of encoded sRGB.

    a, b: (H, W, 3), equal shape and dtype: uint8, uint16 or float in [0, 1]. `max_code_difference`
    is in codes of the dtype (steps of 1/255 for float) and `max_code_at` the (x, y) where it is.

    Errors: InvalidArgument for other or unequal shapes and dtypes, and for values that are not
    finite.
    """
    x, y = np.asarray(a), np.asarray(b)
    _same_shape(x, y)
    if x.ndim != 3 or x.shape[2] != 3 or x.dtype != y.dtype:
        raise InvalidArgument(
            f"compare() got {x.shape} {x.dtype} and {y.shape} {y.dtype}; both must be (H, W, 3) "
            "of one dtype."
        )
    peak = _peak_of(x)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InvalidArgument("A picture holds NaN or infinite values; replace them first.")
    signed = np.float64 if peak == 1.0 else np.int32
    gap = np.abs(x.astype(signed) - y).max(axis=2)
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(gap)), gap.shape))
    codes = float(gap[row, column]) * (255.0 if peak == 1.0 else 1.0)
    de = _colour_differences(x.reshape(-1, 3), y.reshape(-1, 3), peak)
    return Comparison(
        psnr_db=psnr(x, y, peak),
        ciede2000_mean=float(de.mean(dtype=np.float64)),
        ciede2000_p99=float(np.percentile(de, 99)),
        ciede2000_max=float(de.max()),
        max_code_difference=codes,
        max_code_at=(column, row),
    )
