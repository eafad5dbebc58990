"""3-D LUTs as .cube files, as Adobe's Cube LUT Specification 1.0 and DaVinci Resolve have them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from vera_mobile.color.lut import MAX_SIZE, MIN_SIZE, check_lut
from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat
from vera_mobile.files import replacing

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MAX_LINE = 1024
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Cube:
    """A table read from a file.

    lut: (N, N, N, 3) float64 indexed [b][g][r]; domain_min, domain_max: the input colours (RGB) of
    the first and the last entry, (0, 0, 0) and (1, 1, 1) unless the file says otherwise.
    """

    lut: np.ndarray
    title: str = ""
    domain_min: tuple[float, float, float] = (0.0, 0.0, 0.0)
    domain_max: tuple[float, float, float] = (1.0, 1.0, 1.0)


def write_cube(
    path: str | os.PathLike[str],
    lut: np.ndarray,
    *,
    title: str = "",
    comments: Sequence[str] = (),
) -> None:
    """Writes a table over [0, 1] as a .cube file with 9 decimals; an older file is replaced whole.

    lut: (N, N, N, 3) indexed [b][g][r], N in 2..129. title: one line without double quotes.
    comments: lines for the head of the file.

    Errors: InvalidArgument for the table, title or comments; FileError if it cannot be written.
    """
    table = np.asarray(check_lut(lut), np.float64)
    for text in (title, *comments):
        if not text.isprintable():
            raise InvalidArgument(f"Title or comment {text!r} must be one line of printable text.")
    if '"' in title:
        raise InvalidArgument(f"Title {title!r} must not contain double quotes.")
    head = [f"# {line}".rstrip() for line in comments]
    if title:
        head.append(f'TITLE "{title}"')
    head += [f"LUT_3D_SIZE {len(table)}", "DOMAIN_MIN 0.0 0.0 0.0", "DOMAIN_MAX 1.0 1.0 1.0", ""]
    rows = table.reshape(-1, 3)
    with replacing(path) as stream:
        stream.write("\n".join(head).encode())
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            stream.write(("%.9f %.9f %.9f\n" * len(part) % tuple(part.ravel().tolist())).encode())


@dataclass
class _Parser:
    """What is known after the lines read so far."""

    path: Path
    line: int = 0
    size: int = 0
    title: str = ""
    domain: dict[str, tuple[float, ...]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    values: list[tuple[float, ...]] = field(default_factory=list)

    def fail(self, message: str) -> NoReturn:
        raise FileError(f"{self.path}:{self.line}: {message}")

    def numbers(self, words: list[str], count: int) -> tuple[float, ...]:
        if len(words) != count:
            self.fail(f"{len(words)} values where {count} are expected.")
        for word in words:
            if not _NUMBER.fullmatch(word):
                self.fail(f"{word[:40]!r} is not a finite decimal number.")
        values = tuple(map(float, words))
        if not np.isfinite(values).all():
            self.fail("a value is too large; all must be finite.")
        return values

    def keyword(self, text: str) -> None:
        name, rest = (*text.split(maxsplit=1), "")[:2]
        if self.values:
            self.fail(f"{name[:40]!r} after the first table entry; keywords belong before it.")
        if name in self.seen:
            self.fail(f"{name} is given twice.")
        self.seen.add(name)
        if name == "TITLE":
            match = re.fullmatch(r'\s*"([^"]*)"\s*', rest)
            if match is None:
                self.fail("TITLE needs a text in double quotes.")
            self.title = match[1]
        elif name == "LUT_3D_SIZE":
            self.read_size(rest.split())
        elif name in ("DOMAIN_MIN", "DOMAIN_MAX"):
            self.domain[name] = self.numbers(rest.split(), 3)
        elif name == "LUT_3D_INPUT_RANGE":
            low, high = self.numbers(rest.split(), 2)
            self.domain.update(DOMAIN_MIN=(low,) * 3, DOMAIN_MAX=(high,) * 3)
        elif name in ("LUT_1D_SIZE", "LUT_1D_INPUT_RANGE"):
            raise UnsupportedFormat(
                f"{self.path}:{self.line}: this is a 1-D table; only 3-D tables (LUT_3D_SIZE) are "
                "read. Convert it to a 3-D .cube first."
            )
        else:
            self.fail(
                f"unknown keyword {name[:40]!r}; known: TITLE, LUT_3D_SIZE, DOMAIN_MIN, "
                "DOMAIN_MAX, LUT_3D_INPUT_RANGE."
            )

    def read_size(self, words: list[str]) -> None:
        if len(words) != 1 or not re.fullmatch(r"\d{1,6}", words[0], re.ASCII):
            self.fail(f"LUT_3D_SIZE needs one whole number, got {' '.join(words)[:40]!r}.")
        self.size = int(words[0])
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            self.fail(f"LUT size {self.size} not allowed: use {MIN_SIZE}..{MAX_SIZE}.")

    def feed(self, raw: str) -> None:
        self.line += 1
        if len(raw) > _MAX_LINE:
            self.fail(f"a line is longer than {_MAX_LINE} characters; this is not a .cube file.")
        text = raw.strip()
        if not text or text.startswith("#"):
            return
        if text[0].isalpha():
            self.keyword(text)
            return
        if not self.size:
            self.fail("a table entry before LUT_3D_SIZE.")
        if len(self.values) == self.size**3:
            self.fail(f"more than the {self.size**3} entries that LUT_3D_SIZE {self.size} needs.")
        self.values.append(self.numbers(text.split(), 3))

    def finish(self) -> Cube:
        if not self.size:
            self.fail("the file ends without LUT_3D_SIZE.")
        if len(self.values) != self.size**3:
            self.fail(f"the file ends after {len(self.values)} of {self.size**3} entries.")
        low = self.domain.get("DOMAIN_MIN", (0.0,) * 3)
        high = self.domain.get("DOMAIN_MAX", (1.0,) * 3)
        if not all(a < b for a, b in zip(low, high, strict=True)):
            self.fail(f"DOMAIN_MIN {low} must be below DOMAIN_MAX {high}.")
        table = np.array(self.values).reshape(self.size, self.size, self.size, 3)
        return Cube(table, self.title, (low[0], low[1], low[2]), (high[0], high[1], high[2]))


def read_cube(path: str | os.PathLike[str]) -> Cube:
    """The 3-D table of a .cube file; comments, empty lines and any line ending are accepted.

    Errors, with file and line: FileError if it is missing, malformed, of a size outside of 2..129,
    has a number that is not finite, an unknown or doubled keyword, or too few or many entries;
    UnsupportedFormat for a 1-D table.
    """
    source = Path(path)
    parser = _Parser(source)
    try:
        with open(source, encoding="utf-8-sig", errors="replace") as stream:
            while raw := stream.readline(_MAX_LINE + 2):
                parser.feed(raw)
    except OSError as error:
        raise FileError(f"Cannot read {source}: {error.strerror}. Check the path.") from error
    return parser.finish()
