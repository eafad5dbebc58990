"""Training of the own scorer: an original is above its half degraded self, that above the degraded.

The pictures are small, so the develop operators run on every pixel. All pictures get noise: without
it the traces that 8-bit rounding leaves after an edit give the answer away (measured on vera-nano,
see its TRAINING.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vera_mobile.develop.operators import develop
from vera_mobile.train.data import PhotoFile, crop, degradation, quantize8, slider_set
from vera_mobile.train.evaluation.tasks import DEGRADATIONS, developed, load_picture, photo_rng
from vera_mobile.train.loop import Run, StageConfig, step_rng
from vera_mobile.train.scorer import OwnScorer, Scorer, ScorerShape

NOISE = 1.5 / 255
EDIT_SHARE = 0.3  # of the pairs is made worse by random sliders instead of a camera's faults
HALF = 0.5


@dataclass(frozen=True)
class ScorerConfig(StageConfig):
    """Settings of the scorer's training; margin: how far apart an original and its degradation
    should score, half of it for each step by way of the half degraded one."""

    steps: int = 2000
    batch: int = 32
    lr: float = 2e-3
    weight_decay: float = 0.02
    margin: float = 2.0
    centre: float = 0.02


def train_scorer(
    pool: Tensor,
    config: ScorerConfig,
    out: Path,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    shape: ScorerShape | None = None,
) -> OwnScorer:
    """Trains on `pool` (n, s, s, 3) uint8; resumes from `out` when it holds a state."""
    torch.manual_seed(config.seed)
    scorer = OwnScorer(shape or ScorerShape())
    run = Run(out, config, scorer, stage="scorer")
    scorer.train()
    for step in range(run.resume(), config.steps):
        rng = step_rng(config.seed, step)
        loss, values = ranking_loss(scorer, pool, config, rng)
        run.step(step, loss)
        run.finish_step(step + 1, values)
        if on_step:
            on_step(step + 1, values)
    return scorer.eval().requires_grad_(False)


def ranking_loss(
    scorer: OwnScorer, pool: Tensor, config: ScorerConfig, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Margin ranking, softplus(margin - (better - worse)), of one batch; and figures to log."""
    n, size = config.batch, scorer.shape.size
    photos = torch.stack([crop(pool, int(rng.integers(len(pool))), size, rng) for _ in range(n)])
    edits = np.stack([_edit(rng) for _ in range(n)])
    levels = [photos, *(_made_worse(photos, share * edits) for share in (HALF, 1.0))]
    noisy = [(x + NOISE * (2 * torch.rand_like(x) - 1)).clamp(0, 1) for x in levels]
    best, half, worst = scorer(torch.cat(noisy)).chunk(3)
    gaps = (best - worst, best - half, half - worst)
    margins = (config.margin, HALF * config.margin, HALF * config.margin)
    losses = [F.softplus(m - gap).mean() for m, gap in zip(margins, gaps, strict=True)]
    loss = torch.stack(losses).sum() + config.centre * best.mean() ** 2
    right = [(gap > 0).float().mean().item() for gap in gaps[:2]]
    return loss, {"loss": loss.item(), "right": right[0], "right_half": right[1]}


def _edit(rng: np.random.Generator) -> np.ndarray:
    return slider_set(rng) if rng.random() < EDIT_SHARE else degradation(rng)


def _made_worse(photos: Tensor, sliders: np.ndarray) -> Tensor:
    """Pictures (B, H, W, 3) with sliders (B, 38), in 8 bits."""
    with torch.no_grad():
        out = develop(photos.flatten(1, 2), torch.from_numpy(sliders.astype(np.float32)))
    return quantize8(out).view_as(photos)


def ranking_accuracy(
    scorer: Scorer,
    files: Sequence[PhotoFile],
    on_photo: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Shares of pairs in which the original scores above its changed self, on photos given.

    degraded: the fixed degradations of `vera bench quality`; half: the same at half strength;
    edited: a random set of sliders. Pictures of 8 bits, long side at most 384.
    """
    right: dict[str, list[float]] = {"degraded": [], "half": [], "edited": []}
    for i, file in enumerate(files):
        original, rng = load_picture(file.path), photo_rng(file)
        drawn = [degradation(rng) for _ in range(DEGRADATIONS)]
        changed = {
            "degraded": drawn,
            "half": [HALF * s for s in drawn],
            "edited": [slider_set(rng)],
        }
        top = _score(scorer, original)
        for kind, sets in changed.items():
            right[kind] += [float(top > _score(scorer, developed(original, s))) for s in sets]
        if on_photo:
            on_photo(i + 1)
    return {k: round(float(np.mean(v)), 4) for k, v in right.items()} | {"photos": len(files)}


def _score(scorer: Scorer, picture: np.ndarray) -> float:
    return float(scorer(torch.tensor(picture[None]).float() / 255.0)[0])
