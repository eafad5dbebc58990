"""The whole model: what sees, what reasons, what renders, and the encoder that teaches them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vera_mobile.model.config import LATENT_GROUPS, ModelConfig
from vera_mobile.model.head import RetouchHead
from vera_mobile.model.language import Decoder
from vera_mobile.model.projector import Projector
from vera_mobile.model.reference_encoder import ReferenceEncoder
from vera_mobile.model.renderer import Renderer
from vera_mobile.model.vision import VisionTower

PARTS = ("vision", "projector", "decoder", "retouch_head", "renderer", "reference_encoder")


class VeraModel(nn.Module):
    """The parts under one name each; they are called one by one, there is no joint forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.language.hidden_size
        latent = config.renderer.latent_size
        self.vision = VisionTower(config.vision)
        self.projector = Projector(config.vision.feature_size, hidden)
        self.decoder = Decoder(config.language)
        self.retouch_head = RetouchHead(hidden, latent)
        self.renderer = Renderer(config.renderer)
        self.reference_encoder = ReferenceEncoder(config.encoder, latent)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """The image tokens that take the photo's place in the prompt.

        pixels: (B, 3, S, S) float, encoded sRGB in [0, 1], S = config.vision.image_size.
        Returns (B, config.vision.tokens, hidden_size).
        """
        return self.projector(self.vision(pixels))

    def zero_latents(self, count: int = 1) -> Tensor:
        """`count` sets of latents that are all zero: (count, 3, latent_size)."""
        weight = self.renderer.out.weight
        shape = (count, LATENT_GROUPS, self.config.renderer.latent_size)
        return torch.zeros(shape, dtype=weight.dtype, device=weight.device)


def parameter_counts(model: VeraModel) -> dict[str, int]:
    """The number of parameters of each part and, last, of all ("total"); buffers do not count."""
    counts = {
        part: sum(parameter.numel() for parameter in getattr(model, part).parameters())
        for part in PARTS
    }
    return {**counts, "total": sum(counts.values())}
