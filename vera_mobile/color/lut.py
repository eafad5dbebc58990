"""3-D look-up tables in float64: the plain truth for the render operator.

A table is (N, N, N, 3), indexed [b][g][r], N in 2..129: entry [k][j][i] is the colour that encoded
RGB (i, j, k) / (N - 1) becomes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from vera_mobile.color.curves import clamp01, evaluate_curve
from vera_mobile.errors import InvalidArgument

MIN_SIZE, MAX_SIZE = 2, 129
MAX_STRENGTH = 1.5
_CHUNK_PIXELS = 1 << 16


def check_lut(lut: np.ndarray) -> np.ndarray:
    """`lut` as it is, or InvalidArgument: (N, N, N, 3), N in 2..129, every value finite."""
    table = np.asarray(lut)
    size = table.shape[0] if table.ndim else 0
    if table.shape != (size, size, size, 3):
        raise InvalidArgument(f"A LUT of shape {table.shape} is not allowed: use (N, N, N, 3).")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InvalidArgument(
            f"LUT size {size} not allowed: use {MIN_SIZE}..{MAX_SIZE}; 33 suits photos."
        )
    if not np.isfinite(table).all():
        raise InvalidArgument("The LUT holds NaN or infinite values; all must be finite.")
    return table


def identity_lut(size: int) -> np.ndarray:
    """(size, size, size, 3) float64 table that changes nothing."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InvalidArgument(
            f"LUT size {size} not allowed: use {MIN_SIZE}..{MAX_SIZE}; 33 suits photos."
        )
    axis = np.linspace(0.0, 1.0, size)
    b, g, r = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([r, g, b], axis=-1)


def _tetrahedral(rgb: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Walks each (N, 3) colour from the low to the high corner of its cell, steepest axis first."""
    size = table.shape[0]
    position = clamp01(rgb) * (size - 1)
    corner = np.minimum(position.astype(np.intp), size - 2)
    fraction = position - corner
    order = np.argsort(-fraction, axis=1, kind="stable")
    ranked = np.take_along_axis(fraction, order, axis=1)
    node = corner @ np.array([1, size, size * size])
    stride = np.array([1, size, size * size])[order]
    flat = table.reshape(-1, 3)
    out = (1 - ranked[:, :1]) * flat[node]
    for step in range(3):
        node = node + stride[:, step]
        weight = ranked[:, step] - (ranked[:, step + 1] if step < 2 else 0.0)
        out += weight[:, None] * flat[node]
    return out


def _trilinear(rgb: np.ndarray, table: np.ndarray) -> np.ndarray:
    size = table.shape[0]
    position = clamp01(rgb) * (size - 1)
    corner = np.minimum(position.astype(np.intp), size - 2)
    fraction = position - corner
    out = np.zeros_like(position)
    for i in range(8):
        bits = np.array([i & 1, (i >> 1) & 1, i >> 2])
        weight = np.prod(np.where(bits, fraction, 1 - fraction), axis=1)
        r, g, b = (corner + bits).T
        out += weight[:, None] * table[b, g, r]
    return out


def apply_lut(
    rgb: np.ndarray,
    lut: np.ndarray,
    method: Literal["tetrahedral", "trilinear"] = "tetrahedral",
) -> np.ndarray:
    """Colours after the table, (..., 3) float64.

    rgb: (..., 3) encoded RGB, clamped to [0, 1], NaN counts as 0. The table's values are not
    clamped. "tetrahedral" is what all renderers use (Sakamoto and Itooka, US patent 4,275,413);
    "trilinear" is for comparison.

    Errors: InvalidArgument for another method, shape, size, or values that are not finite.
    """
    methods = {"tetrahedral": _tetrahedral, "trilinear": _trilinear}
    if method not in methods:
        raise InvalidArgument(f"Unknown LUT method {method!r}; known: {', '.join(methods)}.")
    colours = np.asarray(rgb)
    if colours.shape[-1:] != (3,):
        raise InvalidArgument(f"rgb has shape {colours.shape}; use (..., 3).")
    table = np.asarray(check_lut(lut), np.float64)
    flat = colours.reshape(-1, 3)
    out = np.empty(flat.shape)
    for start in range(0, len(flat), _CHUNK_PIXELS):
        part = slice(start, start + _CHUNK_PIXELS)
        out[part] = methods[method](flat[part], table)
    return out.reshape(colours.shape)


def apply_look(
    rgb: np.ndarray, curves: np.ndarray, lut: np.ndarray, strength: float = 1.0
) -> np.ndarray:
    """Colours after a baked look, (..., 3) float64 in [0, 1]: the definition of `render`.

    Input clamped to [0, 1] (NaN counts as 0) -> one curve per channel, curve values clamped to
    [0, 1] -> table, tetrahedral -> input + strength * (edited - input) -> clamped to [0, 1].

    rgb: (..., 3) encoded RGB; curves: (3, K), order R, G, B; lut: (N, N, N, 3) indexed [b][g][r];
    strength: 0..1.5, 0 leaves the colours alone.

    Errors: InvalidArgument.
    """
    tables = np.asarray(curves, np.float64)
    if tables.ndim != 2 or tables.shape[0] != 3:
        raise InvalidArgument(f"Curves of shape {tables.shape} are not allowed: use (3, K).")
    if not 0 <= strength <= MAX_STRENGTH:
        raise InvalidArgument(f"Strength {strength} not allowed: use 0..{MAX_STRENGTH}.")
    source = clamp01(rgb)
    if source.shape[-1:] != (3,):
        raise InvalidArgument(f"rgb has shape {source.shape}; use (..., 3).")
    curved = np.stack(
        [evaluate_curve(source[..., c], clamp_curve(tables[c])) for c in range(3)], -1
    )
    edited = apply_lut(curved, lut)
    return np.clip(source + strength * (edited - source), 0.0, 1.0)


def clamp_curve(values: np.ndarray) -> np.ndarray:
    """Curve values clamped to [0, 1]; what is not finite stays, so that it is refused later."""
    return np.clip(values, 0.0, 1.0) if np.isfinite(values).all() else values
