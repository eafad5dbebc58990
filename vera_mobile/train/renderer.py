"""Stage 1: the renderer learns to make any edit from three latents, and the reference encoder to
read those latents off a before/after pair.

Half of a batch goes forward (a photo and its developed version), half backward (a degraded photo
and the good one). Random group masks decouple the latents: with a group switched off the target is
the photo with that group's sliders left out. A small teacher from sliders to latents, one network
per group and bias-free so that zero sliders give zero latents, steers the renderer with exact
supervision; it is kept beside the checkpoint for stage 3 and never shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.develop.operators import develop, mask_groups
from vera_mobile.develop.sliders import GROUP_SLICES, GROUPS
from vera_mobile.model.config import ModelConfig
from vera_mobile.model.load import load_checkpoint
from vera_mobile.model.reference_encoder import ReferenceEncoder
from vera_mobile.model.renderer import Renderer
from vera_mobile.train.data import (
    crop,
    degradation,
    develop_picture,
    pick_pixels,
    quantize8,
    slider_set,
)
from vera_mobile.train.loop import Run, StageConfig, step_rng
from vera_mobile.train.parallel import ALONE, Group
from vera_mobile.train.styles import AMOUNTS, STYLES

_PROBE_SEED = 77


@dataclass(frozen=True)
class RendererConfig(StageConfig):
    """Settings of stage 1; encoder_share: part of the batch that goes through the encoder.

    init: folder of a checkpoint whose renderer and reference encoder are the start ("": random);
    renderer_frozen: the renderer stays as it is, so that latents of earlier runs keep their
    meaning.
    """

    encoder_share: float = 0.5
    identity_share: float = 0.06
    renderer_frozen: bool = False


class SliderTeacher(nn.Module):
    """Sliders (B, 38) in percent -> latents (B, 3, L); zero sliders of a group give its zeros."""

    def __init__(self, latent_size: int, width: int = 256) -> None:
        super().__init__()
        sizes = [GROUP_SLICES[g].stop - GROUP_SLICES[g].start for g in GROUPS]
        self.first = nn.ModuleList(nn.Linear(n, width) for n in sizes)
        self.last = nn.ModuleList(nn.Linear(width, latent_size, bias=False) for _ in sizes)

    def forward(self, sliders: Tensor) -> Tensor:
        out = []
        for group, first, last in zip(GROUPS, self.first, self.last, strict=True):
            x = sliders[:, GROUP_SLICES[group]] / 50.0
            out.append(last(F.gelu(first(x)) - F.gelu(first(torch.zeros_like(x)))))
        return torch.stack(out, 1)


class StageModel(nn.Module):
    """The parts that stage 1 trains."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.renderer = Renderer(config.renderer)
        self.reference_encoder = ReferenceEncoder(config.encoder, config.renderer.latent_size)
        self.teacher = SliderTeacher(config.renderer.latent_size)


def any_edit(rng: np.random.Generator, identity_share: float) -> np.ndarray:
    """Sliders of a random edit: the three tasks' edits and the identity."""
    kind = rng.random()
    if kind < identity_share:
        return np.zeros(38, np.float32)
    if kind < 0.25:
        style = STYLES[rng.integers(len(STYLES))]
        return style.vector(float(rng.choice(list(AMOUNTS))))
    return degradation(rng) if kind < 0.5 else slider_set(rng)


def random_mask(rng: np.random.Generator) -> np.ndarray:
    """Groups on (1) or off (0): all on half of the time."""
    if rng.random() < 0.5:
        return np.ones(3, np.float32)
    return (rng.random(3) < 0.6).astype(np.float32)


