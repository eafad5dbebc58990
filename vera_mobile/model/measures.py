"""What is measured on a photo for vera-nano's prompt: quantiles of its 8-bit codes.

The vision tower averages, so it knows the ends of the histogram badly; here they are counted, in
whole numbers, so that every platform gets the same tokens from the same pixels. The rule:

1. Picture: what the vision tower gets, S x S encoded sRGB in [0, 1]. A value x becomes the code
   floor(x * 255 + 0.5) in float32, product and sum rounded one by one (no fused multiply-add),
   clamped to 0..255 (NaN: 0).
2. Channels, per pixel: r, g, b, and c = max(r, g, b) - min(r, g, b), the chroma.
3. Quantile q (in ten thousandths) of a channel over n pixels: the smallest code that at least
   max(1, ceil(q * n / 10000)) of the pixels do not exceed.
4. Level: code * LEVELS / 256, rounded down.
   MEASURES is, for each of r, g, b, the quantiles 5, 200, 5000, 9800, 9995, then for c 2500, 5000,
   7500, 9800, 9995.
5. Measure m of MEASURES with level v is the token of number m * LEVELS + v in `measure_pieces()`.
   The tokens stand right after the image tokens, in the order of MEASURES.
"""

from __future__ import annotations

import numpy as np

from vera_mobile.errors import InvalidArgument

LEVELS = 64
CHANNELS = ("r", "g", "b", "c")
_ENDS = (5, 200, 5000, 9800, 9995)
_QUANTILES = {"r": _ENDS, "g": _ENDS, "b": _ENDS, "c": (2500, 5000, 7500, 9800, 9995)}
MEASURES = tuple((channel, q) for channel in CHANNELS for q in _QUANTILES[channel])
"""(channel, quantile in ten thousandths), in the order of the prompt."""


def measure_pieces() -> list[str]:
    """The tokens of all measures and levels: "<r0005=00>" .. "<c9995=63>"."""
    return [f"<{c}{q:04d}={level:02d}>" for c, q in MEASURES for level in range(LEVELS)]


def measured_levels(seen: np.ndarray) -> list[int]:
    """The level 0..LEVELS - 1 of each of MEASURES, by the rule above.

    seen: (1, 3, S, S) or (3, S, S) float32, encoded sRGB in [0, 1], as `vision_pixels` makes it;
    values outside are clamped. Raises InvalidArgument for another shape or no pixels.
    Cost: about 1 ms for S = 256.
    """
    codes = eight_bit_codes(seen)
    counts = {
        channel: np.bincount(values, minlength=256).cumsum()
        for channel, values in zip(CHANNELS, (*codes, np.ptp(codes, 0)), strict=True)
    }
    ranks = {q: max(1, -(-q * codes.shape[1] // 10000)) for _, q in MEASURES}
    return [
        int(np.searchsorted(counts[channel], ranks[q])) * LEVELS // 256 for channel, q in MEASURES
    ]


def eight_bit_codes(seen: np.ndarray) -> np.ndarray:
    """(3, n) uint8 codes of a picture as `measured_levels` takes it; the same errors."""
    planes = seen[0] if seen.ndim == 4 and len(seen) == 1 else seen
    if planes.ndim != 3 or len(planes) != 3 or not planes.size:
        raise InvalidArgument(f"a picture to measure has shape {seen.shape}: use (1, 3, S, S)")
    values = planes.reshape(3, -1).astype(np.float32) * np.float32(255) + np.float32(0.5)
    return np.nan_to_num(np.floor(values), nan=0.0).clip(0, 255).astype(np.uint8)
