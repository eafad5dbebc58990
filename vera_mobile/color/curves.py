"""Piecewise linear curves over [0, 1], given by values at evenly spaced places."""

from __future__ import annotations

import numpy as np

from vera_mobile.errors import InvalidArgument

MIN_SIZE, MAX_SIZE = 2, 4096


def check_curve(values: np.ndarray) -> np.ndarray:
    """`values` as (K,) float64, or InvalidArgument: K in 2..4096 and every value finite."""
    curve = np.asarray(values, np.float64)
    if curve.ndim != 1 or not MIN_SIZE <= curve.size <= MAX_SIZE:
        raise InvalidArgument(
            f"A curve of shape {curve.shape} is not allowed: use (K,) with K in "
            f"{MIN_SIZE}..{MAX_SIZE}."
        )
    if not np.isfinite(curve).all():
        raise InvalidArgument("A curve holds NaN or infinite values; all must be finite.")
    return curve


def clamp01(x: np.ndarray) -> np.ndarray:
    """`x` clamped to [0, 1] as float64; NaN becomes 0, the rule of the render operator."""
    values = np.asarray(x, np.float64)
    return np.where(values > 0, np.minimum(values, 1.0), 0.0)


def identity_curve(size: int) -> np.ndarray:
    """(size,) float64 values of the curve that changes nothing."""
    return check_curve(np.linspace(0.0, 1.0, max(int(size), 0)))


def evaluate_curve(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Curve values at `x`, float64, the shape of `x`.

    x: any shape, clamped to [0, 1], NaN counts as 0. values: (K,), the curve at i / (K - 1).
    Between two places it is linear. The values themselves are not clamped.
    """
    curve = check_curve(values)
    position = clamp01(x) * (curve.size - 1)
    low = np.minimum(position.astype(np.intp), curve.size - 2)
    return curve[low] + (position - low) * (curve[low + 1] - curve[low])


def invert_curve(values: np.ndarray, size: int | None = None) -> np.ndarray:
    """The inverse of a rising curve, (size,) float64 in [0, 1]; `size` defaults to K.

    Exact at its `size` places, linear between them. Where the curve is flat the middle of the flat
    part is taken; below its first value the inverse is 0, above its last value 1.

    Errors: InvalidArgument if the curve falls anywhere, or is flat all over.
    """
    curve = check_curve(values)
    steps = np.diff(curve)
    if (steps < 0).any():
        i = int(np.argmax(steps < 0))
        raise InvalidArgument(
            f"The curve falls from {curve[i]:.6g} to {curve[i + 1]:.6g} at place {i}: only a curve "
            "that never falls has an inverse."
        )
    if curve[-1] == curve[0]:
        raise InvalidArgument(f"The curve is {curve[0]:.6g} everywhere and has no inverse.")
    y = identity_curve(curve.size if size is None else size)
    first = np.searchsorted(curve, y, "left")
    last = np.searchsorted(curve, y, "right") - 1
    low = np.clip(first - 1, 0, curve.size - 2)
    rise = curve[low + 1] - curve[low]
    between = low + (y - curve[low]) / np.where(rise > 0, rise, 1.0)
    place = np.where(last >= first, (first + last) / 2, between) / (curve.size - 1)
    return np.where(y < curve[0], 0.0, np.where(y > curve[-1], 1.0, np.clip(place, 0.0, 1.0)))