def pixel_loss(out: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of a Charbonnier L1 and twice the square, (B, N, 3) encoded RGB."""
    d = out - target
    return (d * d + 1e-6).sqrt().mean() + 4.0 * (d * d).mean()


def forward_loss(model: StageModel, pool: Tensor, config: RendererConfig, size: int,
                 rng: np.random.Generator) -> dict[str, Tensor]:  # fmt: skip
    """Both halves of one batch; returns named losses."""
    n = config.batch
    n_enc = round(n * config.encoder_share)
    pictures = [crop(pool, int(rng.integers(len(pool))), size, rng) for _ in range(n)]
    sliders = torch.from_numpy(np.stack([any_edit(rng, config.identity_share) for _ in range(n)]))
    mask = torch.from_numpy(np.stack([random_mask(rng) for _ in range(n)]))
    pixels = torch.stack([pick_pixels(p, config.pixels, rng) for p in pictures])
    noise = torch.rand(n, config.pixels // 8, 3)  # colours that photos lack keep the LUT sane
    pixels = torch.cat([pixels, noise], 1)

    kept = mask_groups(sliders, mask)
    dropped = mask_groups(sliders, 1.0 - mask)
    with torch.no_grad():
        forward_target = develop(pixels, kept)
    device = next(model.parameters()).device
    kept_groups = mask[:, :, None].to(device)
    teacher = model.teacher(sliders.to(device)) * kept_groups
    out = model.renderer(pixels.to(device), teacher, clamp=False)
    loss = {"teacher": pixel_loss(out, forward_target.to(device))}
    if n_enc:
        with torch.no_grad():
            degraded = quantize8(develop(pixels[:n_enc], sliders[:n_enc]))
            undone = develop(pixels[:n_enc], dropped[:n_enc])
            shown = torch.stack(pictures[:n_enc])
            changed = quantize8(develop_picture(shown, sliders[:n_enc]))
        back = torch.from_numpy(rng.random(n_enc) < 0.5)[:, None, None, None]
        before = torch.where(back, changed, shown).permute(0, 3, 1, 2)
        after = torch.where(back, shown, changed).permute(0, 3, 1, 2)
        latents = model.reference_encoder(before.to(device), after.to(device))
        source = torch.where(back[:, 0], degraded, pixels[:n_enc])
        target = torch.where(back[:, 0], undone, forward_target[:n_enc])
        out = model.renderer(source.to(device), latents * kept_groups[:n_enc], clamp=False)
        loss["encoder"] = pixel_loss(out, target.to(device))
    return loss


def build(model_config: ModelConfig, config: RendererConfig) -> StageModel:
    """The parts as the first step finds them."""
    torch.manual_seed(config.seed)
    model = StageModel(model_config)
    if config.init:
        start = load_checkpoint(config.init, only=("renderer", "reference_encoder"))
        model.renderer.load_state_dict(start.renderer.state_dict())
        model.reference_encoder.load_state_dict(start.reference_encoder.state_dict())
    model.renderer.requires_grad_(not config.renderer_frozen)
    return model


def train_renderer(
    pool: Tensor,
    model_config: ModelConfig,
    config: RendererConfig,
    out: Path,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    group: Group = ALONE,
) -> StageModel:
    """Trains stage 1 on `pool` (n, s, s, 3) uint8; resumes from `out` when it holds a state.

    At the end the decoupling of the groups is measured and written to OUT/report.json.
    """
    model = build(model_config, config).to(group.device)
    run = Run(out, config, model, stage="renderer", model=model_config.to_dict(), group=group)
    size = model_config.encoder.image_size
    start = run.resume()
    model.train()
    for step in range(start, config.steps):
        rng = step_rng(config.seed, step)
        losses = forward_loss(model, pool, config, size, rng)
        run.step(step, torch.stack(list(losses.values())).sum())
        values = {k: v.item() for k, v in losses.items()}
        run.finish_step(step + 1, values)
        if run.pictures_due(step + 1):
            _show(run, step + 1, model, pool, size)
        if on_step:
            on_step(step + 1, values)
    model.cpu().eval()
    run.write_json("report.json", {"decoupling": report(model, pool, config, size)})
    return model


def _probe(pool: Tensor, size: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Photos (count, S, S, 3) and edits (count, 38) of all three groups, of the seed alone."""
    rng = np.random.default_rng([seed, _PROBE_SEED])
    chosen = rng.integers(0, len(pool), count)
    pictures = torch.stack([crop(pool, int(i), size, rng) for i in chosen])
    edits = [np.concatenate([slider_set(rng)[GROUP_SLICES[g]] for g in GROUPS]) for _ in chosen]
    return pictures, torch.from_numpy(np.stack(edits))


def report(
    model: StageModel, pool: Tensor, config: RendererConfig, size: int, count: int = 32
) -> dict[str, Any]:
    """`decoupling` on pixels of the pool's photos, in evaluation mode."""
    from vera_mobile.train.decoupling import decoupling

    pictures, edits = _probe(pool, size, count, config.seed)
    rng = np.random.default_rng([config.seed, _PROBE_SEED, 1])
    pixels = torch.stack([pick_pixels(p, config.pixels, rng) for p in pictures])
    return decoupling(model, pixels, edits)


@torch.no_grad()
def _show(run: Run, step: int, model: StageModel, pool: Tensor, size: int) -> None:
    before, edits = _probe(pool, size, 4, run.config.seed)
    flat, device = before.flatten(1, 2), next(model.parameters()).device
    ours = model.renderer(flat.to(device), model.teacher(edits.to(device))).view(before.shape)
    target = develop(flat, edits).view(before.shape)
    run.board.pictures(step, "before / ours / target", before, ours, target)
