"""Weights as Core ML stores them: half floats, integers with scales, palettes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vera_mobile.errors import InvalidArgument

if TYPE_CHECKING:
    from vera_mobile.quant.schemes import Scheme

# a scale below the largest weight trades clipping for resolution; searched per block at 4 bits
_SHRINK = tuple(np.linspace(0.7, 1.0, 11).tolist())
_PALETTE_ROWS = 32
_LLOYD_STEPS = 20
_BINS = 256
_CHUNK = 1 << 22  # weights


@dataclass(frozen=True)
class Packed:
    """A weight in its stored form. operator: what makes it dense ("" for a plain constant);
    arrays: its parameters, of which `bits` names the width of the integers (4, 6 or 8)."""

    operator: str
    arrays: Mapping[str, np.ndarray]
    bits: int


def pack(weight: Tensor, scheme: Scheme) -> Packed:
    """A float weight (out, in, ...) in the form that the scheme names.

    Integers are symmetric with half scales, along axis 0 (8 bits) or per block of axis 1 (4 bits).
    Palettes hold 2^bits halves for each 32 rows, the best in the least-squares sense near their
    start (Lloyd). Raises InvalidArgument for a scheme with quantized activations, or where
    group_size does not divide the rows.
    """
    check_scheme(scheme)
    if scheme.weight_bits >= 16:
        kind = np.float16 if scheme.weight_bits == 16 else np.float32
        return Packed("", {"val": weight.detach().numpy().astype(kind)}, scheme.weight_bits)
    rows = weight.detach().float().reshape(weight.shape[0], -1)
    if scheme.palette:
        return _palette(rows, tuple(weight.shape), scheme.weight_bits)
    return _integers(rows, tuple(weight.shape), scheme)


def check_scheme(scheme: Scheme) -> None:
    """Raises InvalidArgument for a scheme with quantized activations, which no part here has."""
    if scheme.activations != "float":
        raise InvalidArgument(
            f"Scheme '{scheme.name}' not allowed for Core ML: use fp16, int8w, int4w_g32, palette6 "
            "or palette4; activations stay in half floats."
        )


def _integers(rows: Tensor, shape: tuple[int, ...], scheme: Scheme) -> Packed:
    group = scheme.group_size or rows.shape[1]
    if rows.shape[1] % group:
        raise InvalidArgument(
            f"Rows of {rows.shape[1]} weights not allowed with scheme '{scheme.name}': use a "
            f"multiple of {group}."
        )
    blocks = rows.reshape(-1, group)
    values = torch.empty(blocks.shape, dtype=torch.int8)
    scales = torch.empty(len(blocks), 1, dtype=torch.float16)
    step = max(1, _CHUNK // group)
    for begin in range(0, len(blocks), step):
        part = slice(begin, begin + step)
        values[part], scales[part] = _symmetric(blocks[part], scheme.weight_bits)
    counts = (shape[0], rows.shape[1] // group, *([1] * (len(shape) - 2)))
    return Packed(
        "constexpr_blockwise_shift_scale",
        {"data": values.reshape(shape).numpy(), "scale": scales.reshape(counts).numpy()},
        scheme.weight_bits,
    )


def _symmetric(blocks: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """(B, G) -> integers (B, G) and scales (B, 1), the scale of least squared error of a few."""
    top = 2 ** (bits - 1) - 1
    largest = blocks.abs().amax(1, keepdim=True).clamp(min=1e-6)
    best_scale, best_error = largest, torch.full_like(largest, float("inf"))
    for shrink in _SHRINK if bits < 8 else (1.0,):
        scale = (largest * (shrink / top)).half().float()
        values = (blocks / scale).round_().clamp_(-top - 1, top)
        error = values.mul_(scale).sub_(blocks).square_().sum(1, keepdim=True)
        better = error < best_error
        best_scale = torch.where(better, scale, best_scale)
        best_error = torch.where(better, error, best_error)
    values = (blocks / best_scale).round_().clamp_(-top - 1, top)
    return values.to(torch.int8), best_scale.half()


def _palette(rows: Tensor, shape: tuple[int, ...], bits: int) -> Packed:
    share = _PALETTE_ROWS if rows.shape[0] % _PALETTE_ROWS == 0 else rows.shape[0]
    groups = rows.numpy().reshape(rows.shape[0] // share, -1)
    places = np.empty(groups.shape, np.uint8)
    tables = np.empty((len(groups), 2**bits), np.float16)
    for group, place, table in zip(groups, places, tables, strict=True):
        # NumPy's sort is 28 times as fast as PyTorch's here (AVX-512)
        order = np.argsort(group)
        ordered = group[order]
        table[:] = _lloyd(ordered, 2**bits)
        place[order] = np.repeat(np.arange(2**bits, dtype=np.uint8), np.diff(_cuts(ordered, table)))
    lead = (len(groups), *([1] * (len(shape) - 1)))
    return Packed(
        "constexpr_lut_to_dense",
        {"indices": places.reshape(shape), "lut": tables.reshape(*lead, 2**bits, 1)},
        bits,
    )


def _lloyd(ordered: np.ndarray, count: int) -> np.ndarray:
    """`count` sorted levels for sorted values, by Lloyd's method; deterministic.

    Begins with levels as dense as the cube root of the values, which is best where levels are many
    (Panter and Dite 1951): Lloyd's steps alone take hundreds to spread that far. A step is a search
    for the edges and differences of running sums.
    """
    sums = np.concatenate((np.zeros(1), np.cumsum(ordered, dtype=np.float64)))
    levels = _companded(ordered, count)
    for _ in range(_LLOYD_STEPS):
        cuts = _cuts(ordered, levels)
        sizes = np.diff(cuts)
        means = np.diff(sums[cuts]) / np.maximum(sizes, 1)
        moved = np.where(sizes > 0, means, levels)
        if np.array_equal(moved, levels):
            break
        levels = moved
    return levels


def _cuts(ordered: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Where the values of each level begin, and the end: each value to its nearest level."""
    wide = levels.astype(np.float64)
    edges = ((wide[1:] + wide[:-1]) / 2).astype(ordered.dtype)
    inner = np.searchsorted(ordered, edges)
    return np.concatenate(([0], inner, [len(ordered)]))


