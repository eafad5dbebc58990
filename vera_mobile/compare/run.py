"""All pairs of two sides, one after the other: rows for the reports, pictures of the worst."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from vera_mobile.compare.banding import banding_map
from vera_mobile.compare.figures import Codes, Figures, codes_of, measure_pair
from vera_mobile.compare.pairs import Pair, Pairs, text_of
from vera_mobile.compare.tolerances import Check, check_bounds, judge
from vera_mobile.errors import InvalidArgument, OutOfMemory, VeraError
from vera_mobile.image import Photo
from vera_mobile.image_write import to_eight_bits
from vera_mobile.page import Picture, picture
from vera_mobile.report import DIFFERENCE_GAIN, difference_map

PASSED, FAILED, BROKEN = "passed", "failed", "unreadable"
BANDING_GAIN = 20


@dataclass(frozen=True)
class Views:
    """Pictures of one pair for the page; the maps are amplified."""

    reference: Picture
    candidate: Picture
    difference: Picture
    banding: Picture


@dataclass(frozen=True)
class Row:
    """The outcome of one photo. reason: why there are no figures, else empty."""

    name: str
    verdict: str
    seconds: float
    figures: Figures | None = None
    checks: tuple[Check, ...] = ()
    reason: str = ""
    texts: tuple[str | None, str | None] = (None, None)

    @property
    def strain(self) -> float:
        """Of the check that is nearest to its bound or furthest beyond it; 0 for none."""
        return max((check.strain for check in self.checks), default=0.0)


@dataclass(frozen=True)
class Outcome:
    """All rows in order of names; views of the worst photos, by name."""

    rows: tuple[Row, ...]
    views: Mapping[str, Views]
    bounds: Mapping[str, float]
    extra: tuple[str, ...] = ()

    def count(self, verdict: str) -> int:
        """Photos with this verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    def to_json(self) -> dict[str, object]:
        """Plain values; an infinite PSNR is null with equal_share 1."""
        return {
            "format": "vera-compare",
            "version": 1,
            "bounds": dict(self.bounds),
            "passed": self.count(PASSED),
            "failed": self.count(FAILED),
            "unreadable": self.count(BROKEN),
            "extra": list(self.extra),
            "photos": [_plain(row) for row in self.rows],
        }


@dataclass
class _Worst:
    """The pictures of at most `limit` photos, those with the greatest strain."""

    limit: int
    _heap: list[tuple[tuple[bool, float], int, str, Views]] = field(default_factory=list)

    def offer(self, row: Row, make: Callable[[], Views]) -> None:
        rank = (row.verdict != PASSED, row.strain)
        if len(self._heap) < self.limit:
            heapq.heappush(self._heap, (rank, -len(self._heap), row.name, make()))
        elif self.limit and rank > self._heap[0][0]:
            heapq.heapreplace(self._heap, (rank, self._heap[0][1], row.name, make()))

    def views(self) -> dict[str, Views]:
        ordered = sorted(self._heap, key=lambda item: item[0], reverse=True)
        return {name: views for _, _, name, views in ordered}


def compare_sides(
    pairs: Pairs,
    bounds: Mapping[str, float],
    *,
    pictures: int = 24,
    on_photo: Callable[[Row], None] | None = None,
) -> Outcome:
    """Rows of all pairs and of what the candidate lacks.

    One pair is in memory at a time, beside the JPEGs of at most `pictures` photos. A photo that
    cannot be read becomes a row of its own and stops nothing. Raises InvalidArgument for bounds
    that are not allowed.
    """
    check_bounds(bounds)
    worst = _Worst(pictures)
    rows = []
    for name in pairs.missing:
        rows.append(Row(name, FAILED, 0.0, reason="the candidate does not have this photo"))
    for pair in pairs.pairs:
        rows.append(_compare(pair, bounds, worst))
        if on_photo:
            on_photo(rows[-1])
    rows.sort(key=lambda row: row.name)
    return Outcome(tuple(rows), worst.views(), dict(bounds), pairs.extra)


def _compare(pair: Pair, bounds: Mapping[str, float], worst: _Worst) -> Row:
    started = time.perf_counter()
    try:
        photos = Photo.load(pair.reference.path), Photo.load(pair.candidate.path)
        texts = text_of(pair.reference), text_of(pair.candidate)
    except (VeraError, OSError) as error:
        return Row(pair.name, BROKEN, time.perf_counter() - started, reason=str(error))
    try:
        codes = codes_of(*photos)
        figures = measure_pair(codes, texts)
    except InvalidArgument as error:
        return Row(pair.name, FAILED, time.perf_counter() - started, reason=str(error))
    except MemoryError as error:
        raise OutOfMemory(f"No memory to compare {pair.name}: close other work.") from error
    checks = judge(figures, bounds)
    verdict = PASSED if all(check.passed for check in checks) else FAILED
    row = Row(pair.name, verdict, time.perf_counter() - started, figures, checks, "", texts)
    worst.offer(row, lambda: _views(codes))
    return row


def _views(codes: Codes) -> Views:
    first, second = to_eight_bits(codes.reference), to_eight_bits(codes.candidate)
    bands = np.minimum(banding_map(codes.reference, codes.candidate) * BANDING_GAIN, 255)
    marked = np.repeat(bands.astype(np.uint8)[..., None], 3, axis=2)
    return Views(
        picture(first),
        picture(second),
        picture(difference_map(second, first, DIFFERENCE_GAIN)),
        picture(difference_map(marked, np.zeros_like(marked), 1)),  # keeps single pixels
    )


def _plain(row: Row) -> dict[str, object]:
    figures = None if row.figures is None else asdict(row.figures)
    if figures is not None and figures["psnr_db"] == float("inf"):
        figures["psnr_db"] = None
    return {
        "name": row.name,
        "verdict": row.verdict,
        "reason": row.reason or None,
        "seconds": round(row.seconds, 3),
        "figures": figures,
        "missed": [check.name for check in row.checks if not check.passed],
    }
