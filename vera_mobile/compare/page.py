"""The page of a comparison: a table of all photos, pictures of the worst."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vera_mobile.compare.figures import Figures
from vera_mobile.compare.run import BANDING_GAIN, BROKEN, FAILED, PASSED, Outcome, Row, Views
from vera_mobile.page import NO_BREAK, number, render_page, write_page
from vera_mobile.report import DIFFERENCE_GAIN

_COLUMNS = {
    "psnr_db": ("PSNR", 2, "dB"),
    "ssim": ("SSIM", 4, ""),
    "ciede2000_mean": ("ΔE mean", 3, ""),
    "ciede2000_p99": ("ΔE p99", 3, ""),
    "ciede2000_max": ("ΔE max", 2, ""),
    "max_difference": ("Largest step of 255", 1, ""),
    "banding_share": ("Banding", 3, "%"),
    "text_agreement": ("Text", 1, "%"),
}


def write_compare_page(
    path: str | Path,
    outcome: Outcome,
    *,
    title: str,
    bounds_from: str,
    command: str,
    when: datetime | None = None,
) -> Path:
    """The path of the page, written whole or not at all. bounds_from: where they were given.

    Raises FileError where it cannot be written.
    """
    moment = when if when is not None else datetime.now().astimezone()
    places = {name: f"photo-{number}" for number, name in enumerate(outcome.views, start=1)}
    by_name = {row.name: row for row in outcome.rows}
    page = render_page(
        "compare.html",
        ("page.css",),
        title=title,
        date=f"{moment.day} {moment:%B %Y, %H:%M %Z}".strip(),
        date_iso=moment.isoformat(timespec="seconds"),
        outcome=_counts(outcome),
        bounds=[_bound(name, bound) for name, bound in outcome.bounds.items()],
        bounds_from=bounds_from,
        labels=[label for label, _, _ in _COLUMNS.values()],
        rows=[_row(row, places) for row in outcome.rows],
        shown=[_photo(by_name[name], places, v) for name, v in outcome.views.items()],
        extra=_listed(outcome.extra),
        difference_gain=DIFFERENCE_GAIN,
        banding_gain=BANDING_GAIN,
        command=command,
    )
    return write_page(path, page)


def figure_text(key: str, value: float | None) -> str | None:
    """A figure with its unit; None stays None. Shares are in percent, rounded so that only all
    pixels or words read as 100 %."""
    _, digits, unit = _COLUMNS[key]
    if value is None:
        return None
    if math.isinf(value):
        return "∞ (equal)"
    if key == "text_agreement":
        value = math.floor(value * 1000 + 1e-9) / 10
    elif unit == "%":
        value *= 100
    return f"{number(value, digits)}{NO_BREAK}{unit}".rstrip(NO_BREAK)


def _counts(outcome: Outcome) -> list[tuple[str, str]]:
    rows = [("photos", str(len(outcome.rows))), ("passed", str(outcome.count(PASSED)))]
    rows.append(("failed", str(outcome.count(FAILED))))
    if outcome.count(BROKEN):
        rows.append(("unreadable", str(outcome.count(BROKEN))))
    for label, key, worst in (
        ("lowest PSNR", "psnr_db", min),
        ("highest ΔE mean", "ciede2000_mean", max),
        ("highest ΔE p99", "ciede2000_p99", max),
    ):
        values = [getattr(row.figures, key) for row in outcome.rows if row.figures]
        if values:
            rows.append((label, figure_text(key, worst(values)) or ""))
    return rows


def _bound(name: str, bound: float) -> tuple[str, str]:
    figure, _, kind = name.rpartition("_")
    side = "at least" if kind == "min" else "at most"
    return _COLUMNS[figure][0], f"{side} {_bound_text(figure, bound)}"


def _bound_text(figure: str, bound: float) -> str:
    unit = _COLUMNS[figure][2]
    return f"{bound * 100 if unit == '%' else bound:g}{NO_BREAK}{unit}".rstrip(NO_BREAK)


def _row(row: Row, places: Mapping[str, str]) -> dict[str, Any]:
    missed = {check.name.rpartition("_")[0] for check in row.checks if not check.passed}
    cells = []
    if row.figures is not None:
        cells = [
            {"value": figure_text(key, getattr(row.figures, key)), "missed": key in missed}
            for key in _COLUMNS
        ]
    return {
        "id": places.get(row.name),
        "name": row.name,
        "verdict": row.verdict,
        "passed": row.verdict == PASSED,
        "reason": row.reason,
        "cells": cells,
    }


def _photo(row: Row, places: Mapping[str, str], views: Views) -> dict[str, Any]:
    assert row.figures is not None, "only photos with figures have views"
    missed = [
        f"{_COLUMNS[check.name.rpartition('_')[0]][0]} "
        f"{figure_text(check.name.rpartition('_')[0], check.value)} "
        f"(bound {_bound_text(check.name.rpartition('_')[0], check.bound)})"
        for check in row.checks
        if not check.passed
    ]
    known = row.texts[0] is not None and row.texts[1] is not None
    return _row(row, places) | {
        "views": views,
        "size": f"{row.figures.width} × {row.figures.height}{NO_BREAK}px",
        "missed": "; ".join(missed),
        "difference": _difference(row.figures),
        "banding": _banding(row.figures),
        "texts": list(zip(("reference", "candidate"), row.texts, strict=True)) if known else [],
    }


def _difference(figures: Figures) -> str:
    if figures.max_difference == 0:
        return "All pixels are equal."
    column, row = figures.max_at
    share = math.floor(figures.equal_share * 1000) / 10
    return (
        f"Largest difference {number(figures.max_difference, 1)} of 255 steps, at column {column}, "
        f"row {row}; {number(share, 1)}{NO_BREAK}% of the pixels are equal."
    )


def _banding(figures: Figures) -> str:
    if figures.banding_share == 0:
        return "None found."
    return f"{figure_text('banding_share', figures.banding_share)} of the pixels lie at one."


def _listed(names: tuple[str, ...], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
