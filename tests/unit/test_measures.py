"""The measures of the prompt against a plain sort, and their tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.measures import (
    LEVELS,
    MEASURES,
    eight_bit_codes,
    measure_pieces,
    measured_levels,
)


def sorted_levels(codes: np.ndarray) -> list[int]:
    """The same by sorting: codes (3, n) uint8."""
    n = codes.shape[1]
    chroma = [int(max(p)) - int(min(p)) for p in codes.T.tolist()]
    rows = dict(zip("rgbc", [*codes.tolist(), chroma], strict=True))
    found = []
    for channel, q in MEASURES:
        rank = max(1, math.ceil(q * n / 10000))
        found.append(sorted(rows[channel])[rank - 1] * LEVELS // 256)
    return found


@pytest.mark.parametrize("side", [1, 2, 7, 64, 101])
@pytest.mark.parametrize("seed", [0, 1])
def test_counting_is_sorting(side: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 256, (3, side * side), np.uint8)
    codes[seed] //= 3  # a dull channel
    seen = (codes / np.float32(255)).reshape(1, 3, side, side).astype(np.float32)
    assert measured_levels(seen) == sorted_levels(codes)
    assert measured_levels(seen[0]) == sorted_levels(codes)


def test_codes_are_rounded_half_up_and_clamped() -> None:
    values = np.array([0.5, 1.5, 2.5, 254.5, 255.4, 300, -3, 0.49, 77], np.float32) / 255
    planes = np.tile(values, (3, 1)).reshape(3, 3, 3)
    found = eight_bit_codes(planes)[0].tolist()
    assert found == [1, 2, 3, 255, 255, 255, 0, 0, 77]
    planes[:] = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert eight_bit_codes(planes)[2, :3].tolist() == [0, 255, 0]


def test_every_8_bit_code_survives_float32() -> None:
    codes = np.arange(256, dtype=np.uint8)
    planes = np.tile(codes.astype(np.float32) / np.float32(255), (3, 1)).reshape(3, 16, 16)
    assert (eight_bit_codes(planes) == codes).all()


def test_the_ends_are_told_from_few_pixels() -> None:
    """33 of 65536 pixels (0.05 %) set the lowest measure of red, 32 do not."""
    where = {m: i for i, m in enumerate(MEASURES)}
    seen = np.full((1, 3, 256, 256), 0.5, np.float32)
    seen.reshape(3, -1)[0, :32] = 0.0
    assert measured_levels(seen)[where["r", 5]] == 128 * LEVELS // 256
    seen.reshape(3, -1)[0, 32] = 0.0
    assert measured_levels(seen)[where["r", 5]] == 0
    assert measured_levels(seen)[where["g", 5]] == 128 * LEVELS // 256


def test_grey_has_no_chroma() -> None:
    levels = measured_levels(np.full((3, 8, 8), 0.3, np.float32))
    assert [v for v, (channel, _) in zip(levels, MEASURES, strict=True) if channel == "c"] == [
        0 for channel, _ in MEASURES if channel == "c"
    ]


def test_a_piece_per_measure_and_level() -> None:
    pieces = measure_pieces()
    assert len(set(pieces)) == len(pieces) == len(MEASURES) * LEVELS
    assert pieces[0] == "<r0005=00>"
    assert pieces[2 * LEVELS + 5] == "<{}{:04d}=05>".format(*MEASURES[2])


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4, 4), (1, 4, 4, 4), (3, 0, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match=r"1, 3, S, S"):
        measured_levels(np.zeros(shape, np.float32))
