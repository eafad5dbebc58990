"""3-D LUTs in the forms of other programs: .3dl files and HALD pictures. (.cube is in cube.py.)"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NoReturn

import numpy as np

from vera_mobile.color.lut import MAX_SIZE, MIN_SIZE, apply_lut, check_lut, identity_lut
from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat
from vera_mobile.files import replacing

HALD_LEVELS = range(2, 12)  # level**2 nodes an axis, within 2..129
BITS = (8, 10, 12, 14, 16)
_MAX_LINE = 4096
_GRID_MAX = 1023


def hald_picture(lut: np.ndarray, *, level: int = 8, bits: int = 16) -> np.ndarray:
    """A table as a HALD picture, (level**3, level**3, 3) uint8 or uint16.

    lut: (N, N, N, 3) indexed [b][g][r]; where N is not level**2 it is interpolated (tetrahedral).
    Values are clamped to [0, 1]: a picture holds no others. level: 2..11. bits: 8 or 16.

    Pixels run along the rows, red fastest, then green, then blue, as in ImageMagick's `hald:`.

    Errors: InvalidArgument.
    """
    if level not in HALD_LEVELS:
        raise InvalidArgument(
            f"HALD level {level} not allowed: use {HALD_LEVELS[0]}..{HALD_LEVELS[-1]}; 8 is usual."
        )
    if bits not in (8, 16):
        raise InvalidArgument(f"{bits} bits not allowed for a HALD picture: use 8 or 16.")
    table = np.asarray(check_lut(lut), np.float64)
    if len(table) != level**2:
        table = apply_lut(identity_lut(level**2), table)
    top = 2**bits - 1
    codes = np.floor(np.clip(table, 0.0, 1.0) * top + 0.5)
    return codes.astype(np.uint8 if bits == 8 else np.uint16).reshape(level**3, level**3, 3)


def lut_of_hald(picture: np.ndarray) -> np.ndarray:
    """The (N, N, N, 3) float64 table of a HALD picture, N = level**2, values in [0, 1].

    picture: (level**3, level**3, 3) uint8 or uint16, level 2..11, as it was saved: not resized, not
    converted to another colour space.

    Errors: InvalidArgument for another shape or type.
    """
    pixels = np.asarray(picture)
    levels = {level**3: level for level in HALD_LEVELS}
    if pixels.ndim != 3 or pixels.shape[2:] != (3,) or pixels.shape[0] != pixels.shape[1]:
        raise InvalidArgument(
            f"A picture of shape {pixels.shape} is no HALD: it must be square, in RGB."
        )
    if pixels.shape[0] not in levels:
        raise InvalidArgument(
            f"A picture of {pixels.shape[1]} x {pixels.shape[0]} is no HALD: its side must be one "
            f"of {', '.join(map(str, levels))}. Use the picture as it was saved, without resizing."
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InvalidArgument(f"A HALD of type {pixels.dtype} is not allowed: use uint8 or uint16.")
    size = levels[pixels.shape[0]] ** 2
    top = np.iinfo(pixels.dtype).max
    return pixels.reshape(size, size, size, 3).astype(np.float64) / top


def write_3dl(path: str | os.PathLike[str], lut: np.ndarray, *, bits: int = 12) -> None:
    """Writes a table over [0, 1] as a .3dl file (Lustre, Flame); an older file is replaced whole.

    lut: (N, N, N, 3) indexed [b][g][r]; values are clamped to [0, 1] and rounded to codes of `bits`
    (8, 10, 12, 14 or 16). Blue runs fastest. Where N is 3, 5, 9, 17, 33, 65 or 129 a Mesh line
    names the bits; without one readers guess them from the largest code.

    Errors: InvalidArgument; FileError if it cannot be written.
    """
    if bits not in BITS:
        raise InvalidArgument(f"{bits} bits not allowed in a .3dl file: use one of {BITS}.")
    table = np.asarray(check_lut(lut), np.float64)
    size = len(table)
    codes = np.floor(np.clip(table, 0.0, 1.0) * (2**bits - 1) + 0.5).astype(np.int64)
    cells = (size - 1).bit_length() - 1
    mesh = f"3DMESH\nMesh {cells} {bits}\n" if cells and size - 1 == 2**cells else ""
    grid = " ".join(str((i * _GRID_MAX * 2 + size - 1) // (2 * (size - 1))) for i in range(size))
    rows = codes.transpose(2, 1, 0, 3).reshape(-1, 3)
    text = "".join(f"{r} {g} {b}\n" for r, g, b in rows.tolist())
    with replacing(path) as stream:
        stream.write(f"{mesh}{grid}\n{text}".encode())


class _Parser:
    """What is known of a .3dl file after the lines read so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 0
        self.mesh: tuple[int, int] | None = None  # cells as a power of 2, output bits
        self.grid: list[int] = []
        self.codes: list[list[int]] = []

    def fail(self, message: str) -> NoReturn:
        raise FileError(f"{self.path}:{self.line}: {message}")

    def numbers(self, words: list[str]) -> list[int]:
        for word in words:
            if not re.fullmatch(r"\d{1,6}", word, re.ASCII):
                self.fail(f"{word[:40]!r} is not a code; whole numbers from 0 are expected.")
        return [int(word) for word in words]

    def feed(self, raw: str) -> None:
        self.line += 1
        if len(raw) > _MAX_LINE:
            self.fail(f"a line is longer than {_MAX_LINE} characters; this is not a .3dl file.")
        text = raw.strip()
        words = text.split()
        if not text or text.startswith("#"):
            return
        if words[0].lower() in ("3dmesh", "mesh", "gamma", "lut8", "lut10", "lut12", "lut16"):
            self.keyword(words)
        elif not self.grid:
            self.read_grid(self.numbers(words))
        elif len(words) != 3:
            self.fail(f"{len(words)} values where 3 are expected.")
        elif len(self.codes) == len(self.grid) ** 3:
            self.fail(f"more than the {len(self.codes)} entries that a grid of this size needs.")
        else:
            self.codes.append(self.numbers(words))

    def keyword(self, words: list[str]) -> None:
        """3DMESH says nothing; Mesh has two numbers; LUT8, gamma and the like close the file."""
        name = words[0].lower()
        if name == "mesh":
            if self.mesh or self.grid:
                self.fail("Mesh belongs once, before the grid.")
            values = self.numbers(words[1:])
            if len(values) != 2 or not 1 <= values[0] <= 7 or values[1] not in BITS:
                self.fail(f"Mesh needs cells as a power of 2 (1..7) and bits (one of {BITS}).")
            self.mesh = values[0], values[1]
        elif name == "gamma" and words[1:] not in (["1.0"], ["1"]):
            raise UnsupportedFormat(
                f"{self.path}:{self.line}: {' '.join(words)[:40]!r} asks for a gamma; only 1.0 is "
                "read. Save the table without it."
            )

    def read_grid(self, grid: list[int]) -> None:
        size = len(grid)
        if not MIN_SIZE <= size <= MAX_SIZE:
            self.fail(f"a grid of {size} values; {MIN_SIZE}..{MAX_SIZE} are allowed.")
        if self.mesh and size != 2 ** self.mesh[0] + 1:
            self.fail(f"a grid of {size} values, but Mesh asks for {2 ** self.mesh[0] + 1}.")
        if grid[0] != 0 or grid[-1] == 0:
            self.fail("the grid must begin with 0 and end with its largest code.")
        even = np.linspace(0.0, grid[-1], size)
        if np.abs(np.array(grid) - even).max() > 1.0:
            raise UnsupportedFormat(
                f"{self.path}:{self.line}: the grid is not evenly spaced; such a file also holds a "
                "1-D table. Convert it to .cube in the program that made it."
            )
        self.grid = grid

    def finish(self, bits: int | None) -> np.ndarray:
        if not self.grid:
            self.fail("the file ends before the grid.")
        size = len(self.grid)
        if len(self.codes) != size**3:
            self.fail(f"the file ends after {len(self.codes)} of {size**3} entries.")
        codes = np.array(self.codes)
        largest = int(codes.max())
        if bits is None:
            bits = self.mesh[1] if self.mesh else next((b for b in BITS if largest < 2**b), 16)
        if largest >= 2**bits:
            self.fail(f"the code {largest} does not fit into {bits} bits.")
        table = codes.reshape(size, size, size, 3).transpose(2, 1, 0, 3)
        return table / float(2**bits - 1)


def read_3dl(path: str | os.PathLike[str], *, bits: int | None = None) -> np.ndarray:
    """The table of a .3dl file, (N, N, N, 3) float64 indexed [b][g][r], values in [0, 1].

    bits: of the codes. None: what the Mesh line says, else the fewest of 8, 10, 12, 14, 16 that
    hold the largest code (a dark table without Mesh line may come out too bright; give the bits).

    Errors: InvalidArgument for bits; FileError, with file and line, if it is missing, malformed, of
    a size outside of 2..129, or has too few or many entries; UnsupportedFormat for a grid that is
    not evenly spaced (it holds a 1-D table too) or a gamma.
    """
    if bits is not None and bits not in BITS:
        raise InvalidArgument(f"{bits} bits not allowed in a .3dl file: use one of {BITS}.")
    source = Path(path)
    parser = _Parser(source)
    try:
        with open(source, encoding="utf-8-sig", errors="replace") as stream:
            while raw := stream.readline(_MAX_LINE + 2):
                parser.feed(raw)
    except OSError as error:
        raise FileError(f"Cannot read {source}: {error.strerror}. Check the path.") from error
    return parser.finish(bits)
