"""LUTs as .cube files, as Adobe's Cube LUT Specification 1.0 and DaVinci Resolve have them: 3-D,
1-D, or both in one file, where the 1-D table (the shaper) comes first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from vera_mobile.color.curves import MAX_SIZE as MAX_CURVE_SIZE
from vera_mobile.color.lut import MAX_SIZE, MIN_SIZE, check_lut, identity_lut
from vera_mobile.errors import FileError, InvalidArgument, UnsupportedFormat
from vera_mobile.files import replacing

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MAX_LINE = 1024
_ROWS_AT_ONCE = 4096
CURVE_SIZES = range(2, 65_537)  # of the specification


@dataclass(frozen=True, eq=False)
class Cube:
    """A table read from a file.

    lut: (N, N, N, 3) float64 indexed [b][g][r]; domain_min, domain_max: the input colours (RGB) of
    the first and the last entry, (0, 0, 0) and (1, 1, 1) unless the file says otherwise.
    curves: (3, K) float64, K in 2..65536, the 1-D table that comes before the LUT, or None;
    curve_min, curve_max: the inputs of its first and last entry. A file of a 1-D table alone has
    the identity of 2 nodes as its lut.
    """

    lut: np.ndarray
    title: str = ""
    domain_min: tuple[float, float, float] = (0.0, 0.0, 0.0)
    domain_max: tuple[float, float, float] = (1.0, 1.0, 1.0)
    curves: np.ndarray | None = None
    curve_min: tuple[float, float, float] = (0.0, 0.0, 0.0)
    curve_max: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def look(self) -> tuple[np.ndarray, np.ndarray]:
        """Curves (3, K) and LUT for `vera_mobile.native.render`: colours outside of the domains
        count as their edge. Curves of up to 4096 entries over [0, 1] keep their entries; others are
        sampled at 4096 places."""
        size = 2 if self.curves is None else self.curves.shape[1]
        first = self.domain_min if self.curves is None else self.curve_min
        last = self.domain_max if self.curves is None else self.curve_max
        keeps = size <= MAX_CURVE_SIZE and first == (0.0,) * 3 and last == (1.0,) * 3
        x = np.linspace(0.0, 1.0, size if keeps else MAX_CURVE_SIZE)
        sampled = [
            (self._curve(x, c) - self.domain_min[c]) / (self.domain_max[c] - self.domain_min[c])
            for c in range(3)
        ]
        return np.clip(sampled, 0.0, 1.0), self.lut

    def _curve(self, x: np.ndarray, c: int) -> np.ndarray:
        if self.curves is None:
            return x
        low, high = self.curve_min[c], self.curve_max[c]
        places = np.linspace(low, high, self.curves.shape[1])
        return np.interp(x, places, self.curves[c])


def _rows(table: np.ndarray) -> Iterator[bytes]:
    """Lines of (n, 3) values with 9 decimals."""
    for start in range(0, len(table), _ROWS_AT_ONCE):
        part = table[start : start + _ROWS_AT_ONCE]
        yield ("%.9f %.9f %.9f\n" * len(part) % tuple(part.ravel().tolist())).encode()


def _checked_curves(curves: np.ndarray) -> np.ndarray:
    table = np.asarray(curves, np.float64)
    if table.ndim != 2 or len(table) != 3 or table.shape[1] not in CURVE_SIZES:
        raise InvalidArgument(
            f"Curves of shape {table.shape} are not allowed: use (3, K) with K in "
            f"{CURVE_SIZES[0]}..{CURVE_SIZES[-1]}."
        )
    if not np.isfinite(table).all():
        raise InvalidArgument("The curves hold NaN or infinite values; all must be finite.")
    return table


def write_cube(
    path: str | os.PathLike[str],
    lut: np.ndarray | None,
    *,
    curves: np.ndarray | None = None,
    title: str = "",
    comments: Sequence[str] = (),
) -> None:
    """Writes tables over [0, 1] as a .cube file with 9 decimals; an older file is replaced whole.

    lut: (N, N, N, 3) indexed [b][g][r], N in 2..129; None: only curves. curves: (3, K), K in
    2..65536, applied before the LUT (DaVinci Resolve reads both from one file, others only one).
    title: one line without double quotes. comments: lines for the head of the file.

    Errors: InvalidArgument for the tables, title or comments; FileError if it cannot be written.
    """
    if lut is None and curves is None:
        raise InvalidArgument("A .cube file needs a LUT or curves, got neither.")
    tables, sizes, ranges = [], [], []
    if curves is not None:
        tables.append(_checked_curves(curves).T)
        sizes.append(f"LUT_1D_SIZE {len(tables[0])}")
        ranges.append("LUT_1D_INPUT_RANGE 0.0 1.0")
    if lut is not None:
        table = np.asarray(check_lut(lut), np.float64)
        tables.append(table.reshape(-1, 3))
        sizes.append(f"LUT_3D_SIZE {len(table)}")
        ranges.append("LUT_3D_INPUT_RANGE 0.0 1.0")
    if len(tables) == 1:  # the words of the specification, which has no file of both
        ranges = ["DOMAIN_MIN 0.0 0.0 0.0", "DOMAIN_MAX 1.0 1.0 1.0"]
    for text in (title, *comments):
        if not text.isprintable():
            raise InvalidArgument(f"Title or comment {text!r} must be one line of printable text.")
    if '"' in title:
        raise InvalidArgument(f"Title {title!r} must not contain double quotes.")
    head = [f"# {line}".rstrip() for line in comments]
    head += [f'TITLE "{title}"'] if title else []
    with replacing(path) as stream:
        stream.write("\n".join([*head, *sizes, *ranges, ""]).encode())
        for rows in tables:
            stream.writelines(_rows(rows))


@dataclass
class _Parser:
    """What is known after the lines read so far."""

    path: Path
    with_curves: bool
    line: int = 0
    size: int = 0
    curve_size: int = 0
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
            self.size = self.read_size(name, rest.split(), range(MIN_SIZE, MAX_SIZE + 1))
        elif name in ("LUT_1D_SIZE", "LUT_1D_INPUT_RANGE") and not self.with_curves:
            raise UnsupportedFormat(
                f"{self.path}:{self.line}: this file has a 1-D table; only 3-D tables "
                "(LUT_3D_SIZE) are read here. Convert it to a 3-D .cube first."
            )
        elif name == "LUT_1D_SIZE":
            self.curve_size = self.read_size(name, rest.split(), CURVE_SIZES)
        elif name == "LUT_1D_INPUT_RANGE":
            self.domain[name] = self.numbers(rest.split(), 2)
        elif name in ("DOMAIN_MIN", "DOMAIN_MAX"):
            self.domain[name] = self.numbers(rest.split(), 3)
        elif name == "LUT_3D_INPUT_RANGE":
            self.domain[name] = self.numbers(rest.split(), 2)
        else:
            self.fail(
                f"unknown keyword {name[:40]!r}; known: TITLE, LUT_1D_SIZE, LUT_3D_SIZE, "
                "DOMAIN_MIN, DOMAIN_MAX, LUT_1D_INPUT_RANGE, LUT_3D_INPUT_RANGE."
            )

    def read_size(self, name: str, words: list[str], allowed: range) -> int:
        if len(words) != 1 or not re.fullmatch(r"\d{1,6}", words[0], re.ASCII):
            self.fail(f"{name} needs one whole number, got {' '.join(words)[:40]!r}.")
        size = int(words[0])
        if size not in allowed:
            self.fail(f"LUT size {size} not allowed: use {allowed[0]}..{allowed[-1]}.")
        return size

    @property
    def needed(self) -> int:
        """Entries of all tables."""
        return self.curve_size + self.size**3

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
        if not self.needed:
            self.fail("a table entry before LUT_3D_SIZE.")
        if len(self.values) == self.needed:
            self.fail(f"more than the {self.needed} entries that the sizes ask for.")
        self.values.append(self.numbers(text.split(), 3))

    def range_of(self, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Inputs of the first and last entry of the table whose range is called `name`."""
        low, high = self.domain.get(name, (0.0, 1.0))
        own = (low,) * 3, (high,) * 3
        first = self.domain.get("DOMAIN_MIN", own[0])
        last = self.domain.get("DOMAIN_MAX", own[1])
        if not all(a < b for a, b in zip(first, last, strict=True)):
            self.fail(f"the domain's low end {first} must be below its high end {last}.")
        return first, last

    def finish(self) -> Cube:
        if not self.needed:
            self.fail("the file ends without LUT_3D_SIZE.")
        if len(self.values) != self.needed:
            self.fail(f"the file ends after {len(self.values)} of {self.needed} entries.")
        if self.size and self.curve_size and {"DOMAIN_MIN", "DOMAIN_MAX"} & set(self.domain):
            self.fail(
                "DOMAIN_MIN and DOMAIN_MAX are for files of one table; a file of two has "
                "LUT_1D_INPUT_RANGE and LUT_3D_INPUT_RANGE."
            )
        values = np.array(self.values)
        facts: dict[str, Any] = {"title": self.title}
        lut = identity_lut(2)
        if self.curve_size:
            facts["curves"] = values[: self.curve_size].T
            facts["curve_min"], facts["curve_max"] = self.range_of("LUT_1D_INPUT_RANGE")
        if self.size:
            lut = values[self.curve_size :].reshape(self.size, self.size, self.size, 3)
            facts["domain_min"], facts["domain_max"] = self.range_of("LUT_3D_INPUT_RANGE")
        return Cube(lut, **facts)


def read_cube(path: str | os.PathLike[str], *, with_curves: bool = False) -> Cube:
    """The tables of a .cube file; comments, empty lines and any line ending are accepted.

    with_curves: also files with a 1-D table, alone or before the 3-D one; the caller must then mind
    `Cube.curves` (or use `Cube.look`).

    Errors, with file and line: FileError if it is missing, malformed, of a size outside of 2..129
    (1-D: 2..65536), has a number that is not finite, an unknown or doubled keyword, or too few or
    many entries; UnsupportedFormat for a 1-D table without `with_curves`.
    """
    source = Path(path)
    parser = _Parser(source, with_curves)
    try:
        with open(source, encoding="utf-8-sig", errors="replace") as stream:
            while raw := stream.readline(_MAX_LINE + 2):
                parser.feed(raw)
    except OSError as error:
        raise FileError(f"Cannot read {source}: {error.strerror}. Check the path.") from error
    return parser.finish()
