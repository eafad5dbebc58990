"""What the library shares with the SDKs of phones: the same C++ functions, so the same bytes.

The picture that the model sees, the choice of a token, the curves of a look; see
kernels/include/vera/retoucher.h.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, Literal, get_args

import numpy as np

from vera_mobile import errors, native
from vera_mobile.native.frames import CFrame, Frame

__all__ = (
    "ColorSpace",
    "Family",
    "Random",
    "choose_token",
    "curve_points",
    "fit_curves",
    "lattice_axes",
    "prepare_picture",
    "prepare_reference",
)

Family = Literal["vera-nano", "vera-0.5b"]
ColorSpace = Literal["srgb", "display-p3", "adobe-rgb", "bt2020"]
FAMILIES: tuple[Family, ...] = get_args(Family)
COLOR_SPACES: tuple[ColorSpace, ...] = get_args(ColorSpace)  # vera_color_space of retoucher.h
CURVE_KNOTS = 65
CURVE_POINTS = 27 * CURVE_KNOTS
MAX_SIDE = 8192


class CError(ctypes.Structure):
    """vera_error of retoucher.h."""

    _fields_ = (("status", ctypes.c_int32), ("message", ctypes.c_char * 512))

    def check(self) -> None:
        """Raises what the call that filled this in reported."""
        if self.status:
            classes = {kind.code: kind for kind in errors.VeraError.__subclasses__()}
            kind = classes.get(self.status, errors.InternalError)
            raise kind(self.message.decode("utf-8", "replace"))


@functools.cache
def _library() -> ctypes.CDLL:
    library = native.library()
    pointer, int32, real = ctypes.c_void_p, ctypes.c_int32, ctypes.c_float
    picture = [
        ctypes.POINTER(CFrame), int32, ctypes.c_char_p, int32, pointer, pointer,
        ctypes.POINTER(CError),
    ]  # fmt: skip
    calls: dict[str, list[Any]] = {
        "vera_prepare_picture": picture,
        "vera_prepare_reference": picture,
        "vera_choose_token": [
            pointer, int32, real, real, ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(int32),
        ],
        "vera_curve_points": [pointer],
        "vera_fit_curves": [pointer, pointer],
        "vera_lattice_axes": [pointer, int32, pointer],
    }  # fmt: skip
    for name, arguments in calls.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = None if name == "vera_curve_points" else int32
    return library


def prepare_picture(
    image: np.ndarray, size: int, *, family: Family = "vera-nano", space: ColorSpace = "srgb"
) -> np.ndarray:
    """A photo as the vision tower of a family takes it: (3, size, size) float32 sRGB in [0, 1].

    image: (H, W, 3) or (H, W, 4) uint8, uint16, float16 or float32, encoded RGB in `space`; alpha
    is ignored. size: 1..8192. "vera-nano" squeezes the photo to the square, "vera-0.5b" does as the
    public scripts: short edge at 512, centred on black, scaled.

    The same bytes on every machine; the rule is in kernels/sdk/picture.h. Releases the GIL. Raises
    InvalidArgument for an unknown family or space, a size or pixels that are not allowed.
    """
    return _prepared("vera_prepare_picture", image, size, family, space)


def prepare_reference(
    image: np.ndarray, size: int, *, family: Family = "vera-nano", space: ColorSpace = "srgb"
) -> np.ndarray:
    """A picture as the reference encoder of a family takes it, squeezed to the square: as
    `prepare_picture` does it for "vera-nano"; for "vera-0.5b" in 8 bits, bilinear.

    The rest as in `prepare_picture`.
    """
    return _prepared("vera_prepare_reference", image, size, family, space)


def _prepared(
    call: str, image: np.ndarray, size: int, family: Family, space: ColorSpace
) -> np.ndarray:
    if family not in FAMILIES or space not in COLOR_SPACES:
        raise errors.InvalidArgument(
            f"Family {family!r} in {space!r} not known: use {' or '.join(FAMILIES)} in "
            f"{', '.join(COLOR_SPACES)}."
        )
    if not 1 <= size <= MAX_SIDE:
        raise errors.InvalidArgument(f"A picture of side {size} not allowed: use 1..{MAX_SIDE}.")
    frame, out, error = Frame.of(image).readable(), np.empty((3, size, size), np.float32), CError()
    getattr(_library(), call)(
        frame.c_view(), COLOR_SPACES.index(space), family.encode(), size, None, out.ctypes.data,
        error,
    )  # fmt: skip
    error.check()
    return out


class Random:
    """Numbers to draw tokens with: SplitMix64, begun with a seed in 0..2^64-1."""

    def __init__(self, seed: int) -> None:
        self.state = ctypes.c_uint64(seed)


def choose_token(logits: np.ndarray, temperature: float, top_p: float, random: Random) -> int:
    """The next token: the best one at temperature 0, else one draw from the smallest set of tokens
    with `top_p` of the probability.

    logits: (V,) float32, -infinity for what is ruled out. temperature 0..2, top_p above 0 up to 1,
    both rounded to float32. The same on every machine; the rule is in kernels/sdk/sampling.h.
    Raises InvalidArgument outside of these ranges and for NaN.
    """
    values, token = np.ascontiguousarray(logits, np.float32), ctypes.c_int32()
    status = _library().vera_choose_token(
        values.ctypes.data, len(values), temperature, top_p, random.state, token
    )
    native.check_status(status, "Choosing a token (logits not NaN, temperature 0..2, top_p 0..1)")
    return token.value


def curve_points() -> np.ndarray:
    """The colours (1755, 3) float32 that a look is asked for to find its curves."""
    points = np.empty((CURVE_POINTS, 3), np.float32)
    _library().vera_curve_points(points.ctypes.data)
    return points


def fit_curves(colours: np.ndarray) -> np.ndarray:
    """Curves (3, 65) float32 from the look's answers (1755, 3) to `curve_points`."""
    values = np.ascontiguousarray(colours, np.float32)
    if values.shape != (CURVE_POINTS, 3):
        raise errors.InvalidArgument(
            f"colours of shape {values.shape} not allowed: use {(CURVE_POINTS, 3)}."
        )
    curves = np.empty((3, CURVE_KNOTS), np.float32)
    status = _library().vera_fit_curves(values.ctypes.data, curves.ctypes.data)
    native.check_status(status, "Fitting curves")
    return curves


def lattice_axes(curves: np.ndarray, size: int) -> np.ndarray:
    """Encoded value of each node (3, size) float32: where the curves (3, 65) reach i / (size - 1).

    size: 2..129.
    """
    values = np.ascontiguousarray(curves, np.float32)
    if values.shape != (3, CURVE_KNOTS):
        raise errors.InvalidArgument(
            f"curves of shape {values.shape} not allowed: use {(3, CURVE_KNOTS)}."
        )
    axes = np.empty((3, size), np.float32)
    status = _library().vera_lattice_axes(values.ctypes.data, size, axes.ctypes.data)
    native.check_status(status, "The lattice's axes (size 2..129)")
    return axes
