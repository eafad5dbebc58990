"""The contact sheet: what auto did to some photos, beside the original and the plain corrections.

One PNG to look at, and one self-contained HTML page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vera_mobile import page
from vera_mobile.errors import FileError
from vera_mobile.files import replacing
from vera_mobile.retoucher import Auto, Retoucher
from vera_mobile.train.data import PhotoFile, degradation
from vera_mobile.train.evaluation.figures import Figures, Wanted
from vera_mobile.train.evaluation.pairs import Pair, load_pair
from vera_mobile.train.evaluation.run import Report
from vera_mobile.train.evaluation.tasks import (
    DEGRADATIONS,
    Rows,
    Tools,
    developed,
    load_picture,
    photo_rng,
    retouched,
)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PER_RANK = 3
RANKS = ("worst", "median", "best", "random")
TITLES = {
    "auto": "ours",
    "auto_levels": "auto-levels",
    "clahe": "CLAHE",
    "gray_world": "gray world",
}

_CELL, _GAP, _LINE = 264, 14, 17  # pixels
_INK, _SOFT, _PAPER = (31, 35, 40), (98, 104, 112), (255, 255, 255)


@dataclass(frozen=True)
class Case:
    """One photo whose good form is known: a degraded photo of a split, or a pair."""

    name: str
    source: PhotoFile | Pair
    draw: int = 0

    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """Before and wanted, (H, W, 3) uint8 sRGB."""
        if isinstance(self.source, Pair):
            return load_pair(self.source)
        original, rng = load_picture(self.source.path), photo_rng(self.source)
        sets = [degradation(rng) for _ in range(self.draw + 1)]
        return developed(original, sets[self.draw]), original


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture of a row with its title and its figures (none for the wanted picture)."""

    title: str
    picture: np.ndarray
    figures: Figures

    @property
    def caption(self) -> str:
        """PSNR, CIEDE2000 and SSIM, as they were measured."""
        if not self.figures:
            return "what it should be"
        parts = [f"{self.figures['psnr_db']:.1f} dB", f"ΔE {self.figures['ciede2000_mean']:.2f}"]
        if "ssim" in self.figures:
            parts.append(f"SSIM {self.figures['ssim']:.3f}")
        return " · ".join(parts)


@dataclass(frozen=True, eq=False)
class Row:
    """One case: why it was chosen, its pictures and the plan's words."""

    name: str
    rank: str
    text: str
    cells: tuple[Cell, ...]


def photo_cases(files: Sequence[PhotoFile], rows: Sequence[Rows]) -> list[tuple[Case, float]]:
    """Every degraded photo with the CIEDE2000 that auto left."""
    return [
        (Case(f"{file.path.stem}, degradation {k + 1}", file, k), row["ciede2000_mean"])
        for file, photo in zip(files, rows, strict=False)
        for k, row in enumerate(photo["auto"][:DEGRADATIONS])
    ]


def pair_cases(pairs: Sequence[Pair], rows: Sequence[Rows]) -> list[tuple[Case, float]]:
    """Every pair with the CIEDE2000 that auto left."""
    return [
        (Case(f"{pair.name} {pair.expert}".strip(), pair), row["auto"][0]["ciede2000_mean"])
        for pair, row in zip(pairs, rows, strict=True)
    ]


