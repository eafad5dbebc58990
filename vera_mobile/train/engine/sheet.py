"""A contact sheet of samples with their texts: the quickest way to see what a build is worth."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vera_mobile.develop.sliders import named
from vera_mobile.files import replacing
from vera_mobile.train.engine.reader import Sample

CELL, GAP, TEXT_WIDTH, FONT_SIZE, LINE = 250, 12, 720, 14, 19  # pixels
CHARACTERS = 98  # in a line of the text column
INK, SOFT, PAPER = (30, 34, 40), (105, 110, 118), (255, 255, 255)
MAX_SLIDERS = 8

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(samples: Sequence[Sample]) -> Image.Image:
    """One row a sample: input, target, and beside them instruction, sliders, answer and source."""
    font = ImageFont.load_default(FONT_SIZE)
    rows = [_row(sample, font) for sample in samples]
    width = max(r.width for r in rows)
    sheet = Image.new("RGB", (width, sum(r.height + GAP for r in rows) + GAP), PAPER)
    y = GAP
    for row in rows:
        sheet.paste(row, (0, y))
        y += row.height + GAP
    return sheet


def save_sheet(samples: Sequence[Sample], path: Path) -> Path:
    """Writes the sheet of the samples as PNG. FileError when it cannot be written."""
    with replacing(path) as stream:
        contact_sheet(samples).save(stream, "PNG")
    return path


def texts(sample: Sample) -> list[tuple[str, bool]]:
    """The lines beside the pictures, and whether each is of lesser weight."""
    photo = sample.record["photo"]
    groups = "/".join(f"{g:g}" for g in sample.groups)
    lines = [(f"{sample.key}  {sample.task}  ({sample.record['origin']})  groups {groups}", True)]
    if sample.instruction:
        lines += [(line, False) for line in _wrapped(f"> {sample.instruction}")]
    if sample.sliders is not None and sample.task != "param":
        some = list(named(sample.sliders).items())
        more = f" and {len(some) - MAX_SLIDERS} more" if len(some) > MAX_SLIDERS else ""
        told = ", ".join(f"{k} {v:+d}" for k, v in some[:MAX_SLIDERS]) + more
        lines += [(line, True) for line in _wrapped(told or "no slider")]
    for part in sample.answer.splitlines():
        lines += [(line, False) for line in _wrapped(part)]
    details = sample.record["details"]
    style = details.get("style", {}).get("file") or details.get("concept") or details.get("pair")
    source = f"{photo['file']}  {photo['licence'] or 'no licence stated'}"
    lines += [(line, True) for line in _wrapped(source + (f"  style: {style}" if style else ""))]
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, CHARACTERS) or [""]


def _row(sample: Sample, font: Font) -> Image.Image:
    lines = texts(sample)
    pictures = [_fitted(p) for p in (sample.before, sample.target)]
    height = max(*(p.height for p in pictures), len(lines) * LINE)
    row = Image.new("RGB", (2 * CELL + 4 * GAP + TEXT_WIDTH, height), PAPER)
    for i, picture in enumerate(pictures):
        row.paste(picture, (GAP + i * (CELL + GAP), 0))
    draw = ImageDraw.Draw(row)
    for i, (line, soft) in enumerate(lines):
        draw.text((2 * CELL + 3 * GAP, i * LINE), line, fill=SOFT if soft else INK, font=font)
    return row


def _fitted(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return image
