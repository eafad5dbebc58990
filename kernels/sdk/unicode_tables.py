"""Writes unicode_tables.h: what characters are to the `tokenizers` library and to Python's `str`.

    python kernels/sdk/unicode_tables.py            writes kernels/sdk/unicode_tables.h
    python kernels/sdk/unicode_tables.py --check    fails where the file is not what this gives

Letters, numbers, white space and normalization are asked of the `tokenizers` library, for its
tables are those that the vocabularies were made with; lower case is that of Python.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, normalizers, pre_tokenizers

TARGET = Path(__file__).with_name("unicode_tables.h")
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)
NFC, NFD = normalizers.NFC(), normalizers.NFD()


def kept_by(splitter: pre_tokenizers.PreTokenizer) -> list[int]:
    """The characters that are left of all when `splitter` has removed what it looks for."""
    text = "".join(map(chr, CODES))
    out: list[int] = []
    for _, (begin, end) in splitter.pre_tokenize_str(text):
        out += CODES[begin:end]
    return out


def found_by(pattern: str) -> list[int]:
    """The characters that a regular expression for one character matches."""
    other = kept_by(pre_tokenizers.Split(Regex(pattern), behavior="removed"))
    return sorted(set(CODES) - set(other))


def digits() -> list[int]:
    """What the Digits splitter puts apart: alone in a piece, between two letters."""
    digit = pre_tokenizers.Digits(individual_digits=True)
    return [c for c in CODES if len(digit.pre_tokenize_str(f"a{chr(c)}a")) == 3]


def ranges(codes: Iterable[int]) -> list[tuple[int, int]]:
    """(first, last) of each run of neighbours."""
    out: list[tuple[int, int]] = []
    for code in codes:
        if out and code == out[-1][1] + 1:
            out[-1] = (out[-1][0], code)
        else:
            out.append((code, code))
    return out


def lower_runs() -> list[tuple[int, int, int, int]]:
    """(first, last, step, distance) of runs of capitals; U+0130, which becomes two, apart."""
    out: list[tuple[int, int, int, int]] = []
    for code in CODES:
        small = chr(code).lower()
        if small == chr(code) or code == 0x130:
            continue
        assert len(small) == 1, hex(code)
        away = ord(small) - code
        first, last, step, before = out[-1] if out else (0, 0, 0, 0)
        gap = code - last
        if out and away == before and gap in (1, 2) and step in (0, gap):
            out[-1] = (first, code, gap, away)
        else:
            out.append((code, code, 0, away))
    return [(first, last, step or 1, away) for first, last, step, away in out]


def around_sigma() -> tuple[list[int], list[int]]:
    """(cased, passed over): how Python's lower() sees the neighbours of a capital sigma."""
    cased, ignored = [], []
    for code in CODES:
        char = chr(code)
        alone, behind = (char + "Σ").lower()[-1] == "ς", ("a" + char + "Σ").lower()[-1] == "ς"
        if alone:
            cased.append(code)
        elif behind:
            ignored.append(code)
    return cased, ignored


def decompositions() -> dict[int, tuple[int, ...]]:
    """Full canonical decompositions, without those of Hangul syllables."""
    out = {}
    for code in CODES:
        if code not in HANGUL:
            parts = tuple(map(ord, NFD.normalize_str(chr(code))))
            if parts != (code,):
                out[code] = parts
    return out


def combining_classes() -> dict[int, int]:
    """Classes other than 0 of the marks that the library moves when they stand in wrong order."""
    out = {}
    for code in CODES:
        if order := unicodedata.combining(chr(code)):
            above, below = "a\u0301" + chr(code), "a" + chr(code) + "\u0334"
            moved = NFD.normalize_str(above) != above or NFD.normalize_str(below) != below
            if moved:
                out[code] = order
    return out


def compositions() -> list[tuple[int, int, int]]:
    """(first, second, whole) of the pairs that are put together again."""
    out = []
    for code in CODES:
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (int(part, 16) for part in parts)
            if NFC.normalize_str(chr(first) + chr(second)) == chr(code):
                out.append((first, second, code))
    return sorted(out)


def table(name: str, kind: str, rows: Iterable[Iterable[int]]) -> str:
    cells = ["{" + ", ".join(_number(v) for v in row) + "}" for row in rows]
    return f"inline constexpr {kind} {name}[] = {{\n{_lines(cells)}}};\n\n"


def numbers(name: str, kind: str, values: Iterable[int]) -> str:
    return f"inline constexpr {kind} {name}[] = {{\n{_lines([_number(v) for v in values])}}};\n\n"


def _number(value: int) -> str:
    return str(value) if abs(value) < 10 else f"{'-' if value < 0 else ''}0x{abs(value):X}"


def _lines(cells: list[str]) -> str:
    out, line = "", "   "
    for cell in cells:
        if len(line) + len(cell) + 2 > 100:
            out, line = f"{out}{line}\n", "   "
        line += f" {cell},"
    return f"{out}{line}\n"


def header() -> str:
    cased, ignored = around_sigma()
    whole = decompositions()
    parts: list[int] = []
    places = []
    for code, row in whole.items():
        places.append((code, len(parts), len(row)))
        parts += row
    classes = combining_classes()
    runs = [
        (first, last, classes[first])
        for order in sorted(set(classes.values()))
        for first, last in ranges(c for c in classes if classes[c] == order)
    ]
    return (
        "// Generated by kernels/sdk/unicode_tables.py: do not edit.\n"
        "#ifndef VERA_SDK_UNICODE_TABLES_H_\n#define VERA_SDK_UNICODE_TABLES_H_\n\n"
        "#include <cstdint>\n\nnamespace vera {\n\n"
        "struct CodeRange {\n  uint32_t first, last;\n};\n"
        "struct LowerRun {\n  uint32_t first, last;\n  int32_t step, distance;\n};\n"
        "struct Decomposition {\n  uint32_t code;\n  uint16_t begin, size;\n};\n"
        "struct ClassRange {\n  uint32_t first, last;\n  uint8_t order;\n};\n"
        "struct Composition {\n  uint32_t first, second, whole;\n};\n\n"
        + table("kLetters", "CodeRange", ranges(found_by(r"\p{L}")))
        + table("kNumbers", "CodeRange", ranges(found_by(r"\p{N}")))
        + table("kSpaces", "CodeRange", ranges(found_by(r"\s")))
        + table("kDigits", "CodeRange", ranges(digits()))
        + table("kStripped", "CodeRange", ranges(c for c in CODES if chr(c).isspace()))
        + table("kLowerRuns", "LowerRun", lower_runs())
        + table("kCased", "CodeRange", ranges(cased))
        + table("kCaseIgnored", "CodeRange", ranges(ignored))
        + table("kClasses", "ClassRange", sorted(runs))
        + table("kDecompositions", "Decomposition", places)
        + numbers("kDecomposed", "uint32_t", parts)
        + table("kCompositions", "Composition", compositions())
        + "}  // namespace vera\n\n#endif  // VERA_SDK_UNICODE_TABLES_H_\n"
    )


def main() -> int:
    text = header()
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text() != text:
            print(f"{TARGET} is not what {Path(__file__).name} gives: run it.", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