def chosen(cases: Sequence[tuple[Case, float]], each: int = PER_RANK) -> list[tuple[Case, str]]:
    """The worst, the median and the best by CIEDE2000, and random ones; none twice."""
    order = sorted(range(len(cases)), key=lambda i: -cases[i][1])
    middle = max(0, (len(order) - each) // 2)
    random = np.random.default_rng(0).permutation(len(order)).tolist()
    picks = {
        "worst": order[:each],
        "median": order[middle : middle + each],
        "best": order[::-1][:each],
        "random": random,
    }
    taken: list[int] = []
    out = []
    for rank in RANKS:
        fresh = [i for i in picks[rank] if i not in taken][:each]
        taken += fresh
        out += [(cases[i][0], rank) for i in fresh]
    return out


def contact_row(retoucher: Retoucher, case: Case, rank: str, tools: Tools) -> Row:
    """The row of a case, made anew: the same figures as in the benchmark."""
    before, original = case.pictures()
    wanted = Wanted(original)
    look, ours = retouched(retoucher, before, Auto())
    first, last = ("before", "after") if isinstance(case.source, Pair) else ("degraded", "original")
    made = {first: before, "auto": ours}
    made |= {n: correct(before) for n, correct in tools.corrections.items() if "/" not in n}
    cells = [Cell(TITLES.get(n, n), p, wanted.figures(p)) for n, p in made.items()]
    cells.insert(2, Cell(last, original, {}))
    return Row(case.name, rank, look.text, tuple(cells))


def write_contact(
    folder: str | Path, rows: Sequence[Row], report: Report, title: str, command: str
) -> tuple[Path, Path]:
    """Writes contact.png and contact.html into the folder (made when missing); their paths.

    Raises FileError where they cannot be written, or where there are no rows.
    """
    folder = Path(folder)
    if not rows:
        raise FileError(f"{folder}: no photos for a contact sheet; measure at least one.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise FileError(f"{folder}: cannot be made ({e.strerror}); choose another folder") from e
    with replacing(folder / "contact.png") as stream:
        sheet(rows, title).save(stream, "PNG")
    html = page.write_page(folder / "contact.html", contact_page(rows, report, title, command))
    return folder / "contact.png", html


# ---- PNG -----------------------------------------------------------------------------------------


def sheet(rows: Sequence[Row], title: str) -> Image.Image:
    """All rows as one picture; columns are as wide as a photo of the sheet."""
    large, plain, small = (ImageFont.load_default(size) for size in (26, 16, 14))
    columns = max(len(row.cells) for row in rows)
    width = _GAP + columns * (_CELL + _GAP)
    words = {id(row): _wrapped(row.text, small, width - 2 * _GAP) for row in rows}
    heights = [_row_height(row, words[id(row)]) for row in rows]
    top = 3 * _GAP + 30
    canvas = Image.new("RGB", (width, top + sum(heights)), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP), title, _INK, large)
    for row, height in zip(rows, heights, strict=True):
        draw.line((_GAP, top - _GAP // 2, width - _GAP, top - _GAP // 2), (221, 218, 211))
        draw.text((_GAP, top), f"{row.rank}: {row.name}", _INK, plain)
        y = top + 26
        for i, cell in enumerate(row.cells):
            x = _GAP + i * (_CELL + _GAP)
            draw.text((x, y), cell.title, _INK, small)
            small_picture = _thumbnail(cell.picture)
            canvas.paste(small_picture, (x, y + _LINE + 2))
            caption = cell.caption.replace("Δ", "d")  # Pillow's own font has no Greek
            draw.text((x, y + _LINE + 6 + small_picture.height), caption, _SOFT, small)
        y = top + height - _GAP - _LINE * len(words[id(row)])
        for k, line in enumerate(words[id(row)]):
            draw.text((_GAP, y + k * _LINE), line, _SOFT, small)
        top += height
    return canvas


def _thumbnail(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    image.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
    return image


def _row_height(row: Row, words: Sequence[str]) -> int:
    tallest = max(_thumbnail(cell.picture).height for cell in row.cells)
    return 26 + 2 * _LINE + 12 + tallest + _LINE * len(words) + _GAP


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """Lines of at most `width` pixels; a word longer than that stays whole."""
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return [line for line in lines if line]


# ---- HTML ----------------------------------------------------------------------------------------


def contact_page(rows: Sequence[Row], report: Report, title: str, command: str) -> str:
    """The sheet as a page: means first, then the rows; any picture can be held to the original."""
    return page.render_page(
        "contact.html",
        ("page.css",),
        title=title,
        means=_means(report),
        ranks=list(dict.fromkeys(row.rank for row in rows)),
        rows=[_row_values(i, row) for i, row in enumerate(rows, 1)],
        command=command,
    )


def _row_values(number: int, row: Row) -> dict[str, object]:
    cells = [
        {"title": c.title, "caption": c.caption, "picture": page.picture(c.picture),
         "original": not c.figures} for c in row.cells
    ]  # fmt: skip
    return {
        "id": f"photo-{number}",
        "name": row.name,
        "rank": row.rank,
        "words": [line for line in row.text.splitlines() if line.strip()],
        "cells": cells,
    }


def _means(report: Report) -> list[tuple[str, list[str]]]:
    """(name, PSNR, gain, CIEDE2000, SSIM) of leaving alone, of ours and of what ran beside it."""
    first = report.get("auto") or report["pairs"]
    prefix = "" if "auto" in report else "pairs_"
    alone = {"psnr_db": first["psnr_alone_db"], "ciede2000_mean": first["ciede2000_alone"]}
    if "ssim_alone" in first:
        alone["ssim"] = first["ssim_alone"]
    table = [("left alone", alone), ("ours", first)]
    for name, row in report.items():
        own = name.removeprefix(prefix)
        beside = name.startswith(prefix) and not own.startswith(("int4", "pairs"))
        if beside and row is not first and "psnr_gain_db" in row:
            table.append((TITLES.get(own, own), row))
    digits = {"psnr_db": 2, "psnr_gain_db": 2, "ciede2000_mean": 2, "ssim": 3}
    return [
        (name, [page.number(row[k], d) if k in row else "" for k, d in digits.items()])
        for name, row in table
    ]
