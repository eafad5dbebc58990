"""The C++ renderer from Python: applies a baked look (curves and LUT) to the pixels of an array."""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import vera_mobile
from vera_mobile import errors
from vera_mobile.native.frames import FORMATS, CFrame, Frame, Matrix, Range, rows_are_plain

__all__ = (
    "DEFAULT_METHOD",
    "Frame",
    "Matrix",
    "Method",
    "Range",
    "library_path",
    "load_torch_ops",
    "render",
    "render_frame",
    "version",
)

_INTERPOLATIONS = ("tetrahedral", "trilinear")
_OUT_OF_RANGE = ("clamp", "extend")
_VALUE_TYPES = ("float32", "float16", "uint16")  # vera_value_type of vera.h
_PROGRESS = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class _Look(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("curves", ctypes.c_void_p),
        ("lut", ctypes.c_void_p),
        ("output_curves", ctypes.c_void_p),
        ("curve_size", ctypes.c_int32),
        ("curve_type", ctypes.c_int32),
        ("lut_size", ctypes.c_int32),
        ("lut_type", ctypes.c_int32),
        ("output_curve_size", ctypes.c_int32),
        ("output_curve_type", ctypes.c_int32),
    )


class _RenderOptions(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("strength", ctypes.c_float),
        ("threads", ctypes.c_int32),
        ("cancel", ctypes.POINTER(ctypes.c_int32)),
        ("progress", _PROGRESS),
        ("user", ctypes.c_void_p),
        ("interpolation", ctypes.c_int32),
        ("out_of_range", ctypes.c_int32),
        ("dither", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("origin_x", ctypes.c_int64),
        ("origin_y", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Method:
    """How a look is applied; the defaults suit photos.

    interpolation: "tetrahedral" keeps greys of a neutral look grey; "trilinear" weighs all eight
      nodes of a cell.
    out_of_range: "clamp", or for float to float "extend": the offset of a value from [0, 1] is
      added back after the look and nothing is clamped, so that highlights above 1 survive.
    dither: only for 8-bit results; rounds by a fixed pattern of the pixel's position instead of
      half up, which hides bands in smooth gradients. Codes that are met exactly stay.
    origin: (x, y) of the first pixel in the whole picture, for the dither of tiles.
    """

    interpolation: Literal["tetrahedral", "trilinear"] = "tetrahedral"
    out_of_range: Literal["clamp", "extend"] = "clamp"
    dither: bool = False
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        for value, allowed in (
            (self.interpolation, _INTERPOLATIONS),
            (self.out_of_range, _OUT_OF_RANGE),
        ):
            if value not in allowed:
                raise errors.InvalidArgument(f"{value!r} not known: use {' or '.join(allowed)}.")


DEFAULT_METHOD = Method()


def library_path(name: str = "vera") -> Path:
    """Path of a built library of this package: "vera" (C ABI) or "vera_ops" (torch, ExecuTorch).

    Raises FileError if it is not built.
    """
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    file = f"{'' if sys.platform == 'win32' else 'lib'}{name}{suffix}"
    folders = [Path(folder) / "_lib" for folder in vera_mobile.__path__]
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    looked = ", ".join(str(folder) for folder in folders)
    raise errors.FileError(
        f"Native library {file} not found in {looked}: build it with "
        "`pip install --no-build-isolation -e .` in the repository, or install the wheel."
    )


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path()))
    library.vera_render_frame.restype = ctypes.c_int32
    library.vera_render_frame.argtypes = [
        ctypes.POINTER(_Look),
        ctypes.POINTER(CFrame),
        ctypes.POINTER(CFrame),
        ctypes.POINTER(_RenderOptions),
    ]
    library.vera_status_text.restype = ctypes.c_char_p
    library.vera_status_text.argtypes = [ctypes.c_int32]
    library.vera_version.restype = ctypes.c_char_p
    return library


def library() -> ctypes.CDLL:
    """libvera, loaded once. Raises FileError if it is not built."""
    return _library()


def check_status(status: int, what: str) -> None:
    """Raises the error of a vera_status other than OK; `what` begins its message."""
    if status:
        text = _library().vera_status_text(status).decode()
        classes = {kind.code: kind for kind in errors.VeraError.__subclasses__()}
        raise classes.get(status, errors.InternalError)(f"{what} failed: {text}.")


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, strength = inputs
    ctx.save_for_backward(*tensors)
    ctx.strength = strength


def _render_backward(ctx: Any, grad: Any) -> tuple[Any, ...]:
    import torch

    backward = torch.ops.vera.render_backward
    return (*backward(grad, *ctx.saved_tensors, ctx.strength), None)


@functools.cache
def load_torch_ops() -> None:
    """Registers vera::render with PyTorch and vera::render.out with the ExecuTorch runtime.

    For float32 images vera::render is differentiable by image, curves and lut: the derivative of
    what it computes, with clamps as in torch.clamp; the same numbers for any number of threads.
    Idempotent. Raises FileError if libvera_ops is not built.
    """
    path = library_path("vera_ops")
    import torch

    # The ExecuTorch kernel registers itself in the runtime inside this extension module, so the
    # module has to be in the process first.
    from executorch.extension.pybindings import _portable_lib  # noqa: F401

    torch.ops.load_library(str(path))
    torch.library.register_autograd(
        "vera::render", _render_backward, setup_context=_save_for_backward
    )


def version() -> str:
    """Version of the native library, "major.minor.patch"."""
    return _library().vera_version().decode()


def _values(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    kept = array.dtype.isnative and array.dtype.name in _VALUE_TYPES
    return np.ascontiguousarray(array, dtype=array.dtype if kept else np.float32)


def _check_curves(curves: np.ndarray, name: str) -> np.ndarray:
    curves = _values(curves)
    if curves.ndim != 2 or curves.shape[0] != 3 or not 2 <= curves.shape[1] <= 4096:
        raise errors.InvalidArgument(
            f"{name} of shape {curves.shape} not allowed: use (3, K) with K in 2..4096."
        )
    return curves


@dataclass(frozen=True)
class _LookArrays:
    """Checked arrays and the C struct that points to them."""

    curves: np.ndarray
    lut: np.ndarray
    output_curves: np.ndarray | None

    @classmethod
    def of(
        cls, curves: np.ndarray, lut: np.ndarray, output_curves: np.ndarray | None
    ) -> _LookArrays:
        lut = _values(lut)
        size = lut.shape[0] if lut.ndim else 0
        if lut.shape != (size, size, size, 3) or not 2 <= size <= 129:
            raise errors.InvalidArgument(
                f"LUT of shape {lut.shape} not allowed: use (N, N, N, 3), indexed [b][g][r], "
                "with N in 2..129; 33 suits photos."
            )
        after = None if output_curves is None else _check_curves(output_curves, "Output curves")
        return cls(_check_curves(curves, "Curves"), lut, after)

    def c_view(self) -> _Look:
        look = _Look(ctypes.sizeof(_Look), self.curves.ctypes.data, self.lut.ctypes.data)
        look.curve_size, look.curve_type = self.curves.shape[1], self._type(self.curves)
        look.lut_size, look.lut_type = self.lut.shape[0], self._type(self.lut)
        if self.output_curves is not None:
            look.output_curves = self.output_curves.ctypes.data
            look.output_curve_size = self.output_curves.shape[1]
            look.output_curve_type = self._type(self.output_curves)
        return look

    @staticmethod
    def _type(values: np.ndarray) -> int:
        return _VALUE_TYPES.index(values.dtype.name)

    def check_finite(self) -> None:
        for name, values in vars(self).items():
            if values is None or values.dtype == np.uint16:
                continue
            bad = ~(np.abs(values) <= 65504)
            if bad.any():
                raise errors.InvalidArgument(
                    f"{name} holds {values[bad][0]}: all values must be finite (up to +-65504)."
                )


def _check_out(out: np.ndarray, image: np.ndarray) -> None:
    if not isinstance(out, np.ndarray) or out.shape != image.shape or out.dtype != image.dtype:
        found = (getattr(out, "shape", type(out).__name__), getattr(out, "dtype", None))
        raise errors.InvalidArgument(
            f"out is {found}: use an array like the image, {image.shape} {image.dtype}."
        )


def _check_frames(source: Frame, target: Frame, method: Method) -> None:
    if source.shape != target.shape:
        raise errors.InvalidArgument(
            f"Frames of {source.shape} and {target.shape} pixels: use frames of one size."
        )
    if FORMATS[target.format].subsampled:
        raise errors.InvalidArgument(
            f"Rendering to {target.format} is not possible: use an RGB format as the target."
        )
    for plane in target.planes:
        if not plane.flags.writeable or not rows_are_plain(plane):
            raise errors.InvalidArgument(
                f"out with strides {plane.strides}, writeable={plane.flags.writeable} not "
                "allowed: it must be writeable with contiguous pixels and rows in ascending order."
            )
    kinds = [FORMATS[frame.format].dtype for frame in (source, target)]
    if method.dither and kinds[1] != "uint8":
        raise errors.InvalidArgument(f"Dither to {target.format} not allowed: it is for 8 bits.")
    if method.out_of_range == "extend" and not all("float" in kind for kind in kinds):
        raise errors.InvalidArgument(
            f"Extend from {source.format} to {target.format} not allowed: use float formats."
        )


class _Watcher:
    """Carries cancel and progress between the C callback and Python objects."""

    def __init__(
        self, cancel: threading.Event | None, on_progress: Callable[[float], None] | None
    ) -> None:
        self.flag = ctypes.c_int32(0)
        self.error: BaseException | None = None
        self._cancel = cancel
        self._on_progress = on_progress

    def __call__(self, _user: int | None, done: int, total: int) -> None:
        # An exception cannot pass through C: it stops the work and is raised again afterwards.
        try:
            if self._cancel is not None and self._cancel.is_set():
                self.flag.value = 1
            if self._on_progress is not None and self.error is None:
                self._on_progress(done / total)
        except BaseException as error:
            self.error = error
            self.flag.value = 1


def _raise_for_status(status: int, look: _LookArrays) -> None:
    if status == 0:
        return
    if status == errors.InvalidArgument.code:
        look.check_finite()
        raise errors.InvalidArgument(
            "Render failed: out overlaps the image partly: use another array, or the image itself "
            "as out."
        )
    check_status(status, "Render")


def render_frame(
    source: Frame,
    target: Frame,
    curves: np.ndarray,
    lut: np.ndarray,
    *,
    output_curves: np.ndarray | None = None,
    method: Method = DEFAULT_METHOD,
    strength: float = 1.0,
    threads: int = 0,
    cancel: threading.Event | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Writes `source` with a look applied to `target`, which may have another pixel format.

    Order: input curve, LUT, output curve, mix with the input by strength, clamp (or extend), round.
    source, target: frames of one size, in the colour space that the look was baked for; the same
      arrays in both render in place. Alpha is copied, and 1 where only the target has it.
    output_curves: (3, K), like curves, applied to the LUT's result clamped to [0, 1].
    The rest, threads and errors: as in `render`.
    """
    look = _LookArrays.of(curves, lut, output_curves)
    if not 0.0 <= strength <= 1.5:
        raise errors.InvalidArgument(f"Strength {strength} not allowed: use 0..1.5; 1 is the look.")
    if not 0 <= threads <= 64:
        raise errors.InvalidArgument(f"{threads} threads not allowed: use 1..64, or 0 for all.")
    _check_frames(source, target, method)
    if cancel is not None and cancel.is_set():
        raise errors.Cancelled("Render was cancelled before it began.")

    source = source.readable()
    watcher = _Watcher(cancel, on_progress)
    watched = cancel is not None or on_progress is not None
    callback = _PROGRESS(watcher) if watched else _PROGRESS()
    options = _RenderOptions(
        ctypes.sizeof(_RenderOptions),
        strength,
        threads,
        ctypes.pointer(watcher.flag),
        callback,
        None,
        _INTERPOLATIONS.index(method.interpolation),
        _OUT_OF_RANGE.index(method.out_of_range),
        int(method.dither),
        0,
        *method.origin,
    )
    call = _library().vera_render_frame
    status = call(look.c_view(), source.c_view(), target.c_view(), options)
    if watcher.error is not None:
        raise watcher.error
    _raise_for_status(status, look)


def render(
    image: np.ndarray,
    curves: np.ndarray,
    lut: np.ndarray,
    *,
    strength: float = 1.0,
    threads: int = 0,
    out: np.ndarray | None = None,
    output_curves: np.ndarray | None = None,
    method: Method = DEFAULT_METHOD,
    cancel: threading.Event | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """The image with a baked look applied: image + strength * (look(image) - image).

    image: (H, W, 3) or (H, W, 4) uint8, uint16, float16 or float32, encoded RGB in the colour space
      that the look was baked for; 0..255, 0..65535 or 0..1. Float values outside are clamped
      (see Method), NaN counts as 0. A fourth channel is straight alpha and is copied. Any row
      stride. For other pixel formats see `render_frame`.
    curves: (3, K), K in 2..4096, samples of one curve per channel over [0, 1], clamped.
    lut: (N, N, N, 3), N in 2..129, indexed [b][g][r], encoded RGB in [0, 1].
      Curves and lut are float32, float16 or uint16 (65535 is 1.0); other types become float32.
    output_curves: (3, K) or None, applied to the result of the LUT, before the mix.
    method: interpolation, values out of range, dither.
    strength: 0..1.5. threads: 1..64, or 0 for one per core; it does not change the result.
    out: array like `image` to write to; `image` itself renders in place.
    cancel: looked at about every millisecond of work. on_progress: called with the done part,
      0..1, on the calling thread; what it raises stops the work and is raised here.

    Returns `out`, or a new array. Releases the GIL. Raises InvalidArgument, OutOfMemory,
    Cancelled (`out` may then be partly written), FileError if the native library is not built.
    """
    source = Frame.of(image)
    if out is None:
        out = np.empty(image.shape, image.dtype)
    _check_out(out, image)
    render_frame(
        source,
        Frame.of(out),
        curves,
        lut,
        output_curves=output_curves,
        method=method,
        strength=strength,
        threads=threads,
        cancel=cancel,
        on_progress=on_progress,
    )
    return out
