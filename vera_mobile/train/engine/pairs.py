"""Edits of experts, taken from before/after pairs and laid on photos that look like their `before`.

The reference encoder reads the latents of each pair's edit; for a photo the pair whose `before` has
the nearest colour histogram is chosen, and the renderer lays its edit on the photo. Direction: the
photo is the unretouched side and the edited photo is the target, because what an expert did to a
similar start is an edit to learn; inverting it would ask the renderer for something that no expert
ever made, and what the edit clipped cannot come back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vera_mobile.color.spaces import rgb_to_lab
from vera_mobile.image import Photo
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.pixels import reference_pixels
from vera_mobile.train.evaluation.pairs import Pair, list_pairs

HISTOGRAM_SIDE = 64
BINS = ((0, 100, 16), (-60, 60, 12), (-60, 60, 12))  # L*, a*, b*: low, high, bins
TOO_FAR = (
    0.4  # share of the pixels (0..1) that would have to move; a farther pair's edit is not fit
)
CHUNK_PIXELS = 1 << 16


def histogram(rgb: np.ndarray) -> np.ndarray:
    """Colour histogram of a picture: (40,) float32, parts for L*, a* and b* that each sum to 1.

    rgb: (..., 3) encoded sRGB in [0, 1].
    """
    lab = rgb_to_lab(np.asarray(rgb, np.float64).reshape(-1, 3))
    parts = []
    for i, (low, high, bins) in enumerate(BINS):
        values = np.clip(lab[:, i], low, high)
        parts.append(np.histogram(values, bins=bins, range=(low, high))[0] / len(lab))
    return np.concatenate(parts).astype(np.float32)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Total variation of two histograms, mean over L*, a* and b*: 0 for equal, 1 for disjoint."""
    return float(np.abs(a - b).sum() / 2 / len(BINS))


class PairLooks:
    """The edits of a folder of pairs, ready to be laid on photos. Latents are read when needed.

    Layouts of the folder: see `list_pairs`. Errors: FileError when it holds no pair.
    """

    def __init__(self, folder: str | Path, checkpoint: str | Path) -> None:
        self.pairs = list_pairs(folder)
        self.model = load_checkpoint(checkpoint, only=("renderer", "reference_encoder"))
        self.histograms = [histogram(_small(p.before)) for p in self.pairs]
        self._latents: dict[int, torch.Tensor] = {}

    def nearest(self, picture: np.ndarray) -> tuple[Pair | None, float]:
        """The pair whose `before` is nearest to a picture (H, W, 3) uint8, and the distance 0..1;
        no pair where that is above `TOO_FAR`."""
        small = picture[:: max(1, picture.shape[0] // HISTOGRAM_SIDE),
                        :: max(1, picture.shape[1] // HISTOGRAM_SIDE)]  # fmt: skip
        own = histogram(small / 255.0)
        distances = [distance(own, h) for h in self.histograms]
        best = int(np.argmin(distances))
        return (self.pairs[best] if distances[best] <= TOO_FAR else None), distances[best]

    @torch.inference_mode()
    def lay_on(self, picture: np.ndarray, pair: Pair, groups: tuple[float, ...]) -> np.ndarray:
        """`picture` (H, W, 3) uint8 with the pair's edit; groups: factor of each of the latents."""
        latents = self._read(self.pairs.index(pair)) * torch.tensor(groups).view(1, 3, 1)
        flat = torch.from_numpy(picture.reshape(1, -1, 3).astype(np.float32) / 255)
        parts = [self.model.renderer(part, latents) for part in flat.split(CHUNK_PIXELS, 1)]
        codes = torch.round(torch.cat(parts, 1)[0] * 255).numpy()
        return codes.astype(np.uint8).reshape(picture.shape)

    def _read(self, index: int) -> torch.Tensor:
        if index not in self._latents:
            pair = self.pairs[index]
            sides = [
                torch.from_numpy(reference_pixels(Photo.load(p), self.model.config))
                for p in (pair.before, pair.after)
            ]
            self._latents[index] = self.model.reference_encoder(*sides)
        return self._latents[index]


def _small(path: Path) -> np.ndarray:
    return Photo.load(path).to_srgb(max_side=HISTOGRAM_SIDE)
