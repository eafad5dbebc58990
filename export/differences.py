"""How far two arrays are apart, in the figures of the parity ladder."""

from __future__ import annotations

import math

import numpy as np


def differences(reference: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """max_abs, mean_abs, p99_abs, sqnr_db (None when equal) and cosine of arrays of one shape."""
    a, b = reference.astype(np.float64).ravel(), measured.astype(np.float64).ravel()
    gap = np.abs(a - b)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return {
        "max_abs": float(gap.max()),
        "mean_abs": float(gap.mean()),
        "p99_abs": float(np.percentile(gap, 99)),
        "sqnr_db": finite_or_none(sqnr_db(a, b)),
        "cosine": float(a @ b) / length if length else float(np.array_equal(a, b)),
    }


def sqnr_db(reference: np.ndarray, measured: np.ndarray) -> float:
    """Signal to quantization noise in dB: 10 log10(sum(reference^2) / sum(error^2))."""
    signal = float(np.square(reference, dtype=np.float64).sum())
    noise = float(np.square(np.subtract(reference, measured, dtype=np.float64)).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def finite_or_none(value: float) -> float | None:
    """The number, or None where JSON could not hold it."""
    return value if math.isfinite(value) else None
