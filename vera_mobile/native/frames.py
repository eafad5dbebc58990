"""Pixels in every format of the C++ renderer: NumPy arrays, interleaved, packed, planar, 4:2:0."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from vera_mobile import errors

Matrix = Literal["bt709", "bt601", "bt2020"]
Range = Literal["video", "full"]
MATRICES: tuple[Matrix, ...] = ("bt709", "bt601", "bt2020")
RANGES: tuple[Range, ...] = ("video", "full")


class _Format(NamedTuple):
    code: int  # vera_pixel_format of vera.h
    dtype: str
    planes: tuple[int, ...]  # samples a pixel of each plane; 0: an array without that axis
    subsampled: bool = False


FORMATS = {
    "rgb8": _Format(0, "uint8", (3,)),
    "rgba8": _Format(1, "uint8", (4,)),
    "rgb16": _Format(2, "uint16", (3,)),
    "rgba16": _Format(3, "uint16", (4,)),
    "rgbf32": _Format(4, "float32", (3,)),
    "rgbaf32": _Format(5, "float32", (4,)),
    "bgra8": _Format(6, "uint8", (4,)),
    "rgb10a2": _Format(7, "uint32", (0,)),
    "rgbf16": _Format(8, "float16", (3,)),
    "rgbaf16": _Format(9, "float16", (4,)),
    "planar8": _Format(10, "uint8", (0, 0, 0)),
    "planar16": _Format(11, "uint16", (0, 0, 0)),
    "planarf32": _Format(12, "float32", (0, 0, 0)),
    "planarf16": _Format(13, "float16", (0, 0, 0)),
    "nv12": _Format(14, "uint8", (0, 2), True),
    "i420": _Format(15, "uint8", (0, 0, 0), True),
    "p010": _Format(16, "uint16", (0, 2), True),
}
_BY_ARRAY = {
    (FORMATS[name].dtype, FORMATS[name].planes[0]): name
    for name in ("rgb8", "rgba8", "rgb16", "rgba16", "rgbf32", "rgbaf32", "rgbf16", "rgbaf16")
}


class CFrame(ctypes.Structure):
    """vera_frame of vera.h."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("format", ctypes.c_int32),
        ("yuv_matrix", ctypes.c_int32),
        ("yuv_range", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("width", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("planes", ctypes.c_void_p * 3),
        ("row_stride_bytes", ctypes.c_ssize_t * 3),
    )


def rows_are_plain(plane: np.ndarray) -> bool:
    """True if each row is one run of bytes and rows follow each other upwards in memory."""
    if plane.size == 0:
        return True
    height, width = plane.shape[:2]
    pixel_bytes = plane[0, 0].nbytes
    return (
        plane.flags.aligned
        and (plane.ndim == 2 or plane.strides[2] == plane.itemsize)
        and (width == 1 or plane.strides[1] == pixel_bytes)
        and (height == 1 or plane.strides[0] >= width * pixel_bytes)
    )


def _plane_shapes(name: str, height: int, width: int) -> list[tuple[int, ...]]:
    kind = FORMATS[name]
    shapes: list[tuple[int, ...]] = []
    for i, samples in enumerate(kind.planes):
        half = kind.subsampled and i > 0
        size = ((height + 1) // 2, (width + 1) // 2) if half else (height, width)
        shapes.append((*size, samples) if samples else size)
    return shapes


def _known(kind: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise errors.InvalidArgument(f"{kind} {value!r} not known: use {', '.join(allowed)}.")


@dataclass(frozen=True)
class Frame:
    """A view of pixels; arrays are not copied.

    format and planes, for height H and width W:
      rgb8, rgba8, bgra8: one (H, W, 3 or 4) uint8. rgb16, rgba16: uint16. rgbf16, rgbaf16:
      float16. rgbf32, rgbaf32: float32. Integers use their whole range for [0, 1].
      rgb10a2: one (H, W) uint32; red in bits 0..9, green 10..19, blue 20..29, alpha 30..31.
      planar8, planar16, planarf16, planarf32: three (H, W), R, G, B.
      nv12: (H, W) uint8 Y and (h, w, 2) uint8 Cb, Cr with h = (H + 1) // 2, w = (W + 1) // 2.
      p010: the same in uint16, the upper ten bits in use. i420: Y (H, W), Cb, Cr (h, w) uint8.
    matrix, range: how Y, Cb, Cr make R, G, B (ITU-R BT.709, BT.601, BT.2020); chroma sited left.
      Only for nv12, p010, i420, which can be a source but not a destination.

    Raises InvalidArgument for an unknown format and for planes of another dtype or shape.
    """

    format: str
    planes: tuple[np.ndarray, ...]
    matrix: Matrix = "bt709"
    range: Range = "video"

    def __post_init__(self) -> None:
        _known("Pixel format", self.format, tuple(FORMATS))
        _known("Matrix", self.matrix, MATRICES)
        _known("Range", self.range, RANGES)
        kind = FORMATS[self.format]
        found = [f"{getattr(p, 'shape', None)} {getattr(p, 'dtype', None)}" for p in self.planes]
        height, width = (
            self.planes[0].shape[:2] if self.planes and self.planes[0].ndim > 1 else (0, 0)
        )
        shapes = _plane_shapes(self.format, height, width)
        fits = len(shapes) == len(self.planes) and all(
            plane.shape == shape and plane.dtype.isnative and plane.dtype.name == kind.dtype
            for plane, shape in zip(self.planes, shapes, strict=True)
        )
        if not fits:
            allowed = ", ".join(str(shape) for shape in shapes)
            raise errors.InvalidArgument(
                f"Planes {', '.join(found) or 'none'} do not make a {self.format} frame: use "
                f"native {kind.dtype} arrays of shape {allowed}."
            )

    @classmethod
    def of(cls, image: np.ndarray) -> Frame:
        """An array (H, W, 3 or 4) of uint8, uint16, float16 or float32 as a frame."""
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] not in (3, 4):
            shape = getattr(image, "shape", type(image).__name__)
            raise errors.InvalidArgument(
                f"Image {shape} not allowed: use a NumPy array of shape (H, W, 3) or (H, W, 4)."
            )
        name = _BY_ARRAY.get((image.dtype.name, image.shape[2]))
        if name is None or not image.dtype.isnative:
            raise errors.InvalidArgument(
                f"Image dtype {image.dtype.str} not allowed: use native uint8, uint16, float16 "
                "or float32."
            )
        return cls(name, (image,))

    @classmethod
    def empty(cls, format: str, height: int, width: int) -> Frame:
        """A frame of new arrays; their contents are undefined."""
        _known("Pixel format", format, tuple(FORMATS))
        shapes = _plane_shapes(format, height, width)
        return cls(format, tuple(np.empty(shape, FORMATS[format].dtype) for shape in shapes))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.planes[0].shape[:2]
        return height, width

    def readable(self) -> Frame:
        """The frame itself, or a copy where the renderer cannot read the arrays as they lie."""
        if all(rows_are_plain(plane) for plane in self.planes):
            return self
        planes = tuple(np.ascontiguousarray(plane) for plane in self.planes)
        return Frame(self.format, planes, self.matrix, self.range)

    def c_view(self) -> CFrame:
        """The frame for the C ABI; valid as long as the arrays are. Rows must be plain."""
        height, width = self.shape
        view = CFrame(
            ctypes.sizeof(CFrame),
            FORMATS[self.format].code,
            MATRICES.index(self.matrix),
            RANGES.index(self.range),
            0,
            width,
            height,
        )
        for i, plane in enumerate(self.planes):
            rows = plane.shape[0]
            row_bytes = plane.nbytes // rows if rows else 0
            view.planes[i] = plane.ctypes.data
            view.row_stride_bytes[i] = plane.strides[0] if rows > 1 and row_bytes else row_bytes
        return view
