"""What is measured on two versions of one photo, before any word is said about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.develop.operators import band_weights, hue_chroma
from vera_mobile.develop.sliders import HUES
from vera_mobile.train.engine.regions import find_regions

MEASURED_SIDE = 160  # pixels; box averages, so that noise and JPEG blocks do not count
NEUTRAL_CHROMA = 12.0  # CIELAB; below it a pixel of the good photo shows the cast
NEUTRAL_SHARE = 0.03
COLOURED = 0.06  # chroma of encoded RGB from which a pixel has a hue
HUE_PRESENT = 0.01  # share of the frame from which a hue is measured
WHITE_CODE, BLACK_CODE = 254, 1


@dataclass(frozen=True)
class Light:
    """CIELAB L* of a picture: mean, standard deviation, 5 % and 95 % quantile; and the shares of
    pixels with all codes at 254 or more (white) or at 1 or less (black)."""

    mean: float
    spread: float
    low: float
    high: float
    white: float
    black: float


@dataclass(frozen=True)
class Patch:
    """A part of the photo before and after: share of the frame, mean chroma, mean L*.

    chroma: as seen; pure: with the cast taken out of `before`; turn: change of the mean hue angle
    in degrees, as seen and with the cast taken out, positive from red to yellow to green.
    """

    share: float
    chroma: tuple[float, float]
    pure: tuple[float, float]
    light: tuple[float, float]
    turn: tuple[float, float]


@dataclass(frozen=True)
class PairMeasures:
    """Two versions of one photo, in CIELAB.

    cast: change of mean (a*, b*), after minus before, of the pixels that are near neutral in the
    good version; None where these are under 3 % of the frame. mean_ab: the same over all pixels.
    colour: the whole frame as a patch. hues: by name in lower case; regions: those found on the
    good version.
    """

    before: Light
    after: Light
    cast: tuple[float, float] | None
    mean_ab: tuple[float, float]
    colour: Patch
    hues: dict[str, Patch]
    regions: dict[str, Patch]


def measure_pair(
    before: np.ndarray, after: np.ndarray, *, good: str = "after", category: str = ""
) -> PairMeasures:
    """Measures two versions (H, W, 3) uint8 encoded sRGB of one photo.

    good: "before" or "after", the version in which neutral pixels, hues and regions are looked for.
    category: see `find_regions`.
    """
    small = [reduced(p) for p in (before, after)]
    labs = [rgb_to_lab(p) for p in small]
    fine = 1 if good == "after" else 0
    reference = labs[fine]
    neutral = np.hypot(reference[..., 1], reference[..., 2]) < NEUTRAL_CHROMA
    change = labs[1][..., 1:] - labs[0][..., 1:]
    cast = None
    if neutral.mean() >= NEUTRAL_SHARE:
        cast = (float(change[neutral][:, 0].mean()), float(change[neutral][:, 1].mean()))
    pure = labs[0].copy()
    pure[..., 1:] += cast or (0.0, 0.0)
    weights = hue_weights(small[fine])
    masks = find_regions(reference, category)
    names = ["", *(h.lower() for h in HUES), *masks]
    areas = [np.ones((*neutral.shape, 1)), weights, *(m[..., None] for m in masks.values())]
    patches = dict(zip(names, _patches(labs[0], labs[1], pure, areas), strict=True))
    mean = change.mean((0, 1))
    return PairMeasures(
        _light(before, labs[0]), _light(after, labs[1]), cast, (float(mean[0]), float(mean[1])),
        patches[""], {h: patches[h] for h in names[1:9] if patches[h].share > HUE_PRESENT},
        {name: patches[name] for name in masks},
    )  # fmt: skip


def reduced(picture: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 averaged in boxes to at most 160 px: (h, w, 3) float64 0..1."""
    factor = max(1, -(-max(picture.shape[:2]) // MEASURED_SIDE))
    return np.asarray(Image.fromarray(picture).reduce(factor), np.float64) / 255


def hue_weights(rgb: np.ndarray) -> np.ndarray:
    """Share (h, w, 8) that each pixel has in the hue bands; 0 for greys. rgb: (h, w, 3) 0..1."""
    _, _, hue, chroma = hue_chroma(torch.from_numpy(np.asarray(rgb, np.float32)))
    return (band_weights(hue) * (chroma > COLOURED)).numpy().astype(np.float64)


def _light(codes: np.ndarray, lab: np.ndarray) -> Light:
    light = lab[..., 0]
    low, high = np.quantile(light, (0.05, 0.95))
    red, green, blue = codes[..., 0], codes[..., 1], codes[..., 2]  # three planes: far faster
    white = (np.minimum(np.minimum(red, green), blue) >= WHITE_CODE).mean()
    black = (np.maximum(np.maximum(red, green), blue) <= BLACK_CODE).mean()
    values = (light.mean(), light.std(), low, high, white, black)
    return Light(*(float(v) for v in values))


def _patches(
    before: np.ndarray, after: np.ndarray, pure: np.ndarray, areas: list[np.ndarray]
) -> list[Patch]:
    """One patch for each plane of weights in `areas`, (h, w, k) arrays; pictures in CIELAB."""
    chroma = [np.hypot(lab[..., 1], lab[..., 2]) for lab in (before, after, pure)]
    figures = np.stack([*chroma, before[..., 0], after[..., 0], *_plane(before), *_plane(after),
                        *_plane(pure)], -1).reshape(-1, 11)  # fmt: skip
    weights = np.concatenate(areas, -1).reshape(len(figures), -1).T.astype(np.float64)
    means = weights @ figures / np.maximum(weights.sum(1, keepdims=True), 1e-9)
    return [_patch(float(w.mean()), [float(v) for v in m])
            for w, m in zip(weights, means, strict=True)]  # fmt: skip


def _plane(lab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return lab[..., 1], lab[..., 2]


def _patch(share: float, m: list[float]) -> Patch:
    seen, became, pure = (np.degrees(np.arctan2(m[i + 1], m[i])) for i in (5, 7, 9))
    turns = [float((became - start + 180) % 360 - 180) for start in (seen, pure)]
    return Patch(share, (m[0], m[1]), (m[2], m[1]), (m[3], m[4]), (turns[0], turns[1]))
