"""Banding: steps between flat areas, where the reference changes gradually."""

from __future__ import annotations

import numpy as np

FLAT_PIXELS = 4
"""Pixels on each side of a step that must be flat for it to be seen as a band."""
FLAT_CODES = 1.0
MIN_STEP_CODES = 2.0
MAX_STEP_CODES = 24.0
"""Larger steps are edges of things."""
_BAND_PIXELS = 1 << 20


def banding_map(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Height of each step that only the candidate has, (H, W) float32, steps of 1/255; 0 elsewhere.

    reference, candidate: (H, W, 3) uint8 or uint16 of one dtype, encoded sRGB. A step lies between
    two neighbours, in a row or a column, that differ by 2 to 24 codes in some channel while the
    four pixels on either side of it differ by at most one; it counts where it exceeds the
    reference's own step there by 2 codes. Both neighbours are marked. Grain hides bands and is
    never marked: its sides are not flat.
    """
    out = np.zeros(reference.shape[:2], np.float32)
    for channel in range(3):
        first, second = reference[..., channel], candidate[..., channel]
        _mark_lines(out, first, second)
        _mark_lines(out.T, first.T, second.T)
    return out


def _mark_lines(out: np.ndarray, reference: np.ndarray, candidate: np.ndarray) -> None:
    scale = np.float32(255 / np.iinfo(reference.dtype).max)
    lines = max(_BAND_PIXELS // candidate.shape[1], 1)
    for start in range(0, len(candidate), lines):
        part = slice(start, start + lines)
        planes = (plane[part].astype(np.float32) * scale for plane in (reference, candidate))
        _mark(out[part], *planes)


def _mark(out: np.ndarray, reference: np.ndarray, candidate: np.ndarray) -> None:
    """Raises `out` at the steps along the rows of one plane."""
    if candidate.shape[1] < 2 * FLAT_PIXELS:
        return
    step = np.abs(np.diff(candidate, axis=1))
    own = np.abs(np.diff(reference, axis=1))
    high = (step >= MIN_STEP_CODES) & (step <= MAX_STEP_CODES) & (step - own >= MIN_STEP_CODES)
    rows, columns = np.nonzero(high)
    inside = (columns >= FLAT_PIXELS - 1) & (columns < candidate.shape[1] - FLAT_PIXELS)
    rows, columns = rows[inside], columns[inside]
    offsets = np.arange(FLAT_PIXELS)
    left = candidate[rows[:, None], columns[:, None] - offsets]
    right = candidate[rows[:, None], columns[:, None] + 1 + offsets]
    flat = (np.ptp(left, axis=1) <= FLAT_CODES) & (np.ptp(right, axis=1) <= FLAT_CODES)
    rows, columns = rows[flat], columns[flat]
    height = step[rows, columns]
    for at in (columns, columns + 1):
        np.maximum.at(out, (rows, at), height)
