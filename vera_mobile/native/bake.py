"""The per-pixel network of a look in C++: a LUT, or free colours, from a look's latents."""

from __future__ import annotations

import ctypes
import functools
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vera_mobile import errors, native
from vera_mobile.native import _PROGRESS, _Watcher

__all__ = ("LayerWeights", "NativeRenderer", "Precision", "RendererWeights")

Precision = Literal["float32", "int8"]
GROUPS = 3  # lighting, global colour, specific colour
MAX_STRENGTH = 1.5
MAX_VALUE = 65504.0
FULL_STRENGTHS = (1.0, 1.0, 1.0)
PRECISIONS = ("float32", "int8")  # vera_precision of vera.h
_LAYER_ARRAYS = (
    "weight",
    "bias",
    "norm_weight",
    "norm_bias",
    "latent_weight",
    "latent_bias",
)


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in _LAYER_ARRAYS),
        ("width", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class _Weights(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("layers", ctypes.POINTER(_Layer)),
        ("out_weight", ctypes.c_void_p),
        ("out_bias", ctypes.c_void_p),
        ("layer_count", ctypes.c_int32),
        ("latent_size", ctypes.c_int32),
        ("output", ctypes.c_int32),
        ("precision", ctypes.c_int32),
        ("norm_epsilon", ctypes.c_float),
        ("reserved", ctypes.c_int32),
    )


class _Options(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("threads", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("cancel", ctypes.POINTER(ctypes.c_int32)),
        ("progress", _PROGRESS),
        ("user", ctypes.c_void_p),
    )


@functools.cache
def _bake_library() -> ctypes.CDLL:
    library = native.library()
    pointer, int32 = ctypes.c_void_p, ctypes.c_int32
    library.vera_renderer_create.restype = int32
    library.vera_renderer_create.argtypes = [
        ctypes.POINTER(_Weights),
        ctypes.POINTER(ctypes.c_void_p),
    ]
    library.vera_renderer_destroy.restype = None
    library.vera_renderer_destroy.argtypes = [pointer]
    options = ctypes.POINTER(_Options)
    library.vera_bake.restype = int32
    library.vera_bake.argtypes = [pointer, pointer, pointer, pointer, int32, pointer, options]
    library.vera_bake_points.restype = int32
    library.vera_bake_points.argtypes = [
        pointer,
        pointer,
        pointer,
        pointer,
        ctypes.c_int64,
        pointer,
        options,
    ]
    return library


def _floats(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """`values` as a contiguous float32 array of `shape`, all finite and up to +-65504."""
    array = np.ascontiguousarray(values, np.float32)
    if array.shape != shape:
        raise errors.InvalidArgument(
            f"{name} of shape {np.shape(values)} not allowed: use {shape}."
        )
    bad = ~(np.abs(array) <= MAX_VALUE)
    if bad.any():
        raise errors.InvalidArgument(
            f"{name} holds {array[bad][0]}: all values must be finite (up to +-65504)."
        )
    return array


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One hidden layer: layernorm(relu(weight x + bias)) + latent_weight relu(latents) + ...

    weight: (width, inputs) float32; latent_weight: (width, 3 * latent size); the rest: (width,).
    """

    weight: np.ndarray
    bias: np.ndarray
    norm_weight: np.ndarray
    norm_bias: np.ndarray
    latent_weight: np.ndarray
    latent_bias: np.ndarray


def _names_of_layer(i: int) -> tuple[str, ...]:
    """Names in a state dict, in the order of _LAYER_ARRAYS."""
    parts = ("layers", "norms", "latent_projections")
    return tuple(f"{part}.{i}.{kind}" for part in parts for kind in ("weight", "bias"))


@dataclass(frozen=True, eq=False)
class RendererWeights:
    """The whole network, from RGB to RGB.

    out_weight: (3, last width) float32, out_bias: (3,). residual: RGB = clamp(input + out), else
    sigmoid(out). norm_epsilon: added to the variance of each LayerNorm.
    """

    layers: tuple[LayerWeights, ...]
    out_weight: np.ndarray
    out_bias: np.ndarray
    residual: bool = False
    norm_epsilon: float = 1e-5

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], *, residual: bool, norm_epsilon: float = 1e-5
    ) -> RendererWeights:
        """The weights in the state dict of `vera_mobile.model.renderer.Renderer`.

        state: arrays or CPU tensors by name. Raises InvalidArgument for a missing name.
        """

        def array(name: str) -> np.ndarray:
            if name not in state:
                raise errors.InvalidArgument(
                    f"Renderer weights lack {name!r}: pass the renderer's whole state dict."
                )
            return np.asarray(state[name], np.float32)

        count = sum(1 for name in state if name.startswith("layers.") and name.endswith(".weight"))
        layers = tuple(
            LayerWeights(*(array(name) for name in _names_of_layer(i))) for i in range(count)
        )
        return cls(layers, array("out.weight"), array("out.bias"), residual, norm_epsilon)

    def to_state(self) -> dict[str, np.ndarray]:
        """The arrays by the names that `from_state` reads."""
        state = {"out.weight": self.out_weight, "out.bias": self.out_bias}
        for i, layer in enumerate(self.layers):
            values = (getattr(layer, name) for name in _LAYER_ARRAYS)
            state.update(zip(_names_of_layer(i), values, strict=True))
        return state


class NativeRenderer:
    """The network made ready for this machine; any number of threads may use it at once.

    precision "int8": products between the hidden layers in 8 bits, the rest in float32; the same
    bytes on every machine. "float32": the same bytes on machines with fused multiply-add.

    Raises InvalidArgument for weights of wrong shapes or values, OutOfMemory, FileError if the
    native library is not built.
    """

    def __init__(self, weights: RendererWeights, *, precision: Precision = "float32") -> None:
        if precision not in PRECISIONS:
            raise errors.InvalidArgument(
                f"Precision {precision!r} not known: use {' or '.join(PRECISIONS)}."
            )
        if not weights.layers:
            raise errors.InvalidArgument("Renderer without layers not allowed: use 1..8 layers.")
        self.precision = precision
        latents = np.shape(weights.layers[0].latent_weight)
        self.latent_size = latents[1] // GROUPS if len(latents) == 2 else 0
        arrays = _checked_arrays(weights, self.latent_size)
        layers = (_Layer * len(weights.layers))(
            *(_Layer(*(a.ctypes.data for a in group), len(group[0])) for group in arrays[:-1])
        )
        described = _Weights(
            ctypes.sizeof(_Weights),
            layers,
            *(a.ctypes.data for a in arrays[-1]),
            len(weights.layers),
            self.latent_size,
            int(weights.residual),
            PRECISIONS.index(precision),
            weights.norm_epsilon,
        )
        handle = ctypes.c_void_p()
        library = _bake_library()
        status = library.vera_renderer_create(described, handle)
        native.check_status(
            status, "Making a renderer (1..8 layers, widths 1..4096, epsilon 1e-12..1)"
        )
        self._handle = handle
        self._finalizer = weakref.finalize(self, library.vera_renderer_destroy, handle)

    @classmethod
    def from_file(cls, path: str | Path, *, precision: Precision | None = None) -> NativeRenderer:
        """The network of a `bake.safetensors`; see `vera_mobile.native.renderer_file`."""
        from vera_mobile.native.renderer_file import load_renderer

        return load_renderer(path, precision=precision)

    def bake(
        self,
        latents: np.ndarray,
        size: int = 33,
        *,
        strengths: Sequence[float] = FULL_STRENGTHS,
        axes: np.ndarray | None = None,
        threads: int = 0,
        cancel: threading.Event | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> np.ndarray:
        """The LUT of a look: (size, size, size, 3) float32 in [0, 1], indexed [b][g][r].

        latents: (3, latent size), lighting, global colour, specific colour; finite. strengths: a
          factor for each, 0..1.5. size: 2..129 nodes an axis. threads: 1..64, or 0 for one per
          core; it does not change the result.
        axes: (3, size) encoded value of each node for red, green, blue; None for even steps.
        cancel, on_progress: as in `vera_mobile.native.render`.

        Releases the GIL. Raises InvalidArgument, OutOfMemory, Cancelled.
        """
        if not 2 <= size <= 129:
            raise errors.InvalidArgument(
                f"LUT size {size} not allowed: use 2..129; 33 suits photos."
            )
        nodes = None if axes is None else _floats(axes, (3, size), "Axes")
        lut = np.empty((size, size, size, 3), np.float32)
        call = functools.partial(_bake_library().vera_bake, self._handle)
        tail = (None if nodes is None else nodes.ctypes.data, size, lut.ctypes.data)
        self._run(call, latents, strengths, tail, threads, cancel, on_progress)
        return lut

    def colours(
        self,
        rgb: np.ndarray,
        latents: np.ndarray,
        *,
        strengths: Sequence[float] = FULL_STRENGTHS,
        threads: int = 0,
        cancel: threading.Event | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> np.ndarray:
        """The edited colours (N, 3) float32 in [0, 1] of `rgb` (N, 3), encoded RGB, finite.

        Fits `vera_mobile.look.Evaluate`. The rest as in `bake`.
        """
        rgb = np.asarray(rgb)
        points = _floats(rgb, (len(rgb) if rgb.ndim else 0, 3), "RGB")
        out = np.empty_like(points)
        call = functools.partial(_bake_library().vera_bake_points, self._handle)
        tail = (points.ctypes.data, len(points), out.ctypes.data)
        self._run(call, latents, strengths, tail, threads, cancel, on_progress)
        return out

    def _run(
        self,
        call: Callable[..., int],
        latents: np.ndarray,
        strengths: Sequence[float],
        tail: tuple[int | None, ...],
        threads: int,
        cancel: threading.Event | None,
        on_progress: Callable[[float], None] | None,
    ) -> None:
        steer = _floats(latents, (GROUPS, self.latent_size), "Latents")
        factors = _floats(strengths, (GROUPS,), "Strengths")
        if not ((factors >= 0) & (factors <= MAX_STRENGTH)).all():
            raise errors.InvalidArgument(f"Strengths {tuple(strengths)} not allowed: use 0..1.5.")
        if not 0 <= threads <= 64:
            raise errors.InvalidArgument(f"{threads} threads not allowed: use 1..64, or 0 for all.")
        if cancel is not None and cancel.is_set():
            raise errors.Cancelled("Bake was cancelled before it began.")
        watcher = _Watcher(cancel, on_progress)
        watched = cancel is not None or on_progress is not None
        callback = _PROGRESS(watcher) if watched else _PROGRESS()
        options = _Options(
            ctypes.sizeof(_Options), threads, 0, ctypes.pointer(watcher.flag), callback, None
        )
        status = call(steer.ctypes.data, factors.ctypes.data, *tail, options)
        if watcher.error is not None:
            raise watcher.error
        native.check_status(status, "Bake")


def _checked_arrays(weights: RendererWeights, latent_size: int) -> list[list[np.ndarray]]:
    """The arrays of each layer in the order of _LAYER_ARRAYS, then those of the output."""
    checked, inputs = [], 3
    for i, layer in enumerate(weights.layers):
        width = len(layer.weight)
        shapes = [(width, inputs), *[(width,)] * 3, (width, GROUPS * latent_size), (width,)]
        checked.append(
            [
                _floats(getattr(layer, name), shape, f"Layer {i} {name}")
                for name, shape in zip(_LAYER_ARRAYS, shapes, strict=True)
            ]
        )
        inputs = width
    output = [
        _floats(weights.out_weight, (3, inputs), "out_weight"),
        _floats(weights.out_bias, (3,), "out_bias"),
    ]
    return [*checked, output]
