"""The figures of one picture beside the picture that it should be."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from vera_mobile.color.metrics import ciede2000, psnr, ssim
from vera_mobile.color.spaces import linear_rgb_to_xyz, srgb_to_linear, xyz_to_lab

Figures = dict[str, float]
Lpips = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""pyiqa's LPIPS: two (1, 3, H, W) float in [0, 1] -> one value."""

PSNR_CAP_DB = 60.0  # of equal pictures, so that a mean stays finite
SSIM_LEAST_SIDE = 11
HISTOGRAM_BINS = 8  # per channel; joint, so 512 colours


class Wanted:
    """A picture that others are measured against; what is needed of it is computed once.

    picture: (H, W, 3) uint8, encoded sRGB. lpips: adds the figure `lpips`.
    """

    def __init__(self, picture: np.ndarray, lpips: Lpips | None = None) -> None:
        self.picture = picture
        self._lab = lab_of(picture)
        self._histogram = histogram(picture)
        self._lpips = lpips

    def psnr_db(self, picture: np.ndarray) -> float:
        """Over all 8-bit values, at most `PSNR_CAP_DB`."""
        return min(psnr(picture, self.picture, 255.0), PSNR_CAP_DB)

    def ciede2000_mean(self, picture: np.ndarray) -> float:
        """Mean over the pixels."""
        return float(ciede2000(lab_of(picture), self._lab).mean())

    def figures(self, picture: np.ndarray) -> Figures:
        """psnr_db, ciede2000_mean, ssim (not below 11 pixels), histogram_similarity,
        histogram_cosine, and lpips where it was asked for."""
        out = {
            "psnr_db": self.psnr_db(picture),
            "ciede2000_mean": self.ciede2000_mean(picture),
            **histogram_figures(histogram(picture), self._histogram),
        }
        if min(picture.shape[:2]) >= SSIM_LEAST_SIDE:
            out["ssim"] = ssim(picture, self.picture, 255.0)
        if self._lpips is not None:
            out["lpips"] = _lpips_of(self._lpips, picture, self.picture)
        return out


def lab_of(picture: np.ndarray) -> np.ndarray:
    """CIELAB (H, W, 3) float64 of 8-bit sRGB; the same bits as `rgb_to_lab`, by a table."""
    return xyz_to_lab(linear_rgb_to_xyz(_linear()[picture]))


@cache
def _linear() -> np.ndarray:
    return srgb_to_linear(np.arange(256) / 255.0)


def histogram(picture: np.ndarray) -> np.ndarray:
    """Shares (512,) float64 of the colours of (H, W, 3) uint8, 8 bins per channel, joint."""
    code = picture.reshape(-1, 3).astype(np.int64) * HISTOGRAM_BINS // 256
    index = (code[:, 0] * HISTOGRAM_BINS + code[:, 1]) * HISTOGRAM_BINS + code[:, 2]
    return np.bincount(index, minlength=HISTOGRAM_BINS**3) / len(index)


def histogram_figures(a: np.ndarray, b: np.ndarray) -> Figures:
    """1 - half the L1 distance (the share of pixels in common), and the cosine; 1.0 for equal."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return {
        "histogram_similarity": 1.0 - 0.5 * float(np.abs(a - b).sum()),
        "histogram_cosine": float(a @ b) / size,
    }


def _lpips_of(metric: Lpips, a: np.ndarray, b: np.ndarray) -> float:
    planes = (torch.from_numpy(x.copy()).permute(2, 0, 1)[None].float() / 255 for x in (a, b))
    with torch.inference_mode():
        return float(metric(*planes))
