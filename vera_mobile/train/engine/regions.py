"""Sky, foliage and skin on a photo, by stated rules: place, hue, chroma, lightness, smoothness.

No network is asked, so the rules are strict: a region that is not found is not spoken of, and one
that is found wrongly would make a false sentence.
"""

from __future__ import annotations

import numpy as np

REGIONS = ("sky", "foliage", "skin")
WINDOW = 5  # side in pixels of the neighbourhood whose spread of L* tells smooth from rough

SKY_HUE, SKY_MIN_CHROMA, SKY_MIN_L, SKY_MAX_ROUGHNESS = (220.0, 292.0), 9.0, 40.0, 2.2
SKY_MIN_SHARE, SKY_MIN_WIDTH = 0.10, 0.5
FOLIAGE_HUE, FOLIAGE_MIN_CHROMA, FOLIAGE_L, FOLIAGE_MIN_ROUGHNESS = (
    (102.0, 150.0), 12.0, (12.0, 80.0), 2.5,
)  # fmt: skip
FOLIAGE_MIN_SHARE = 0.12
SKIN_HUE, SKIN_CHROMA, SKIN_L, SKIN_MAX_ROUGHNESS = (30.0, 72.0), (12.0, 42.0), (35.0, 88.0), 3.5
SKIN_WINDOW = (0.1, 0.8, 0.25, 0.75)  # top, bottom, left, right: where a face stands
SKIN_MIN_SHARE, SKIN_TIMES_OUTSIDE = 0.12, 2.0


def find_regions(lab: np.ndarray, category: str = "") -> dict[str, np.ndarray]:
    """Masks (h, w) bool of the regions that a good photo shows, by name of `REGIONS`.

    lab: (h, w, 3) CIELAB of the photo at some 160 px (roughness depends on the size). category:
    what the manifest says that the photo shows, "" when it says nothing.

    sky: blue (hue angle 220..292 degrees, chroma from 9, L* from 40), smooth, reached from the top
    edge without a break, over at least half of the width and a tenth of the frame.
    foliage: green (102..150 degrees, chroma from 12, L* 12..80), rough, at least 12 % of the frame;
    not looked for in photos of food.
    skin: 30..72 degrees, chroma 12..42, L* 35..88, smooth, in the middle of the frame: at least
    12 % of it, twice as dense as outside. Only where the category begins with "people": wood, bread
    and sand have its colours.
    """
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    rough = roughness(lab[..., 0])
    found = {"sky": _sky(lab[..., 0], chroma, hue, rough)}
    if "food" not in category:
        found["foliage"] = _foliage(lab[..., 0], chroma, hue, rough)
    if category.startswith("people"):
        found["skin"] = _skin(lab[..., 0], chroma, hue, rough)
    return {name: mask for name, mask in found.items() if mask.any()}


def roughness(lightness: np.ndarray) -> np.ndarray:
    """Standard deviation of L* in the 5 x 5 pixels around each pixel, (h, w); edges repeat."""
    mean, square = _box(lightness), _box(lightness * lightness)
    return np.sqrt(np.maximum(square - mean * mean, 0.0))


def _box(plane: np.ndarray) -> np.ndarray:
    """Means of the windows around each pixel, one axis after the other."""
    out = np.pad(plane, WINDOW // 2, mode="edge")
    for axis in (0, 1):
        size = out.shape[axis] - WINDOW + 1
        parts = [out.take(range(i, i + size), axis) for i in range(WINDOW)]
        out = np.add.reduce(parts) / WINDOW
    return out


def _sky(light: np.ndarray, chroma: np.ndarray, hue: np.ndarray, rough: np.ndarray) -> np.ndarray:
    blue = _within(hue, SKY_HUE) & (chroma >= SKY_MIN_CHROMA) & (light >= SKY_MIN_L)
    reached = np.logical_and.accumulate(blue & (rough <= SKY_MAX_ROUGHNESS), axis=0)
    wide = reached[: max(1, len(reached) // 20)].all(0).mean() >= SKY_MIN_WIDTH
    return reached & (wide and reached.mean() >= SKY_MIN_SHARE)


def _foliage(
    light: np.ndarray, chroma: np.ndarray, hue: np.ndarray, rough: np.ndarray
) -> np.ndarray:
    green = _within(hue, FOLIAGE_HUE) & (chroma >= FOLIAGE_MIN_CHROMA) & _within(light, FOLIAGE_L)
    mask = green & (rough >= FOLIAGE_MIN_ROUGHNESS)
    return mask & (mask.mean() >= FOLIAGE_MIN_SHARE)


def _skin(light: np.ndarray, chroma: np.ndarray, hue: np.ndarray, rough: np.ndarray) -> np.ndarray:
    mask = _within(hue, SKIN_HUE) & _within(chroma, SKIN_CHROMA) & _within(light, SKIN_L)
    mask &= rough <= SKIN_MAX_ROUGHNESS
    h, w = mask.shape
    top, bottom, left, right = SKIN_WINDOW
    inside = np.zeros_like(mask)
    inside[int(top * h) : int(bottom * h) + 1, int(left * w) : int(right * w) + 1] = True
    share = mask[inside].mean()
    outside = mask[~inside].mean() if not inside.all() else 0.0
    is_face = share >= SKIN_MIN_SHARE and share >= SKIN_TIMES_OUTSIDE * outside
    return mask & inside & is_face


def _within(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return (values >= limits[0]) & (values <= limits[1])
