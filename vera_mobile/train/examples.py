"""Example pictures for TensorBoard: a few degraded photos, what the model makes of them, the good
photo. The same photos at every step, drawn from the seed alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vera_mobile.model.renderer import Renderer
from vera_mobile.model.tokens import Vocabulary
from vera_mobile.model.vlm import VeraModel
from vera_mobile.train.batches import Samples, SamplesConfig, prompt_of
from vera_mobile.train.board import Board
from vera_mobile.train.data import crop, degradation, develop_picture, quantize8
from vera_mobile.train.rollout import Sampling, generate, looks
from vera_mobile.train.stage import evaluating

COUNT = 4
_SEED = 77
_PIECE = 1 << 16  # pixels: 128 MiB in the widest layer of the 0.5B model's renderer


class Examples:
    """before, target: (n, S, S, 3) encoded sRGB in [0, 1] of the auto task."""

    def __init__(self, samples: Samples, config: SamplesConfig, count: int = COUNT) -> None:
        rng = np.random.default_rng([config.seed, _SEED])
        pool, size = samples.pool, samples.size
        count = min(count, len(pool))
        self.target = torch.stack([crop(pool, i, size, rng) for i in range(count)])
        sliders = torch.from_numpy(np.stack([degradation(rng) for _ in range(count)]))
        self.before = quantize8(develop_picture(self.target, sliders))

    @torch.no_grad()
    def show(self, board: Board, step: int, vera: VeraModel, vocabulary: Vocabulary) -> None:
        """One picture: a row per photo with before, ours, target; and the answers' texts."""
        ours, texts = retouch(vera, vocabulary, self.before)
        board.pictures(step, "before / ours / target", self.before, ours, self.target)
        board.text(step, "answers", texts)


@torch.no_grad()
def retouch(vera: VeraModel, vocabulary: Vocabulary, pictures: Tensor) -> tuple[Tensor, list[str]]:
    """The auto task on pictures (n, S, S, 3), greedy: the edited pictures and the texts."""
    device = next(vera.parameters()).device
    shown = pictures.to(device)
    prompts = [prompt_of(vocabulary, None, picture) for picture in pictures]
    with evaluating(vera):
        image = vera.encode_image(shown.permute(0, 3, 1, 2))
        answers = generate(vera, vocabulary, prompts, image, Sampling(temperature=0.0, forced=True))
        latents = looks(vera, vocabulary, prompts, [a.tokens for a in answers], image)
        out = render_pictures(vera.renderer, shown, latents)
    return out.cpu(), [vocabulary.decode(a.tokens) for a in answers]


@torch.no_grad()
def render_pictures(renderer: Renderer, pictures: Tensor, latents: Tensor) -> Tensor:
    """Edited pictures (n, H, W, 3), a limited number of pixels at a time."""
    done = []
    for picture, latent in zip(pictures, latents, strict=True):
        pieces = picture.flatten(0, 1).split(_PIECE)
        done.append(torch.cat([renderer(p[None], latent[None])[0] for p in pieces]))
    return torch.stack(done).view(pictures.shape)
