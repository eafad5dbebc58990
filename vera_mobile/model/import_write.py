"""A safetensors file written piece by piece, so that no weight has to fit into memory twice.

Format: https://github.com/huggingface/safetensors (little-endian length of the header, JSON header,
values one after the other).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

from vera_mobile.errors import InternalError, InvalidArgument

_CODES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}
_ALIGNMENT = 8


@dataclass(frozen=True)
class TensorPlace:
    """A weight to write."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size_bytes(self) -> int:
        """Bytes of its values."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def file_order(places: Sequence[TensorPlace]) -> list[TensorPlace]:
    """Wide types first, so that each value is aligned to its size; then by name."""
    return sorted(places, key=lambda place: (-place.dtype.itemsize, place.name))


def write_safetensors(
    stream: BinaryIO,
    places: Sequence[TensorPlace],
    pieces: Callable[[TensorPlace], Iterator[Tensor]],
) -> None:
    """Writes the header and then the values of all places, in the order of `file_order`.

    pieces: gives a place's values in order as one-dimensional tensors of its dtype. Raises
    InvalidArgument for a dtype that the file cannot hold here, InternalError where the pieces are
    not as many values as the place, OSError of the stream.
    """
    if sys.byteorder != "little":
        raise InvalidArgument("Weights cannot be written on a big-endian machine: use another.")
    ordered = file_order(places)
    stream.write(_header(ordered))
    for place in ordered:
        written = 0
        for piece in pieces(place):
            raw = piece.contiguous().view(torch.uint8).numpy()
            stream.write(raw.data)
            written += raw.nbytes
        if written != place.size_bytes:
            raise InternalError(
                f"{written} bytes were written for '{place.name}' of {place.size_bytes}"
            )


def _header(places: Sequence[TensorPlace]) -> bytes:
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for place in places:
        if place.dtype not in _CODES:
            raise InvalidArgument(f"Weight '{place.name}' cannot be written as {place.dtype}.")
        end = begin + place.size_bytes
        table[place.name] = {
            "dtype": _CODES[place.dtype],
            "shape": list(place.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
