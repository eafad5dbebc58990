"""Banding: a 16-bit gradient through a steep look, rendered to 8 bits, beside direct evaluation.

The gradients are smooth: direct evaluation moves by less than a code a pixel. In coarser ones a
step of 1.1 codes is 1 or 2 by chance of rounding, on either side.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vera_mobile import native
from vera_mobile.assets import checkpoint_folder
from vera_mobile.look import Look
from vera_mobile.model.load import load_checkpoint
from vera_mobile.native import Frame

GREY = ((0.02, 0.02, 0.02), (0.98, 0.98, 0.98))
SKY = ((0.35, 0.52, 0.80), (0.62, 0.71, 0.88))
DUSK = ((0.02, 0.03, 0.10), (0.55, 0.30, 0.22))


def steep(points: np.ndarray, latents: np.ndarray) -> np.ndarray:
    """Contrast of slope 5 around the middle, and channels that lean on each other."""
    p = points.astype(np.float64)
    mixed = 0.85 * p + 0.15 * p[:, [1, 2, 0]]
    low, high = 1 / (1 + np.exp(10.0)), 1 / (1 + np.exp(-10.0))
    return (1 / (1 + np.exp(-20 * (mixed - 0.5))) - low) / (high - low)


def steep_look() -> Look:
    return Look(np.zeros((3, 4), np.float32), evaluate=steep)


def nano_look() -> Look:
    """The shipped renderer under latents as strong as its own head gives, and all strengths 1.5."""
    renderer = load_checkpoint(checkpoint_folder("nano")).renderer.eval()

    @torch.inference_mode()
    def evaluate(points: np.ndarray, latents: np.ndarray) -> np.ndarray:
        return renderer(torch.from_numpy(points)[None], torch.from_numpy(latents)[None])[0].numpy()

    size = renderer.config.latent_size
    latents = 2 * np.random.default_rng(3).standard_normal((3, size)).astype(np.float32)
    look = Look(latents, evaluate=evaluate)
    return look.with_strengths(lighting=1.5, global_color=1.5, specific_color=1.5)


def gradient(ends: tuple[tuple[float, ...], tuple[float, ...]], width: int) -> np.ndarray:
    """(1, width, 3) uint16, from one colour to the other."""
    t = np.linspace(0, 1, width)[:, None]
    colours = (1 - t) * np.array(ends[0]) + t * np.array(ends[1])
    return np.floor(colours * 65535 + 0.5).astype(np.uint16)[None]


def directly(look: Look, image: np.ndarray) -> np.ndarray:
    """(width, 3) codes of 8 bits: the look evaluated at every pixel."""
    values = look._colours((image[0] / 65535).astype(np.float32)).astype(np.float64)
    return np.floor(values * 255 + 0.5).astype(np.int64)


def rendered(look: Look, image: np.ndarray) -> np.ndarray:
    baked = look.bake()
    target = Frame.empty("rgb8", *image.shape[:2])
    native.render_frame(Frame.of(image), target, baked.curves, baked.lut)
    return target.planes[0][0].astype(np.int64)


def largest_step(codes: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(codes, axis=0)).max(axis=0)


@pytest.mark.parametrize("make", [steep_look, nano_look])
@pytest.mark.parametrize("width", [1400, 8000])
@pytest.mark.parametrize("ends", [GREY, SKY, DUSK], ids=["grey", "sky", "dusk"])
def test_no_step_is_larger_than_direct_evaluation_has(
    make: object, width: int, ends: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    look: Look = make()  # type: ignore[operator]
    image = gradient(ends, width)
    truth, ours = directly(look, image), rendered(look, image)
    assert (largest_step(ours) <= largest_step(truth)).all(), (
        f"steps {largest_step(ours)}, direct {largest_step(truth)}"
    )
    # A LUT of 33^3 is not the network itself: measured 1 (steep) and 2 (nano).
    assert np.abs(ours - truth).max() <= 2, "the render is another picture"


def test_the_measure_sees_banding() -> None:
    """The same look on the gradient rounded to 8 bits, as a renderer of 8 bits would have it."""
    look, image = steep_look(), gradient(GREY, 8000)
    coarse = (np.floor(image / 257 + 0.5) * 257).astype(np.uint16)
    assert (largest_step(rendered(look, coarse)) > largest_step(directly(look, image)) + 2).all()
