"""How far a candidate photo is from its reference: colours, structure, banding and words."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vera_mobile.color.metrics import ciede2000, ssim
from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.compare.banding import banding_map
from vera_mobile.errors import InvalidArgument
from vera_mobile.image import Photo
from vera_mobile.image_meta import SRGB

STRIP_PIXELS = 1 << 21
_SSIM_SIDE, _SSIM_OVERLAP = 11, 10


@dataclass(frozen=True)
class Figures:
    """Distances of a pair.

    psnr_db: infinite for equal pictures; ssim: None below 11 x 11 pixels; ciede2000 in ΔE;
    max_difference: in steps of 1/255, at `max_at` (x, y); equal_share: pixels that are equal, 0..1;
    banding_share: pixels with a step that the reference does not have (see `banding_map`);
    text_agreement: see `text_agreement`, None where a side has no text.
    """

    width: int
    height: int
    psnr_db: float
    ssim: float | None
    ciede2000_mean: float
    ciede2000_p99: float
    ciede2000_max: float
    max_difference: float
    max_at: tuple[int, int]
    equal_share: float
    banding_share: float
    text_agreement: float | None


@dataclass(frozen=True, eq=False)
class Codes:
    """Two pictures as codes of encoded sRGB of one dtype (uint8 or uint16) and shape (H, W, 3)."""

    reference: np.ndarray
    candidate: np.ndarray

    @property
    def peak(self) -> int:
        """The code of white."""
        return int(np.iinfo(self.reference.dtype).max)


def codes_of(reference: Photo, candidate: Photo) -> Codes:
    """Both photos in sRGB, in 16 bits where one of them has 16 bits.

    Other colour spaces are converted in 8 bits (see `Photo.to_srgb`). Raises InvalidArgument for
    photos of different size.
    """
    if reference.pixels.shape != candidate.pixels.shape:
        raise InvalidArgument(
            f"size {candidate.width} x {candidate.height}, the reference has "
            f"{reference.width} x {reference.height}"
        )
    first, second = _srgb(reference), _srgb(candidate)
    if first.dtype != second.dtype:
        first, second = _sixteen_bits(first), _sixteen_bits(second)
    return Codes(first, second)


def measure_pair(codes: Codes, texts: tuple[str | None, str | None] = (None, None)) -> Figures:
    """The figures of a pair; memory beyond the codes stays below some 500 MB at any size."""
    height, width = codes.reference.shape[:2]
    squares, equal, largest, place = 0, 0, -1, (0, 0)
    spread = _Distribution()
    for top, a, b in _strips(codes):
        gap = np.abs(a.astype(np.int32) - b)
        squares += int(np.sum(gap.astype(np.int64) ** 2))
        worst = gap.max(axis=2)
        equal += int(np.count_nonzero(worst == 0))
        index = int(np.argmax(worst))
        if worst.flat[index] > largest:
            largest = int(worst.flat[index])
            place = (index % width, top + index // width)
        differ = worst > 0
        spread.add_zeros(int(differ.size - np.count_nonzero(differ)))
        spread.add(*_colour_gaps(a[differ], b[differ], codes.peak))
    mean_square = squares / codes.reference.size
    return Figures(
        width=width,
        height=height,
        psnr_db=float(10 * np.log10(codes.peak**2 / mean_square)) if squares else float("inf"),
        ssim=_ssim(codes),
        ciede2000_mean=spread.mean(),
        ciede2000_p99=spread.quantile(0.99),
        ciede2000_max=spread.quantile(1.0),
        max_difference=largest * 255 / codes.peak,
        max_at=place,
        equal_share=equal / (height * width),
        banding_share=float(np.mean(banding_map(codes.reference, codes.candidate) > 0)),
        text_agreement=text_agreement(*texts),
    )


def text_agreement(reference: str | None, candidate: str | None) -> float | None:
    """Share of equal words in order, 0..1 (Ratcliff and Obershelp's ratio); None without a text."""
    if reference is None or candidate is None:
        return None
    words = reference.split(), candidate.split()
    return difflib.SequenceMatcher(None, *words, autojunk=False).ratio()


def _srgb(photo: Photo) -> np.ndarray:
    if photo.icc is None or photo.colour_space == SRGB:
        return photo.pixels
    return np.rint(photo.to_srgb() * 255).astype(np.uint8)


def _sixteen_bits(codes: np.ndarray) -> np.ndarray:
    return codes if codes.dtype == np.uint16 else codes.astype(np.uint16) * np.uint16(257)


def _strips(codes: Codes, overlap: int = 0) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first row, reference, candidate) of bands of whole rows; each repeats `overlap` rows."""
    height, width = codes.reference.shape[:2]
    rows = max(STRIP_PIXELS // width, 1)
    for top in range(0, height - overlap, rows):
        part = slice(top, top + rows + overlap)
        yield top, codes.reference[part], codes.candidate[part]


def _ssim(codes: Codes) -> float | None:
    if min(codes.reference.shape[:2]) < _SSIM_SIDE:
        return None
    # windows are whole, so bands that share ten rows hold each window once
    total, windows = 0.0, 0
    for _, a, b in _strips(codes, _SSIM_OVERLAP):
        rows = len(a) - _SSIM_OVERLAP
        total += rows * ssim(a, b, float(codes.peak))
        windows += rows
    return total / windows


def _colour_gaps(a: np.ndarray, b: np.ndarray, peak: int) -> tuple[np.ndarray, np.ndarray]:
    """CIEDE2000 of two (N, 3) lists and how often each value occurs; equal pairs count once."""
    if peak == 255:
        both = np.concatenate([a, b], axis=1).astype(np.int64)
        keys, counts = np.unique(both @ (256 ** np.arange(6)), return_counts=True)
        both = (keys[:, None] // 256 ** np.arange(6)) % 256
        a, b = both[:, :3], both[:, 3:]
    else:
        counts = np.ones(len(a), np.int64)
    gaps = np.empty(len(a), np.float32)
    for start in range(0, len(a), 1 << 16):
        part = slice(start, start + (1 << 16))
        gaps[part] = ciede2000(rgb_to_lab(a[part] / peak), rgb_to_lab(b[part] / peak))
    return gaps, counts


class _Distribution:
    """Values with counts: mean and quantiles of all of them."""

    def __init__(self) -> None:
        self._values: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        self._values.append(values)
        self._counts.append(counts)

    def add_zeros(self, count: int) -> None:
        if count:
            self.add(np.zeros(1, np.float32), np.array([count], np.int64))

    def mean(self) -> float:
        pairs = zip(self._values, self._counts, strict=True)
        total = sum(float(np.dot(v.astype(np.float64), c)) for v, c in pairs)
        return total / sum(int(c.sum()) for c in self._counts)

    def quantile(self, share: float) -> float:
        """As numpy.quantile of the values, each repeated by its count (linear interpolation)."""
        values, counts = np.concatenate(self._values), np.concatenate(self._counts)
        order = np.argsort(values, kind="stable")
        ends = np.cumsum(counts[order])
        place = share * (int(ends[-1]) - 1)
        low = int(np.floor(place))
        pick = np.searchsorted(ends, (low, min(low + 1, int(ends[-1]) - 1)), side="right")
        below, above = (float(values[order[i]]) for i in pick)
        return below + (above - below) * (place - low)
