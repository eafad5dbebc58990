"""sRGB, CIE XYZ and CIELAB in float64: the truth that faster code is held against.

White is D65 with the chromaticity of IEC 61966-2-1, x = 0.3127, y = 0.3290. Nothing is clamped:
values outside [0, 1] keep their meaning, with the curve mirrored at 0, so every conversion can be
undone.
"""

from __future__ import annotations

import numpy as np

from vera_mobile.errors import InvalidArgument

# Derived from the primaries and the white of IEC 61966-2-1 in full precision (a unit test repeats
# the derivation): with the four printed digits of the standard, grey would not have a = b = 0.
RGB_TO_XYZ = np.array(
    [
        [0.41239079926595923, 0.357584339383878, 0.1804807884018343],
        [0.21263900587151022, 0.715168678767756, 0.07219231536073371],
        [0.019330818715591818, 0.11919477979462598, 0.9505321522496607],
    ]
)
XYZ_TO_RGB = np.array(
    [
        [3.240969941904523, -1.5373831775700941, -0.49861076029300355],
        [-0.9692436362808796, 1.8759675015077202, 0.04155505740717562],
        [0.055630079696993635, -0.2039769588889765, 1.0569715142428784],
    ]
)
WHITE_D65 = np.array([0.9504559270516716, 1.0, 1.0890577507598784])

_LAB_EPSILON = 216 / 24389
_LAB_KAPPA = 24389 / 27


def _as_triples(values: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim < 1 or array.shape[-1] != 3:
        raise InvalidArgument(
            f"{name} has shape {array.shape}: the last axis must hold 3 values, (..., 3)."
        )
    return array


def srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """Light-linear values of encoded sRGB; any shape, float64, 1.0 is white.

    Negative values are mirrored, f(-x) = -f(x). Formula: IEC 61966-2-1.
    """
    x = np.asarray(encoded, np.float64)
    size = np.abs(x)
    linear = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.copysign(linear, x)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """Encoded sRGB of light-linear values; the inverse of `srgb_to_linear`."""
    x = np.asarray(linear, np.float64)
    size = np.abs(x)
    encoded = np.where(size <= 0.04045 / 12.92, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    return np.copysign(encoded, x)


def linear_rgb_to_xyz(rgb: np.ndarray) -> np.ndarray:
    """XYZ (..., 3), Y of white 1.0, of linear sRGB (..., 3)."""
    return _as_triples(rgb, "rgb") @ RGB_TO_XYZ.T


def xyz_to_linear_rgb(xyz: np.ndarray) -> np.ndarray:
    """Linear sRGB (..., 3) of XYZ (..., 3) with Y of white 1.0; may leave [0, 1]."""
    return _as_triples(xyz, "xyz") @ XYZ_TO_RGB.T


def xyz_to_lab(xyz: np.ndarray) -> np.ndarray:
    """CIELAB (..., 3) under D65, L in 0..100, of XYZ (..., 3). Formula: CIE 15:2004."""
    t = _as_triples(xyz, "xyz") / WHITE_D65
    f = np.where(t > _LAB_EPSILON, np.cbrt(t), (_LAB_KAPPA * t + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def lab_to_xyz(lab: np.ndarray) -> np.ndarray:
    """XYZ (..., 3) of CIELAB (..., 3) under D65; the inverse of `xyz_to_lab`."""
    values = _as_triples(lab, "lab")
    y = (values[..., 0] + 16) / 116
    f = np.stack([y + values[..., 1] / 500, y, y - values[..., 2] / 200], axis=-1)
    cubed = f**3
    return np.where(cubed > _LAB_EPSILON, cubed, (116 * f - 16) / _LAB_KAPPA) * WHITE_D65


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (..., 3) under D65, float64, of encoded sRGB (..., 3) in [0, 1]."""
    return xyz_to_lab(linear_rgb_to_xyz(srgb_to_linear(_as_triples(rgb, "rgb"))))


def lab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """Encoded sRGB (..., 3) of CIELAB (..., 3) under D65; colours outside of sRGB leave [0, 1]."""
    return linear_to_srgb(xyz_to_linear_rgb(lab_to_xyz(lab)))
