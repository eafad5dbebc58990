"""Weight files of ML programs, mapped and checked before a byte of them is used."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from vera_mobile.errors import BundleError
from vera_mobile.export.mil.types import BY_NAME, ElementType, unpack

# layout of the published storage format, version 2: a header of 64 bytes, then blobs, each with a
# record of 64 bytes and its data at an offset that is a multiple of 64
_HEADER = struct.Struct("<II56x")
_RECORD = struct.Struct("<IIQQQ32x")
_VERSION = 2
_SENTINEL = 0xDEADBEEF
_TYPES = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 8: "int4", 9: "uint1",
    10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
}  # fmt: skip


class BlobFile:
    """One weight file. Read-only; threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._data = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError) as error:
            raise BundleError(
                f"Weight file {path} cannot be read ({error}): copy the package again, as a whole."
            ) from error
        if len(self._data) < _HEADER.size:
            raise self._damaged(f"{len(self._data)} bytes are too few for a header")
        _, version = _HEADER.unpack(self._data[: _HEADER.size].tobytes())
        if version != _VERSION:
            raise self._damaged(f"storage version {version} in place of {_VERSION}")

    def read(self, offset: int, kind: ElementType, count: int) -> np.ndarray:
        """(count,) elements of the blob whose record is at byte `offset`.

        Raises BundleError where the record is none, is of another type or size, or ends outside.
        """
        if offset % 64 or offset + _RECORD.size > len(self._data):
            raise self._damaged(f"no record at byte {offset}")
        record = self._data[offset : offset + _RECORD.size].tobytes()
        sentinel, number, size_bytes, begin, padding_bits = _RECORD.unpack(record)
        if sentinel != _SENTINEL:
            raise self._damaged(f"no record at byte {offset}")
        stored = _TYPES.get(number)
        # booleans have no type of their own in the file
        if stored is None or BY_NAME[stored].bits != kind.bits:
            raise self._damaged(f"type {stored or number} at byte {offset}, not {kind.name}")
        if size_bytes * 8 - padding_bits != count * kind.bits:
            raise self._damaged(f"{size_bytes} bytes at byte {offset} for {count} {kind.name}")
        if begin + size_bytes > len(self._data):
            raise self._damaged(f"a blob ends at byte {begin + size_bytes} of {len(self._data)}")
        return unpack(self._data[begin : begin + size_bytes], kind, count)

    def _damaged(self, what: str) -> BundleError:
        return BundleError(
            f"Weight file {self.path} is damaged ({what}): copy the package again, as a whole."
        )
