"""The per-pixel network that a look's latents steer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vera_mobile.errors import InvalidArgument
from vera_mobile.model.config import LATENT_GROUPS, RendererConfig


class Renderer(nn.Module):
    """RGB to RGB, one colour at a time: it knows no coordinates, so a look bakes into a LUT."""

    def __init__(self, config: RendererConfig) -> None:
        super().__init__()
        self.config = config
        inputs = (3, *config.widths[:-1])
        latents = LATENT_GROUPS * config.latent_size
        sizes = list(zip(inputs, config.widths, strict=True))
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in config.widths)
        self.latent_projections = nn.ModuleList(
            nn.Linear(latents, width) for width in config.widths
        )
        self.out = nn.Linear(config.widths[-1], 3)
        if config.residual:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, rgb: Tensor, latents: Tensor, *, clamp: bool = True) -> Tensor:
        """The edited colours.

        rgb: (B, N, 3) float, encoded sRGB in [0, 1]; latents: (B, 3, latent_size), a group times 0
        is switched off. Returns (B, N, 3) encoded sRGB in [0, 1]. clamp=False leaves the residual
        form unclamped, so that training sees gradients past white and black; the sigmoid form is
        bounded by itself. Raises InvalidArgument for other shapes.
        """
        self._check(rgb, latents)
        steer = F.relu(latents.flatten(1))
        x = 2.0 * rgb - 1.0
        for layer, norm, projection in zip(
            self.layers, self.norms, self.latent_projections, strict=True
        ):
            x = norm(F.relu(layer(x))) + projection(steer).unsqueeze(1)
        x = self.out(x)
        if not self.config.residual:
            return torch.sigmoid(x)
        edited = rgb + x
        return edited.clamp(0.0, 1.0) if clamp else edited

    def _check(self, rgb: Tensor, latents: Tensor) -> None:
        if rgb.dim() != 3 or rgb.shape[2] != 3:
            raise InvalidArgument(f"RGB of shape {tuple(rgb.shape)} not allowed: use (B, N, 3).")
        expected = (LATENT_GROUPS, self.config.latent_size)
        if latents.dim() != 3 or tuple(latents.shape[1:]) != expected:
            raise InvalidArgument(
                f"Latents of shape {tuple(latents.shape)} not allowed: use (B, {expected[0]}, "
                f"{expected[1]})."
            )
        if latents.shape[0] != rgb.shape[0]:
            raise InvalidArgument(
                f"{latents.shape[0]} looks for {rgb.shape[0]} sets of colours not allowed: "
                "use one look per set."
            )
