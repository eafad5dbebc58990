"""Element types of ML programs: their numbers, their width and what PyTorch computes them with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class ElementType:
    """name as in MIL text; bits per element in a file; store: of the array that holds it in memory
    (one element each, also below 8 bits); compute: of the tensor that operators work on."""

    name: str
    bits: int
    store: str
    compute: torch.dtype

    @property
    def is_float(self) -> bool:
        """True for half and single floats."""
        return self.compute == torch.float32


# by the number in a program's types; halves are computed in single floats, the session rounds them
BY_NUMBER = {
    1: ElementType("bool", 8, "?", torch.bool),
    10: ElementType("fp16", 16, "<f2", torch.float32),
    11: ElementType("fp32", 32, "<f4", torch.float32),
    21: ElementType("int8", 8, "i1", torch.int8),
    22: ElementType("int16", 16, "<i2", torch.int16),
    23: ElementType("int32", 32, "<i4", torch.int32),
    24: ElementType("int64", 64, "<i8", torch.int64),
    25: ElementType("int4", 4, "i1", torch.int8),
    31: ElementType("uint8", 8, "u1", torch.uint8),
    32: ElementType("uint16", 16, "<u2", torch.int32),
    33: ElementType("uint32", 32, "<u4", torch.int64),
    34: ElementType("uint64", 64, "<u8", torch.int64),
    35: ElementType("uint4", 4, "u1", torch.uint8),
    36: ElementType("uint2", 2, "u1", torch.uint8),
    37: ElementType("uint1", 1, "u1", torch.uint8),
    38: ElementType("uint6", 6, "u1", torch.uint8),
    39: ElementType("uint3", 3, "u1", torch.uint8),
}
BY_NAME = {entry.name: entry for entry in BY_NUMBER.values()}
STRING = 2
# of inputs and outputs in a model's description
BY_FEATURE = {65552: "fp16", 65568: "fp32", 131104: "int32", 131080: "int8"}


def unpack(raw: bytes | np.ndarray, kind: ElementType, count: int) -> np.ndarray:
    """`count` elements from their bytes: little-endian, below 8 bits packed from the lowest bit.

    Returns (count,) of `kind.store`, in signed range where the type is signed. `raw` may be a view
    into a mapped file; widths of whole bytes are not copied.
    """
    if kind.bits >= 8:
        return np.frombuffer(raw, kind.store, count)
    packed = np.frombuffer(raw, np.uint8)
    if kind.bits == 4:
        values = np.stack((packed & 15, packed >> 4), axis=-1).reshape(-1)[:count]
    else:
        bits = np.unpackbits(packed, count=count * kind.bits, bitorder="little")
        weights = (1 << np.arange(kind.bits)).astype(np.uint8)
        values = (bits.reshape(count, kind.bits) * weights).sum(axis=1, dtype=np.uint8)
    if kind.name == "int4":
        values = ((values ^ 8).astype(np.int8) - 8).astype(np.int8)
    return values
