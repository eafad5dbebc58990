"""The C++ decoder from Python: layers and matrices with packed weights (kernels/ops/decoder)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from vera_mobile import errors
from vera_mobile.native import check_status, library

LANES = 16


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("rows", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("bits", ctypes.c_int32),
        ("group", ctypes.c_int32),
    )


class _Shape(ctypes.Structure):
    _fields_ = (
        ("hidden", ctypes.c_int32),
        ("heads", ctypes.c_int32),
        ("kv_heads", ctypes.c_int32),
        ("head_dim", ctypes.c_int32),
        ("inner", ctypes.c_int32),
        ("max_length", ctypes.c_int32),
        ("rms_eps", ctypes.c_float),
        ("cosines", ctypes.c_void_p),
        ("sines", ctypes.c_void_p),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("attention_norm", ctypes.c_void_p),
        ("qkv", _Matrix),
        ("qkv_bias", ctypes.c_void_p),
        ("output", _Matrix),
        ("mlp_norm", ctypes.c_void_p),
        ("gate_up", _Matrix),
        ("down", _Matrix),
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Matrix:
    """A packed matrix of rows x columns (layout: kernels/include/vera/decoder.h).

    weights: uint8 (blocks, columns / 8, 64) for 4 bits, (blocks, columns / 4, 64) for 8 bits, a
    block being 16 rows; scales: float16 (blocks, groups, 16) or float32 (blocks, 16).
    """

    weights: np.ndarray
    scales: np.ndarray
    rows: int

    @property
    def bits(self) -> int:
        """4 or 8."""
        return 8 if self.scales.ndim == 2 else 4

    @property
    def columns(self) -> int:
        """Inputs of the matrix product."""
        return self.weights.shape[1] * (32 // self.bits)

    def _c(self) -> _Matrix:
        group = self.columns // self.scales.shape[1] if self.bits == 4 else 0
        return _Matrix(
            self.weights.ctypes.data, self.scales.ctypes.data, self.rows, self.columns,
            self.bits, group,
        )  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One decoder layer: see vera_decoder_layer in kernels/include/vera/decoder.h.

    keys (kv_heads, max_length / 16, head_dim, 16) and values (kv_heads, max_length, head_dim) are
    float16 and written in place; cosines and sines float32 (max_length, head_dim).
    """

    attention_norm: np.ndarray
    qkv: Matrix
    qkv_bias: np.ndarray
    output: Matrix
    mlp_norm: np.ndarray
    gate_up: Matrix
    down: Matrix
    keys: np.ndarray
    values: np.ndarray
    cosines: np.ndarray
    sines: np.ndarray
    eps: float

    def run(self, x: np.ndarray, start: int) -> np.ndarray:
        """x (n, hidden) float32 at positions start .. -> the same after the layer.

        Raises InvalidArgument for shapes that do not fit and positions outside of the cache.
        """
        kv_heads, length, size = self.values.shape
        heads = self.qkv.rows // size - 2 * kv_heads
        shape = _Shape(
            x.shape[1], heads, kv_heads, size, self.gate_up.rows // 2, length, self.eps,
            self.cosines.ctypes.data, self.sines.ctypes.data,
        )  # fmt: skip
        layer = _Layer(
            self.attention_norm.ctypes.data, self.qkv._c(), self.qkv_bias.ctypes.data,
            self.output._c(), self.mlp_norm.ctypes.data, self.gate_up._c(), self.down._c(),
            self.keys.ctypes.data, self.values.ctypes.data,
        )  # fmt: skip
        out = np.array(x, np.float32, order="C")
        status = library().vera_decoder_layer_run(
            ctypes.byref(shape), ctypes.byref(layer), _pointer(out), len(out), start
        )
        check_status(status, f"Decoder layer for x {x.shape} at position {start}")
        return out


def multiply(matrix: Matrix, x: np.ndarray, blocks: np.ndarray | None = None) -> np.ndarray:
    """x (n, columns) float32 -> (n, rows) float32, x rounded to 8 bits per row on the way.

    blocks: int32 numbers of the blocks of 16 rows to work out; the other rows are -inf.
    Raises InvalidArgument for shapes or blocks that do not fit, and for x that is not finite.
    """
    given = np.ascontiguousarray(x, np.float32)
    if given.ndim != 2 or given.shape[1] != matrix.columns:
        raise errors.InvalidArgument(f"x of shape {x.shape}: use (n, {matrix.columns}).")
    out = np.full((len(given), matrix.rows), -np.inf, np.float32)
    chosen = None if blocks is None else np.ascontiguousarray(blocks, np.int32)
    status = library().vera_matrix_run(
        ctypes.byref(matrix._c()), _pointer(given), len(given),
        None if chosen is None else _pointer(chosen), 0 if chosen is None else len(chosen),
        _pointer(out),
    )  # fmt: skip
    check_status(status, f"Matrix product for x {x.shape}")
    return out


def rows(matrix: Matrix, ids: np.ndarray) -> np.ndarray:
    """The rows named by ids (n,) int64 as float32 (n, columns). Raises InvalidArgument for an id
    outside of the matrix."""
    wanted = np.ascontiguousarray(ids, np.int64)
    out = np.empty((len(wanted), matrix.columns), np.float32)
    status = library().vera_matrix_rows(
        ctypes.byref(matrix._c()), _pointer(wanted), len(wanted), _pointer(out)
    )
    check_status(status, f"Rows of a table with {matrix.rows} for {len(wanted)} ids")
    return out


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """x / sqrt(mean(x^2) + eps) * weight for x (size,) float32, size a multiple of 16."""
    given = np.ascontiguousarray(x, np.float32)
    out = np.empty_like(given)
    status = library().vera_rms_norm(
        _pointer(given), _pointer(weight), len(given), ctypes.c_float(eps), _pointer(out)
    )
    check_status(status, f"Norm of x {x.shape}")
    return out


def quantize_groups(
    matrix: np.ndarray, group: int, importance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """4-bit codes (rows, columns) int8 in [-8, 7] and scales (rows, columns / group) float16.

    matrix: (rows, columns) float32, finite; importance: (columns,) float32, the weight of each
    column's squared error. Of several scales the one of least error (vera_quantize_groups).
    """
    given = np.ascontiguousarray(matrix, np.float32)
    codes = np.empty(given.shape, np.int8)
    scales = np.empty((given.shape[0], given.shape[1] // group), np.float16)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    status = library().vera_quantize_groups(
        _pointer(given), ctypes.c_int64(given.shape[0]), given.shape[1], group,
        None if weights is None else _pointer(weights), _pointer(codes), _pointer(scales),
    )  # fmt: skip
    check_status(status, f"4-bit codes for a matrix {given.shape} in groups of {group}")
    return codes, scales


def set_threads(count: int) -> None:
    """Threads of the decoder; 0 (the default): one for each core, 8 at most."""
    check_status(library().vera_set_decoder_threads(count), f"{count} decoder threads")


def instructions() -> str:
    """The instruction set in use, such as "avx512vnni" or "neon-dotprod"."""
    function = library().vera_decoder_instructions
    function.restype = ctypes.c_char_p
    return str(function().decode())


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