def _companded(ordered: np.ndarray, count: int) -> np.ndarray:
    low, high = float(ordered[0]), float(ordered[-1])
    if low == high:
        return np.full(count, low)
    borders = np.linspace(low, high, _BINS + 1)
    ends = np.searchsorted(ordered, borders.astype(ordered.dtype))
    share = np.concatenate(([0], np.cumsum(np.diff(ends).astype(np.float64) ** (1 / 3))))
    wanted = (np.arange(count) + 0.5) / count
    return np.interp(wanted, share / share[-1], borders)


class Weights:
    """Weights of one package. The same name is packed once and stored once, for all functions."""

    def __init__(self) -> None:
        self._packed: dict[str, Packed] = {}

    def constant(self, name: str, weight: Tensor, scheme: Scheme) -> Any:
        """A weight as a value of the program that is being built, in half floats."""
        if name not in self._packed:
            self._packed[name] = pack(weight, scheme)
        return self.emit(name, self._packed[name])

    def plain(self, name: str, value: np.ndarray) -> Any:
        """An array as it is, as a value of the program that is being built."""
        return self.emit(name, Packed("", {"val": value}, 0))

    @staticmethod
    def emit(name: str, packed: Packed) -> Any:
        """The operator that makes a packed weight dense, in the program that is being built."""
        from coremltools.converters.mil.mil import Builder as mb

        constants = {}
        for parameter, array in packed.arrays.items():
            stored = mb.const(val=_narrow(array, packed.bits), name=f"{name}_{parameter}")
            stored.op.weight_id = f"{name}_{parameter}"
            constants[parameter] = stored
        if not packed.operator:
            return constants["val"]
        return getattr(mb, packed.operator)(**constants, name=name)


def _narrow(array: np.ndarray, bits: int) -> np.ndarray:
    """Integers below 8 bits in the element type that makes the writer pack them."""
    from coremltools.converters.mil.mil import types

    if array.dtype.kind not in "iu" or bits not in (4, 6):
        return array
    sign = "u" if array.dtype.kind == "u" else ""
    return array.astype(getattr(types, f"np_{sign}int{bits}_dtype"))
