"""A bundle's programs as a server, so that a test in any language plans with real weights.

    host_planner.py BUNDLE [--in FIFO --out FIFO]

Reads requests from stdin (or a named pipe) and writes answers to stdout (or another), all
little-endian: request: int32 op, count, start, wanted, then the arrays of the op; answer: int32
status, message bytes, then the message (status other than 0) or the arrays. float32 unless said; S:
image side, H: hidden size, E: side of the reference encoder, L: values per latent.

  op  name              in                                   out
  0   encode_image      (3, S, S)                            tokens (T, H)
  1   embed             (count,) int64                       (count, H)
  2   step              (count, H), start, wanted            hidden (H), logits (V) unless wanted 0
  3   head              (3, H)                               (3, L)
  4   encode_reference  2 x (3, E, E)                        (3, L)
  5   bake              (count, 3), (3, L)                   (count, 3)
  6   release           start: the stage                     nothing
  7   quit              nothing                              nothing, then the server ends
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO

import numpy as np

from vera_mobile.bundle import Bundle
from vera_mobile.errors import FileError, InternalError, InvalidArgument, VeraError
from vera_mobile.model.config import LATENT_GROUPS
from vera_mobile.runtime import ExecuTorchPlanner

REQUEST, ANSWER = struct.Struct("<4i"), struct.Struct("<2i")
QUIT = 7
MAX_COUNT = 1 << 24
Arrays = tuple[np.ndarray, ...]


class HostPlanner:
    """The ops of the protocol on one planner."""

    def __init__(self, planner: ExecuTorchPlanner, stream: BinaryIO) -> None:
        self.planner, self.stream = planner, stream
        self.ops: tuple[Callable[[int, int, int], Arrays], ...] = (
            self.encode_image, self.embed, self.step, self.head, self.encode_reference, self.bake,
            self.release, lambda count, start, wanted: (),
        )  # fmt: skip

    def array(self, shape: tuple[int, ...], dtype: str = "<f4") -> np.ndarray:
        """The next array of the request."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(read_exactly(self.stream, size), dtype).reshape(shape)

    def encode_image(self, count: int, start: int, wanted: int) -> Arrays:
        size = self.planner.image_size
        return (self.planner.encode_image(self.array((1, 3, size, size))),)

    def embed(self, count: int, start: int, wanted: int) -> Arrays:
        return (self.planner.embed(self.array((1, count), "<i8")),)

    def step(self, count: int, start: int, wanted: int) -> Arrays:
        embeds = self.array((1, count, self.planner.config.language.hidden_size))
        logits, hidden = self.planner.step(embeds, start, wanted)
        return (hidden, logits) if wanted else (hidden,)

    def head(self, count: int, start: int, wanted: int) -> Arrays:
        hidden = self.array((LATENT_GROUPS, self.planner.config.language.hidden_size))
        return (self.planner.head(hidden),)

    def encode_reference(self, count: int, start: int, wanted: int) -> Arrays:
        size = self.planner.config.encoder.image_size
        pair = self.array((2, 1, 3, size, size))
        return (self.planner.encode_reference(pair[0], pair[1]),)

    def bake(self, count: int, start: int, wanted: int) -> Arrays:
        colours = self.array((count, 3))
        latents = self.array((LATENT_GROUPS, self.planner.config.renderer.latent_size))
        return (self.planner.bake(colours, latents),)

    def release(self, count: int, start: int, wanted: int) -> Arrays:
        if start < 0:
            self.planner.unload()
        return ()

    def serve(self, out: BinaryIO) -> None:
        """Answers until `quit` or the end of the requests."""
        while header := self.stream.read(REQUEST.size):
            header += read_exactly(self.stream, REQUEST.size - len(header))
            op, count, start, wanted = REQUEST.unpack(header)
            if not (0 <= op <= QUIT and 0 <= count <= MAX_COUNT):
                # what follows cannot be told apart any more
                raise InvalidArgument(f"op {op} with count {count}: use 0..{QUIT}, 0..{MAX_COUNT}")
            self.answer(out, op, count, start, wanted)
            if op == QUIT:
                return

    def answer(self, out: BinaryIO, op: int, count: int, start: int, wanted: int) -> None:
        try:
            arrays = self.ops[op](count, start, wanted)
            out.write(ANSWER.pack(0, 0))
            for values in arrays:
                out.write(np.ascontiguousarray(values, "<f4").tobytes())
        except EOFError:
            raise
        except Exception as error:  # told to the caller, as the planner of an app would
            code = error.code if isinstance(error, VeraError) else InternalError.code
            message = str(error).encode()
            out.write(ANSWER.pack(code, len(message)) + message)
        out.flush()


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes; EOFError where the stream ends before."""
    data = bytearray()
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            raise EOFError(f"the request ended after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("bundle")
    parser.add_argument("--in", dest="requests", help="named pipe to read from instead of stdin")
    parser.add_argument("--out", dest="answers", help="named pipe to write to instead of stdout")
    arguments = parser.parse_args()
    try:
        planner = ExecuTorchPlanner(Bundle.open(arguments.bundle))
        planner.load()
        with ExitStack() as stack:
            # in this order, which is that of the client: opening a pipe waits for the other end
            requests = (
                stack.enter_context(open(arguments.requests, "rb"))
                if arguments.requests
                else sys.stdin.buffer
            )
            answers = (
                stack.enter_context(open(arguments.answers, "wb"))
                if arguments.answers
                else sys.stdout.buffer
            )
            HostPlanner(planner, requests).serve(answers)
    except (VeraError, EOFError) as error:
        print(f"host_planner: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"host_planner: {FileError(str(error))}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
